import keras
import numpy as np
import pytest

from lle.models import deeper_unet, mirnet_v2, unet_residual_attention
from lle.models.colors import GammaCorrection, smooth_colors


@pytest.mark.parametrize(
    "model",
    [
        unet_residual_attention((None, None, 3), filters=8, depth=3, color_residual=True),
        deeper_unet(4, 2, gamma=1, color_residual=True),
        mirnet_v2(8, 1, groups=(1,), color_residual=True),
    ],
    ids=lambda model: model.name,
)
def test_the_colours_of_the_picture_have_a_way_to_the_output(model):
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])  # nothing but the colours is left
    for color in np.float32([[0.2, 0.4, 0.3], [0.03, 0, 1]]):
        output = model.predict(np.broadcast_to(color, (1, 16, 16, 3)), verbose=0)
        clipped = np.clip(color, 0.02, 0.98)
        logits = np.log(clipped / (1 - clipped))
        expected = np.broadcast_to(1 / (1 + np.exp(logits.mean() - logits)), (16, 16, 3))
        np.testing.assert_allclose(output[0], expected, 1e-5)
    grey = model.predict(np.full((1, 16, 16, 3), 0.7, "float32"), verbose=0)
    np.testing.assert_allclose(grey, 0.5, atol=1e-6)


def test_mixed_precision_leaves_the_picture_as_it_is():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        networks = [
            deeper_unet(2, 1),
            mirnet_v2(8, 1, groups=(1,), gamma=2.2),
            unet_residual_attention((None, None, 3), filters=2, depth=2, gamma=2.2),
        ]
    finally:
        keras.config.set_dtype_policy(before)
    for network in networks:
        (layer,) = (layer for layer in network.layers if isinstance(layer, GammaCorrection))
        assert layer.compute_dtype == layer.output.dtype == "float32"


def test_what_is_no_number_is_not_hidden_by_the_table():
    values = np.float32([[-1, 0, 0.5, 1, 2, np.nan, np.inf, -np.inf]])
    found = keras.ops.convert_to_numpy(GammaCorrection()(values))[0]
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(values[0]))
    assert list(found[[0, 1, 3, 4]]) == [0, 0, 1, 1] and found[2] == np.float32(186 / 255)


def test_sizes_that_four_does_not_divide():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, smooth_colors(inputs))
    picture = np.random.default_rng(0).random((1, 18, 23, 3), dtype="float32")
    colors = model.predict(picture, verbose=0)
    assert colors.shape == picture.shape
    whole = model.predict(picture[:, :16, :20], verbose=0)
    np.testing.assert_allclose(colors[:, :16, :20], whole, atol=1e-6)
    np.testing.assert_allclose(colors[:, 16:, :20], np.repeat(whole[:, -1:], 2, axis=1), atol=1e-6)
