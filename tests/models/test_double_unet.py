import keras
import numpy as np
import pytest
from check_raw import check_halo, check_raw_network, raw_unet_parameters

from lle.models import attention_unet, double_unet, sid_unet

FRAMES = np.random.default_rng(0).random((1, 5, 7, 4), dtype="float32")


def count(filters, depth):
    """The second network sees 12 channels in place of 4 and, but at the coarsest level, the first one's features."""
    return raw_unet_parameters(filters, depth) + raw_unet_parameters(filters, depth, inputs=12, joined=1)


def test_network(tmp_path):
    keras.utils.set_random_seed(0)
    check_raw_network(double_unet(filters=2, depth=3), count(2, 3), tmp_path / "model.keras")
    assert count(32, 5) == 16_306_200


def test_with_a_trained_first_network_that_stays_as_it_is(tmp_path):
    keras.utils.set_random_seed(0)
    first = sid_unet(2, 3)
    weights = first.get_weights()
    model = double_unet(first, 4, 3, freeze_first=True)
    second = raw_unet_parameters(4, 3, inputs=12) + 9 * (2 * 4 + 4 * 8)  # 2 and 4 further channels at two levels
    check_raw_network(model, raw_unet_parameters(2, 3) + second, tmp_path / "model.keras")
    for one, other in zip(weights, model.get_layer("first_unet").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.trainable
    first.set_weights([0 * weight for weight in weights])
    assert any(weight.any() for weight in model.get_layer("first_unet").get_weights())


def test_the_first_network_s_features_of_each_level_go_into_the_second():
    model = double_unet(filters=2, depth=3)
    sizes = [tuple(tensor.shape[-1] for tensor in layer.input) for layer in model.layers
             if isinstance(layer, keras.layers.Concatenate)]  # fmt: skip
    assert sizes == [(12, 2), (2, 4), (4, 4), (2, 2)]  # two on the way down, two on the way up
    packed = model.get_layer("first_unet")(FRAMES)[0]
    assert packed.shape == (1, 5, 7, 12)


def test_sees_no_further_than_its_halo():
    keras.utils.set_random_seed(0)
    check_halo(double_unet(filters=2, depth=2))


def test_refuses_another_first_network():
    for first in (sid_unet(2, 2), sid_unet(2, 4), keras.Sequential([keras.Input((4, 4, 4))])):
        with pytest.raises(ValueError, match="sid_unet of 3 levels"):
            double_unet(first, 2, 3)


def test_refuses_to_freeze_a_new_network():
    with pytest.raises(ValueError, match="would stay random"):
        double_unet(filters=2, depth=2, freeze_first=True)


def test_an_attention_u_net_may_be_the_first():
    assert double_unet(attention_unet(2, 2), 2, 2).predict_on_batch(FRAMES).shape == (1, 10, 14, 3)
