"""The shipped networks against published figures, and against a rebuild where TensorFlow is installed."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import zoo
from hil.errors import ConfigError, UnavailableError

# name: input shape, output shapes, MACs, parameters.  The figures are those of the paper's repository (ai8xize,
# Vela and X-CUBE-AI reports) and, for the MLPerf Tiny networks, counted from the reference .tflite files.
KNOWN: dict[str, tuple[tuple[int, ...], tuple[tuple[int, ...], ...], int, int]] = {
    "cifar10_nas": ((1, 32, 32, 3), ((1, 10),), 36_377_600, 352_138),
    "cifar10_nas_max": ((1, 32, 32, 3), ((1, 10),), 36_180_992, 302_602),
    "resnet": ((1, 32, 32, 3), ((1, 1, 1, 100),), 18_461_184, 383_012),
    "simplenet": ((1, 32, 32, 3), ((1, 1, 1, 100),), 18_461_184, 383_012),
    "autoencoder": ((1, 3, 256), ((1, 768),), 201_984, 136_800),
    "yolov1_96": ((1, 96, 96, 3), ((1, 12, 12, 10), (1, 12, 12, 2), (1, 12, 12, 12)), 21_224_448, 40_700),
    "ic": ((1, 32, 32, 3), ((1, 10),), 12_501_632, 77_706),
    "kws": ((1, 49, 10, 1), ((1, 12),), 2_656_768, 22_604),
    "vww": ((1, 96, 96, 3), ((1, 2),), 7_489_664, 210_850),
    "ad": ((1, 640), ((1, 640),), 264_192, 265_864),
    "digits": ((1, 8, 8, 1), ((1, 10),), 121_088, 15_338),
}
# Vela's published nn_macs: MACs, pool windows and slices.
VELA = {
    "cifar10_nas": 36_471_808,
    "cifar10_nas_max": 36_273_152,
    "resnet": 18_498_048,
    "simplenet": 18_498_048,
    "autoencoder": 201_984,
    "yolov1_96": 21_428_928,
}
DIGITS_RIGHT, DIGITS_COUNT = 357, 360


def interpreter(path: Path) -> Any:
    """LiteRT on its reference kernels, which round the same on every processor."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (ai-edge-litert)")
    made = litert.Interpreter(model_path=str(path), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    made.allocate_tensors()
    return made


def run(network: Any, sample: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    network.set_tensor(network.get_input_details()[0]["index"], sample)
    network.invoke()
    return [network.get_tensor(output["index"]).copy() for output in network.get_output_details()]


def test_names_are_final() -> None:
    assert zoo.names() == tuple(KNOWN)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        zoo.entry("resnett")
    assert "resnett" in str(caught.value)
    assert caught.value.hint == "did you mean 'resnet'?"


def test_importing_the_zoo_is_light() -> None:
    code = "import sys, hil.zoo; print(*sorted({'numpy', 'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", KNOWN)
def test_catalogue_states_the_published_figures(name: str) -> None:
    entry = zoo.entry(name)
    assert (entry.macs, entry.parameters) == KNOWN[name][2:]
    assert all((entry.title, entry.task, entry.origin, entry.output))
    assert entry.path.is_file()
    assert entry.trained == (name == "digits") == (entry.accuracy is not None)
    if name in VELA:
        assert entry.pool_macs is not None
        assert entry.macs + entry.pool_macs == VELA[name]


@pytest.mark.parametrize("name", KNOWN)
def test_inputs_and_outputs_are_int8_of_the_known_shapes(name: str) -> None:
    network = interpreter(zoo.entry(name).path)
    inputs, outputs = network.get_input_details(), network.get_output_details()
    assert [tuple(one["shape"]) for one in inputs] == [KNOWN[name][0]]
    assert [tuple(one["shape"]) for one in outputs] == list(KNOWN[name][1])
    assert {one["dtype"] for one in (*inputs, *outputs)} == {np.int8}


@pytest.mark.parametrize("name", KNOWN)
def test_counts_in_the_file_are_the_published_ones(name: str) -> None:
    network = interpreter(zoo.entry(name).path)
    shapes = {one["index"]: tuple(int(size) for size in one["shape"]) for one in network.get_tensor_details()}
    macs = parameters = 0
    for op in network._get_ops_details():
        if op["op_name"] not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
            continue
        weights = math.prod(shapes[op["inputs"][1]])
        output = shapes[op["outputs"][0]]
        macs += weights * (math.prod(output[1:3]) if len(output) == 4 else 1)
        parameters += weights
        bias = op["inputs"][2]
        # An all-zero bias is the converter's filler for a layer without one.
        if bias >= 0 and np.any(network.get_tensor(bias)):
            parameters += math.prod(shapes[bias])
    assert (macs, parameters) == KNOWN[name][2:]


@pytest.mark.parametrize("name", KNOWN)
def test_answers_depend_on_the_input(name: str) -> None:
    network = interpreter(zoo.entry(name).path)
    random = np.random.RandomState(1)
    samples = [random.randint(-128, 128, KNOWN[name][0]).astype(np.int8) for _ in range(4)]
    answers = [run(network, sample) for sample in samples]
    for output in zip(*answers, strict=True):
        assert len({one.tobytes() for one in output}) > 1


def test_yolo_slices_are_parts_of_the_raw_map() -> None:
    network = interpreter(zoo.entry("yolov1_96").path)
    sample = np.random.RandomState(2).randint(-128, 128, (1, 96, 96, 3)).astype(np.int8)
    boxes, classes, raw = run(network, sample)
    np.testing.assert_array_equal(np.concatenate([boxes, classes], axis=-1), raw)


def test_digits_test_set_is_the_fixed_split() -> None:
    images, labels = zoo.digits_test_set()
    assert images.shape == (DIGITS_COUNT, 8, 8, 1)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [32, 36, 34, 34, 35, 39, 40, 37, 36, 37]


def test_digits_quantize_exactly_to_the_input_of_the_model() -> None:
    levels = np.array([0, 1, 8, 15, 16], dtype=np.uint8)
    assert zoo.quantize_digits(levels, 1 / 128, 0).tolist() == [-128, -112, 0, 112, 127]
    scale, zero_point = interpreter(zoo.entry("digits").path).get_input_details()[0]["quantization"]
    assert (scale, zero_point) == (1 / 128, 0)


def test_digits_accuracy_is_the_stated_one() -> None:
    network = interpreter(zoo.entry("digits").path)
    images, labels = zoo.digits_test_set()
    quantized = zoo.quantize_digits(images, *network.get_input_details()[0]["quantization"])
    right = sum(
        int(run(network, one[np.newaxis])[0].argmax()) == label for one, label in zip(quantized, labels, strict=True)
    )
    assert right == DIGITS_RIGHT
    assert zoo.entry("digits").accuracy == round(DIGITS_RIGHT / DIGITS_COUNT, 4)


def needs_the_tensorflow_of_the_shipped_files() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed, so no network can be rebuilt (pip install 'hil[tf]')")
    from importlib.metadata import version

    with (Path(zoo.__file__).parent / "zoo.toml").open("rb") as file:
        shipped = tomllib.load(file)["built_with"]["tensorflow"]
    if version("tensorflow") != shipped:
        pytest.skip(f"the shipped files were built with TensorFlow {shipped}; another version writes other bytes")


@pytest.mark.parametrize("name", ["autoencoder", "simplenet"])
def test_rebuilding_gives_the_shipped_bytes(name: str, tmp_path: Path) -> None:
    """To the byte on the processor that they were built on; another one may round the last bit of a scale otherwise."""
    needs_the_tensorflow_of_the_shipped_files()
    command = [sys.executable, "-m", "hil.zoo.build", name, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [one.name for one in tmp_path.iterdir()] == [f"{name}.tflite"]
    built, shipped = ((folder / f"{name}.tflite").read_bytes() for folder in (tmp_path, zoo.entry(name).path.parent))
    assert len(built) == len(shipped)
    ones, others = (np.frombuffer(data[: len(data) // 4 * 4], "<u4") for data in (built, shipped))
    differ = ones != others
    assert built[ones.nbytes :] == shipped[ones.nbytes :]
    assert np.count_nonzero(differ) < 0.01 * ones.size
    # Read as numbers they are scales, equal to seven digits: weights and zero points would not be.
    scales = others[differ].view("<f4")
    assert ((scales > 1e-7) & (scales < 100)).all()
    assert ones[differ].view("<f4") == pytest.approx(scales, rel=1e-6, abs=0)


def test_building_without_tensorflow_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from hil.zoo import build

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UnavailableError) as caught:
        build.build("autoencoder")
    assert caught.value.hint == "pip install 'hil[tf]'"


def test_building_an_unknown_network_writes_nothing(tmp_path: Path) -> None:
    from hil.zoo import build

    with pytest.raises(ConfigError):
        build.build_all(["autoencoder", "nonsense"], tmp_path)
    assert list(tmp_path.iterdir()) == []
