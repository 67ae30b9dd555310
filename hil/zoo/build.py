"""Build the zoo: make each Keras network, quantize it to full int8, write it as ``<name>.tflite``.

``python -m hil.zoo.build [NAME ...] [--out DIR]`` needs TensorFlow and scikit-learn (``pip install 'hil[tf]'``);
using the shipped files needs neither.  Seeds are fixed: two builds give the same bytes, but for
the last bit of a scale where another kind of processor sums otherwise.

Quantization: int8 weights, activations, inputs and outputs; one scale per output channel for convolutions and one
per tensor for fully connected layers, which is what every microcontroller runtime accepts.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigError, HilError, UnavailableError, did_you_mean
from hil.files import write_atomic
from hil.zoo import DATA_DIR, DIGITS_FILE, MODEL_DIR, digits_to_real, names
from hil.zoo.definitions import (
    DEFINITIONS,
    Definition,
    calibration_data,
    initialise,
    seed_of,
    standardise_output,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

HINT = "pip install 'hil[tf]'"

# Images kept for the test set, of scikit-learn's 1797.
DIGITS_TEST_COUNT = 360
DIGITS_EPOCHS = 40


def _tensorflow() -> Any:
    """TensorFlow on one thread, on the CPU, without oneDNN: the summation order, and so the bytes, stay the same."""
    for name, value in (
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),
        ("CUDA_VISIBLE_DEVICES", "-1"),
        ("KERAS_BACKEND", "tensorflow"),
    ):
        os.environ.setdefault(name, value)
    try:
        tf: Any = importlib.import_module("tensorflow")
    except ImportError as error:
        raise UnavailableError("building the zoo needs TensorFlow, which is not installed here", hint=HINT) from error
    tf.get_logger().setLevel("ERROR")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow has already started in this process; only ``digits`` is then at risk of other last bits.
    tf.config.experimental.enable_op_determinism()
    return tf


def _digits_split() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """scikit-learn's digits, split once and for all: train images, train labels, test images, test labels.

    Images are uint8 ``[N, 8, 8, 1]`` with grey levels 0 to 16.
    """
    import numpy as np

    try:
        load_digits: Any = importlib.import_module("sklearn.datasets").load_digits
    except ImportError as error:
        message = "training 'digits' needs scikit-learn, which is not installed here"
        raise UnavailableError(message, hint=HINT) from error
    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.uint8)
    order = np.random.RandomState(seed_of("digits", "split")).permutation(len(labels))
    test, train = order[:DIGITS_TEST_COUNT], order[DIGITS_TEST_COUNT:]
    return images[train], labels[train], images[test], labels[test]


def _train_digits(keras: Any, model: Any, images: FloatArray, labels: NDArray[Any]) -> None:
    """Train ``model`` in place; the training copy has a free batch size and lends its weights."""
    import numpy as np

    keras.utils.set_random_seed(seed_of("digits", "training"))
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, DIGITS_EPOCHS * 23)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = np.random.RandomState(seed_of("digits", "order"))
    for _ in range(DIGITS_EPOCHS):
        chosen = order.permutation(len(labels))
        for start in range(0, len(chosen) - 63, 64):
            batch = chosen[start : start + 64]
            # Shift by up to one pixel: the images are centred only roughly.
            rows, columns = order.randint(-1, 2, size=2)
            shifted = np.roll(images[batch], (rows, columns), axis=(1, 2)) if order.rand() < 0.3 else images[batch]
            model.train_on_batch(shifted, labels[batch])


def _free_batch(keras: Any, model: Any) -> Any:
    """The same layers, sharing weights, on any batch size."""
    inputs = keras.Input(shape=model.input_shape[1:], name="batch")
    return keras.Model(inputs, model(inputs), name=f"{model.name}_batch")


def _convert(tf: Any, model: Any, data: FloatArray) -> bytes:
    """Quantize to full int8 and convert; the file's names follow the layers, never TensorFlow's running counters."""
    shape = (1, *model.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="input")], autograph=False)  # type: ignore[untyped-decorator,unused-ignore]
    def network(x: Any) -> Any:
        return model(x, training=False)

    def samples() -> Iterator[list[FloatArray]]:
        for sample in data:
            yield [sample[None, ...]]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], model)
    converter.experimental_lower_to_saved_model = False  # freeze the weights; a saved model would keep variables
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "statistics for quantized inputs were expected": the samples supply them
        return bytes(converter.convert())


def _rename_tensors(content: bytes, outputs: Sequence[str]) -> bytes:
    """Name activations after their layer, and weights ``<layer>/kernel`` and ``<layer>/bias``.

    The converter strings together the names of all fused operators, each with a counter.  The new names are shorter
    and are written over the old ones: packing the file again would lose the 16-byte alignment of its buffers.
    """
    schema: Any = importlib.import_module("tensorflow.lite.python.schema_py_generated")

    buffer = bytearray(content)
    # Tensor tables are read from ``content``, so that renaming one tensor does not hide the old name from the next.
    graph: Any = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)

    def rename(tensor: Any, new: str) -> None:
        table = tensor._tab
        start = table.Indirect(table.Pos + table.Offset(10))  # field 3 of Tensor: the name, length then bytes
        old_size = int.from_bytes(content[start : start + 4], "little")
        text = new.encode()
        if len(text) <= old_size:
            buffer[start : start + 4] = len(text).to_bytes(4, "little")
            buffer[start + 4 : start + 4 + old_size] = text.ljust(old_size, b"\0")

    final = {graph.Outputs(index): name for index, name in enumerate(outputs)}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        result = operator.Outputs(0)
        # "network_1/layer_1/Relu;network_1/layer_1/BiasAdd;..." -> "layer"
        path = graph.Tensors(result).Name().decode().split(";")[0].split("/")
        layer = final.get(result) or path[min(1, len(path) - 1)].removesuffix("_1")
        rename(graph.Tensors(result), layer)
        for position, part in ((1, "kernel"), (2, "bias")):
            if operator.InputsLength() == 3 and operator.Inputs(position) >= 0:
                rename(graph.Tensors(operator.Inputs(position)), f"{layer}/{part}")
    return bytes(buffer)


def build(name: str) -> dict[str, bytes]:
    """Build one network: file name to content, ``<name>.tflite`` and, for ``digits``, its test set."""
    import numpy as np

    definition: Definition | None = DEFINITIONS.get(name)
    if definition is None:
        raise ConfigError(f"the zoo has no network '{name}'", hint=did_you_mean(name, DEFINITIONS))
    tf = _tensorflow()
    keras: Any = tf.keras
    keras.backend.clear_session()
    model = definition.build(keras)
    initialise(model)
    files: dict[str, bytes] = {}
    if definition.trained:
        images, labels, test_images, test_labels = _digits_split()
        real = digits_to_real(images)
        _train_digits(keras, _free_batch(keras, model), real, labels)
        data = real[:256]
        archive = io.BytesIO()
        np.savez_compressed(archive, images=test_images, labels=test_labels)
        files[DIGITS_FILE] = archive.getvalue()
    else:
        data = calibration_data(definition)
        if definition.standardise is not None:
            standardise_output(model, data, definition.standardise)
    files[f"{name}.tflite"] = _rename_tensors(_convert(tf, model, data), definition.outputs)
    return files


def build_all(
    wanted: Sequence[str], out: Path | None = None, progress: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Build the named networks (all if none) into ``out``, or into the package where ``out`` is None."""
    known = names()
    for name in wanted:
        if name not in known:
            raise ConfigError(f"the zoo has no network '{name}'", hint=did_you_mean(name, known))
    written: list[Path] = []
    for name in wanted or known:
        started = time.monotonic()
        for file_name, content in build(name).items():
            package_dir = MODEL_DIR if file_name.endswith(".tflite") else DATA_DIR
            path = (out if out is not None else package_dir) / file_name
            write_atomic(path, content)
            written.append(path)
            progress(f"{name}: {path} ({len(content):,} bytes, {time.monotonic() - started:.1f} s)")
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.zoo.build", description="Build the int8 benchmark networks (needs TensorFlow)."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to build; all of them if none is named")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write here instead of into the package")
    options = parser.parse_args(arguments)
    try:
        build_all(options.names, options.out, lambda line: print(line, file=sys.stderr, flush=True))
    except HilError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
