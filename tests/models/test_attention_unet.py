import keras
import numpy as np
import pytest
from check_raw import check_halo, check_raw_network, raw_unet_parameters

from lle.models import attention_unet
from lle.models.attention_unet import attention_gate

generator = np.random.default_rng(0)


def count(filters, depth):
    total = raw_unet_parameters(filters, depth)
    for width in (filters * 2**level for level in range(depth - 1)):
        half = width // 2
        total += 4 * width * half + (2 * width * half + half) + (half + 1)
    return total


def test_network(tmp_path):
    keras.utils.set_random_seed(0)
    check_raw_network(attention_unet(4, 3), count(4, 3), tmp_path / "model.keras")
    assert count(32, 5) == 8_021_872


def test_sees_no_further_than_its_halo():
    keras.utils.set_random_seed(0)
    check_halo(attention_unet(2, 3))


def test_gate_against_its_formula():
    inputs = [keras.Input((None, None, 4)), keras.Input((None, None, 6))]
    gate = keras.Model(inputs, attention_gate(*inputs))
    gate.set_weights([generator.normal(0, 0.5, weight.shape) for weight in gate.get_weights()])
    by_shape = {weight.shape: weight for weight in gate.get_weights()}
    skip, coarser = generator.random((3, 4, 4), dtype="float32"), generator.random((2, 2, 6), dtype="float32")

    blocks = np.pad(skip, ((0, 1), (0, 0), (0, 0))).reshape(2, 2, 2, 2, 4)  # (row, i, column, j, channel)
    reduced = np.einsum("ribjc,ijco->rbo", blocks, by_shape[2, 2, 4, 2])
    features = reduced + coarser @ by_shape[1, 1, 6, 2][0, 0] + by_shape[(2,)]
    scores = np.maximum(features, 0) @ by_shape[1, 1, 2, 1][0, 0] + by_shape[(1,)]
    weights = 1 / (1 + np.exp(-scores[..., 0]))
    bilinear = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    expected = skip * (bilinear @ weights @ bilinear.T)[:3, :, None]
    found = keras.ops.convert_to_numpy(gate([skip[None], coarser[None]]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments, message", [((2, 0), "at least one level"), ((1, 2), "at least 2, got 1")])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_unet(*arguments)
