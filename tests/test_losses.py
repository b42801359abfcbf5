"""The losses against plain NumPy versions written from the formulas, pixel by pixel."""

import numpy as np
import pytest
from keras import ops

from lle import losses

generator = np.random.default_rng(0)
IMAGE = generator.random((2, 32, 48, 3), dtype="float32")
OTHER = generator.random((2, 32, 48, 3), dtype="float32")
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


def test_color_constancy_has_a_gradient_on_a_grey_image():
    tensorflow = pytest.importorskip("tensorflow")
    grey = tensorflow.fill((1, 8, 8, 3), 0.5)
    with tensorflow.GradientTape() as tape:
        tape.watch(grey)
        loss = losses.color_constancy(grey)
    assert np.isfinite(tape.gradient(loss, grey).numpy()).all()


def test_exposure_control():
    expected = ((pool(IMAGE, 16) - 0.6) ** 2).mean()
    assert value(losses.exposure_control(IMAGE)) == pytest.approx(expected, rel=1e-5)
    assert value(losses.exposure_control(np.full((1, 40, 33, 3), 0.25, "float32"), target=0.25)) < 1e-12


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
