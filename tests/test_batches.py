import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lle.batches import Batches


def numbered(count, height, width):
    """Pictures whose every value is a number of its own, and references that hold the same plus a half."""
    low = np.arange(count * height * width * 3, dtype="float32").reshape(count, height, width, 3) / 4096  # below 0.5
    return low, low + 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.integers(1, 8), st.booleans(), st.integers(0, 9))
def test_both_pictures_always_get_the_same_window(count, height, width, batch_size, augment, seed):
    low, high = numbered(count, height, width)
    crop = min(height, width) if seed % 2 else None
    batches = Batches(low, high, batch_size, crop, augment, seed)
    seen = []
    for index in range(len(batches)):
        first, second = batches[index]
        np.testing.assert_array_equal(second, first + 0.5)
        assert first.shape[1:3] == ((crop, crop) if crop else (height, width)) and first.dtype == np.float32
        seen += [int(4096 * image.min()) // (height * width * 3) for image in first]
    assert sorted(seen) == list(range(count))  # each picture once


def test_what_an_epoch_holds_depends_on_seed_and_epoch_alone():
    low, high = numbered(6, 8, 8)

    def epoch(batches, number):
        batches.epoch = number
        return np.concatenate([batches[i][0] for i in range(len(batches))])

    batches = Batches(low, high, 4, crop=5, augment=True, seed=1)
    third = epoch(batches, 3)
    assert not np.array_equal(epoch(batches, 4), third)
    np.testing.assert_array_equal(epoch(batches, 3), third)
    np.testing.assert_array_equal(epoch(Batches(low, high, 4, crop=5, augment=True, seed=1), 3), third)
    assert not np.array_equal(epoch(Batches(low, high, 4, crop=5, augment=True, seed=2), 3), third)
    batches.on_epoch_end()
    assert batches.epoch == 4


@pytest.mark.parametrize("options", [{"crop": 4}, {"augment": True}])
def test_each_picture_of_an_epoch_gets_a_window_and_a_flip_of_its_own(options):
    low, _ = numbered(1, 12, 12)
    (batch,) = Batches(low.repeat(32, 0), **options)[0]
    assert len({image.tobytes() for image in batch}) > 5


def test_all_flips_and_turns_occur_and_nothing_else():
    image = np.arange(3 * 3 * 3, dtype="float32").reshape(1, 3, 3, 3) / 32
    batches = Batches(image, batch_size=1, augment=True)
    found = set()
    for batches.epoch in range(100):
        (batch,) = batches[0]
        found.add(batch.tobytes())
    expected = {np.rot90(flipped, turns).tobytes() for flipped in (image[0], image[0][:, ::-1]) for turns in range(4)}
    assert found == expected


def test_zoomed_crops_show_more_of_the_same_place_in_both_pictures():
    ramp = np.linspace(0, 0.5, 40 * 60 * 3, dtype="float32").reshape(1, 40, 60, 3)
    batches = Batches(ramp, ramp + 0.5, batch_size=1, crop=10, seed=3, zoom=9)
    spans = []
    for batches.epoch in range(400):
        low, high = batches[0]
        assert low.shape == high.shape == (1, 10, 10, 3)
        np.testing.assert_allclose(high, low + 0.5, atol=1e-6)
        spans.append(round(float(np.ptp(low[0, :, 0, 0]) / (ramp[0, 1, 0, 0] - ramp[0, 0, 0, 0]))))  # in rows
    assert min(spans) == 9 and 33 < max(spans) <= 36  # from 10 rows to all 40, of which each new row averages 4
    assert abs(np.log(np.array(spans) / 9).mean() / np.log(4) - 0.5) < 0.06  # the middle of the logarithms


def test_zoomed_crops_average():
    rows, columns = np.mgrid[:40, :60]
    picture = np.stack([rows / 40, rows % 2, columns % 2], axis=-1).astype("float32")
    batches = Batches(picture[None], batch_size=1, crop=10, zoom=4)
    for batches.epoch in range(20):
        (crop,) = batches[0][0]
        factor = np.ptp(crop[..., 0]) * 40 / 9
        assert np.abs(crop[..., 1:] - 0.5).max() <= 0.5 / factor + 1e-5  # stripes cancel each other but for one


def test_integers_become_floats_and_sizes_may_differ_when_cropped():
    images = [np.full((4, 6, 3), 255, "uint8"), np.full((5, 4, 3), 51, "uint8")]
    (batch,) = Batches(images, batch_size=2, crop=4)[0]
    assert sorted(batch[:, 0, 0, 0].tolist()) == pytest.approx([0.2, 1])


def test_refuses():
    low, high = numbered(2, 4, 6)
    with pytest.raises(ValueError, match="equally many"):
        Batches(low, high[:1])
    with pytest.raises(ValueError, match="equally many"):
        Batches(low[:0])
    with pytest.raises(ValueError, match="one size"):
        Batches(low, high[:, :3])
    with pytest.raises(ValueError, match="crop of 5x5 does not fit into picture [^ ]+, which is \\d+x\\d+"):
        Batches(low, high, crop=5)


def test_a_smaller_last_batch_can_be_left_out_and_other_pictures_with_it_each_epoch():
    pictures = np.arange(7, dtype="float32")[:, None, None, None] / 7 * np.ones((1, 4, 4, 3), "float32")
    batches = Batches(pictures, batch_size=3, drop_remainder=True)
    served = []
    for _ in range(2):
        epoch = [batches[i][0] for i in range(len(batches))]
        assert [len(batch) for batch in epoch] == [3, 3]
        served.append({round(float(picture.mean() * 7)) for batch in epoch for picture in batch})
        batches.on_epoch_end()
    assert len(served[0]) == len(served[1]) == 6 and served[0] != served[1]
    assert len(Batches(pictures[:6], batch_size=3, drop_remainder=True)) == 2
    with pytest.raises(ValueError, match="7 pictures are too few for a batch of 8"):
        Batches(pictures, batch_size=8, drop_remainder=True)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": -1}, {"crop": -2}, {"crop": 0}, {"zoom": 0.5}])
def test_numbers_below_1(options):
    with pytest.raises(ValueError, match="batch_size, crop and zoom must be at least 1"):
        Batches(np.zeros((3, 4, 4, 3)), **options)


def test_a_batch_that_there_is_not():
    batches = Batches(np.zeros((3, 4, 4, 3)), batch_size=2)
    for index in (2, -1):
        with pytest.raises(IndexError, match="there are 2 batches"):
            batches[index]


@pytest.mark.parametrize(
    "dtype, value", [("uint16", 7), ("int64", 7), ("float32", 255), ("float64", 1.1), ("float32", -0.5)]
)
def test_pictures_of_another_kind(dtype, value):
    with pytest.raises(ValueError, match="picture b.png must be uint8 or float in .0, 1., got"):
        Batches(np.full((1, 4, 4, 3), value, dtype), names=["b.png"])[0]
