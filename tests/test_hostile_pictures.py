"""Pictures of every kind and in every state: enhanced, or refused in one line, and nothing half-written."""

import ctypes
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from lle import files
from lle.__main__ import main
from lle.enhance import enhance
from lle.files import enhance_file, enhance_files

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, of broken files
NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), "uint8")
DAC_OVERRIDE, DAC_READ_SEARCH = 1 << 1, 1 << 2  # capabilities
SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tif", ".gif", ".jp2")
NAMES = (
    "a b.png", "  .png", "\u00fcml\u00e4ut \u732b \U0001f431.png", "line\nbreak.png", "tab\t.png", "re\rturn.png",
    "-o.png", "'\"$(x)`.png", "100 %s {0}.png", "n" * 251 + ".png", os.fsdecode(b"\xff\xfe.png"), "\x1b[31m.png",
)  # fmt: skip


def same(batch):
    return batch


def saved(path, picture=NOISE, **options):
    """Write a picture, an array or of Pillow, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(path, **options)
    return path


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


def attempt(tally, source, out):
    """Enhance a file into the folder `out`: the pixels of what came out, or `None`. Nothing else may be left there."""
    target = out / "out.png"
    tally.attempt(lambda: enhance_file(source, target, same), source)
    if not target.exists():
        assert not out.exists() or left_in(out) == []
        return None
    assert left_in(out) == ["out.png"]
    pixels = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    target.unlink()
    return pixels


def test_what_is_no_picture(tmp_path, tally):
    """Empty files, text and noise, named as pictures of seven formats."""
    for suffix in SUFFIXES:
        for content in (b"", b"a text, renamed\n" * 9, NOISE.tobytes(), b"\0" * 999):
            source = tmp_path / f"in{suffix}"
            source.write_bytes(content)
            assert attempt(tally, source, tmp_path / "out") is None


def test_cut_off(tmp_path, tally):
    """Pictures in ten formats, cut off at every tenth byte."""
    sources = [saved(tmp_path / f"a{suffix}") for suffix in SUFFIXES]
    sources.append(saved(tmp_path / "lzw.tif", compression="tiff_lzw"))
    for name in ("deep.png", "deep.tif"):
        cv2.imwrite(str(tmp_path / name), NOISE.astype("uint16") * 257)
        sources.append(tmp_path / name)
    for source in sources:
        content = source.read_bytes()
        whole = attempt(tally, source, tmp_path / "out")
        assert whole is not None
        for length in range(10, len(content), 10):
            source.write_bytes(content[:length])
            pixels = attempt(tally, source, tmp_path / "out")
            if pixels is not None:  # what follows the last pixel may be missing, but no pixel
                np.testing.assert_array_equal(pixels, whole, f"{source.name} of {length} bytes")


def test_wrong_suffix(tmp_path, tally):
    """Pictures in seven formats under the suffix of another."""
    for made in SUFFIXES:
        source = saved(tmp_path / f"a{made}")
        whole = attempt(tally, source, tmp_path / "out")
        for suffix in {*SUFFIXES, ".heic"} - {made}:
            renamed = source.rename(tmp_path / f"b{suffix}")
            np.testing.assert_array_equal(attempt(tally, renamed, tmp_path / "out"), whole)
            source = renamed.rename(source)


def test_sizes_and_modes(tmp_path, tally):
    """Sizes from 1x1 to 1x4000, grey, palette, CMYK, alpha, 16 bit, turned, animated."""
    image, sources = Image.fromarray(NOISE), []
    for size in ((1, 1), (1, 4000), (4000, 1), (16, 12)):
        sources += [(saved(tmp_path / f"{size}{suffix}", image.resize(size)), size) for suffix in (".png", ".jpg")]
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"):
        sources.append((saved(tmp_path / f"{mode}.tif", image.convert(mode)), image.size))
    sources.append((saved(tmp_path / "cmyk.jpg", image.convert("CMYK")), image.size))
    sources.append((saved(tmp_path / "grey.png", Image.fromarray(NOISE[..., 0].astype("uint16") * 257)), image.size))
    cv2.imwrite(str(tmp_path / "deep.png"), NOISE.astype("uint16") * 257)
    sources.append((tmp_path / "deep.png", image.size))
    for orientation in range(10):  # of which 0 and 9 mean nothing
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = image.size[::-1] if 5 <= orientation <= 8 else image.size
        sources.append((saved(tmp_path / f"turned{orientation}.jpg", exif=exif), size))
    for suffix in (".gif", ".png", ".webp", ".tif"):
        frames = [image, image.rotate(180)]
        sources.append((saved(tmp_path / f"film{suffix}", image, save_all=True, append_images=frames), image.size))
    for source, (width, height) in sources:
        assert attempt(tally, source, tmp_path / "out").shape[:2] == (height, width), source


def test_what_cannot_be_shown(tmp_path, tally):
    """HEIC without a decoder, samples of 32 bit, broken profiles, transparency into JPEG, unknown formats."""
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + NOISE.tobytes())
    sources = [tmp_path / "phone.heic", saved(tmp_path / "I.tif", Image.new("I", (3, 2)))]
    for name, value in (("half", 0.5), ("nan", np.nan), ("inf", np.inf)):
        sources.append(saved(tmp_path / f"{name}.tif", np.full((2, 3), value, "float32")))
    sources.append(saved(tmp_path / "profile.tif", Image.new("CMYK", (3, 2)), icc_profile=b"no profile"))
    for source in sources:
        assert attempt(tally, source, tmp_path / "out") is None
    clear = saved(tmp_path / "clear.png", Image.new("RGBA", (4, 4)))
    for target in ("a.jpg", "a.xyz", "a"):
        tally.attempt(lambda target=target: enhance_file(clear, tmp_path / "out" / target, same), target)
    assert tally.survived == 0 and not (tmp_path / "out").exists()


def test_not_numbers(tally):
    """Float arrays with a value that is NaN, infinite or far outside [0, 1]."""
    for dtype in ("float16", "float32", "float64"):
        for value in (np.nan, np.inf, -np.inf, 255, -1):
            for shape in ((3, 4), (3, 4, 3), (2, 3, 4, 4)):
                array = np.full(shape, 0.5, dtype)
                array.flat[-1] = value
                tally.attempt(lambda array=array: enhance(array, same))
    assert tally.survived == 0


def test_decompression_bombs(tmp_path, tally, monkeypatch):
    """Decompression bombs, refused by the size in the header, and the limit as an option."""
    sources = [saved(tmp_path / f"a{suffix}", Image.new("L", (1000, 16))) for suffix in SUFFIXES]
    bomb = saved(tmp_path / "bomb.png", Image.new("1", (16, 16)))
    content = bytearray(bomb.read_bytes())
    content[16:24] = struct.pack(">II", 50_000, 50_000)  # width and height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    bomb.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
        assert attempt(tally, bomb, tmp_path / "out") is None
        for source in sources:
            tally.attempt(lambda source=source: enhance(source, same, max_megapixels=0.01), source)
    assert tally.survived == 0
    for source in sources:
        assert tally.attempt(lambda source=source: enhance(source, same, max_megapixels=1)).size[1] == 16
    assert Image.MAX_IMAGE_PIXELS > 8e7  # as it was


def test_names(tmp_path, tally, capsys):
    """Names with spaces, unicode, line breaks, quotes, control characters, 255 bytes."""
    for name in NAMES:
        saved(tmp_path / "in" / name)
    report = enhance_files([tmp_path / "in"], tmp_path / "out", same)
    assert left_in(tmp_path / "out") == sorted(NAMES) and not report.failed
    for name in NAMES:
        tally.attempt(lambda name=name: enhance(tmp_path / "in" / name, same))
        (tmp_path / "in" / name).write_bytes(b"no picture")
        tally.attempt(lambda name=name: enhance(tmp_path / "in" / name, same), tmp_path / "in" / name)
    capsys.readouterr()
    report = enhance_files([tmp_path / "in"], tmp_path / "again", same)
    assert {reason for _, reason in report.failed} == {"not a picture that Pillow can read"}
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line.endswith("can read")]
    assert len(lines) == len(NAMES) and all(line.isprintable() for line in lines)


def test_a_strange_name_on_a_terminal_of_its_own(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\n.png")).write_bytes(b"no picture")
    stand_in = "files.load = lambda *named: lambda batch: batch"
    code = f"import lle.files as files, lle.__main__ as main; {stand_in}; main.main()"
    command = [sys.executable, "-c", f"import sys; sys.argv = ['lle', 'enhance', '.', '-o', 'out']; {code}"]
    root = Path(files.__file__).parents[1]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert rb"\udcff\n.png: not a picture that Pillow can read" in done.stderr and b"Traceback" not in done.stderr
    assert done.stdout == b"0 enhanced, 0 there already, 1 failed\n"


def test_links(tmp_path, tally):
    """Folders that contain themselves by a link, links that lead nowhere or in a circle."""
    saved(tmp_path / "in" / "1.png")
    (tmp_path / "in" / "itself").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "above").symlink_to(tmp_path)
    (tmp_path / "in" / "nowhere.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "in" / "circle.png").symlink_to(tmp_path / "in" / "circle.png")
    (tmp_path / "in" / "linked.png").symlink_to(tmp_path / "in" / "1.png")
    report = tally.attempt(lambda: enhance_files([tmp_path / "in"], tmp_path / "out", same))
    assert left_in(tmp_path / "out") == ["1.png", "linked.png"] and not report.failed
    for name in ("nowhere.png", "circle.png"):
        assert attempt(tally, tmp_path / "in" / name, tmp_path / "new") is None


@pytest.fixture
def ordinary_user(tmp_path):
    """A folder in which permissions bind also root, whose right to ignore them is laid down meanwhile."""
    right = DAC_OVERRIDE | DAC_READ_SEARCH
    rights = set_rights(lambda rights: rights & ~right) if os.geteuid() == 0 else None
    yield tmp_path
    if rights is not None:
        set_rights(lambda _: rights)
    for path in tmp_path.rglob("*"):
        path.chmod(0o700)


def set_rights(change):
    """Change the first 32 effective capabilities of this thread (Linux), and return those from before."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    assert libc.capget(header, data) == 0
    before, data[0] = data[0], change(data[0])
    assert libc.capset(header, data) == 0
    return before


@pytest.mark.skipif(sys.platform != "linux", reason="works with the permissions of Linux")
def test_places_that_are_forbidden(tally, ordinary_user, capsys):
    """Unreadable pictures and folders, read-only outputs."""
    good, secret = saved(ordinary_user / "in" / "1.png"), saved(ordinary_user / "in" / "2.png")
    hidden, locked = saved(ordinary_user / "in" / "hidden" / "3.png").parent, ordinary_user / "locked"
    locked.mkdir()
    secret.chmod(0), hidden.chmod(0), locked.chmod(0o500)
    out = ordinary_user / "out"
    for source in (secret, hidden / "3.png"):
        tally.attempt(lambda source=source: enhance_file(source, out / "a.png", same), source)
    for target in (locked / "a.png", locked / "new" / "a.png"):
        tally.attempt(lambda target=target: enhance_file(good, target, same), locked)
    tally.attempt(lambda: enhance_files([hidden], out, same), hidden)
    assert tally.survived == 0 and not out.exists()
    report = tally.attempt(lambda: enhance_files([ordinary_user / "in"], out, same))
    assert report.written == [out / "1.png"] and dict(report.failed) == {
        secret: "Permission denied", hidden: "Permission denied",
    }  # fmt: skip
    assert main(["enhance", str(good), "-o", str(locked)]) == 1
    assert left_in(locked) == [] and "Permission denied" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="works with the permissions of Linux")
def test_forbidden_inputs_cost_no_other(ordinary_user):
    good = saved(ordinary_user / "1.png")
    hidden, listed = saved(ordinary_user / "hidden" / "2.png"), saved(ordinary_user / "listed" / "3.png")
    hidden.parent.chmod(0), listed.parent.chmod(0o400)  # the latter shows names and nothing else
    out = ordinary_user / "out"
    report = enhance_files([hidden, hidden.parent, listed.parent, good], out, same)
    assert report.written == [out / "1.png"]
    assert report.failed == [(path, "Permission denied") for path in (hidden.parent, hidden, listed)]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk(tmp_path, small_disk, tally):
    """A disk that is full before the picture is written, in five formats of 8 and 16 bit."""
    large = np.random.default_rng(0).integers(0, 65536, (200, 200, 3), "uint16")
    cv2.imwrite(str(tmp_path / "deep.png"), large)
    plain = saved(tmp_path / "plain.png", (large >> 8).astype("uint8"))
    for content in (b"", b"mine"):  # another page taken: the disk becomes full at another place of the file
        (small_disk / "mine.txt").write_bytes(content)
        for suffix in (".png", ".tif", ".jpg", ".webp", ".bmp"):
            for source in (plain, tmp_path / "deep.png"):
                target = small_disk / f"out{suffix}"
                tally.attempt(lambda source=source, target=target: enhance_file(source, target, same), target)
                if target.exists():
                    assert np.asarray(Image.open(target)).shape == large.shape
                    target.unlink()
                assert left_in(small_disk) == ["mine.txt"] and (small_disk / "mine.txt").read_bytes() == content
