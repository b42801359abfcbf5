"""Inputs that are no pictures as one expects them: pipes, circles, odd TIFF files, limits without a meaning."""

import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from lle import data
from lle.__main__ import main
from lle.enhance import enhance
from lle.files import enhance_file, enhance_files

DEEP = np.random.default_rng(0).integers(0, 65536, (20, 36, 3), "uint16")
PLANES = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
WAYS = (enhance_file, enhance, data.read_image)


def same(batch):
    return batch


def attempt(tally, path):
    """Open a file in each of the three ways: what came out of `enhance_file`, `enhance` and `read_image`."""
    target = path.with_name("out") / "out.tif"
    tally.attempt(lambda: enhance_file(path, target, same), path)
    results = [tifffile.imread(target) if target.exists() else None]
    target.unlink(missing_ok=True)
    results.append(tally.attempt(lambda: np.asarray(enhance(path, same)), path))
    results.append(tally.attempt(lambda: data.read_image(path), path))
    return results


def test_odd_tiff_files(tmp_path, tally):
    """TIFF files of 16 bits: in planes, counted from white, compressed, and signed ones of 8 bits."""
    chunky = [{}, {"compression": "zlib", "predictor": 2}, {"byteorder": ">"}, {"tile": (16, 16)}]
    for options in chunky:
        tifffile.imwrite(tmp_path / "good.tif", DEEP, photometric="rgb", **options)
        kept, eight, read = attempt(tally, tmp_path / "good.tif")
        np.testing.assert_array_equal(kept, DEEP)
        np.testing.assert_array_equal(eight, read)
        np.testing.assert_allclose(eight, DEEP / 257, atol=1)
    assert tally.refused == 0
    for options in ({}, {"compression": "zlib"}, {"tile": (16, 16)}):
        tifffile.imwrite(tmp_path / "planes.tif", PLANES, photometric="rgb", planarconfig="separate", **options)
        assert attempt(tally, tmp_path / "planes.tif") == [None] * 3
    for options in ({}, {"compression": "zlib"}, {"byteorder": ">"}):
        tifffile.imwrite(tmp_path / "white.tif", DEEP[..., 0], photometric="miniswhite", **options)
        assert attempt(tally, tmp_path / "white.tif") == [None] * 3
    tifffile.imwrite(tmp_path / "signed.tif", DEEP[..., 0].astype("int8"))
    assert attempt(tally, tmp_path / "signed.tif") == [None] * 3


def test_8_bits_in_planes_and_counted_from_white_are_read(tmp_path, tally):
    """TIFF files of 8 bits in planes, and counted from white."""
    shallow = (PLANES >> 8).astype("uint8")
    tifffile.imwrite(tmp_path / "planes.tif", shallow, photometric="rgb", planarconfig="separate")
    for result in attempt(tally, tmp_path / "planes.tif"):
        np.testing.assert_array_equal(result, shallow.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "white.tif", shallow[0], photometric="miniswhite")
    for result in attempt(tally, tmp_path / "white.tif"):
        np.testing.assert_array_equal(result if result.ndim == 2 else result[..., 0], 255 - shallow[0])


def test_deep_cmyk_comes_out_as_that_of_8_bits(tmp_path):
    ink = np.dstack([DEEP, DEEP[..., 0] // 4])
    tifffile.imwrite(tmp_path / "deep.tif", ink, photometric="separated")
    tifffile.imwrite(tmp_path / "plain.tif", (ink >> 8).astype("uint8"), photometric="separated")
    results = []
    for name in ("deep", "plain"):
        enhance_file(tmp_path / f"{name}.tif", tmp_path / f"{name}.png", same)
        results.append(np.asarray(Image.open(tmp_path / f"{name}.png")))
    np.testing.assert_array_equal(*results)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_and_devices(tmp_path, write, tally, capsys):
    """Named pipes, devices and links to them in place of pictures: refused, not waited for."""
    (tmp_path / "low").mkdir()
    os.mkfifo(tmp_path / "low" / "1.png")
    write("high/1.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "low" / "1.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "frame.dng")
    for name in ("low/1.png", "link.png", "null.png", "frame.dng"):
        assert attempt(tally, tmp_path / name) == [None] * 3
    tally.attempt(lambda: data.find_pairs(tmp_path / "low", tmp_path / "high"), tmp_path / "low" / "1.png")
    tally.attempt(lambda: data.load_images(tmp_path / "link.png"), tmp_path / "link.png")
    assert tally.survived == 0
    assert main(["compare", str(tmp_path / "link.png"), "-o", str(tmp_path / "sheet.png")]) == 1
    assert capsys.readouterr().err.endswith("link.png: not a regular file\n")


def test_inputs_that_cannot_be_reached_cost_no_other(tmp_path, write):
    circle, beyond = tmp_path / "circle.png", tmp_path / "circle.png" / "a.png"
    circle.symlink_to(circle)
    long, strange = tmp_path / f"{'n' * 300}.png", tmp_path / "a\0b.png"
    sources = [circle, beyond, long, strange, write("good.png"), tmp_path / "missing.png"]
    report = enhance_files(sources, tmp_path / "out", same)
    assert [path.name for path in report.written] == ["good.png"]
    assert {path.name: reason for path, reason in report.failed} == {
        "circle.png": "Too many levels of symbolic links", "a.png": "Too many levels of symbolic links",
        long.name: "File name too long", "a\0b.png": "embedded null byte", "missing.png": "No such file or directory",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "x", [1]])
def test_limits_that_are_none(tmp_path, write, limit):
    path = write("low/1.png")
    write("high/1.png")
    for action in (
        lambda: enhance(path, same, max_megapixels=limit),
        lambda: enhance_file(path, tmp_path / "out.png", same, max_megapixels=limit),
        lambda: enhance_files([path], tmp_path / "out", same, max_megapixels=limit),
        lambda: data.read_image(path, limit),
        lambda: data.find_pairs(tmp_path / "low", tmp_path / "high", limit),
    ):
        with pytest.raises(ValueError) as caught:
            action()
        assert str(caught.value) == f"max_megapixels must be a positive number, got {limit!r}"


def test_the_limit_of_what_is_read_for_training(tmp_path, write):
    path = write("low/1.png")  # 192 pixels
    write("high/1.png")
    for limit in (0.0001, 0.00009):
        with pytest.raises(ValueError, match=r"1.png: .*exceeds limit"):
            data.read_image(path, limit * 0.9)
        with pytest.raises(ValueError, match=r"1.png: .*exceeds limit"):
            data.find_pairs(tmp_path / "low", tmp_path / "high", limit * 0.9)
    assert data.read_image(path, 0.0002).shape == (12, 16, 3)
    assert len(data.find_pairs(tmp_path / "low", tmp_path / "high", 0.0002)) == 1


def test_pairs_that_could_not_be_read_later_are_refused_at_once(tmp_path, write):
    write("high/1.png")
    for content in (DEEP[:12, :16, 0].astype("float32"), DEEP[:12, :16, 0].astype("int8")):
        (tmp_path / "low").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "low" / "1.tif", content)
        with pytest.raises(ValueError, match="1.tif: .*no known white"):
            data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_sizes_that_no_picture_has(write):
    path = write("1.png")
    for size in ((0, 4), (4, -1), 4, (4,), (4, 5, 6), (4.0, 5.0), "ab", ()):
        with pytest.raises(ValueError, match="size must be .height, width."):
            data.load_images([path], size)
        with pytest.raises(ValueError, match="size must be .height, width."):
            data.dataset([path], 1, size)
    assert data.load_images(str(path), (4, 5)).shape == (1, 4, 5, 3)
