"""Tests of lle.download, with real archives fetched through file:// addresses."""

import hashlib
import stat
import zipfile

import cv2
import numpy as np
import pytest

from lle import download


def picture(value):
    return cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))[1].tobytes()


def write_archive(path, top="lol_dataset/", extra=()):
    """Zip a tiny LOL v1, plus (name or ZipInfo, content) entries, and return its address and SHA-256."""
    with zipfile.ZipFile(path, "w") as zipped:
        for value, folder in enumerate(download.LOL_FOLDERS):
            zipped.writestr(f"{top}{folder}/1.png", picture(value))
        for entry, content in extra:
            zipped.writestr(entry, content)
    return path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def data(tmp_path):
    return tmp_path / "deep" / "data"


@pytest.mark.parametrize("top", ["", "lol_dataset/", "a/LOLdataset/"])
def test_fetches_and_unpacks(tmp_path, data, top):
    clutter = [("__MACOSX/our485/low/1.png", b"x"), (f"{top}our485/low/._1.png", b"x"), (f"{top}read me.txt", b"x")]
    target = download.lol(data, *write_archive(tmp_path / "a.zip", top, clutter))
    assert target == data / "LOLdataset"
    files = sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())
    assert files == sorted(f"LOLdataset/{folder}/1.png" for folder in download.LOL_FOLDERS)
    for value, folder in enumerate(download.LOL_FOLDERS):
        assert (target / folder / "1.png").read_bytes() == picture(value)


def test_data_in_place_is_left_alone(tmp_path, data):
    target = download.lol(data, *write_archive(tmp_path / "a.zip"))
    assert download.lol(data, "file:///nowhere.zip", "0" * 64) == target
    (target / "eval15/high/1.png").unlink()
    (target / "eval15/high").rmdir()
    with pytest.raises(FileExistsError, match="eval15/high"):
        download.lol(data, "file:///nowhere.zip", "0" * 64)


def test_archive_saved_by_hand_is_used(tmp_path, data):
    data.mkdir(parents=True)
    _, sha256 = write_archive(data / "lol_dataset.zip")
    assert (download.lol(data, "file:///nowhere.zip", sha256) / "our485/low/1.png").exists()


def link(name, target):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


@pytest.mark.parametrize(
    "entry",
    [
        ("../our485/low/2.png", picture(9)),
        ("our485/low/../../../../2.png", picture(9)),
        ("..\\..\\our485\\low\\2.png", picture(9)),
        ("/tmp/our485/low/2.png", picture(9)),
        ("C:\\our485\\low\\2.png", picture(9)),
        link("our485/low/2.png", "/etc/hostname"),
        link("our485/low", "/tmp"),
    ],
    ids=lambda entry: str(getattr(entry[0], "filename", entry[0])),
)
def test_entry_that_leaves_the_folder_is_refused(tmp_path, data, entry):
    url, sha256 = write_archive(tmp_path / "a.zip", extra=[entry])
    with pytest.raises(ValueError, match="could write outside"):
        download.lol(data, url, sha256)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "data", "deep", "lol_dataset.zip"]


def test_wrong_hash(tmp_path, data):
    url, _ = write_archive(tmp_path / "a.zip")
    with pytest.raises(ValueError, match="SHA-256"):
        download.lol(data, url, "0" * 64)
    assert list(data.iterdir()) == []


def test_archive_of_something_else(tmp_path, data):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("our485/low/1.png", picture(0))
    with pytest.raises(ValueError, match="no pictures in our485/high or eval15/low or eval15/high"):
        download.lol(data, path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(b"not a zip file")
    (data / "lol_dataset.zip").unlink()
    with pytest.raises(ValueError, match="not a sound zip file"):
        download.lol(data, path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
    assert not (data / "LOLdataset").exists()


def test_no_network_says_what_to_do(data):
    with pytest.raises(ConnectionError, match="By hand: save .* unpack it so that"):
        download.lol(data, "http://127.0.0.1:9/lol_dataset.zip", "0" * 64)
    assert list(data.iterdir()) == []
