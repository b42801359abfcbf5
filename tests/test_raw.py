import os
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import rawpy
from hypothesis import given, settings
from hypothesis import strategies as st
from write_dng import noise, write_dng

from lle import data, metrics, raw
from lle.batches import RawBatches
from lle.enhance import run
from lle.models import sid_unet

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
BLACK = (500, 510, 520, 530)  # of the cell's pixels, row by row


@pytest.fixture
def dng(tmp_path):
    return write_dng(tmp_path / "frame.dng", noise())


def write_exposure(path, seconds, iso=0, aperture=0):
    """Write a DNG file with an EXIF directory; tifffile writes none, so it is appended and tag 34665 set to it."""
    content = write_dng(path, noise(), tags=[(34666, "I", 1, 0, True)]).read_bytes()
    tag, place = struct.pack("<HHI", 34666, 4, 1), len(content)
    rationals = place + 2 + 3 * 12 + 4  # ExposureTime, FNumber; the third entry is ISOSpeedRatings
    entries = (33434, 5, 1, rationals), (33437, 5, 1, rationals + 8), (34855, 3, 1, iso)
    exif = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    exif += struct.pack("<4I", round(seconds * 1000), 1000, round(aperture * 10), 10)
    path.write_bytes(content.replace(tag + bytes(4), struct.pack("<HHII", 34665, 4, 1, place)) + exif)


@pytest.mark.parametrize("size", [(24, 32), (25, 33)])
@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_and_black_level_and_odd_sizes(tmp_path, phase, size):
    mosaic = noise(*size)
    frame = raw.read_raw(write_dng(tmp_path / "frame.dng", mosaic, phase, BLACK, white=15000))
    assert frame.shape == (12, 16, 4) and frame.dtype == np.float32
    red, blue = phase.index("R"), phase.index("B")
    row, column = red // 2, red % 2
    places = (row, column), (row, 1 - column), (blue // 2, blue % 2), (1 - row, column)
    for plane, (y, x) in enumerate(places):
        black = BLACK[2 * y + x]
        expected = (mosaic[:24, :32][y::2, x::2].astype(float) - black) / (15000 - black)
        np.testing.assert_allclose(frame[..., plane], np.clip(expected, 0, 1), atol=1e-6)
    assert frame.min() == 0 and frame.max() == 1


@pytest.mark.parametrize("margins", [(0, 0), (2, 4), (3, 4), (2, 5), (3, 5)])
@pytest.mark.parametrize("phase", PHASES)
def test_only_the_visible_area_and_in_its_own_phase(tmp_path, phase, margins):
    top, left = margins
    mosaic = np.full((64, 96), 9999, "uint16")  # the margins
    level = {"R": 4000, "B": 2000}
    greens = [3000 if place // 2 == phase.index("R") // 2 else 1000 for place in range(4)]
    for place, colour in enumerate(phase):
        y, x = divmod(place, 2)
        mosaic[top + y : 60 : 2, left + x : 92 : 2] = level.get(colour, greens[place])
    path = write_dng(tmp_path / "frame.dng", mosaic, phase, tags=[(50829, "I", 4, (top, left, 60, 92), True)])
    frame = raw.read_raw(path)
    assert frame.shape[0] >= 27 and frame.shape[1] >= 42
    np.testing.assert_allclose(frame, np.broadcast_to(np.array([4, 3, 2, 1]) / 16.383, frame.shape), rtol=1e-6)


def test_odd_margins_move_the_phase():
    """No DNG file has them, LibRaw makes theirs even; other formats do."""
    colours = np.array([[0, 1], [3, 2]])
    file = SimpleNamespace(
        raw_type=rawpy.RawType.Flat, raw_pattern=colours, color_desc=b"RGBG", raw_colors_visible=np.roll(colours, 1, 1)
    )
    np.testing.assert_array_equal(raw._bayer_cell(file, "frame"), [[1, 0], [2, 3]])


def test_refuses_what_is_no_bayer_mosaic(tmp_path):
    linear = write_dng(tmp_path / "linear.dng", np.stack([noise()] * 3, -1))
    with pytest.raises(ValueError, match=re.escape(f"{linear}: no Bayer mosaic, its pixels have all colours")):
        raw.read_raw(linear)
    fuji = write_dng(tmp_path / "fuji.dng", noise(), "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG")
    with pytest.raises(ValueError, match=re.escape(f"{fuji}: no Bayer mosaic but X-Trans")):
        raw.read_raw(fuji)
    stripes = write_dng(tmp_path / "stripes.dng", noise(), "RGRB")
    with pytest.raises(ValueError, match=re.escape(f"{stripes}: no Bayer mosaic of red, green and blue")):
        raw.read_raw(stripes)
    monochrome = write_dng(tmp_path / "monochrome.dng", noise()[..., None])
    with pytest.raises(ValueError, match=re.escape(f"{monochrome}: no Bayer mosaic")):
        raw.read_raw(monochrome)
    black = write_dng(tmp_path / "black.dng", noise(), black=(20000,) * 4)
    with pytest.raises(ValueError, match=re.escape(f"{black}: its white level, 16383, is not above its black level")):
        raw.read_raw(black)


@pytest.mark.parametrize("content", ["empty", "text", "cut by a byte", "half", "header"])
@pytest.mark.parametrize("read", [raw.read_raw, raw.develop])
def test_a_file_that_does_not_decode_is_named(dng, content, read):
    whole = dng.read_bytes()
    cut = {"cut by a byte": whole[:-1], "half": whole[: len(whole) // 2], "header": whole[:100]}
    dng.write_bytes({"empty": b"", "text": b"no raw file" * 500, **cut}[content])
    with pytest.raises(ValueError, match=re.escape(f"{dng}: ")) as error:
        read(dng)
    assert "\n" not in str(error.value) and "b'" not in str(error.value)


def test_pictures_missing_files_and_folders(write, tmp_path):
    with pytest.raises(ValueError, match=r"1.png: does not decode as camera raw \(Unsupported"):
        raw.read_raw(write("1.png"))
    with pytest.raises(FileNotFoundError):
        raw.read_raw(tmp_path / "missing.dng")
    with pytest.raises(IsADirectoryError):
        raw.read_raw(tmp_path)


def test_develop_lies_as_the_frame_and_is_twice_its_size(tmp_path):
    mosaic = np.full((65, 97), 600, "uint16")
    mosaic[:20, :40] = 6000
    path = write_dng(tmp_path / "frame.dng", mosaic, tags=[(274, "H", 1, 6, True)])  # held upright
    frame, picture = raw.read_raw(path), raw.develop(path)
    assert frame.shape == (32, 48, 4) and picture.shape == (64, 96, 3) and picture.dtype == np.float32
    assert np.corrcoef(frame.mean(-1).ravel(), picture[::2, ::2].mean(-1).ravel())[0, 1] > 0.9
    with rawpy.imread(str(path)) as file:
        pixels = file.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, user_flip=0)
    np.testing.assert_allclose(picture, pixels[:64, :96] / 65535, atol=1e-6)


def test_amplify():
    frame = np.array([0, 100, 1000, 65535], "uint16")
    expected = np.array([0, 1 / 3, 1, 1], "float32")
    np.testing.assert_allclose(raw.amplify(frame, 65535 / 300), expected, rtol=1e-6)
    assert raw.amplify(np.float64([0.5]), np.float64(1.5)).dtype == np.float32
    for ratio in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="positive number"):
            raw.amplify(frame, ratio)


def test_exposure_ratio_from_the_names():
    assert raw.exposure_ratio("10003_00_0.1s.ARW", "10003_00_10s.ARW") == pytest.approx(100)
    assert raw.exposure_ratio("10003_00_0.033s.ARW", "elsewhere/10003_00_30s.ARW") == 300
    with pytest.raises(ValueError, match="10003_00_10s.ARW must have"):
        raw.exposure_ratio("10003_00_10s.ARW", "10003_00_0.1s.ARW")


def test_exposure_ratio_from_the_files(tmp_path):
    def ratio(first, second):
        paths = [tmp_path / "short.dng", tmp_path / "long.dng"]
        write_exposure(paths[0], *first), write_exposure(paths[1], *second)
        return raw.exposure_ratio(*paths)

    assert ratio((0.1,), (2,)) == pytest.approx(20)
    assert ratio((0.1, 200, 4), (2, 100, 8)) == pytest.approx(20 / 2 / 4)
    assert ratio((0.1, 200, 4), (2, 100)) == pytest.approx(10)  # a manual lens on one of them
    assert ratio((0.001,), (30,)) == 300
    with pytest.raises(ValueError, match="short.dng: neither its name nor the file itself states the exposure time"):
        ratio((0,), (2,))


def test_cache(tmp_path, monkeypatch):
    paths = [write_dng(tmp_path / f"{i}.dng", noise(seed=i), white=4000 + i) for i in range(2)]
    frames = raw.cache_frames([*paths, paths[0]], tmp_path / "cache")
    assert len(frames) == 3 and len(list((tmp_path / "cache").iterdir())) == 2
    assert isinstance(frames[1], np.memmap) and frames[1].dtype == np.uint16 and frames[0].shape == (12, 16, 4)
    for frame, path in zip(frames, [*paths, paths[0]], strict=True):
        np.testing.assert_allclose(frame / 65535, raw.read_raw(path), atol=0.5001 / 65535)
    counts = np.rint(frames[0] * (4000 / 65535))  # no value of the sensor is lost
    np.testing.assert_array_equal(counts[..., 0], np.minimum(noise()[::2, ::2], 4000))

    read = []
    monkeypatch.setattr(raw.rawpy, "imread", lambda file: read.append(file) or pytest.fail("decoded again"))
    raw.cache_frames(paths, tmp_path / "cache")
    monkeypatch.undo()
    assert not read
    write_dng(paths[0], noise(seed=7), white=4000)
    frames = raw.cache_frames(paths, tmp_path / "cache")
    np.testing.assert_allclose(frames[0] / 65535, raw.read_raw(paths[0]), atol=1e-5)
    assert raw.cache_frames(paths, tmp_path / "cache", raw.develop)[0].shape == (24, 32, 3)


def test_an_interrupted_cache_holds_no_half_frame(dng, tmp_path, monkeypatch):
    def save(path, pixels):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OSError, match=r"frame.read_raw.\w+.npy: cannot be written \(disk full\)"):
        raw.cache_frames([dng], tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def numbered(count, height, width):
    """Frames whose every pixel holds a number of its own, and references whose pixels hold that of their cell."""
    frames = np.arange(count * height * width, dtype="uint16").reshape(count, height, width, 1)
    references = frames.repeat(2, 1).repeat(2, 2)
    return np.tile(frames, 4), np.tile(references, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.integers(1, 6), st.booleans(), st.integers(0, 9))
def test_frame_and_reference_always_get_the_same_window(count, height, width, batch_size, augment, seed):
    frames, references = numbered(count, height, width)
    crop = min(height, width) if seed % 2 else None
    batches = RawBatches(frames, references, [1] * count, batch_size, crop, augment, seed)
    seen = []
    for index in range(len(batches)):
        low, high = batches[index]
        assert low.shape[1:] == ((crop, crop) if crop else (height, width)) + (4,)
        np.testing.assert_array_equal(high, low[..., :3].repeat(2, 1).repeat(2, 2))
        seen += [round(float(frame.min()) * 65535) // (height * width) for frame in low]
    assert sorted(seen) == list(range(count))  # each frame once


def test_reference_pixels_are_mirrored_too():
    frame = np.zeros((1, 1, 1, 4))
    reference = np.arange(4).reshape(1, 2, 2, 1).repeat(3, -1) / 4
    batches = RawBatches(frame, reference, [1], augment=True)
    found = set()
    for batches.epoch in range(100):
        found.add(tuple(batches[0][1][0, :, :, 0].ravel() * 4))
    assert len(found) == 8


def test_batches_depend_on_seed_and_epoch_alone_and_are_amplified():
    random = np.random.default_rng(0)
    frames = [random.integers(0, 65536, (6, size, 4), dtype="uint16") for size in (5, 6, 7)]
    references = [random.random((12, 2 * size, 3)) for size in (5, 6, 7)]
    options = {"batch_size": 3, "crop": 4, "augment": True}
    ratios = np.array([2, 3, 4])
    batches = RawBatches(frames, references, ratios, seed=1, **options)
    low, high = batches[0]
    each = ratios[list(map(int, batches.names_of(0)))].reshape(3, 1, 1, 1)
    plain, same = RawBatches([frame / 65535 for frame in frames], references, np.ones(3), seed=1, **options)[0]
    np.testing.assert_allclose(low, np.minimum(each * plain, 1), rtol=1e-6)
    np.testing.assert_array_equal(high, same)
    assert low.dtype == high.dtype == np.float32 and low.max() == 1
    batches.on_epoch_end()
    assert not np.array_equal(batches[0][0], low)
    batches.epoch = 0
    np.testing.assert_array_equal(batches[0][0], low)


def test_batches_refuse():
    frames, references = numbered(2, 4, 6)
    with pytest.raises(ValueError, match=r"equally many and at least one, got \(2, 1, 2\)"):
        RawBatches(frames, references[:1], [1, 1])
    with pytest.raises(ValueError, match=r"equally many and at least one, got \(0, 0, 0\)"):
        RawBatches([], [], [])
    with pytest.raises(ValueError, match=r"pair 1: a reference of \(8, 11, 3\) does not fit a frame of \(4, 6, 4\)"):
        RawBatches(frames, [references[0], references[1][:, :11]], [1, 1])
    with pytest.raises(ValueError, match="crop of 5x5 does not fit"):
        RawBatches(frames, references, [1, 1], crop=5)
    for ratio in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="ratios must be positive"):
            RawBatches(frames, references, [1, ratio])
    with pytest.raises(ValueError, match="picture 0 must be uint8 or uint16 or float in"):
        RawBatches(frames, np.zeros((2, 8, 12, 3), "int16"), [1, 1])[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of the memory is read as Linux tells it")
def test_crops_are_read_without_holding_the_set_in_memory(tmp_path):
    """20 pairs of the size of SID's, 1.9 GB, in a process that may have no more than 16 files open."""
    for i in range(20):  # files with holes, which take no room on the disk
        np.lib.format.open_memmap(tmp_path / f"{i}.npy", "w+", "uint16", (1424, 2128, 4))[700, 1000] = i + 1
        np.lib.format.open_memmap(tmp_path / f"{i}.high.npy", "w+", "uint16", (2848, 4256, 3))
    code = """if True:
        import resource, sys
        from lle.batches import RawBatches
        from lle.raw import Frames
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        low, high = (Frames([f"{sys.argv[1]}/{i}{end}" for i in range(20)]) for end in (".npy", ".high.npy"))
        batches = RawBatches(low, high, [100] * 20, batch_size=1, crop=512, augment=True)
        for index in range(20):
            low, high = batches[index]
        assert low.shape == (1, 512, 512, 4) and high.shape == (1, 1024, 1024, 3)
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))"""
    settings = {**os.environ, "KERAS_BACKEND": "numpy"}  # without the memory that TensorFlow takes
    run = [sys.executable, "-c", code, str(tmp_path)]
    peak = int(subprocess.run(run, env=settings, check=True, capture_output=True, text=True).stdout) / 1024
    size = sum(path.stat().st_size for path in tmp_path.iterdir()) / 2**20
    assert size > 1800 and peak < 600  # MiB


@pytest.fixture
def sid_folder(tmp_path):
    root = tmp_path / "SID"
    short = "00001_00_0.04s", "00001_00_0.1s", "00001_01_0.1s", "10003_00_0.1s", "10034_00_0.1s", "20001_00_0.1s"
    long = "00001_00_10s", "10003_00_30s", "10034_00_10s", "20001_00_10s"
    for part, stems, light in (("short", short, 16), ("long", long, 1)):
        for i, stem in enumerate(stems):
            write_dng(root / "Sony" / part / f"{stem}.ARW", noise(seed=i) // light)
    return root


def test_a_network_is_measured_on_sid_as_its_authors_do(sid_folder, tmp_path):
    pairs = data.sid(sid_folder).test
    frames = raw.cache_frames([pair.short for pair in pairs], tmp_path / "cache")
    references = raw.cache_frames([pair.long for pair in pairs], tmp_path / "cache", raw.develop)
    ratios, names = ([getattr(pair, key) for pair in pairs] for key in ("ratio", "name"))
    keras.utils.set_random_seed(0)
    model = sid_unet(2, 2)
    table = metrics.evaluate_raw(model, frames, references, ratios, names)
    assert list(table.index) == ["10003_00_0.1s", "mean"] and list(table) == ["psnr", "ssim"]
    amplified = np.minimum(frames[0] / np.float32(65535) * ratios[0], 1)
    output = np.rint(np.clip(model.predict(amplified[None], verbose=0)[0], 0, 1) * 255)
    error = np.mean((output - np.rint(references[0] / 257)) ** 2)
    assert table.loc["mean", "psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    same = metrics.evaluate_raw(lambda frame, ratio: run(model, raw.amplify(frame, ratio)), frames, references, ratios)
    np.testing.assert_allclose(same, table)
    for other in ([], [100, 100]):
        with pytest.raises(ValueError, match="equally many and at least one"):
            metrics.evaluate_raw(model, frames, references, other)
    with pytest.raises(ValueError, match="'mean'"):
        metrics.evaluate_raw(model, frames, references, ratios, ["mean"])


def test_sid(sid_folder, tmp_path):
    (sid_folder / "Sony" / "short" / "._00001_00_0.1s.ARW").write_text("of the file system")
    split = data.sid(sid_folder)
    names = [[pair.name for pair in part] for part in split]
    assert names == [["00001_00_0.04s", "00001_00_0.1s", "00001_01_0.1s"], ["20001_00_0.1s"], ["10003_00_0.1s"]]
    assert [pair.ratio for pair in split.train + split.test] == pytest.approx([250, 100, 100, 300])
    assert {pair.long for pair in split.train} == {sid_folder / "Sony" / "long" / "00001_00_10s.ARW"}
    assert [pair.name for pair in data.sid(sid_folder, bursts=False).train] == ["00001_00_0.04s", "00001_00_0.1s"]
    frames = raw.cache_frames([pair.short for pair in split.train], tmp_path / "cache")
    references = raw.cache_frames([pair.long for pair in split.train], tmp_path / "cache", raw.develop)
    assert len(list((tmp_path / "cache").iterdir())) == 4
    low, high = RawBatches(frames, references, [pair.ratio for pair in split.train], batch_size=2, crop=8)[0]
    assert low.shape == (2, 8, 8, 4) and high.shape == (2, 16, 16, 3) and low.max() == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of the memory is read as Linux tells it")
def test_training_on_frames_of_the_real_size_fits_into_8_gib(tmp_path):
    """From raw files through the cache to steps of the paper's network with its crops of 512."""
    for stem, light in (("00001_00_0.1s", 100), ("00002_00_0.1s", 100), ("00001_00_10s", 1), ("00002_00_10s", 1)):
        part = "short" if light > 1 else "long"
        write_dng(tmp_path / "Sony" / part / f"{stem}.ARW", noise(2848, 4256) // light)
    code = """if True:
        import sys
        import keras
        from lle import data, raw
        from lle.batches import RawBatches
        from lle.models import sid_unet
        from lle.machine import peak_memory
        pairs = data.sid(sys.argv[1]).train
        frames = raw.cache_frames([pair.short for pair in pairs], sys.argv[1] + "/cache")
        references = raw.cache_frames([pair.long for pair in pairs], sys.argv[1] + "/cache", raw.develop)
        assert frames[0].shape == (1424, 2128, 4) and references[0].shape == (2848, 4256, 3)
        batches = RawBatches(frames, references, [pair.ratio for pair in pairs], crop=512, augment=True)
        model = sid_unet()
        model.compile(keras.optimizers.Adam(1e-4), "mae", jit_compile=False)
        model.fit(batches, verbose=0)
        print(len(pairs), peak_memory())"""
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    count, peak = map(float, done.stdout.split()[-2:])
    assert count == 2 and peak < 8192


def test_sid_says_what_is_missing(sid_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing. Get its Sony part \(25 GB\) once .*nothing/Sony/short"):
        data.sid(tmp_path / "nothing")
    (sid_folder / "Sony" / "long" / "20001_00_10s.ARW").unlink()
    with pytest.raises(ValueError, match="20001_00_0.1s.ARW: no long exposure of its scene"):
        data.sid(sid_folder)
