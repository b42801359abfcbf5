"""The losses against plain NumPy versions written from the formulas, pixel by pixel."""

import keras
import numpy as np
import pytest
from keras import ops
from skimage.metrics import structural_similarity

from lle import losses

generator = np.random.default_rng(0)
IMAGE = generator.random((2, 32, 48, 3), dtype="float32")
OTHER = generator.random((2, 32, 48, 3), dtype="float32")
SIMILAR = np.clip(IMAGE + generator.normal(0, 0.05, IMAGE.shape), 0, 1).astype("float32")
CURVES = generator.uniform(-1, 1, (2, 5, 7, 24)).astype("float32")


def value(tensor):
    return float(ops.convert_to_numpy(tensor))


def pool(image, side):
    batch, height, width = image.shape[:3]
    return image.mean(-1).reshape(batch, height // side, side, width // side, side).mean((2, 4))


@pytest.mark.parametrize("form", ["authors", "paper"])
def test_color_constancy(form):
    red, green, blue = IMAGE.mean((1, 2)).T
    squares = np.array([(red - green) ** 2, (red - blue) ** 2, (green - blue) ** 2])
    expected = np.sqrt((squares**2).sum(0)) if form == "authors" else squares.sum(0)
    assert value(losses.color_constancy(IMAGE, form)) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_color_constancy_has_a_gradient_on_a_grey_image(dtype):
    tensorflow = pytest.importorskip("tensorflow")
    grey = tensorflow.cast(tensorflow.fill((1, 8, 8, 3), 0.5), dtype)
    with tensorflow.GradientTape() as tape:
        tape.watch(grey)
        loss = losses.color_constancy(grey)
    assert np.isfinite(tape.gradient(loss, grey).numpy()).all()


def test_exposure_control():
    expected = ((pool(IMAGE, 16) - 0.6) ** 2).mean()
    assert value(losses.exposure_control(IMAGE)) == pytest.approx(expected, rel=1e-5)
    assert value(losses.exposure_control(np.full((1, 40, 33, 3), 0.25, "float32"), target=0.25)) < 1e-12


def test_exposure_control_refuses_images_smaller_than_a_patch():
    with pytest.raises(ValueError, match="8x48, smaller than the patches of 16x16"):
        losses.exposure_control(IMAGE[:, :8])


def test_illumination_smoothness():
    vertical = (np.diff(CURVES, axis=1) ** 2).sum() / (4 * 7)
    horizontal = (np.diff(CURVES, axis=2) ** 2).sum() / (5 * 6)
    expected = 2 * (vertical + horizontal) / 2
    assert value(losses.illumination_smoothness(CURVES)) == pytest.approx(expected, rel=1e-5)


def test_illumination_smoothness_as_ported_counts_width_and_maps():
    vertical = (np.diff(CURVES, axis=1) ** 2).sum() / ((7 - 1) * 24)
    horizontal = (np.diff(CURVES, axis=2) ** 2).sum() / (7 * (24 - 1))
    expected = 2 * (vertical + horizontal) / 2
    assert value(losses.illumination_smoothness(CURVES, "keras_port")) == pytest.approx(expected, rel=1e-5)


def test_spatial_consistency():
    total = 0
    for image, other in zip(pool(IMAGE, 4), pool(OTHER, 4), strict=True):
        image, other = np.pad(image, 1), np.pad(other, 1)
        for y in range(1, 9):
            for x in range(1, 13):
                for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                    before = image[y, x] - image[y + dy, x + dx]
                    total += (before - (other[y, x] - other[y + dy, x + dx])) ** 2
    assert value(losses.spatial_consistency(IMAGE, OTHER)) == pytest.approx(total / (2 * 8 * 12), rel=1e-4)


def test_spatial_consistency_as_ported_is_what_its_kernels_give():
    tensorflow = pytest.importorskip("tensorflow")
    expected = 0
    for first, second, third in (([0, 0, 0], [-1, 1, 0], [0, 0, 0]), ([0, 0, 0], [0, 1, -1], [0, 0, 0]),
                                 ([0, -1, 0], [0, 1, 0], [0, 0, 0]), ([0, 0, 0], [0, 1, 0], [0, -1, 0])):  # fmt: skip
        kernel = np.array([[[first], [second], [third]]], "float32")  # height 1, width 3, 1 channel in, 3 out
        maps = [tensorflow.nn.conv2d(pool(i, 4)[..., None], kernel, 1, "SAME") for i in (IMAGE, OTHER)]
        expected = expected + (maps[0] - maps[1]) ** 2
    expected = tensorflow.reduce_mean(expected).numpy()
    assert value(losses.spatial_consistency(IMAGE, OTHER, "keras_port")) == pytest.approx(expected, rel=1e-4)


def test_unknown_form():
    for loss in (losses.color_constancy, losses.illumination_smoothness):
        with pytest.raises(ValueError, match="form must be one of"):
            loss(CURVES[..., :3], form="none")


def test_charbonnier_by_hand(tmp_path):
    reference, output = np.zeros((2, 1, 2, 1)), np.array([0, 3e-3, 0, 0.4]).reshape(2, 1, 2, 1)
    values = ops.convert_to_numpy(losses.charbonnier(reference, output))
    np.testing.assert_allclose(values, [(1e-3 + 1e-3 * 10**0.5) / 2, (1e-3 + 0.400001) / 2], rtol=1e-5)
    rough = losses.charbonnier(IMAGE, ops.cast(IMAGE, "bfloat16"))
    assert keras.backend.standardize_dtype(rough.dtype) == "float32"
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", losses.charbonnier)
    model.fit(IMAGE, OTHER, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = ops.convert_to_numpy(losses.charbonnier(OTHER, model.predict(IMAGE, verbose=0))).mean()
    assert again.evaluate(IMAGE, OTHER, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_mse_ssim_is_that_of_scikit_image():
    maps = [
        structural_similarity(
            one, other, channel_axis=-1, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )[1]
        for one, other in zip(IMAGE, SIMILAR, strict=True)
    ]  # fmt: skip
    inner = np.array([full[5:-5, 5:-5].mean() for full in maps])  # where the window lies within the image
    expected = ((IMAGE - SIMILAR) ** 2).mean((1, 2, 3)) + 0.5 * (1 - inner)
    np.testing.assert_allclose(ops.convert_to_numpy(losses.mse_ssim(IMAGE, SIMILAR)), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 11, 11, 3), (1, 12, 40, 1), (2, 64, 48, 3)])
def test_ssim_is_that_of_keras(shape):
    image = generator.random(shape, dtype="float32")
    other = np.clip(image + generator.normal(0, 0.1, shape), 0, 1).astype("float32")
    found, expected = losses.ssim(image, other), ops.image.ssim(image, other, max_val=1.0)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(expected), atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(losses.ssim(image, image)), 1, atol=1e-5)


def test_ssim_leaves_the_matrices_where_products_are_rounded(monkeypatch):
    on_cpu = ops.convert_to_numpy(losses.ssim(IMAGE, SIMILAR))
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    monkeypatch.setattr(losses, "_window", None)
    np.testing.assert_allclose(ops.convert_to_numpy(losses.ssim(IMAGE, SIMILAR)), on_cpu, atol=1e-5)


def test_ssim_has_the_gradient_of_keras_s_also_of_sizes_not_known_beforehand():
    tensorflow = pytest.importorskip("tensorflow")

    def gradient(similarity, image, other):
        with tensorflow.GradientTape() as tape:
            tape.watch(other)
            result = similarity(image, other)
        return tape.gradient(result, other)

    any_size = [tensorflow.TensorSpec((None, None, None, 3))] * 2
    found = tensorflow.function(lambda *both: gradient(losses.ssim, *both), input_signature=any_size)
    expected = gradient(lambda *both: ops.image.ssim(*both, max_val=1.0), *map(tensorflow.constant, (IMAGE, SIMILAR)))
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found(IMAGE, SIMILAR), expected, atol=1e-4 * np.abs(expected).max())


def test_mse_ssim_has_the_report_s_weight_and_none_for_equal_images():
    zero, half = (ops.convert_to_numpy(losses.mse_ssim(IMAGE, SIMILAR, weight)) for weight in (0, 0.5))
    np.testing.assert_allclose(zero, ((IMAGE - SIMILAR) ** 2).mean((1, 2, 3)), rtol=1e-5)
    assert (half > zero).all()
    np.testing.assert_allclose(ops.convert_to_numpy(losses.mse_ssim(IMAGE, IMAGE)), 0, atol=1e-5)


@pytest.mark.parametrize("given, weight", [((0.3,), 0.3), ((), 0.2)])
def test_charbonnier_ssim_is_the_sum_of_both(given, weight):
    def halved(images):
        return ops.average_pool(images, 2, 2)

    lacking = 1 - ops.convert_to_numpy(ops.image.ssim(halved(IMAGE), halved(SIMILAR), 1.0))
    expected = ops.convert_to_numpy(losses.charbonnier(IMAGE, SIMILAR)) + weight * lacking
    assert lacking.min() > 1e-3
    found = ops.convert_to_numpy(losses.charbonnier_ssim(IMAGE, SIMILAR, *given))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="train on larger crops"):
        losses.charbonnier_ssim(IMAGE[:, :21], IMAGE[:, :21])
    part = IMAGE[:, :21], SIMILAR[:, :21]
    at_full_size = losses.charbonnier_full_ssim(*part, *given)
    expected = losses.charbonnier(*part) + weight * (1 - losses.ssim(*part))
    np.testing.assert_allclose(ops.convert_to_numpy(at_full_size), ops.convert_to_numpy(expected), atol=1e-6)


def test_mse_ssim_in_mixed_precision():
    exact = ops.convert_to_numpy(losses.mse_ssim(IMAGE, SIMILAR))
    rough = losses.mse_ssim(IMAGE, ops.cast(SIMILAR, "bfloat16"))
    assert keras.backend.standardize_dtype(rough.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(rough), exact, atol=2e-3)


def test_mse_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="window of 11x11 pixels, the images are 10x48"):
        losses.mse_ssim(IMAGE[:, :10], OTHER[:, :10])


def test_mse_ssim_trains_and_saves_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", losses.mse_ssim)
    model.fit(IMAGE, OTHER, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = ops.convert_to_numpy(losses.mse_ssim(OTHER, model.predict(IMAGE, verbose=0))).mean()
    assert again.evaluate(IMAGE, OTHER, verbose=0) == pytest.approx(expected, rel=1e-4)
