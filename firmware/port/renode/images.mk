# The images for Renode: one per platform header beside this file.  Each is compiled as the QEMU image of its core is,
# so that the instructions counted there hold here.
counts.CORTEX_M4 := mps2-an386
counts.CORTEX_M7 := mps2-an500
counts.CORTEX_M33 := mps2-an505
counts.CORTEX_M55 := mps3-an547
counts.RV32IMC := virt-rv32
counts.RV32IMAFC := virt-rv32
counts.RV64GC := virt-rv64

port.$(ARM) := $(ARM_PORT) port/renode/arm.c
port.$(RISCV) := $(RISCV_PORT) port/renode/riscv.c

# platform, QEMU image, millions of instructions per second
define renode
IMAGES += renode-$(1)
renode-$(1).toml := 'engine = "renode"' 'platform = "$(1)"' 'mips = $(3)' 'counts = "$(2)"'
renode-$(1).isas := $($(2).isas)
renode-$(1).header := port/renode/$(1).h
renode-$(1).tools := $($(2).tools)
renode-$(1).flags := $($(2).flags)
renode-$(1).port := port/renode/port.c port/renode/uart.c $(port.$($(2).tools))
endef

# What a header defines: its CORE_<name>, its MIPS.
renode_core = $(shell sed -n 's/^.define CORE_\([A-Z0-9_]*\) .*/\1/p' port/renode/$(1).h)
renode_mips = $(shell sed -n 's/^.define MIPS \([0-9]*\)$$/\1/p' port/renode/$(1).h)

RENODE_PLATFORMS := $(patsubst port/renode/%.h,%,$(filter-out %/device.h,$(sort $(wildcard port/renode/*.h))))
$(foreach id,$(RENODE_PLATFORMS),$(eval $(call renode,$(id),$(counts.$(call renode_core,$(id))),$(call renode_mips,$(id)))))
