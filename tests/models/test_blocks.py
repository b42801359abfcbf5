import keras
import numpy as np
import pytest
from keras import layers

from lle.models.blocks import BatchNormalization

SHAPES = {"a batch": (3, 6, 8, 4), "two values": (2, 1, 1, 4)}


def trained(normalization, batch):
    """A network of one layer after five steps: its weights and what it predicts."""
    model = keras.Sequential([keras.Input(batch.shape[1:]), normalization(momentum=0.8)])
    model.layers[0].set_weights(list(np.float32([[0.5, 1, 1.5, 2], [0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]])))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    target = np.random.default_rng(1).normal(size=batch.shape).astype("float32")
    for _ in range(5):
        model.train_on_batch(batch, target)
    return [*model.get_weights(), model.predict_on_batch(batch)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_batch_normalization_learns_what_that_of_keras_learns(shape):
    batch = np.random.default_rng(0).normal(2, 3, shape).astype("float32")
    kinds = BatchNormalization, layers.BatchNormalization
    for found, expected in zip(*(trained(kind, batch) for kind in kinds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 16])
def test_batch_normalization_in_mixed_precision(channels):
    layer = BatchNormalization(dtype="mixed_bfloat16")
    batch = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(2, 3, (4, 8, 8, channels)), "bfloat16")
    outputs = layer(batch, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
    np.testing.assert_allclose(outputs.mean(axis=(0, 1, 2)), 0, atol=0.02)
    np.testing.assert_allclose(outputs.std(axis=(0, 1, 2)), 1, atol=0.02)
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("shape, dtype", [((6, 4), "float32"), ((3, 5, 4), "float32"), ((3, 6, 8, 4), "float64")])
def test_batch_normalization_of_anything_else_is_that_of_keras(shape, dtype):
    batch = np.random.default_rng(0).normal(2, 3, shape).astype(dtype)
    found, expected = (
        kind(dtype=dtype)(batch, training=True) for kind in (BatchNormalization, layers.BatchNormalization)
    )
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, expected)), rtol=1e-5)


def test_batch_normalization_leaves_out_what_is_masked():
    batch = np.random.default_rng(0).normal(2, 3, (3, 4, 4, 2)).astype("float32")
    mask = np.random.default_rng(1).random((3, 4, 4)) > 0.5
    kinds = BatchNormalization, layers.BatchNormalization
    found, expected = (kind()(batch, training=True, mask=mask) for kind in kinds)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, expected)), rtol=1e-5)


def test_a_frozen_batch_normalization_stays_as_it_is():
    layer = BatchNormalization()
    batch = np.random.default_rng(0).normal(2, 3, (4, 8, 8, 2)).astype("float32")
    layer.build(batch.shape)
    layer.trainable = False
    outputs = keras.ops.convert_to_numpy(layer(batch, training=True))
    np.testing.assert_allclose(outputs, batch / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.moving_mean), 0)
