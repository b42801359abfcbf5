import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from keras import ops

import lle
from lle import data
from lle.models.blocks import DepthToSpace
from lle.models.dawn import (
    ASKED,
    CELLS,
    THUMBNAIL,
    Dawn,
    between_bars,
    curve,
    interpolation,
    shrink,
    space_to_depth,
    thumbnail,
    without_black,
)
from lle.pictures import GREY

WIDTHS = (4, 6, 8, 8)
SMALL = {"widths": WIDTHS, "hints": 3, "exposure_width": 4, "sketch_width": 2, "sketch_groups": (1,)}
PARTS = ("sketch", "exposure", "detail")


def smooth(height, width, seed=0):
    coarse = np.random.default_rng(seed).random((height // 16, width // 16, 3), dtype="float32")
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)[None]


@pytest.fixture(scope="module")
def model():
    """With weights that do something."""
    keras.utils.set_random_seed(0)
    model = Dawn(**SMALL)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


def test_size():
    model = Dawn()
    assert model.count_params() == 1_745_197
    assert model.card["stride"] == 16


@pytest.mark.parametrize("size", [(256, 384), (128, 128), (400, 304)])
def test_the_thumbnail_averages_areas(size):
    picture = smooth(*size)
    expected = cv2.resize(picture[0], (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ops.convert_to_numpy(thumbnail(picture))[0], expected, atol=1e-4)


def test_the_thumbnail_of_a_small_picture_repeats_pixels():
    picture = np.random.default_rng(0).random((1, 32, 64, 3), dtype="float32")
    expected = picture.repeat(4, 1).repeat(2, 2)
    np.testing.assert_allclose(ops.convert_to_numpy(thumbnail(picture)), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 500), (33, 129), (1, 7)])
def test_shrink_is_the_same_for_integers(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    expected = ops.convert_to_numpy(thumbnail(picture[None].astype("float32")))[0]
    np.testing.assert_allclose(shrink(picture), expected, atol=1e-3)


def test_the_grid_is_interpolated_linearly_between_the_cells_centres():
    grid = np.random.default_rng(0).random(CELLS)
    weights, part = (ops.convert_to_numpy(interpolation(*a))[0] for a in (([[0.0, 1.0]], 160), ([[0.25, 0.5]], 40)))
    centres, cells = (np.arange(160) + 0.5) / 160, (np.arange(CELLS) + 0.5) / CELLS
    np.testing.assert_allclose(weights @ grid, np.interp(centres, cells, grid), atol=1e-5)
    np.testing.assert_allclose(part, weights[40:80], atol=1e-5)


def test_space_to_depth_is_the_inverse_of_depth_to_space():
    picture = np.random.default_rng(0).random((2, 6, 8, 3), dtype="float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(DepthToSpace()(space_to_depth(picture))), picture)


def test_new_weights_apply_the_curve_alone():
    keras.utils.set_random_seed(0)
    model = Dawn(**SMALL)
    picture = smooth(64, 96)
    grid, tone, _ = model.read(thumbnail(picture), -np.ones((1, 1), "float32"))
    np.testing.assert_array_equal(tone, np.zeros((1, 6)))
    gains = np.full(grid.shape, np.log(4), "float32")
    whole = np.float32([[0, 1]])
    found = ops.convert_to_numpy(model.enhance(picture, gains, tone, whole, whole))
    np.testing.assert_allclose(found, 4 * picture / (1 + 3 * picture), atol=1e-5)
    found = ops.convert_to_numpy(model.enhance(picture, 0 * gains, tone, whole, whole))
    np.testing.assert_allclose(found, picture, atol=1e-6)
    tone = np.log(np.float32([[1, 2, 1, 1, 1, 0.5]]))  # the square of green, blue half as bright
    found = ops.convert_to_numpy(model.enhance(picture, 0 * gains, tone, whole, whole))
    np.testing.assert_allclose(found / picture, picture ** [0, 1, 0] * [1, 1, 0.5], atol=0.02)


def test_the_curve():
    image = np.linspace(0, 1, 101, dtype="float32")
    for gain, exponent in np.float32([(1.2, 0), (0, 0.5), (-0.7, -0.4), (2, -0.6)]):
        found = ops.convert_to_numpy(curve(image, gain, exponent, np.float32(-0.1)))
        np.testing.assert_allclose(found[[0, -1]], [0, np.exp(-0.1)], atol=1e-5)  # black stays, white is told
        assert (np.diff(found) > 0).all()
    assert ops.convert_to_numpy(curve(np.float32([1e-6]), 1.0, 0.0, 0.0))[0] == pytest.approx(1e-6 * np.e, rel=0.01)
    half = ops.convert_to_numpy(curve(np.float32([0.25]), 0.0, np.log(np.float32(0.5)), 0.0))[0]
    assert half == pytest.approx(0.5, abs=0.05)  # the square root, but for the toe


def test_tiles_equal_the_whole_picture(model):
    picture = smooth(640, 320)
    whole = model.predict(picture, verbose=0)
    enhance_tiles = model.prepare(np.rint(65535 * picture[0]).astype("uint16"), 65535)
    halo, starts = model.card["halo"], np.array([128, 256])
    tiles = np.concatenate([picture[:, start : start + 384] for start in starts])
    rows = np.stack([starts, starts + 384], axis=1) / 640
    found = ops.convert_to_numpy(enhance_tiles(tiles, rows, [(0, 1)] * 2))
    for tile, start in zip(found, starts, strict=True):
        np.testing.assert_allclose(tile[halo:-halo], whole[0, start + halo : start + 384 - halo], atol=1e-4)


@pytest.mark.parametrize("black", [0, 2])
@pytest.mark.parametrize(
    ("above", "below", "left", "right", "found"),
    [
        (40, 40, 0, 0, (slice(40, 240), None)),
        (0, 0, 30, 31, (None, slice(30, 330))),
        (1, 1, 0, 0, (slice(1, 201), None)),
        (20, 20, 9, 9, (slice(20, 220), slice(9, 309))),
        (0, 90, 0, 0, (None, None)),  # dark on one side alone
        (0, 0, 2, 0, (None, None)),
        (0, 0, 25, 40, (None, None)),
    ],
)
def test_what_lies_between_bars(black, above, below, left, right, found):
    lit = np.random.default_rng(0).integers(90, 256, (200, 300, 3), dtype="uint8")
    picture = np.pad(lit, ((above, below), (left, right), (0, 0)), constant_values=black)
    assert between_bars(picture) == found
    assert between_bars(picture.astype("float32") / 255) == found


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_picture_of_one_value_has_no_bars(value):
    assert between_bars(np.full((20, 30, 3), value, "uint8")) == (None, None)


@pytest.mark.parametrize("brightness", [None, 0.3])
def test_bars_do_not_tell_how_bright_a_picture_is(model, brightness):
    picture = smooth(192, 320)[0]
    alone = model.prepare(picture, brightness=brightness)(picture[None], [(0, 1)], [(0, 1)])
    framed = np.pad(picture, ((64, 64), (0, 0), (0, 0)))
    between = model.prepare(framed, brightness=brightness)(picture[None], [(0.2, 0.8)], [(0, 1)])
    np.testing.assert_allclose(between, alone, atol=1e-5)


@pytest.mark.parametrize("bar", [3, 40, 64])  # the first thinner than what the picture is continued by
def test_a_well_lit_picture_between_bars_stays_as_it_is(bar):
    picture = data.read_image(data.samples().test[0].high)
    alone = lle.enhance(picture, "dawn")
    framed = lle.enhance(np.pad(picture, ((bar, bar + 1), (0, 0), (0, 0))), "dawn")[bar : bar + len(picture)]
    assert np.abs(framed.astype(int) - alone).mean() < 1


def beside_black(share, color=(128, 128, 128), black=(0, 0, 0)):
    """A picture of 100 columns, of which so many at the right are black."""
    return np.float32([[color] * (100 - share) + [black] * share] * 100) / 255


@pytest.mark.parametrize(
    ("picture", "applies"),
    [
        (beside_black(4), 0),
        (beside_black(5), 1),
        (beside_black(75), 1),
        (beside_black(79), 0.6),
        (beside_black(85), 0),  # a lamp
        (beside_black(50, (60, 60, 60)), 0),
        (beside_black(50, (75, 75, 75)), 0.5),
        (beside_black(50, (90, 90, 90)), 1),
        (beside_black(79, (75, 75, 75)), 0.3),
        (beside_black(50, (255, 0, 255)), 1),  # not black, though one channel is
        (beside_black(50, (0, 0, 255)), 0),  # a mean of 29
        (beside_black(50, (0, 255, 0)), 1),  # one of 150
        (beside_black(50, (255, 255, 255), (0, 0, 20)), 0),  # dark blue, with a mean of 2
        (beside_black(50, (255, 255, 255), (0, 0, 3)), 1),
    ],
)
def test_black_gets_the_colour_of_what_is_well_lit(picture, applies):
    found = without_black(picture)
    black, color = picture[0, -1], picture[0, 0]
    between = (black + 0.01) * ((color + 0.01) / (black + 0.01)) ** applies - 0.01
    expected = np.where((picture == color).all(-1, keepdims=True), picture, np.float32(between))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == "float32"


def test_how_black_is_black():
    """Beside 200: up to 3 it is, from 5 on it is not, and 4 is by half, also in the mean colour of what is lit."""
    found = [without_black(beside_black(50, [200] * 3, [black] * 3))[0, -1, 0] for black in (2, 3, 4, 5, 16)]
    half = np.sqrt((4 / 255 + 0.01) * ((200 + 4 / 2) / 1.5 / 255 + 0.01)) - 0.01
    np.testing.assert_allclose(found, [200 / 255, 200 / 255, half, 5 / 255, 16 / 255], atol=1e-5)


@pytest.mark.parametrize("value", [0, 1, 128])
def test_a_thumbnail_of_one_value_stays_as_it_is(value):
    picture = beside_black(0, [value] * 3)
    np.testing.assert_array_equal(without_black(picture), picture)


@pytest.mark.parametrize("tile", [256, 1536])
@pytest.mark.parametrize("black", [60, 400])
def test_a_well_lit_picture_beside_black_stays_as_it_is(monkeypatch, black, tile):
    shipped, lit = lle.load("dawn"), data.read_image(data.samples().test[0].high)
    monkeypatch.setitem(shipped.card, "tile", tile)
    picture = np.pad(lit, ((0, black), (0, 0), (0, 0)))
    assert max(picture.shape) > 256
    assert np.abs(lle.enhance(picture, shipped)[: len(lit)].astype(int) - lit).mean() < 1
    asked = lle.enhance(picture, shipped, brightness=0.6)  # of all of it
    assert np.abs(asked[: len(lit)].astype(int) - lit).mean() > 10


def test_a_lamp_does_not_keep_a_room_dark():
    dark = data.read_image(data.samples().test[0].low) // 8
    dark[:20, :20] = 255
    small = shrink(dark) / 255
    np.testing.assert_array_equal(without_black(small), small)
    assert lle.enhance(dark, "dawn").mean() > 5 * dark.mean()


@pytest.mark.parametrize("level", [20, 50])
def test_in_a_dark_picture_black_counts(model, level):
    picture = np.uint8(beside_black(50, [level] * 3) * 255 + 0.5)
    small = shrink(picture)[None] / 255
    seen = model.prepare(picture, 255)(small, [(0, 1)], [(0, 1)])
    np.testing.assert_allclose(seen, model.predict(small, verbose=0), atol=1e-5)
    assert lle.enhance(picture, "dawn").mean() > 2 * picture.mean()


def test_what_is_black_beside_what_is_well_lit_between_bars(model):
    lit, small = beside_black(50, [200] * 3), shrink(beside_black(50, [200] * 3))[None]
    alone = model.prepare(lit)(small, [(0, 1)], [(0, 1)])
    framed = model.prepare(np.pad(lit, ((50, 50), (0, 0), (0, 0))))(small, [(0.25, 0.75)], [(0, 1)])
    np.testing.assert_allclose(framed, alone, atol=1e-5)
    assert np.abs(alone - model.predict(small, verbose=0)).max() > 1e-3


def test_brightness_is_left_to_the_network_or_given(model):
    picture = smooth(64, 64).repeat(3, 0)
    asked = np.float32([[-1], [0.2], [0.8]])
    left, dark, bright = model.predict([picture, asked], verbose=0)
    np.testing.assert_allclose(left, model.predict(picture[:1], verbose=0)[0], atol=1e-6)
    assert np.abs(dark - bright).max() > 1e-4


def test_how_bright_when_nobody_says(model):
    """As bright as its sketches, plain and mirrored, on average, or as the picture itself where that is brighter."""
    pictures = np.concatenate([smooth(64, 64) / 8, np.sqrt(smooth(64, 64))])
    plain, mirrored, own = (
        (ops.convert_to_numpy(part) @ GREY).mean(axis=(1, 2))[:, None]
        for part in (model.sketch(thumbnail(pictures)), model.sketch(thumbnail(pictures[:, :, ::-1])), pictures)
    )
    sketched = (plain + mirrored) / 2
    assert own[0] < sketched[0] and sketched[1] < own[1]
    found = model.predict(pictures, verbose=0)
    aim = np.stack([sketched[0], own[1]])
    np.testing.assert_allclose(found, model.predict((pictures, aim), verbose=0), atol=1e-5)
    others = model.predict((pictures, aim + 0.1), verbose=0)
    assert np.abs(found - others).max((1, 2, 3)).min() > 1e-4


def test_the_network_aims_at_one_brightness_for_a_picture_and_the_mirrored_one():
    shipped, picture = lle.load("dawn"), data.load_images([data.samples().test[0].low], (128, 128))
    both = np.concatenate([picture, picture[:, :, ::-1]])
    plain, mirrored = (ops.convert_to_numpy(shipped.sketch(both)) @ GREY).mean(axis=(1, 2))
    aims = ops.convert_to_numpy(shipped.aim(both))[:, 0]
    assert abs(plain - mirrored) > 1e-4
    np.testing.assert_allclose(aims, (plain + mirrored) / 2, atol=1e-5)


def test_in_training_the_exposure_guesses(model):
    picture, unknown = smooth(64, 64) / 4, -np.ones((1, 1), "float32")
    guess = model.read(thumbnail(picture), unknown)[-1]
    expected = ops.convert_to_numpy(model((picture, guess), training=True))
    found = ops.convert_to_numpy(model((picture, unknown), training=True))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - model.predict(picture, verbose=0)).max() > 1e-4  # as bright as the sketch


@pytest.mark.parametrize("brightness", [0.25, 0.45, 0.6])
def test_the_shipped_network_gives_the_brightness_that_it_is_asked_for(brightness):
    for pair in data.samples().test[:3]:
        result = lle.enhance(data.read_image(pair.low), "dawn", brightness=brightness)
        assert abs((result / 255 @ np.float32([0.299, 0.587, 0.114])).mean() - brightness) < 0.03


@pytest.mark.parametrize("brightness", [0.15, 0.42, 0.47, 0.6])
def test_where_results_dip_it_asks_for_the_first_that_are_as_bright(model, monkeypatch, brightness):
    means = np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.35, 0.45, 0.7, 0.9])
    results = means[:, None, None, None] * np.ones((1, THUMBNAIL, THUMBNAIL, 3), "float32")
    monkeypatch.setattr(model, "predict_on_batch", lambda inputs: results)
    first = np.argmax(means > brightness)
    before = means[:first].max()
    share = (brightness - before) / (means[first] - before)
    expected = ASKED[first - 1] + share * (ASKED[first] - ASKED[first - 1])
    assert model.ask(results[:1], brightness) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("brightness", [0, 1, -1, float("nan")])
def test_refuses_a_brightness_that_none_can_have(model, brightness):
    with pytest.raises(ValueError, match="brightness must lie between 0 and 1"):
        model.prepare(smooth(32, 32)[0], brightness=brightness)


def test_parts_of_different_pictures_in_one_batch(model):
    pictures = np.concatenate([smooth(640, 320), smooth(640, 320, 1)])
    small = ops.convert_to_numpy(thumbnail(pictures))
    rows, columns = np.float32([[0, 0.5], [0.5, 1]]), np.float32([[0, 1], [0, 1]])
    parts = np.stack([pictures[0, :320], pictures[1, 320:]])
    found = model.predict_on_batch((parts, -np.ones((2, 1), "float32"), small, rows, columns))
    whole, halo = model.predict(pictures, verbose=0), model.card["halo"]
    np.testing.assert_allclose(found[0, :-halo], whole[0, : 320 - halo], atol=1e-4)
    np.testing.assert_allclose(found[1, halo:], whole[1, 320 + halo :], atol=1e-4)


@pytest.mark.parametrize("part", [*PARTS, "all"])
def test_what_is_to_learn_learns_and_the_rest_stays(part):
    keras.utils.set_random_seed(0)
    model = Dawn(**SMALL)
    model.learn(part)
    model.compile(keras.optimizers.Adam(1e-2), "mae", run_eagerly=True)
    before = {name: getattr(model, name).get_weights() for name in PARTS}
    picture = smooth(128, 128)
    for _ in range(2):  # the last layer of the detail begins at 0 and lets nothing through
        model.train_on_batch(picture / 4, picture)
    for name, weights in before.items():
        after = getattr(model, name).get_weights()
        changed = [not np.array_equal(*both) for both in zip(weights, after, strict=True)]
        learnt = ("exposure", "detail") if part == "all" else (part,)
        assert sum(changed) > len(changed) / 2 if name in learnt else not any(changed), name


def test_while_the_sketch_learns_it_is_what_comes_out(model):
    picture = smooth(256, 128)
    model.learn("sketch")
    drawn = ops.convert_to_numpy(model(picture))
    with pytest.raises(ValueError, match="call learn"):
        lle.enhance(picture[0], model)
    model.learn("all")
    expected = ops.convert_to_numpy(model.sketch(thumbnail(picture)))
    np.testing.assert_array_equal(drawn, expected)


def test_the_exposure_alone_leaves_the_detail_out(model):
    picture = smooth(32, 48)
    whole = model.predict(picture, verbose=0)
    model.learn("exposure")
    exposed = ops.convert_to_numpy(model(picture))
    model.learn("all")
    assert exposed.shape == whole.shape and np.abs(exposed - whole).max() > 1e-3
    assert 0 <= exposed.min()
    with pytest.raises(ValueError, match="part must be"):
        model.learn("guess")


def test_the_guess_is_learnt_from_the_results():
    keras.utils.set_random_seed(0)
    model = Dawn(**SMALL)
    pictures, unknown = smooth(32, 32).repeat(2, 0) / 4, np.float32([[-1], [-1]])
    model.compile(keras.optimizers.Adam(1e-2), "mae", run_eagerly=True)
    for layer in model.exposure.layers:
        layer.trainable = layer.name == "guess"
    model.detail.trainable = False
    model.exposure.get_layer("grid").bias.assign([0.1] * 6)
    before = model.get_weights()
    model.train_on_batch((pictures, unknown), 3 * pictures)
    changed = [not np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True)]
    assert sum(changed) == 2


def test_saves_and_loads(model, tmp_path):
    picture = smooth(32, 48)
    model.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
    assert again.get_config() == model.get_config() and again.card == model.card
    np.testing.assert_allclose(again.predict(picture, verbose=0), model.predict(picture, verbose=0), atol=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend(backend, tmp_path):
    pytest.importorskip(backend)
    model = Dawn(WIDTHS[:2], hints=3, exposure_width=4)
    picture = smooth(32, 48).repeat(2, 0)
    model.save(tmp_path / "a.keras")
    np.save(tmp_path / "picture.npy", picture)
    code = """
import keras, numpy
import lle.models
model = keras.saving.load_model("a.keras", safe_mode=True)
picture = numpy.load("picture.npy")
numpy.save("there.npy", keras.ops.convert_to_numpy(model(picture)))  # compiled, JAX takes a minute
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    np.testing.assert_allclose(np.load(tmp_path / "there.npy"), model.predict(picture, verbose=0), atol=1e-4)
