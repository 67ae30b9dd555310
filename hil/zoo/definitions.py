"""The benchmark networks as Keras definitions, with the data that their quantization is calibrated on.

Layer lists come from three sources:

* ``cifar10_nas``, ``cifar10_nas_max``, ``resnet``, ``simplenet``, ``autoencoder``, ``yolov1_96``: the networks of
  Millar et al., "Benchmarking Ultra-Low-Power uNPUs" (arXiv 2503.22567).  Their 2x2 max pools stand before the
  convolution that reads them, because the MAX78000 fuses them that way.
* ``ic``, ``kws``, ``vww``, ``ad``: the MLPerf Tiny reference networks, batch normalisation folded into the biases.
* ``digits``: our own small network, trained on the 8x8 digits that ship with scikit-learn.

Only ``digits`` is trained.  The others carry seeded random weights: latency, energy and memory do not depend on the
values, and a network that can be rebuilt from nothing needs no download.  All layouts are NHWC with batch 1, and
every convolution pads like TensorFlow's ``SAME``, so a file holds no separate padding operators.

Nothing here imports TensorFlow until a network is asked for; NumPy too is imported inside the functions.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

# Inputs in [-1, 127/128] get the scale 1/128 and the zero point 0: the signed 8-bit format of the MAX78000.
SIGNED = (-1.0, 127.0 / 128.0)
# Inputs in [0, 1] get the scale 1/255 and the zero point -128: an image byte minus 128.
UNSIGNED = (0.0, 1.0)

# How many calibration samples a network sees; enough for the ranges of random networks to settle.
CALIBRATION_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Definition:
    """One network: how to build it, and which inputs it expects.

    ``input_shape`` is without the batch; ``input_range`` is the real interval that the int8 input spans;
    ``build`` takes the ``keras`` module and returns an uninitialised functional model with batch 1.
    ``outputs`` names the output tensors, in order (at most eight letters, see ``hil.zoo.build``).
    ``standardise`` asks for logits with zero mean and this spread over the calibration data, so that an untrained
    classifier answers differently to different inputs.
    """

    name: str
    input_shape: tuple[int, ...]
    input_range: tuple[float, float]
    build: Callable[[Any], Any]
    outputs: tuple[str, ...]
    standardise: float | None = None
    trained: bool = False


class _Layers:
    """Shorthand for the few layers that these networks are made of."""

    def __init__(self, keras: Any, network: str, input_shape: tuple[int, ...]) -> None:
        self.keras = keras
        self.network = network
        self.input = keras.Input(batch_shape=(1, *input_shape), name="input")

    def conv(
        self,
        x: Any,
        name: str,
        filters: int,
        kernel: int | tuple[int, int] = 3,
        *,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        relu: bool = True,
    ) -> Any:
        """Convolution, ``kernel`` 3 with padding 1 unless told otherwise, and its fused ReLU."""
        layer = self.keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding=padding,
            use_bias=bias,
            activation="relu" if relu else None,
            name=name,
        )
        return layer(x)

    def depthwise(self, x: Any, name: str, *, strides: int = 1) -> Any:
        """3x3 depthwise convolution with bias and ReLU."""
        layer = self.keras.layers.DepthwiseConv2D(3, strides=strides, padding="same", activation="relu", name=name)
        return layer(x)

    def dense(self, x: Any, name: str, units: int, *, bias: bool = True, relu: bool = False) -> Any:
        """Fully connected layer on ``[1, features]``."""
        layer = self.keras.layers.Dense(units, use_bias=bias, activation="relu" if relu else None, name=name)
        return layer(x)

    def pool(self, x: Any, name: str) -> Any:
        """2x2 max pool, stride 2."""
        return self.keras.layers.MaxPooling2D(2, name=name)(x)

    def average(self, x: Any, name: str) -> Any:
        """Average pool over the whole map, then ``[1, channels]``."""
        height, width = x.shape[1], x.shape[2]
        x = self.keras.layers.AveragePooling2D((height, width), name=name)(x)
        return self.reshape(x, f"{name}_flat", (-1,))

    def reshape(self, x: Any, name: str, shape: tuple[int, ...]) -> Any:
        return self.keras.layers.Reshape(shape, name=name)(x)

    def add(self, a: Any, b: Any, name: str, *, relu: bool = False) -> Any:
        """Sum; with ``relu`` the activation, which the converter fuses into the sum, carries the name."""
        total = self.keras.layers.Add(name=f"{name}_sum" if relu else name)([a, b])
        return self.keras.layers.ReLU(name=name)(total) if relu else total

    def softmax(self, x: Any) -> Any:
        return self.keras.layers.Softmax(name="softmax")(x)

    def model(self, outputs: Any) -> Any:
        return self.keras.Model(self.input, outputs, name=self.network)


def _cifar10_nas(keras: Any, *, max78000: bool) -> Any:
    """CIFAR10-NAS: 32x32x3 to 10 logits.

    The two variants differ at the end: 512 channels and a global average for every board but the MAX78000, where
    conv5_1 has 128 channels and the 2x2 map is flattened.
    """
    net = _Layers(keras, "cifar10_nas_max" if max78000 else "cifar10_nas", (32, 32, 3))
    x = net.conv(net.input, "conv1_1", 64)
    x = net.conv(x, "conv1_2", 32, 1)
    x = net.conv(x, "conv1_3", 64)
    x = net.conv(net.pool(x, "pool2_1"), "conv2_1", 32)
    x = net.conv(x, "conv2_2", 64, 1)
    x = net.conv(net.pool(x, "pool3_1"), "conv3_1", 128)
    x = net.conv(x, "conv3_2", 128, 1)
    x = net.conv(net.pool(x, "pool4_1"), "conv4_1", 64)
    x = net.conv(x, "conv4_2", 128)
    x = net.pool(x, "pool5_1")
    if max78000:
        x = net.reshape(net.conv(x, "conv5_1", 128, 1), "flatten", (512,))
    else:
        x = keras.layers.GlobalAveragePooling2D(name="average")(net.conv(x, "conv5_1", 512, 1))
    return net.model(net.dense(x, "fc", 10))


def _simplenet(keras: Any, *, residual: bool) -> Any:
    """SimpleNet for CIFAR-100: 32x32x3 to 1x1x100 logits; ``residual`` adds the three skips of the paper's ResNet."""
    net = _Layers(keras, "resnet" if residual else "simplenet", (32, 32, 3))

    def skip(x: Any, before: Any, name: str) -> Any:
        return net.add(x, before, name) if residual else x

    x = net.conv(net.input, "conv1", 16)
    before = net.conv(x, "conv2", 20)
    x = skip(net.conv(before, "conv3", 20), before, "resid1")
    x = net.conv(x, "conv4", 20)
    before = net.conv(net.pool(x, "pool5"), "conv5", 20)
    x = skip(net.conv(before, "conv6", 20), before, "resid2")
    x = net.conv(x, "conv7", 44)
    before = net.conv(net.pool(x, "pool8"), "conv8", 48)
    x = skip(net.conv(before, "conv9", 48), before, "resid3")
    x = net.conv(net.pool(x, "pool10"), "conv10", 96)
    x = net.conv(net.pool(x, "pool11"), "conv11", 512, 1)
    x = net.conv(x, "conv12", 128, 1)
    x = net.conv(net.pool(x, "pool13"), "conv13", 128)
    return net.model(net.conv(x, "conv14", 100, 1, relu=False))


def _autoencoder(keras: Any) -> Any:
    """1-D autoencoder: 3 steps of 256 channels to 768 values (256x3), bottleneck of 4.

    The 1-D convolutions are 2-D ones over a map of height 1: TensorFlow Lite has no other form.
    """
    net = _Layers(keras, "autoencoder", (3, 256))
    x = net.reshape(net.input, "rows", (1, 3, 256))
    x = net.conv(x, "en_conv1", 128, 1)
    x = net.conv(x, "en_conv2", 64, (1, 3), padding="valid")
    x = net.reshape(x, "flatten", (64,))
    x = net.dense(x, "en_lin1", 32, relu=True)
    x = net.dense(x, "en_lin2", 4, bias=False)
    x = net.dense(x, "de_lin1", 32, relu=True)
    x = net.dense(x, "de_lin2", 96, relu=True)
    return net.model(net.dense(x, "out_lin", 768, bias=False))


def _yolov1_96(keras: Any) -> Any:
    """YOLOv1 for 96x96x3: a 12x12 grid with 2 boxes of 5 values and 2 classes; outputs boxes, classes, raw map."""
    net = _Layers(keras, "yolov1_96", (96, 96, 3))
    x = net.conv(net.input, "conv_96", 16, bias=False)
    x = net.conv(net.pool(x, "pool_48"), "conv_48", 16, bias=False)
    x = net.conv(net.pool(x, "pool_24"), "conv_24_1", 16, 1, bias=False)
    for index in (2, 4):
        x = net.conv(x, f"conv_24_{index}", 32)
        x = net.conv(x, f"conv_24_{index + 1}", 16, 1)
    x = net.conv(x, "conv_24_6", 32)
    x = net.pool(x, "pool_12")
    for index in (1, 3, 5):
        x = net.conv(x, f"conv_12_{index}", 16, 1)
        x = net.conv(x, f"conv_12_{index + 1}", 32)
    x = net.conv(x, "conv_7_1", 16, 1)
    x = net.conv(x, "conv_7_2", 32)
    x = net.conv(x, "conv_res_1", 32, 1)
    x = net.conv(x, "conv_res_2", 16, 1)
    x = net.conv(x, "conv_res_3", 16, 1)
    raw = net.conv(x, "conv_res_4", 12, 1, relu=False)
    return net.model([raw[..., 0:10], raw[..., 10:12], raw])


def _ic(keras: Any) -> Any:
    """MLPerf Tiny image classification, ResNet8: 32x32x3 to 10 probabilities."""
    net = _Layers(keras, "ic", (32, 32, 3))
    x = net.conv(net.input, "conv0", 16)
    y = net.conv(net.conv(x, "block1_conv1", 16), "block1_conv2", 16, relu=False)
    x = net.add(x, y, "block1_add", relu=True)
    for block, filters in (("block2", 32), ("block3", 64)):
        y = net.conv(x, f"{block}_conv1", filters, strides=2)
        y = net.conv(y, f"{block}_conv2", filters, relu=False)
        x = net.conv(x, f"{block}_skip", filters, 1, strides=2, relu=False)
        x = net.add(x, y, f"{block}_add", relu=True)
    x = net.dense(net.average(x, "average"), "fc", 10)
    return net.model(net.softmax(x))


def _kws(keras: Any) -> Any:
    """MLPerf Tiny keyword spotting, DS-CNN: 49 frames of 10 MFCC to 12 probabilities."""
    net = _Layers(keras, "kws", (49, 10, 1))
    x = net.conv(net.input, "conv0", 64, (10, 4), strides=2)
    for index in range(1, 5):
        x = net.conv(net.depthwise(x, f"depthwise{index}"), f"pointwise{index}", 64, 1)
    x = net.dense(net.average(x, "average"), "fc", 12)
    return net.model(net.softmax(x))


def _vww(keras: Any) -> Any:
    """MLPerf Tiny visual wake words, MobileNetV1 0.25: 96x96x3 to 2 probabilities."""
    net = _Layers(keras, "vww", (96, 96, 3))
    x = net.conv(net.input, "conv0", 8, strides=2)
    blocks = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *(((128, 1),) * 5), (256, 2), (256, 1))
    for index, (filters, strides) in enumerate(blocks, start=1):
        x = net.depthwise(x, f"depthwise{index}", strides=strides)
        x = net.conv(x, f"pointwise{index}", filters, 1)
    x = net.dense(net.average(x, "average"), "fc", 2)
    return net.model(net.softmax(x))


def _ad(keras: Any) -> Any:
    """MLPerf Tiny anomaly detection: dense autoencoder over 5 frames of 128 mel bins, 640 to 640."""
    net = _Layers(keras, "ad", (640,))
    x = net.input
    for index, units in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128), start=1):
        x = net.dense(x, f"fc{index}", units, relu=True)
    return net.model(net.dense(x, "fc10", 640))


def _digits(keras: Any) -> Any:
    """Our own: 8x8x1 handwritten digits to 10 logits, with the MAX78000's pool-then-convolution order."""
    net = _Layers(keras, "digits", (8, 8, 1))
    x = net.conv(net.input, "conv1", 16)
    x = net.conv(net.pool(x, "pool2"), "conv2", 32)
    x = net.conv(net.pool(x, "pool3"), "conv3", 32)
    return net.model(net.dense(net.reshape(x, "flatten", (128,)), "fc", 10))


DEFINITIONS: dict[str, Definition] = {
    one.name: one
    for one in (
        Definition("cifar10_nas", (32, 32, 3), SIGNED, lambda keras: _cifar10_nas(keras, max78000=False), ("fc",), 2.0),
        Definition(
            "cifar10_nas_max", (32, 32, 3), SIGNED, lambda keras: _cifar10_nas(keras, max78000=True), ("fc",), 2.0
        ),
        Definition("resnet", (32, 32, 3), SIGNED, lambda keras: _simplenet(keras, residual=True), ("conv14",), 2.0),
        Definition("simplenet", (32, 32, 3), SIGNED, lambda keras: _simplenet(keras, residual=False), ("conv14",), 2.0),
        Definition("autoencoder", (3, 256), SIGNED, _autoencoder, ("out_lin",)),
        Definition("yolov1_96", (96, 96, 3), SIGNED, _yolov1_96, ("boxes", "classes", "raw")),
        Definition("ic", (32, 32, 3), UNSIGNED, _ic, ("softmax",), 1.5),
        Definition("kws", (49, 10, 1), SIGNED, _kws, ("softmax",), 1.5),
        Definition("vww", (96, 96, 3), UNSIGNED, _vww, ("softmax",), 1.5),
        Definition("ad", (640,), SIGNED, _ad, ("fc10",)),
        Definition("digits", (8, 8, 1), SIGNED, _digits, ("fc",), trained=True),
    )
}


def seed_of(*words: str) -> int:
    """A 32-bit seed that depends on the words alone, not on the order in which networks or layers are built."""
    return int.from_bytes(hashlib.sha256("/".join(("hil.zoo", *words)).encode()).digest()[:4], "little")


def initialise(model: Any) -> None:
    """Give every layer of ``model`` seeded random weights.

    Kernels are normal with variance 2/fan-in before a ReLU and 1/fan-in elsewhere (He et al. 2015), so that the
    activations keep their spread through deep networks.  Biases are small, random and never all zero: a converter
    would otherwise pass them off as the filler that it adds to layers without bias.
    """
    import numpy as np

    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        # RandomState's streams are frozen by NumPy's compatibility policy; those of Generator are not.
        random = np.random.RandomState(seed_of(model.name, layer.name))
        kernel = weights[0]
        depthwise = layer.__class__.__name__ == "DepthwiseConv2D"
        fan_in = int(np.prod(kernel.shape[:2] if depthwise else kernel.shape[:-1]))
        gain = 2.0 if layer.activation.__name__ == "relu" else 1.0
        values = [random.standard_normal(kernel.shape) * np.sqrt(gain / fan_in)]
        values += [random.standard_normal(bias.shape) * 0.05 for bias in weights[1:]]
        layer.set_weights([value.astype(np.float32) for value in values])


def calibration_data(definition: Definition, count: int = CALIBRATION_SAMPLES) -> FloatArray:
    """Seeded inputs ``[count, *input_shape]`` that look a little like pictures or spectra, not like white noise.

    Each sample adds coarse and fine random patches around a brightness of its own; the first one touches both ends
    of the input range, which fixes the scale and the zero point of the input.
    """
    import numpy as np

    low, high = definition.input_range
    random = np.random.RandomState(seed_of(definition.name, "calibration"))
    shape = definition.input_shape
    channels = shape[-1] if len(shape) == 3 else 1
    height, width = (shape[0], shape[1]) if len(shape) == 3 else (shape[0], shape[1] if len(shape) == 2 else 1)
    total = np.zeros((count, height, width, channels))
    for cell, weight in ((16, 1.0), (4, 0.7), (1, 0.3)):
        rows, columns = -(-height // cell), -(-width // cell)
        patch = random.standard_normal((count, rows, columns, channels)) * weight
        total += patch.repeat(cell, axis=1).repeat(cell, axis=2)[:, :height, :width]
    total += random.standard_normal((count, 1, 1, channels)) * 0.7
    middle, half = (low + high) / 2, (high - low) / 2
    data = np.clip(middle + total * (half * 0.4), low, high).reshape(count, *shape)
    flat = data.reshape(count, -1)
    flat[0, 0], flat[0, -1] = low, high
    return flat.reshape(count, *shape).astype(np.float32)


def standardise_output(model: Any, data: FloatArray, spread: float) -> None:
    """Rescale the last weighted layer so that its outputs have mean 0 and the standard deviation ``spread``.

    The factors are rounded to three significant digits: a different processor may sum in another order, and its last
    bits must not reach the weights.
    """
    import numpy as np

    keras: Any = importlib.import_module("keras")

    layer = [layer for layer in model.layers if layer.get_weights()][-1]
    logits = keras.Model(model.inputs, layer.output)
    values = np.stack([np.asarray(logits([sample[np.newaxis]])).reshape(-1) for sample in data])
    kernel, bias = layer.get_weights()
    factor = np.array([float(f"{spread / deviation:.3g}") for deviation in values.std(axis=0)])
    centre = np.array([float(f"{mean:.3g}") for mean in values.mean(axis=0)])
    layer.set_weights([(kernel * factor).astype(np.float32), ((bias - centre) * factor).astype(np.float32)])
