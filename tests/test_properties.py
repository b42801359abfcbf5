"""Properties that hold for every size, type and channel count, found by Hypothesis."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from write_dng import write_dng

from lle import data, raw
from lle.batches import Batches, RawBatches
from lle.degrade import darken
from lle.enhance import PEAKS, enhance

SEVERAL = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
SIDES = st.integers(1, 9)
STEMS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
)
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


def same(batch):
    return batch


@SEVERAL
@given(
    shape=st.one_of(
        st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES, st.integers(1, 4)),
        st.tuples(st.integers(1, 3), SIDES, SIDES, st.integers(1, 4)),
        st.lists(st.integers(0, 5), max_size=5).map(tuple),
    ),
    dtype=st.sampled_from([*PEAKS]) | st.sampled_from([*PEAKS, "bool", "int8", "int64", "uint32", "complex64"]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_enhance_any_array(shape, dtype, seed, tally):
    """Arrays of any number of axes, channels and type: the same comes back, or it is none of those described."""
    values = np.random.default_rng(seed).random(shape)
    array = np.asarray(values * PEAKS.get(dtype, 1)).astype(dtype)
    is_image = len(shape) == 2 or (len(shape) in (3, 4) and 1 <= shape[-1] <= 4)
    result = tally.attempt(partial(enhance, array, same))
    assert (result is not None) == (is_image and 0 not in shape and dtype in PEAKS)
    if result is not None:
        assert result.shape == array.shape and result.dtype == array.dtype
        np.testing.assert_allclose(result.astype("float64"), array, rtol=2e-3, atol=1e-6)


@SEVERAL
@given(
    low=st.lists(STEMS, min_size=1, max_size=4, unique=True), high=st.none() | st.lists(STEMS, min_size=1, max_size=4),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4), odd=st.booleans(),
)  # fmt: skip
def test_find_pairs_of_any_names(low, high, sizes, odd, tally):
    """Folders of pictures of any names and sizes: paired, or what does not fit is named."""
    high = low if high is None else high
    with tempfile.TemporaryDirectory() as name:
        for side, stems in (("low", low), ("high", high)):
            Path(name, side).mkdir()
            for i, stem in enumerate(stems):
                size = sizes[i % len(sizes)]
                size = size[::-1] if odd and side == "high" else size
                Image.new("RGB", size).save(Path(name, side, f"{stem}.png"), "PNG")
        visible = [{stem for stem in stems if not stem.startswith(".")} for stems in (low, high)]
        pairs = tally.attempt(partial(data.find_pairs, Path(name, "low"), Path(name, "high")))
        if pairs is None and visible[0] == visible[1] != set():  # then it was for the sizes
            assert high != low or (odd and any(width != height for width, height in sizes))
        elif pairs:
            assert {pair.low.stem for pair in pairs} == {pair.high.stem for pair in pairs} == visible[0] == visible[1]


@SEVERAL
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)), crop=st.integers(1, 12), augment=st.booleans(),
    dtype=st.sampled_from(["uint8", "float32"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_crops_of_a_pair_show_the_same_window(size, crop, augment, dtype, seed, tally):
    """Crops of any size from pairs of any size: both pictures show the same window, or it does not fit."""
    low = np.random.default_rng(seed).integers(0, 200, (3, *size, 3)).astype(dtype) / (1 if dtype == "uint8" else 255)
    low = low.astype(dtype)
    high = low + low.dtype.type(50 if dtype == "uint8" else 50 / 255)
    batches = tally.attempt(lambda: Batches(list(low), list(high), 2, crop, augment, seed), "crop")
    assert (batches is None) == (crop > min(size))
    for index in range(2 if batches else 0):
        first, second = batches[index]
        assert first.shape[1:] == (crop, crop, 3)
        np.testing.assert_allclose(second - first, 50 / 255, atol=1e-6)


@SEVERAL
@given(size=st.tuples(st.integers(1, 6), st.integers(1, 6)), crop=st.integers(1, 6), seed=st.integers(0, 99))
def test_crops_of_raw_pairs_show_the_same_window(size, crop, seed, tally):
    """Crops of any size from raw pairs of any size: frame and reference show the same window, or it does not fit."""
    frame = np.random.default_rng(seed).random((*size, 4), "float32")
    reference = np.repeat(np.repeat(frame[..., :3], 2, 0), 2, 1)
    batches = tally.attempt(lambda: RawBatches([frame], [reference], [1], 1, crop, True, seed), "crop")
    assert (batches is None) == (crop > min(size))
    if batches:
        low, high = batches[0]
        np.testing.assert_array_equal(high[:, ::2, ::2], low[..., :3])
        np.testing.assert_array_equal(high[:, 1::2, 1::2], low[..., :3])


@SEVERAL
@given(
    phase=st.sampled_from(PHASES), seed=st.integers(0, 99), size=st.tuples(st.integers(22, 40), st.integers(22, 40)),
    black=st.tuples(*[st.integers(0, 2000)] * 4), white=st.integers(1000, 16383),
)  # fmt: skip
def test_bayer_packing(phase, seed, size, black, white, tmp_path, tally):
    """Bayer mosaics of every phase, size, black and white level: each plane holds its colour."""
    mosaic = np.random.default_rng(seed).integers(0, 16384, size, dtype="uint16")
    path = write_dng(tmp_path / "frame.dng", mosaic, phase, black, white)
    frame = tally.attempt(partial(raw.read_raw, path), path)
    assert (frame is None) == (white <= max(black))
    if frame is None:
        return
    rows, columns = (2 * (side // 2) for side in size)
    red, blue = divmod(phase.index("R"), 2), divmod(phase.index("B"), 2)
    for plane, (y, x) in enumerate([red, (red[0], 1 - red[1]), blue, (blue[0], 1 - blue[1])]):
        level = black[2 * y + x]
        expected = (mosaic[y:rows:2, x:columns:2].astype("float64") - level) / (white - level)
        np.testing.assert_allclose(frame[..., plane], np.clip(expected, 0, 1), atol=1e-5)


@SEVERAL
@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda size: arrays("uint8", (*size, 3)) | arrays("float32", (*size, 3), elements=st.floats(0, 1, width=32))
    ),
    exposure=st.floats(1e-3, 1) | st.floats(1e-3, 1) | st.floats(-1, 2), shot=st.floats(1e-9, 0.1) | st.floats(-1, 1),
    read=st.floats(0, 0.1) | st.floats(-1, 1), seed=st.integers(0, 9),
)  # fmt: skip
def test_darken(image, exposure, shot, read, seed, tally):
    """Photographs of any size and type, darkened by any exposure and noise: a picture, or values without a meaning."""
    before = image.copy()
    dark = tally.attempt(lambda: darken(image, exposure, shot=shot, read=read, seed=seed))
    assert (dark is not None) == (0 < exposure <= 1 and (shot == 0 or 1e-9 <= shot <= 1) and 0 <= read <= 1)
    np.testing.assert_array_equal(image, before)
    if dark is not None:
        assert dark.shape == image.shape and dark.dtype == np.float32 and dark.min() >= 0 and dark.max() <= 1
        np.testing.assert_array_equal(dark, darken(image, exposure, shot=shot, read=read, seed=seed))
