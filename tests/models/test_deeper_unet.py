import cv2
import keras
import numpy as np
import pytest
from check import check_model

from lle.enhance import run
from lle.models import deeper_unet, unet
from lle.models.blocks import MatchSize
from lle.models.colors import GammaCorrection

generator = np.random.default_rng(0)


def count(filters, depth, residual):
    """The parameters, counted from the report's listing."""

    def block(inputs, outputs):
        adjust = inputs * outputs + outputs if residual and inputs != outputs else 0
        return 9 * inputs * outputs + 9 * outputs**2 + 2 * (outputs + 4 * outputs) + adjust

    total = block(3, filters) + 3 * filters + 3
    for width in (filters * 2**level for level in range(depth)):
        total += block(width, 2 * width) + 4 * 2 * width * width + width + block(2 * width, width)
    return total


@pytest.mark.parametrize("build, residual", [(deeper_unet, True), (unet, False)])
def test_network(build, residual, tmp_path):
    keras.utils.set_random_seed(0)
    check_model(build(8, 3), count(8, 3, residual), tmp_path / "model.keras", idle=lambda path: "bias" in path)


def test_attention_and_colours(tmp_path):
    keras.utils.set_random_seed(1)  # a ReLU of few channels may be dead by chance, with 0 under JAX one is
    model = deeper_unet(16, 2, attention=True, color_residual=True)
    without_colours = deeper_unet(16, 2, attention=True).count_params()
    assert without_colours > deeper_unet(16, 2).count_params()
    check_model(model, without_colours, tmp_path / "model.keras", idle=lambda path: "bias" in path)
    image = generator.random((33, 47, 3), dtype="float32")
    assert run(model, image).shape == image.shape  # padded to multiples of 4


def test_the_report_s_size():
    assert deeper_unet().count_params() == count(64, 5, True)
    assert [layer.filters for layer in deeper_unet().layers if isinstance(layer, keras.layers.Conv2DTranspose)] == [
        1024, 512, 256, 128, 64,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(150, 150), (33, 47), (32, 32)])
def test_odd_sizes(size):
    images = generator.random((1, *size, 3), dtype="float32")
    model = deeper_unet(2)
    assert model.predict(images, verbose=0).shape == images.shape
    assert run(model, images[0]).shape == images[0].shape


def test_features_are_continued_by_their_last_row_and_column():
    features = generator.random((1, 2, 3, 1), dtype="float32")
    for height, width in ((2, 3), (3, 3), (2, 4), (3, 4)):
        found = keras.ops.convert_to_numpy(MatchSize()([features, np.zeros((1, height, width, 5), "float32")]))
        expected = np.pad(features, ((0, 0), (0, height - 2), (0, width - 3), (0, 0)), "edge")
        np.testing.assert_array_equal(found, expected)


def test_gamma_is_the_report_s_lookup_table():
    levels = np.arange(256, dtype="uint8")
    table = np.array([(i / 255.0) ** (1 / 2.2) * 255 for i in levels]).astype("uint8")
    expected = cv2.LUT(levels[None], table)[0]
    found = keras.ops.convert_to_numpy(GammaCorrection()(levels.astype("float32") / 255))
    np.testing.assert_array_equal(np.rint(found * 255), expected)


def test_gamma_is_part_of_the_saved_model(tmp_path):
    model = deeper_unet(2, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert [layer.gamma for layer in again.layers if isinstance(layer, GammaCorrection)] == [2.2]
    assert not [layer for layer in deeper_unet(2, 1, gamma=1).layers if isinstance(layer, GammaCorrection)]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_gives_float32(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = deeper_unet(4, 2)
    finally:
        keras.config.set_dtype_policy(before)
    images = generator.random((4, 18, 18, 3), dtype="float32")
    # The report clips gradients and accumulates them; for float16 Keras scales the loss by itself.
    optimizer = keras.optimizers.AdamW(1e-2, global_clipnorm=1.0, gradient_accumulation_steps=2)
    model.compile(optimizer, "mse", auto_scale_loss=True, run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    history = model.fit(images, images, batch_size=2, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < history[0]
    assert model.predict(images, verbose=0).dtype == np.float32


def test_tiles_show_no_seam():
    keras.utils.set_random_seed(0)
    model = deeper_unet(4, 2)
    image = generator.random((150, 210, 3), dtype="float32")
    np.testing.assert_allclose(run(model, image, tile=32), run(model, image), atol=1e-5)
    dual = deeper_unet(4, 2, attention=True)
    for layer in dual.layers:  # without the weights of the channels, which are those of what a tile shows
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            layer.call = lambda inputs, layer=layer: 0 * keras.ops.mean(inputs, (1, 2), keepdims=layer.keepdims)
    np.testing.assert_allclose(run(dual, image, tile=32), run(dual, image), atol=1e-5)


@pytest.mark.parametrize("arguments", [{"depth": -1}, {"gamma": 0}])
def test_refuses(arguments):
    with pytest.raises(ValueError, match="depth must be at least 0|gamma must be above 0"):
        deeper_unet(2, **arguments)
