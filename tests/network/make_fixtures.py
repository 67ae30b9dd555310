"""Makes the fixtures of this folder's tests; needs TensorFlow, so it is run by hand: ``python make_fixtures.py``.

``awkward.tflite``: int8, batch 2, with the operators whose geometry is easy to get wrong: even kernels and odd
strides under SAME padding, dilation, groups, depth multipliers, transposed convolutions, fully connected layers over
maps, products of activations, splits, reductions.  ``loop.tflite``: a float LSTM, which Keras 3 turns into a WHILE
loop.  ``float16.tflite``: weights stored as float16 behind DEQUANTIZE.  Weights are random from a fixed seed, and
never used for anything but shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent / "fixtures"
BATCH, HEIGHT, WIDTH, CHANNELS = 2, 19, 14, 4


def awkward() -> tf.keras.Model:
    layers = tf.keras.layers
    inputs = layers.Input((HEIGHT, WIDTH, CHANNELS), batch_size=BATCH, name="image")
    mono = layers.Input((11, 9, 1), batch_size=BATCH, name="mono")
    outputs = []

    x = layers.Conv2D(8, (5, 2), strides=(3, 2), padding="same", activation="relu", name="stride3")(inputs)
    left, right = tf.keras.layers.Lambda(lambda t: tf.split(t, 2, axis=3), name="halves")(x)
    outputs.append(layers.Conv2D(6, 3, use_bias=False, padding="same", name="after_split")(left))
    outputs.append(layers.Conv2DTranspose(5, (3, 4), strides=(2, 3), padding="same", name="up_same")(right))
    outputs.append(layers.Conv2DTranspose(3, 3, strides=2, padding="valid", name="up_valid")(right))
    outputs.append(layers.Dense(7, activation="relu6", name="dense_on_map")(x))

    d = layers.Conv2D(6, 3, dilation_rate=(2, 3), padding="same", activation="relu6", name="dilated_same")(inputs)
    d = layers.Conv2D(4, (3, 2), dilation_rate=2, padding="valid", name="dilated_valid")(d)
    outputs.append(layers.Conv2D(8, 3, groups=2, strides=2, padding="same", name="grouped")(d))

    m = layers.DepthwiseConv2D((4, 3), strides=2, depth_multiplier=3, padding="same", name="multiplied")(inputs)
    outputs.append(layers.Lambda(lambda t: tf.reduce_mean(t, axis=[1, 2]), name="mean_map")(m))
    outputs.append(layers.Lambda(lambda t: tf.reduce_mean(t, axis=1, keepdims=True), name="mean_rows")(m))
    outputs.append(layers.MaxPooling2D((3, 2), strides=(2, 3), padding="same", name="pool")(m))
    outputs.append(layers.AveragePooling2D((10, 7), name="pool_map")(m))

    s = layers.DepthwiseConv2D(3, depth_multiplier=5, padding="valid", name="from_one_channel")(mono)
    s = layers.ZeroPadding2D(((1, 2), (0, 3)), name="padded")(s)
    s = layers.UpSampling2D(2, interpolation="bilinear", name="doubled")(s)
    s = layers.LeakyReLU(negative_slope=0.1, name="leaky")(s)
    s = layers.Reshape((24, 20 * 5), name="rows")(s)
    t = layers.Permute((2, 1), name="columns")(s)
    outputs.append(layers.Lambda(lambda ab: tf.matmul(ab[0], ab[1]), name="product")([s, t]))
    outputs.append(layers.Lambda(lambda t: t[:, 1:9:2, 3:], name="part")(s))
    return tf.keras.Model([inputs, mono], outputs)


def loop() -> tf.keras.Model:
    inputs = tf.keras.layers.Input((6, 5), batch_size=1)
    return tf.keras.Model(inputs, tf.keras.layers.LSTM(4, return_sequences=True)(inputs))


def float16() -> tf.keras.Model:
    inputs = tf.keras.layers.Input((8, 8, 2), batch_size=1)
    x = tf.keras.layers.Conv2D(16, 3, padding="same", activation="relu", bias_initializer="random_normal")(inputs)
    x = tf.keras.layers.Flatten()(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(3, bias_initializer="random_normal")(x))


def _samples(model: tf.keras.Model) -> Iterator[list[np.ndarray]]:
    random = np.random.default_rng(1)
    for _ in range(4):
        yield [random.normal(size=tensor.shape).astype(np.float32) for tensor in model.inputs]


def int8(model: tf.keras.Model) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _samples(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def floating(model: tf.keras.Model, stored: tf.DType) -> bytes:
    """Float arithmetic; weights stored as ``stored``."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if stored == tf.float16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def main() -> None:
    tf.keras.utils.set_random_seed(1)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "awkward.tflite").write_bytes(int8(awkward()))
    (FOLDER / "loop.tflite").write_bytes(floating(loop(), tf.float32))
    (FOLDER / "float16.tflite").write_bytes(floating(float16(), tf.float16))


if __name__ == "__main__":
    main()
