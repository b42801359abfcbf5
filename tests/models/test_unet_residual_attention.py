import keras
import numpy as np
import pytest
from check import check_model

from lle.enhance import run
from lle.models import unet_residual_attention
from lle.models.colors import GammaCorrection
from lle.models.unet_residual_attention import softmax_attention

SMALL = {"input_shape": (None, None, 3), "filters": 8, "depth": 3}


def test_the_report_s_network():
    model = unet_residual_attention()
    assert model.count_params() == count(64, 5, "softmax", False) == 66_156_915
    assert model.input_shape == model.output_shape == (None, 128, 128, 3)
    penalised = [layer for layer in model.layers if getattr(layer, "kernel_regularizer", None)]
    assert len(penalised) == 9 * 3 and all(layer.kernel_regularizer.l2 == 1e-4 for layer in penalised)
    assert {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)} == {0.3}


def count(filters, depth, attention, multi_scale):
    """The parameters of the network, counted from the report's listing."""
    extra = 3 * multi_scale
    total, widths = 3 * filters + 3, [filters * 2**level for level in range(depth)]
    for level, width in enumerate(widths):
        reduced = max(width // 8, 2)
        below = widths[level - 1] + extra if level else 3
        block = 3 * (9 * width**2 + width + 4 * width)
        total += 9 * below * width + width + block
        if attention == "softmax":
            total += 2 * (width * reduced + 5 * reduced) + width**2 + 5 * width + reduced * width + width
        if attention == "dual":
            both = 2 * width**2 + width
            reduced = max(width // 8, 1)
            total += 2 * (9 * width**2 + width) + 51 + 2 * width * reduced + reduced + width + both
        if level < depth - 1:
            total += 4 * width**2 + width
            total += 9 * (widths[level + 1] + width) * width + width + block
    return total


@pytest.mark.parametrize(
    "attention, multi_scale, color_residual",
    [("softmax", False, False), (None, False, False), ("dual", False, True), (None, True, False)],
)
def test_variants(attention, multi_scale, color_residual, tmp_path):
    keras.utils.set_random_seed(0)  # a ReLU of few channels may be dead by chance
    options = {"attention": attention, "multi_scale": multi_scale, "color_residual": color_residual}
    model = unet_residual_attention((None, None, 3), 16, 3, **options)
    # A bias in front of a batch normalisation has no effect.
    check_model(model, count(16, 3, attention, multi_scale), tmp_path / "model.keras", idle=lambda path: "bias" in path)


@pytest.mark.parametrize("multi_scale", [False, True])
def test_all_levels_see_the_picture_after_its_gamma(multi_scale):
    plain = unet_residual_attention(**SMALL, multi_scale=multi_scale)
    corrected = unet_residual_attention(**SMALL, multi_scale=multi_scale, gamma=2.2)
    corrected.set_weights(plain.get_weights())
    image = np.random.default_rng(0).integers(0, 40, (1, 16, 16, 3)).astype("float32") / 255
    expected = plain.predict(keras.ops.convert_to_numpy(GammaCorrection(2.2)(image)), verbose=0)
    np.testing.assert_allclose(corrected.predict(image, verbose=0), expected, atol=1e-6)
    assert np.abs(expected - plain.predict(image, verbose=0)).max() > 1e-3


def test_the_attention_is_a_softmax_over_the_channels():
    generator = np.random.default_rng(0)
    inputs = keras.Input((None, None, 16))
    model = keras.Model(inputs, softmax_attention(inputs))
    for weight in model.weights:
        weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    image = generator.random((1, 2, 3, 16), dtype="float32")
    (f, g, h, last), norms = (
        [layer for layer in model.layers if isinstance(layer, kind)]
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    )  # in the order in which they were made
    expected = image.astype("float64")
    branches = []
    for conv, norm in zip((f, g, h), norms, strict=True):
        kernel, bias = (np.float64(weight) for weight in conv.get_weights())
        gamma, beta, mean, variance = (np.float64(weight) for weight in norm.get_weights())
        value = (image @ kernel[0, 0] + bias - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta
        branches.append(np.maximum(value, 0))
    product = branches[0] * branches[1]
    weights = np.exp(product - product.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    kernel, bias = last.get_weights()
    expected = image + (weights @ kernel[0, 0] + bias) * branches[2]
    np.testing.assert_allclose(model.predict(image, verbose=0), expected, rtol=1e-4)


def test_weights_fit_any_size():
    fixed = unet_residual_attention((32, 32, 3), filters=8, depth=3)
    free = unet_residual_attention(**SMALL)
    free.set_weights(fixed.get_weights())
    images = np.random.default_rng(0).random((1, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(free.predict(images, verbose=0), fixed.predict(images, verbose=0), atol=1e-6)
    assert run(free, images[0, :29, :17]).shape == (29, 17, 3)


def test_tiles_show_no_seam():
    keras.utils.set_random_seed(0)
    model = unet_residual_attention(**SMALL)
    image = np.random.default_rng(0).random((150, 210, 3), dtype="float32")
    np.testing.assert_allclose(run(model, image, tile=32), run(model, image), atol=1e-5)
    dual = unet_residual_attention(**SMALL, attention="dual")
    for layer in dual.layers:  # without the weights of the channels, which are those of what a tile shows
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            layer.call = lambda inputs, layer=layer: 0 * keras.ops.mean(inputs, (1, 2), keepdims=layer.keepdims)
    np.testing.assert_allclose(run(dual, image, tile=32), run(dual, image), atol=1e-5)


def test_momentum_reaches_every_normalisation():
    model = unet_residual_attention(**SMALL, momentum=0.7)
    found = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert found == {0.7}


def test_refuses():
    with pytest.raises(ValueError, match="multiples of 16 at depth 5"):
        unet_residual_attention((100, 128, 3), filters=2)
    with pytest.raises(ValueError, match="multiples of 4 at depth 2"):
        unet_residual_attention((34, 32, 3), filters=2, depth=2, color_residual=True)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        unet_residual_attention(filters=2, depth=0)
    with pytest.raises(ValueError, match="attention must be one of"):
        unet_residual_attention(filters=2, attention="self")


def test_mixed_precision_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = unet_residual_attention(**SMALL)
    finally:
        keras.config.set_dtype_policy(before)
    output = model.predict(np.zeros((1, 16, 16, 3), "float32"), verbose=0)
    assert output.dtype == np.float32 and 0 <= output.min() and output.max() <= 1
