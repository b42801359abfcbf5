import numpy as np
import pytest

from lle.degrade import srgb_to_linear
from lle.mixture import DARKER, Mixture, WholePictures, darkened, exposures, paired, unchanged


def picture(mean, height=40, width=48, seed=0):
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return np.clip(mean + noise, 0, 255).astype("uint8")


def marked(value):
    """Each pixel tells where it lies."""
    rows, columns = np.mgrid[:40, :48]
    return np.stack([rows, columns, np.full_like(rows, value)], axis=-1).astype("uint8")


SEQUENCE = [picture(mean, seed=mean) for mean in (10, 60, 95, 120, 145, 190, 240)]


def test_pairs_get_the_same_window_flip_and_turn():
    source = paired([marked(1), marked(2)], [marked(1), marked(2)])
    batches = Mixture({"pairs": source}, {"pairs": 1.0}, steps=3, batch_size=4, crop=16)
    seen = set()
    for index in range(3):
        (low, *_), high = batches[index]
        assert low.shape == high.shape == (4, 16, 16, 3) and low.dtype == high.dtype == np.float32
        np.testing.assert_array_equal(low, high)
        seen |= {image.tobytes() for image in low}
    assert len(seen) == 12


def test_all_flips_and_turns_occur_and_nothing_else():
    image = marked(0)[:16, :16]
    batches = Mixture({"whole": unchanged([image], view=1)}, {"whole": 1.0}, 1, batch_size=60, crop=16)
    found = {np.rint(255 * low).astype("uint8").tobytes() for low in batches[0][0][0]}
    expected = {np.rot90(flipped, turns).tobytes() for flipped in (image, image[:, ::-1]) for turns in range(4)}
    assert found == expected


def test_content_depends_on_seed_and_epoch_alone():
    def build(seed=0):
        sources = {"darkened": darkened([picture(120)]), "sequence": exposures([SEQUENCE])}
        return Mixture(sources, {"darkened": 0.5, "sequence": 0.5}, steps=2, batch_size=3, crop=16, seed=seed)

    one, other = build(), build()
    other[1]
    np.testing.assert_array_equal(one[0][0][0], other[0][0][0])
    one.on_epoch_end()
    other.epoch = 1
    np.testing.assert_array_equal(one[0][0][0], other[0][0][0])
    assert not np.array_equal(build()[0][1], one[0][1])
    assert not np.array_equal(build()[0][1], build(1)[0][1])


def test_brightness_is_that_of_the_whole_result_or_unknown():
    pictures = [picture(100, 150, 200), picture(150, 150, 200)]
    source = paired([image // 4 for image in pictures], pictures)
    batches = Mixture({"pairs": source}, {"pairs": 1.0}, 1, batch_size=40, crop=None)
    (low, brightness, small, rows, columns), high = batches[0]
    assert low.shape == high.shape == (40, 128, 128, 3)
    np.testing.assert_allclose(low, high / 4, atol=0.76 / 255)  # rounded down
    np.testing.assert_array_equal(low, small)
    assert np.all(rows == [0, 1]) and np.all(columns == [0, 1])
    means = high @ np.float32([0.299, 0.587, 0.114])
    is_told = brightness[:, 0] >= 0
    assert 8 < is_told.sum() < 32 and np.all(brightness[~is_told] == -1)
    np.testing.assert_allclose(brightness[is_told, 0], means.mean((1, 2))[is_told], atol=1e-3)


@pytest.mark.parametrize("crop", [None, 140])
def test_references_whose_brightness_teaches_nothing(crop):
    pictures = [picture(100, 150, 200), picture(150, 150, 200)]
    sources = {"same": unchanged(pictures, view=1)}
    batches = Mixture(sources, {"same": 1.0}, 1, batch_size=20, crop=crop, levels={"same": 0.5})
    (low, brightness, *_), high = batches[0]
    means = (high @ np.float32([0.299, 0.587, 0.114])).mean((1, 2))
    is_told = brightness[:, 0] >= 0
    np.testing.assert_array_equal(low[is_told], high[is_told])
    np.testing.assert_allclose(means[~is_told], 0.5, atol=0.01)
    assert 0 < is_told.sum() < 20 and np.abs(low - high)[~is_told].max() > 0.05


@pytest.mark.parametrize("crop", [None, 140])
def test_what_a_scaled_reference_cannot_show_is_white(crop):
    image = np.full((140, 150, 3), 40, "uint8")
    image[:70] = 200
    batches = Mixture({"same": unchanged([image])}, {"same": 1.0}, 1, 4, crop, told=0, levels={"same": 0.8})
    assert batches[0][1].max() == 1


@pytest.mark.parametrize(
    "source",
    [
        lambda image, view: paired([image], [image], view),
        lambda image, view: exposures([[image // 3, image]], view),
        lambda image, view: darkened([image], view=view),
        lambda image, view: unchanged([image], view),
    ],
    ids=["paired", "exposures", "darkened", "unchanged"],
)
def test_whole_pictures_are_whole(source):
    image = np.broadcast_to(np.linspace(50, 180, 256).astype("uint8")[:, None, None], (256, 256, 3))
    whole, parts = (
        Mixture({"it": source(image, view)}, {"it": 1.0}, 1, batch_size=20, crop=None)[0][1].mean((1, 2, 3))
        for view in (1, 0.6)
    )
    np.testing.assert_allclose(whole, image.mean() / 255, atol=2e-3)
    assert np.ptp(parts) > 0.02


def test_crops_lie_where_they_are_said_to_lie():
    rows, columns = np.mgrid[:300, :400]
    slope = np.stack([rows / 300, columns / 400, 0 * rows], axis=-1).astype("float32")
    batches = Mixture({"slope": paired([slope], [slope])}, {"slope": 1.0}, 1, batch_size=12, crop=64)
    (low, _, small, rows, columns), _ = batches[0]
    for crop, whole, (top, bottom), (left, right) in zip(low, small, rows, columns, strict=True):
        places = (np.rint(128 * share).astype(int) for share in (top, bottom, left, right))
        top, bottom, left, right = places
        np.testing.assert_allclose(whole[top:bottom, left:right].mean((0, 1)), crop.mean((0, 1)), atol=0.01)
    assert np.all((rows[:, 1] - rows[:, 0] > 0.1) & (rows[:, 1] - rows[:, 0] < 0.4))


@pytest.mark.parametrize("crop", [None, 64])
def test_another_light_changes_the_dark_picture_alone_and_its_thumbnail_alike(crop):
    image = np.full((200, 300, 3), 100, "uint8")
    sources = {"same": unchanged([image])}
    (low, _, small, *_), high = Mixture(sources, {"same": 1.0}, 1, 30, crop, varied=["same"])[0]
    np.testing.assert_allclose(high, 100 / 255, atol=1e-6)
    gains = low[:, 0, 0] / (100 / 255)
    np.testing.assert_allclose(small, np.broadcast_to(small[:, :1, :1], small.shape), atol=1e-6)
    np.testing.assert_allclose(low, np.broadcast_to(small[:, :1, :1], low.shape), atol=1e-6)
    assert 0.15 < np.log(gains).mean(1).std() < 0.45 and 0.01 < np.log(gains).std(1).mean() < 0.08
    white = {"white": unchanged([np.full((200, 300, 3), 255, "uint8")])}
    (low, _, small, *_), _ = Mixture(white, {"white": 1.0}, 1, 30, crop, varied=["white"])[0]
    assert low.max() == small.max() == 1 and low.min() < 0.8
    with pytest.raises(ValueError, match="varied and levels may name"):
        Mixture(sources, {"same": 1.0}, 1, varied=["other"])
    with pytest.raises(ValueError, match="varied and levels may name"):
        Mixture(sources, {"same": 1.0}, 1, levels={"other": 0.5})
    with pytest.raises(ValueError, match="levels must lie between 0 and 1"):
        Mixture(sources, {"same": 1.0}, 1, levels={"same": 44})


@pytest.mark.parametrize("crop", [None, 64])
def test_dark_pictures_may_be_lit_in_part(crop):
    dark, well_lit = (np.full((200, 300, 3), value, "uint8") for value in (10, 120))
    source = {"pairs": paired([dark], [well_lit])}
    (low, _, small, rows, columns), high = Mixture(source, {"pairs": 1.0}, 1, 120, crop, lit=0.5)[0]
    np.testing.assert_allclose(high, 120 / 255, atol=1e-6)
    varies = small.max(axis=(1, 2, 3)) - small.min(axis=(1, 2, 3)) > 0.1
    assert 45 < varies.sum() < 75  # half of them
    assert small.min() >= 10 / 255 - 1e-6 and small.max() <= 120 / 255 + 1e-6
    for i in np.flatnonzero(varies):
        top, bottom, left, right = np.rint(128 * np.concatenate([rows[i], columns[i]])).astype(int)
        np.testing.assert_allclose(low[i].mean(), small[i, top:bottom, left:right].mean(), atol=0.03)  # lit alike
    (without, *_), _ = Mixture(source, {"pairs": 1.0}, 1, 60, crop)[0]
    assert len(np.unique(without.round(3))) == 1
    with pytest.raises(ValueError, match="lit must be a probability, got 25"):
        Mixture(source, {"pairs": 1.0}, 1, lit=25)


def test_what_is_lit_is_as_bright_as_in_the_result():
    """Neither another light nor a reference that is scaled changes that."""
    dark, well_lit = (np.full((200, 300, 3), value, "uint8") for value in (10, 120))
    source = {"pairs": paired([dark], [well_lit])}
    options = {"told": 0.0, "varied": ["pairs"], "levels": {"pairs": 0.3}, "lit": 1.0}
    (low, *_), high = Mixture(source, {"pairs": 1.0}, 1, 60, None, **options)[0]
    np.testing.assert_allclose(high, 0.3, atol=1e-6)
    brightest, darkest = low.max(axis=(1, 2, 3)), low.min(axis=(1, 2, 3))
    assert brightest.max() <= 0.3 + 1e-6 and np.median(brightest) > 0.28
    assert darkest.std() / darkest.mean() > 0.1
    (same, *_), reference = Mixture({"same": unchanged([well_lit])}, {"same": 1.0}, 1, 9, None, lit=1.0)[0]
    np.testing.assert_allclose(same, reference, atol=1e-6)


def test_a_picture_smaller_than_the_crops():
    for make in (paired, WholePictures):
        with pytest.raises(ValueError, match="pair 0: expected pictures of"):
            make([np.zeros((64, 64), "uint8")], [np.zeros((64, 64), "uint8")])
    with pytest.raises(ValueError, match="40x48 pixels is too small: sides of 64 or more"):
        Mixture({"same": unchanged([picture(100)])}, {"same": 1.0}, 1, crop=64)[0]


def test_shares():
    sources = {"dark": unchanged([picture(20)]), "light": unchanged([picture(230)])}
    high = Mixture(sources, {"dark": 0.25, "light": 0.75}, 1, batch_size=400, crop=4)[0][1]
    assert abs((high.mean((1, 2, 3)) > 0.5).mean() - 0.75) < 0.07


@pytest.mark.parametrize("is_told", [False, True])
def test_frames_of_a_sequence(is_told):
    draw, random = exposures([SEQUENCE, SEQUENCE[:1]]), np.random.default_rng(0)
    results = set()
    for _ in range(60):
        low, high = draw(random, 40, is_told)
        assert low.mean() <= (DARKER + 0.05) * high.mean()
        results.add(round(high.mean() / 10) * 10)
    assert results == ({60, 100, 120, 150, 190} if is_told else {120})
    with pytest.raises(ValueError, match="no sequence"):
        exposures([SEQUENCE[:2]])


def test_darkened_is_darker_and_noisy():
    draw, random = darkened([picture(150)]), np.random.default_rng(0)
    means = []
    for _ in range(40):
        low, high = draw(random, 32, False)
        assert low.min() >= 0 and low.max() <= 1 and low.mean() < high.mean() / 255
        means.append(low.mean())
    assert min(means) < 0.1 and max(means) > 0.3


def test_darkened_photographs_are_reduced_at_random():
    draw, random = darkened([picture(150, 200, 300)], view=1), np.random.default_rng(0)
    sizes = np.array([draw(random, 40, False)[0].shape[:2] for _ in range(40)])
    assert 40 <= sizes[:, 0].min() < 43 and 57 < sizes[:, 0].max() <= 60
    np.testing.assert_allclose(sizes[:, 1], 1.5 * sizes[:, 0], atol=1)


def test_the_light_of_darkened_photographs_has_a_colour():
    grey = np.full((40, 40, 3), 150, "uint8")
    draw, random = darkened([grey], exposure=(0.5, 0.5), shot=(1e-9, 1e-9)), np.random.default_rng(0)
    means = np.array([srgb_to_linear(draw(random, 40, False)[0]).mean((0, 1)) for _ in range(120)])
    gains = means[:, [0, 2]] / means[:, 1:2]
    np.testing.assert_allclose(gains.min(0), 0.8, atol=0.03)
    np.testing.assert_allclose(gains.max(0), 1.25, atol=0.03)
    assert abs(np.corrcoef(gains.T)[0, 1]) < 0.4


def test_each_darkened_photograph_has_noise_of_its_own():
    green = np.full((40, 40, 3), (0, 150, 0), "uint8")  # the gain of green is always 1
    draw, random = darkened([green], exposure=(0.2, 0.2), shot=(1e-3, 1e-3)), np.random.default_rng(0)
    first, second = (draw(random, 40, False)[0][..., 1].ravel() for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


@pytest.mark.parametrize("shares", [{"a": 0.5}, {"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {"a": 0.5, "c": 0.5}])
def test_shares_that_do_not_fit(shares):
    sources = dict.fromkeys("ab", unchanged([picture(100)]))
    with pytest.raises(ValueError, match="shares must name"):
        Mixture(sources, shares, 1)


def test_a_batch_that_there_is_not():
    mixture = Mixture({"a": unchanged([picture(100)])}, {"a": 1}, 2, crop=16)
    assert len(list(mixture)) == 2
    with pytest.raises(IndexError, match="there are 2 batches"):
        mixture[2]


def test_whole_pictures_are_cut_to_one_size():
    batches = WholePictures([picture(10), picture(20, 34, 56)], [picture(100), picture(120, 34, 56)])
    assert len(batches) == 2
    assert [low.shape for low, _ in (batches[0], batches[1])] == 2 * [(1, 32, 48, 3)]
    np.testing.assert_array_equal(batches[0][1][0], picture(100)[4:36] / np.float32(255))
    np.testing.assert_array_equal(batches[1][0][0], picture(20, 34, 56)[1:33, 4:52] / np.float32(255))
    with pytest.raises(ValueError, match="smaller than the stride, 64"):
        WholePictures([picture(10)], [picture(100)], stride=64)
    with pytest.raises(ValueError, match="1 pictures and 2 references are no pairs"):
        WholePictures([picture(10)], 2 * [picture(100)])


def test_whole_pictures_are_no_larger_than_asked():
    batches = WholePictures([picture(10, 64, 80)], [picture(100, 64, 80)], stride=8, most=50)
    np.testing.assert_array_equal(batches[0][1][0], picture(100, 64, 80)[8:56, 16:64] / np.float32(255))


def test_float_photographs_may_be_white():
    random = np.random.default_rng(0)
    sky = np.clip(random.normal(1, 0.05, (97, 131, 3)), 0, 1).astype("float32")
    source = darkened([sky])
    for _ in range(60):
        _, high = source(random, 40, False)
        assert high.max() <= 1


def test_pairs_that_do_not_fit_are_refused():
    low, high = [picture(20), picture(20)], [picture(120), picture(120, 80, 96)]
    for build in (paired, WholePictures):
        with pytest.raises(ValueError, match="pair 1: a picture of .40, 48. pixels and a reference of .80, 96."):
            build(low, high)
        with pytest.raises(ValueError, match="2 pictures and 1 references are no pairs"):
            build(low, high[:1])
