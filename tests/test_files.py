import os
import struct
import subprocess
import sys
import threading
import types
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from lle import files, writing
from lle.enhance import enhance
from lle.files import enhance_file, enhance_files
from lle.pictures import check_pixels, open_within

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKER, ORIENTATION = 0x010F, 0x0112
ARTIST = 0x013B


def picture(height=12, width=16, dtype="uint8", channels=(3,), seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, *channels), dtype)


def same(batch):
    return batch


def exif(orientation=1):
    data = Image.Exif()
    data[ORIENTATION], data[MAKER] = orientation, "Maker"
    data.get_ifd(0x8769)[0x829A] = 0.5  # exposure time
    return data


@pytest.fixture
def folder(tmp_path):
    """in/2.png, in/10.png and in/sub/1.png"""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for seed, name in enumerate(("2.png", "10.png", "sub/1.png")):
        Image.fromarray(picture(seed=seed)).save(tmp_path / "in" / name)
    return tmp_path


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read(path):
    return np.asarray(Image.open(path))


# one file


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".TIFF"])
def test_formats_and_metadata(tmp_path, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / "deeper" / f"b{suffix}"
    image = Image.new("RGB", (24, 16), (90, 60, 30))
    image.save(source, exif=exif(6).tobytes(), icc_profile=PROFILE, dpi=(300, 300))
    enhance_file(source, target, same)
    with Image.open(target) as output, Image.open(source) as original:
        assert output.format == original.format
        output.load()
        if suffix != ".bmp":
            assert output.size == (16, 24) and output.getexif().get(ORIENTATION, 1) == 1
            assert output.getexif()[MAKER] == "Maker" and output.getexif().get_ifd(0x8769)[0x829A] == 0.5
            assert output.info["icc_profile"] == PROFILE
        if suffix not in (".webp", ".bmp"):
            assert round(output.info["dpi"][0]) == 300
        np.testing.assert_allclose(np.asarray(output)[8, 8], (90, 60, 30), atol=3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_16_bits_stay(tmp_path, suffix, channels):
    source, target, array = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", picture(dtype="uint16", channels=channels)
    metadata = {"icc_profile": PROFILE, "dpi": (300, 300), "exif": exif().tobytes()}
    writing.write_picture(source, "PNG" if suffix == ".png" else "TIFF", array, metadata)
    enhance_file(source, target, lambda batch: batch / 2)
    output = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    output = output if not channels else output[..., [2, 1, 0, 3][: channels[0]]]
    np.testing.assert_array_equal(output, enhance(array, lambda batch: batch / 2))
    with Image.open(target) as image:
        assert image.getexif()[MAKER] == "Maker"
        assert image.info["icc_profile"] == PROFILE and round(image.info["dpi"][0]) == 300


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_turned_as_pillow_turns_8(tmp_path, orientation, suffix):
    array = picture(dtype="uint16")
    if suffix == ".png":
        writing.write_picture(tmp_path / "a.png", "PNG", array, {"exif": exif(orientation).tobytes()})
    else:
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    enhance_file(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", same)
    Image.fromarray((array >> 8).astype("uint8")).save(tmp_path / "c.png", exif=exif(orientation))
    expected = np.asarray(enhance(tmp_path / "c.png", same))
    output = cv2.imread(str(tmp_path / f"b{suffix}"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(output[..., ::-1] >> 8, expected)
    assert Image.open(tmp_path / f"b{suffix}").getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("source, target", [("a.jpg", "b.jpg"), ("a.tif", "b.jpg"), ("a.png", "b.tif")])
def test_texts_in_the_exif_data_stay_as_they_are_beyond_ascii(tmp_path, source, target):
    data = exif(6)
    data[ARTIST] = "José".encode()
    if source == "a.tif":  # which Pillow would not write so
        tags = [(ORIENTATION, "H", 1, 6, True), (ARTIST, "s", 0, data[ARTIST], True)]
        tifffile.imwrite(tmp_path / source, picture(), photometric="rgb", extratags=tags)
    elif source == "a.png":
        writing.write_picture(tmp_path / source, "PNG", picture(dtype="uint16"), {"exif": data.tobytes()})
    else:
        Image.fromarray(picture()).save(tmp_path / source, exif=data.tobytes())
    enhance_file(tmp_path / source, tmp_path / target, same)
    with Image.open(tmp_path / target) as output:
        assert output.getexif()[ARTIST].encode("latin-1") == "José".encode()
        assert output.getexif().get(ORIENTATION, 1) == 1


def test_metadata_that_a_jpeg_file_has_no_room_for_are_left_out(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.webp", xmp=b"x" * 70_000, exif=exif().tobytes(), lossless=True)
    enhance_file(tmp_path / "a.webp", tmp_path / "b.jpg", same)
    with Image.open(tmp_path / "b.jpg") as output:
        assert output.getexif()[MAKER] == "Maker" and "xmp" not in output.info


def test_broken_exif_costs_the_exif_alone(tmp_path):
    entries = struct.pack("<HHI4s", 0x0100, 2, 4, b"abc") + struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0)
    content = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)  # a width that is a text
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=content)
    enhance_file(tmp_path / "a.png", tmp_path / "b.png", same)
    assert read(tmp_path / "b.png").shape == (16, 12, 3) == np.asarray(enhance(tmp_path / "a.png", same)).shape


def test_16_bits_into_a_format_of_8(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5, 3), 32768, "uint16"))
    enhance_file(tmp_path / "a.png", tmp_path / "b.webp", same)
    assert read(tmp_path / "b.webp").mean() == pytest.approx(128, abs=1)


def test_a_failed_picture_leaves_nothing(folder):
    Image.new("RGBA", (4, 4)).save(folder / "a.png")
    for target in ("a.jpg", "a.xyz"):  # no alpha in JPEG, no such format
        with pytest.raises((OSError, ValueError)):
            enhance_file(folder / "a.png", folder / "out" / target, same)
    assert not (folder / "out").exists() or names(folder / "out") == []


# many files


def test_folders_are_mirrored_and_done_once(folder, capsys):
    report = enhance_files([folder / "in"], folder / "out", same)
    assert names(folder / "out") == ["10.png", "2.png", "sub/1.png"]
    assert (len(report.written), report.skipped, report.failed) == (3, [], [])
    np.testing.assert_array_equal(read(folder / "out" / "sub" / "1.png"), read(folder / "in" / "sub" / "1.png"))
    assert "3/3" in capsys.readouterr().err


def test_nothing_is_overwritten_unless_asked(folder):
    (folder / "out").mkdir()
    (folder / "out" / "2.png").write_text("mine")
    report = enhance_files([folder / "in"], folder / "out", same)
    assert (len(report.written), report.skipped) == (2, [folder / "out" / "2.png"])
    assert (folder / "out" / "2.png").read_text() == "mine"
    report = enhance_files([folder / "in"], folder / "out", same, overwrite=True)
    assert len(report.written) == 3 and read(folder / "out" / "2.png").shape == (12, 16, 3)


def test_nothing_to_do_loads_no_network(folder, monkeypatch):
    enhance_files([folder / "in"], folder / "out", same)
    monkeypatch.setattr(files, "load", lambda *named: pytest.fail("loaded"))
    assert len(enhance_files([folder / "in"], folder / "out", "zero_dce").skipped) == 3
    with pytest.raises(ValueError, match="no network is called 'zork'"):
        enhance_files([folder / "in"], folder / "out", "zork")


def test_the_reason_of_what_is_missing(folder):
    report = enhance_files([folder / "nowhere"], folder / "out", same)
    assert report.failed == [(folder / "nowhere", "No such file or directory")]


def test_any_format_that_pillow_writes_is_a_name(folder):
    assert enhance_files([folder / "in" / "2.png"], folder / "a.gif", same).written == [folder / "a.gif"]
    assert (folder / "a.gif").is_file()


def test_no_profile_or_resolution_that_does_not_fit(tmp_path):
    Image.new("LAB", (16, 12), (90, 3, 5)).save(tmp_path / "lab.tif", icc_profile=PROFILE)
    enhance_file(tmp_path / "lab.tif", tmp_path / "out.tif", same)
    with Image.open(tmp_path / "out.tif") as output:
        assert output.mode == "RGB" and "icc_profile" not in output.info
        assert not {282, 283} & set(output.tag_v2)
    assert "icc_profile" not in enhance(tmp_path / "lab.tif", same).info


def test_exif_of_a_tiff_file_from_python(tmp_path):
    Image.new("RGB", (16, 12), (90, 60, 30)).save(tmp_path / "a.tif", exif=exif(6).tobytes())
    result = enhance(tmp_path / "a.tif", same)
    assert result.size == (12, 16)
    result.save(tmp_path / "b.jpg", exif=result.info["exif"])
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.getexif()[MAKER] == "Maker" and ORIENTATION not in saved.getexif()
        assert saved.getexif().get_ifd(0x8769)[0x829A] == 0.5


def test_a_bad_file_does_not_stop_the_others(folder, capsys):
    (folder / "in" / "1.png").write_bytes((folder / "in" / "2.png").read_bytes()[:200])
    report = enhance_files([folder / "in", folder / "missing.jpg"], folder / "out", same)
    assert len(report.written) == 3
    assert [path.name for path, _ in report.failed] == ["1.png", "missing.jpg"]
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "in/1.png" in line]
    assert len(lines) == 1 and "does not decode" in lines[0]
    assert report.failed[1][1] == "No such file or directory"


def test_a_decompression_bomb_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    report = enhance_files([folder / "in" / "2.png"], folder / "out", same)
    assert "exceeds limit" in report.failed[0][1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 192 pixels: more than this, less than twice as many
    assert enhance_files([folder / "in" / "2.png"], folder / "out", same).written


def test_a_limit_of_one_thread_is_not_met_by_another(folder):
    stop, errors = threading.Event(), []

    def with_a_limit():
        while not stop.is_set():
            with suppress(Exception):
                open_within(folder / "in/2.png", 1e-5)

    thread = threading.Thread(target=with_a_limit)
    thread.start()
    try:
        for _ in range(200):
            try:
                open_within(folder / "in/2.png").close()
            except Image.DecompressionBombError as error:
                errors.append(error)
    finally:
        stop.set()
        thread.join()
    assert not errors


def test_pillow_without_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    check_pixels((10**6, 10**6))
    with pytest.raises(ValueError, match="exceed the limit of 1 megapixels"):
        check_pixels((2000, 2000), 1)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".jpg"])
def test_transparency_is_not_lost_in_silence(tmp_path, suffix):
    source = tmp_path / "clear.png"
    Image.fromarray(picture(channels=(4,))).save(source)
    with pytest.raises(ValueError, match="keeps no transparency, which this has: choose .png"):
        enhance_file(source, tmp_path / f"out{suffix}", same)
    assert names(tmp_path) == ["clear.png"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_broken_resolution_costs_the_resolution_alone(tmp_path, suffix):
    pixels, path = picture(dtype="uint16"), tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(72, 72), resolutionunit="INCH")
    with tifffile.TiffFile(path) as file:
        places = [file.pages[0].tags[name].valueoffset for name in ("XResolution", "YResolution")]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 8] = bytes(8)  # 0 / 0
    path.write_bytes(content)
    assert np.isnan(float(Image.open(path).info["dpi"][0]))
    enhance_file(path, tmp_path / f"b{suffix}", same)
    assert read(tmp_path / f"b{suffix}").shape == pixels.shape


def test_a_ratio_of_0_is_no_ratio_left_out(folder):
    with pytest.raises(ValueError, match="a ratio amplifies camera raw, of which there is none"):
        enhance_files([folder / "in"], folder / "out", same, ratio=0)


def test_single_pictures(folder):
    enhance_files([folder / "in" / "2.png"], folder / "bright.jpg", same)
    assert Image.open(folder / "bright.jpg").format == "JPEG"
    enhance_files([folder / "in" / "2.png"], folder / "out", same)
    assert names(folder / "out") == ["2.png"]


def test_the_output_folder_is_never_an_input(folder):
    out = folder / "in" / "out"
    for count in (3, 0):
        assert len(enhance_files([folder / "in"], out, same).written) == count
    assert names(out) == ["10.png", "2.png", "sub/1.png"]
    assert len(enhance_files([folder / "in" / "sub"], folder / "in", same).written) == 1  # out above the pictures


@pytest.mark.parametrize(
    "sources, out, message",
    [
        (["in"], "in", "would be replaced"),
        (["in/2.png"], "in", "would be replaced"),
        (["in/2.png", "two/2.png"], "out", "would both become"),
        (["empty"], "out", "no picture in this folder"),
    ],
)
def test_refused_before_anything_is_written(folder, monkeypatch, sources, out, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        enhance_files(sources, out, same, overwrite=True)
    assert names(folder) == ["in/10.png", "in/2.png", "in/sub/1.png"]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_lone_path_is_one_source(folder, kind):
    assert enhance_files(kind(folder / "in" / "2.png"), folder / "out", same).written == [folder / "out" / "2.png"]
    assert len(enhance_files(kind(folder / "in"), folder / "all", same).written) == 3


def test_a_picture_named_twice_is_done_once(folder):
    assert len(enhance_files([folder / "in" / "2.png", folder / "in"], folder / "out", same).written) == 3


def test_hidden_files_are_left_alone(folder):
    (folder / "in" / "._2.png").write_bytes(b"what macOS leaves on foreign disks")
    assert not enhance_files([folder / "in"], folder / "out", same).failed


def test_ctrl_c_leaves_whole_files_only(folder, monkeypatch):
    count = []

    def interrupted(path, *args):
        count.append(path)
        path.write_bytes(b"half a picture")
        if len(count) == 2:
            raise KeyboardInterrupt
        return write(path, *args)

    write = files.write_picture
    monkeypatch.setattr(files, "write_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enhance_files([folder / "in"], folder / "out", same)
    assert names(folder / "out") == ["10.png"]
    assert len(enhance_files([folder / "in"], folder / "out", same).written) == 2


def test_a_killed_run_goes_on_where_it_stopped(folder):
    code = (
        "import os, signal, sys; from lle import files; replace, count = os.replace, []\n"
        "def kill_second(*paths):\n"
        "    count.append(paths)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if len(count) == 2 else replace(*paths)\n"
        "os.replace = kill_second\n"
        "files.enhance_files([sys.argv[1]], sys.argv[2], lambda batch: batch)"
    )
    subprocess.run([sys.executable, "-c", code, folder / "in", folder / "out"], capture_output=True, env={**os.environ})
    left, done = names(folder / "out")
    assert left.startswith(".2.png.") and left.endswith(".part") and done == "10.png"
    report = enhance_files([folder / "in"], folder / "out", same)
    assert (len(report.written), len(report.skipped)) == (2, 1)
    assert names(folder / "out") == ["10.png", "2.png", "sub/1.png"]


# what students do at midnight


def test_what_a_folder_leaves_out_is_said(folder, capsys):
    for name in ("in/a.gif", "in/b.GIF", "in/photo.arw", "in/notes.txt"):
        (folder / name).write_bytes(b"anything")
    report = enhance_files(folder / "in", folder / "out", same)
    assert len(report.written) == 3 and not report.failed
    assert "3 left out (.arw, .gif): name them, or give a ratio for camera raw\n" in capsys.readouterr().err
    enhance_files(folder / "in" / "sub", folder / "sub", same)
    assert "left out" not in capsys.readouterr().err


def test_a_misspelt_suffix_is_no_folder(folder):
    for name in ("bright.jpgg", "bright.heic"):
        with pytest.raises(ValueError, match=f"{name}: no format that Pillow writes"):
            enhance_files(folder / "in" / "2.png", folder / name, same)
        assert not (folder / name).exists()
        enhance_files(folder / "in" / "2.png", f"{folder / name}/", same)
        enhance_files(folder / "in" / "10.png", folder / name, same)  # now there is such a folder
        assert names(folder / name) == ["10.png", "2.png"]
    assert enhance_files(folder / "in" / "2.png", folder / "2026.11", same).written == [folder / "2026.11" / "2.png"]


def test_no_file_replaces_itself(folder):
    source = folder / "in" / "2.png"
    before = source.read_bytes()
    (folder / "link.png").symlink_to(source)
    for target in (source, folder / "link.png", f"{folder}/in/../in/2.png"):
        with pytest.raises(ValueError, match="is the picture to enhance and would be replaced"):
            enhance_file(source, target, lambda batch: 1 - batch)
    assert source.read_bytes() == before


def test_a_ratio_is_for_camera_raw(folder):
    with pytest.raises(ValueError, match="a ratio amplifies camera raw, which this is not"):
        enhance_file(folder / "in" / "2.png", folder / "out.png", same, ratio=100)
    assert not (folder / "out.png").exists()


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, monkeypatch):
    """A stand-in for pillow-heif, which makes Pillow take files of that name for PNG."""
    Image.fromarray(picture()).save(tmp_path / "phone.heic", "PNG")
    registered = []
    stand_in = types.SimpleNamespace(register_heif_opener=lambda: registered.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    report = enhance_files(tmp_path / "phone.heic", tmp_path / "out", same)
    assert registered and not report.failed
    assert report.written == [tmp_path / "out" / "phone.heic.jpg"]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".gif"])
def test_of_several_pictures_the_first_is_taken_which_is_said(tmp_path, suffix, capsys):
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    source, target = tmp_path / f"many{suffix}", tmp_path / "out.png"
    frames[0].save(source, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == ".webp" else {}))
    enhance_file(source, target, same)
    assert capsys.readouterr().err == f"{source}: the first of 3 pictures in this file\n"
    if suffix != ".gif":  # which has a palette
        assert (np.asarray(Image.open(target)) == picture()).all()
    frames[0].save(source)
    enhance_file(source, target, same)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_thumbnail_of_the_dark_picture_goes(tmp_path, orientation):
    data, memory = exif(), BytesIO()
    if orientation is None:
        del data[ORIENTATION]
    else:
        data[ORIENTATION] = orientation
    Image.fromarray(picture(4, 4)).save(memory, "JPEG")
    small = memory.getvalue()
    body = bytearray(data.tobytes().removeprefix(b"Exif\0\0"))
    order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
    (start,) = struct.unpack(order + "I", body[4:8])
    (count,) = struct.unpack(order + "H", body[start : start + 2])
    link = start + 2 + 12 * count  # to a second folder
    body[link : link + 4] = struct.pack(order + "I", len(body))
    tags = [(0x0201, 4, 1, len(body) + 2 + 2 * 12 + 4), (0x0202, 4, 1, len(small))]
    body += struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + bytes(4) + small
    Image.fromarray(picture()).save(tmp_path / "in.jpg", exif=b"Exif\0\0" + bytes(body))
    assert Image.open(tmp_path / "in.jpg").getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(small)
    enhance_file(tmp_path / "in.jpg", tmp_path / "out.jpg", same)
    kept = Image.open(tmp_path / "out.jpg").getexif()
    assert not kept.get_ifd(ExifTags.IFD.IFD1) and kept[MAKER] == "Maker" and kept.get_ifd(0x8769)[0x829A] == 0.5
    assert small not in (tmp_path / "out.jpg").read_bytes()


@pytest.mark.parametrize("sources, out", [("", "out"), (["a.png", ""], "out"), ("a.png", "")])
def test_an_empty_path_is_not_the_current_folder(folder, monkeypatch, sources, out):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="empty path"):
        enhance_files(sources, out, same)


def test_what_takes_folders_is_named_where_one_is_given_for_a_picture(folder):
    with pytest.raises(IsADirectoryError, match="lle.files.enhance_files takes folders"):
        enhance(folder, same)


def test_a_backend_that_is_missing_is_no_fault_of_the_picture(folder, monkeypatch):
    def missing(*arguments):
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(files, "load", missing)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        enhance_files(folder, folder / "out")
