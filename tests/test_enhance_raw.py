"""From a camera raw file to a picture file."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from write_dng import noise, write_dng

from lle import data, raw
from lle.__main__ import main
from lle.degrade import raw_pair
from lle.enhance import enhance, run
from lle.files import enhance_file, enhance_files, enhance_raw
from lle.models import sid_unet


class Doubled:
    """In place of a network: the red, first green and blue plane at twice the size."""

    card = {"stride": 4, "halo": 4, "channels": 4, "scale": 2}

    def predict_on_batch(self, batch):
        return batch[..., :3].repeat(2, 1).repeat(2, 2)


def test_the_picture_is_amplified_and_upright(tmp_path):
    upright = write_dng(tmp_path / "a.dng", noise(24, 36))
    frame = raw.read_raw(upright)
    expected = np.rint(np.minimum(frame[..., :3] * np.float32(1.5), 1) * 65535).repeat(2, 0).repeat(2, 1)
    picture = enhance_raw(upright, Doubled(), 1.5)
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(picture, expected)
    for orientation, turns in ((3, 2), (6, 3), (8, 1)):
        path = write_dng(tmp_path / f"{orientation}.dng", noise(24, 36), tags=[(274, "H", 1, orientation, True)])
        np.testing.assert_array_equal(enhance_raw(path, Doubled(), 1.5), np.rot90(expected, turns))


def test_tiles_of_a_raw_network_show_no_seam():
    model = sid_unet(2, 2)
    frame = np.random.default_rng(0).random((75, 90, 4), dtype="float32")
    whole = run(model, frame, tile=1000)
    assert whole.shape == (150, 180, 3)
    np.testing.assert_allclose(run(model, frame, tile=40), whole, atol=1e-5)


def test_a_tile_smaller_than_the_stride():
    frame = np.random.default_rng(0).random((9, 14, 4), dtype="float32")
    np.testing.assert_array_equal(run(Doubled(), frame, tile=1), run(Doubled(), frame))


@pytest.mark.parametrize("ratio", [20, 100, 300])
def test_the_estimated_ratio(ratio):
    photograph = np.random.default_rng(0).integers(40, 200, (64, 64, 3), dtype="uint8")
    frame, _ = raw_pair(photograph, ratio, seed=0)
    assert ratio / 2 < raw.estimate_ratio(frame) <= min(2 * ratio, 300)
    deep = np.rint(frame * 65535).astype("uint16")
    assert raw.estimate_ratio(deep) == pytest.approx(raw.estimate_ratio(frame), rel=0.02)


def test_limits_of_the_estimate():
    assert raw.estimate_ratio(np.zeros((2, 2, 4))) == 300
    assert raw.estimate_ratio(np.ones((2, 2, 4))) == 1


def test_files_and_folders(tmp_path):
    write_dng(tmp_path / "in" / "photo.DNG", noise())
    Image.fromarray(np.full((12, 16, 3), 9, "uint8")).save(tmp_path / "in" / "photo.jpg")
    enhance_file(tmp_path / "in" / "photo.DNG", tmp_path / "photo.png", Doubled(), 2)
    assert ";16" in str(Image.open(tmp_path / "photo.png").tile)

    with_ratio = enhance_files([tmp_path / "in"], tmp_path / "both", Doubled(), ratio=2)
    assert [path.name for path in with_ratio.written] == ["photo.DNG.jpg"]
    assert "takes camera raw" in with_ratio.failed[0][1]  # the JPEG file
    assert Image.open(tmp_path / "both" / "photo.DNG.jpg").size == (32, 24)
    without = enhance_files([tmp_path / "in"], tmp_path / "pictures", lambda batch: batch)
    assert [path.name for path in without.written] == ["photo.jpg"]
    named = enhance_files([tmp_path / "in" / "photo.DNG"], tmp_path / "one.tif", Doubled())
    assert [path.name for path in named.written] == ["one.tif"]


def test_a_ratio_and_no_camera_raw_or_the_reverse(tmp_path):
    Image.fromarray(np.full((12, 16, 3), 9, "uint8")).save(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match="a ratio amplifies camera raw, of which there is none here"):
        enhance_files(tmp_path / "photo.jpg", tmp_path / "out", lambda batch: batch, ratio=2)
    write_dng(tmp_path / "in" / "photo.DNG", noise())
    with pytest.raises(ValueError, match="no picture in this folder but camera raw, which needs a ratio, such as auto"):
        enhance_files(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_of_one_s_own(tmp_path, capsys):
    sid_unet(2, 2).save(tmp_path / "mine.keras")
    write_dng(tmp_path / "photo.dng", noise())
    arguments = ["enhance", str(tmp_path / "photo.dng"), "-o", str(tmp_path / "photo.png"), "--ratio", "auto"]
    assert main([*arguments, "--model", str(tmp_path / "mine.keras")]) == 0
    assert Image.open(tmp_path / "photo.png").size == (32, 24)
    assert main([*arguments, "--force", "--model", "dawn"]) == 1
    assert "camera raw needs a network on packed frames (--model)" in capsys.readouterr().err


def test_photographs_and_camera_raw_each_get_their_network(tmp_path):
    write_dng(tmp_path / "in" / "a.dng", noise())
    Image.fromarray(np.full((12, 16, 3), 9, "uint8")).save(tmp_path / "in" / "b.png")
    assert main(["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--ratio", "2"]) == 0
    shipped = enhance_raw(tmp_path / "in" / "a.dng", "sid_unet", 2)
    assert Image.open(tmp_path / "out" / "a.dng.jpg").size == shipped.shape[1::-1] == (32, 24)
    expected = np.asarray(enhance(Image.open(tmp_path / "in" / "b.png"), "dawn"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), expected)


def test_the_frame_is_brought_to_the_white_balance_that_the_network_knows(tmp_path):
    path = write_dng(tmp_path / "a.dng", noise())  # whose camera wants red twice and blue 1.5 times
    assert raw.white_balance(path) == pytest.approx((2, 1.5))
    plain = raw.read_raw(path)[..., :3]
    network = Doubled()
    network.card = {**Doubled.card, "white_balance": (4, 0.5)}
    expected = np.rint(np.minimum(plain * np.float32([0.5, 1, 3]), 1) * 65535).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(enhance_raw(path, network, 1), expected, atol=1)


def test_a_frame_that_is_too_large(tmp_path, capsys):
    path = write_dng(tmp_path / "a.dng", noise(100, 120))
    with pytest.raises(ValueError, match=r"a.dng: 120 x 100 pixels exceed the limit of 0.01 megapixels"):
        enhance_raw(path, Doubled(), 1, max_megapixels=0.01)
    assert enhance_raw(path, Doubled(), 1, max_megapixels=0.012).shape == (100, 120, 3)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of the memory is read as Linux tells it")
def test_24_megapixels_fit_into_4_gib(tmp_path):
    write_dng(tmp_path / "a.dng", noise(4000, 6000))
    code = """if True:
        import sys
        from lle.__main__ import main
        from lle.machine import peak_memory
        assert main(["enhance", sys.argv[1], "-o", sys.argv[2], "--ratio", "auto"]) == 0
        print(peak_memory())"""
    run = [sys.executable, "-c", code, str(tmp_path / "a.dng"), str(tmp_path / "a.png")]
    peak = float(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()[-1])
    assert Image.open(tmp_path / "a.png").size == (6000, 4000) and peak < 4096


def test_what_does_not_fit_is_refused(tmp_path):
    path = write_dng(tmp_path / "a.dng", noise())
    for ratio in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="ratio must be"):
            enhance_raw(path, Doubled(), ratio)
    with pytest.raises(ValueError, match="takes pictures"):
        enhance_raw(path, "zero_dce")
    with pytest.raises(ValueError, match="camera raw"):
        enhance(np.zeros((8, 8, 3), "uint8"), sid_unet(2, 2))
    for suffix in (".dng", ".NEF"):  # which begins with a small preview that Pillow would decode
        path = tmp_path / f"preview{suffix}"
        with tifffile.TiffWriter(path) as file:
            file.write(np.zeros((120, 160, 3), "uint8"), subifds=1)
            file.write(noise())
        for read in (enhance, data.read_image):
            with pytest.raises(ValueError, match="camera raw, no picture yet: develop it by `python -m lle enhance`"):
                read(path)
