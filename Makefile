# hil: `make bench` runs the main job, `make test` runs all tests.  Both set up their own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out/bench

# Emulators, and the compilers of the firmware: `make test` installs them where it may.
PROGRAMS := gcc qemu-system-arm qemu-system-riscv32 arm-none-eabi-gcc riscv64-unknown-elf-gcc mcs mono
PACKAGES := gcc libc6-dev qemu-system-arm qemu-system-misc gcc-arm-none-eabi libnewlib-arm-none-eabi \
	gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf mono-mcs mono-runtime libmono-system4.0-cil

.PHONY: help bench test quick lint zoo firmware docs results calibration system clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bench: $(VENV)/.bench ## benchmark all zoo networks on all platforms; table here, files and report.html in out/bench
	$(BIN)/hil bench zoo:all --platform all --out $(OUT) --overwrite

test: $(VENV)/.test system ## lint, types, Robot suites and all tests; installs QEMU and compilers where it may
	$(BIN)/ruff check hil tests
	$(BIN)/mypy
	$(BIN)/hil robot --out out/robot
	$(BIN)/python -m pytest

quick: $(VENV)/.test ## the tests that take seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.test ## style and types
	$(BIN)/ruff check hil tests
	$(BIN)/mypy

zoo: $(VENV)/.test ## rebuild the zoo's .tflite files from their Keras definitions
	$(BIN)/python -m hil.zoo.build

firmware: $(VENV)/.test system ## rebuild the firmware images, and count the instructions of their kernels
	$(MAKE) -C firmware
	$(BIN)/python -m hil.emulator.profile

docs: $(VENV)/.test ## the keywords of the Robot library as a page: out/HilLibrary.html
	@mkdir -p out
	$(BIN)/python -m robot.libdoc hil.robot.HilLibrary out/HilLibrary.html

results: $(VENV)/.bench ## remake the reference results that the README shows
	$(BIN)/hil bench zoo:all --platform all --out out/reference --overwrite | grep -v '^records, tables' > results/table.txt
	cp out/reference/runs.csv out/reference/phases.csv results/

calibration: $(VENV)/.test ## refit all platforms and remake the validation table that docs/fidelity.md shows
	$(BIN)/hil calibrate all
	$(BIN)/hil validate --out out/validation > results/validation.txt

system:
	@missing=; for program in $(PROGRAMS); do command -v $$program > /dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $(PACKAGES) > /dev/null && exit 0; \
	fi; \
	echo "missing, so their tests will be skipped:$$missing"; echo "as root: apt-get install $(PACKAGES)"

clean: ## remove the environment and everything made
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A venv may be there from an earlier version: the stamps make pip look again when pyproject.toml changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hil needs Python 3.11 or newer: set PYTHON=…"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python has no venv: apt install python3-venv"; exit 3; }

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[vela]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,tf]'
	@touch $@
