"""Data sets and archives with faults: refused before training begins, with the names of the files."""

import functools
import hashlib
import http.server
import os
import threading
import zipfile

import numpy as np
import pytest

from lle import data, download
from lle.__main__ import main
from lle.batches import Batches
from lle.data import checking
from lle.models.zero_dce import ZeroDCE


def missing(write, folder):
    write("low/2.png")
    return folder / "low" / "2.png"


def other_size(write, folder):
    write("low/2.png", 12, 16), write("high/2.png", 16, 12)
    return folder / "high" / "2.png"


def duplicate(write, folder):
    write("low/1.jpg")
    return "1.jpg"


def other_case(write, folder):
    write("low/b.png"), write("high/B.png")
    return folder / "low" / "b.png"


def cut(write, folder):
    path = write("high/2.png", 40, 40)
    write("low/2.png", 40, 40)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def text(write, folder):
    write("high/2.png")
    (folder / "low" / "2.png").write_text("no picture")
    return folder / "low" / "2.png"


def empty(write, folder):
    for path in (folder / "low").iterdir():
        path.unlink()
    return folder / "low"


FAULTS = [missing, other_size, duplicate, other_case, cut, text, empty]


def test_data_sets(tmp_path, write, tally, capsys, monkeypatch):
    """Sets of pairs with a fault: partner missing, another size, same stem, mixed cases, cut off, text, empty."""
    network = tmp_path / "tiny.keras"
    ZeroDCE(filters=4).save(network)
    for fault in FAULTS:
        folder = tmp_path / fault.__name__
        write(f"{fault.__name__}/low/1.png"), write(f"{fault.__name__}/high/1.png")
        assert len(data.find_pairs(folder / "low", folder / "high")) == 1
        name = fault(lambda path, *size, folder=folder: write(f"{folder.name}/{path}", *size), folder)
        tally.attempt(lambda folder=folder: data.find_pairs(folder / "low", folder / "high"), name)
        capsys.readouterr()
        assert main(["evaluate", "--model", str(network), "--data", str(folder)]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("lle: ")
    assert tally.survived == 0


def test_all_broken_pictures_are_named_at_once(tmp_path, write):
    for i in range(9):
        write(f"low/{i}.png"), write(f"high/{i}.png")
    for i in range(1, 9):
        (tmp_path / "low" / f"{i}.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"low/1.png: not a picture .* also .*low/2.png, .*low/6.png and 2 more$"):
        data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_what_was_found_sound_is_remembered_until_it_changes(tmp_path, write, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(checking, "WORTH_REMEMBERING", 0)
    decoded, real = [], checking._decoded_size
    monkeypatch.setattr(checking, "_decoded_size", lambda path, limit: decoded.append(path.name) or real(path, limit))
    find = functools.partial(data.find_pairs, tmp_path / "low", tmp_path / "high")
    write("low/1.png"), write("high/1.png"), write("low/2.png"), write("high/2.png")
    (tmp_path / "low" / "1.png").write_text("no picture")
    for count in (4, 1):  # the broken one is looked at again
        with pytest.raises(ValueError, match="low/1.png: not a picture"):
            find()
        assert len(decoded) == count
        decoded.clear()
    write("low/1.png")
    assert len(find()) == 2 and decoded == ["1.png"]
    assert len(find()) == 2 and decoded == ["1.png"]
    for notes in (tmp_path / "keras" / "lle" / "checked").iterdir():
        notes.write_text("[1, 2")  # an older version, or a fault of the disk
    assert len(find()) == 2 and len(decoded) == 5
    os.utime(tmp_path / "low" / "1.png", (0, 0))
    for count in (9, 10):  # another limit decodes all of them anew, and leaves no note
        assert len(find(max_megapixels=1000 if count == 9 else None)) == 2 and len(decoded) == count


def test_no_notes_can_be_kept(tmp_path, write, monkeypatch):
    (tmp_path / "keras").write_text("a file where the folder should be")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(checking, "WORTH_REMEMBERING", 0)
    write("low/1.png"), write("high/1.png")
    assert len(data.find_pairs(tmp_path / "low", tmp_path / "high")) == 1


def test_a_long_check_shows_its_progress(tmp_path, write, monkeypatch, capsys):
    bar = functools.partial(checking.tqdm, mininterval=0)
    monkeypatch.setattr(checking, "tqdm", lambda *arguments, delay, **options: bar(*arguments, **options))
    write("low/1.png"), write("high/1.png")
    data.find_pairs(tmp_path / "low", tmp_path / "high")
    assert "checking pictures: 100%" in capsys.readouterr().err


def test_fewer_pictures_than_a_batch_and_crops_that_do_not_fit(tmp_path, write, tally):
    """Fewer pictures than a batch, crops larger than the pictures, names that do not fit."""
    pictures = [np.full((5, 7, 3), 51, "uint8")] * 3
    ((low, high),) = [*map(Batches(pictures, pictures, 32, 4).__getitem__, range(1))]
    assert low.shape == high.shape == (3, 4, 4, 3)
    paths = [write(f"{i}.png", 5, 7) for i in range(3)]
    assert tally.attempt(lambda: len(Batches(pictures, pictures, 32))) == 1
    assert tally.attempt(lambda: [len(batch) for batch in data.dataset(paths, 32)]) == [3]
    tally.attempt(lambda: Batches(pictures, pictures, crop=6), "crop of 6x6")
    tally.attempt(lambda: data.dataset(paths, 2, crop=6), paths[0])
    tally.attempt(lambda: Batches(pictures, names=["a"]), "names")
    assert tally.refused == 3


# archives


class Unreliable(http.server.BaseHTTPRequestHandler):
    """Sends 3000 bytes of what is asked for, then breaks off; `knows_ranges` as the better servers do."""

    content, knows_ranges, asked = b"", True, []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.knows_ranges else 0
        if start and start >= len(self.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : start + 3000])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Unreliable, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unreliable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/lol.zip"
        server.shutdown()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A tiny LOL v1 of some 10,000 bytes, and its hash."""
    path = tmp_path / "served.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for folder in download.LOL_FOLDERS:
            zipped.writestr(f"{folder}/1.png", np.random.default_rng(0).bytes(2500))
    content = path.read_bytes()
    monkeypatch.setattr(Unreliable, "content", content)
    return content, hashlib.sha256(content).hexdigest()


def test_a_download_goes_on_where_it_was_cut_off(tmp_path, server, archive):
    content, sha256 = archive
    assert (download.lol(tmp_path / "data", server, sha256) / "our485/low/1.png").exists()
    assert Unreliable.asked == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    part = tmp_path / "again" / "lol_dataset.zip.part"
    part.parent.mkdir()
    for done in (len(content) - 10, len(content)):  # by a run that was killed
        part.write_bytes(content[:done])
        assert (download.lol(part.parent, server, sha256)).exists() and not part.exists()
        assert Unreliable.asked[-1] == f"bytes={done}-"
        (part.parent / "LOLdataset").rename(part.parent / f"old{done}")


def test_a_download_that_does_not_get_on_is_kept_for_another_day(tmp_path, server, archive, monkeypatch):
    content, sha256 = archive
    monkeypatch.setattr(Unreliable, "knows_ranges", False)
    with pytest.raises(ConnectionError, match="broke off.*goes on where it stopped"):
        download.lol(tmp_path / "data", server, sha256)
    assert (tmp_path / "data" / "lol_dataset.zip.part").stat().st_size == 3000
    monkeypatch.setattr(Unreliable, "knows_ranges", True)
    assert download.lol(tmp_path / "data", server, sha256).exists()


def test_a_part_of_another_file_is_thrown_away(tmp_path, server, archive):
    part = tmp_path / "data" / "lol_dataset.zip.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="SHA-256"):
        download.lol(part.parent, server, archive[1])
    assert not part.exists()
    assert download.lol(part.parent, server, archive[1]).exists()


def test_archives(tmp_path, tally):
    """Archives cut off at every hundredth byte, of another hash, or with entries that lead out of the folder."""
    path = tmp_path / "a.zip"
    outside = ("../1.png", "a/../../our485/low/1.png", "/tmp/1.png", "C:\\1.png", "\\\\host\\1.png", "..\\1.png")
    for name in ("our485/low/2.png", *outside):
        with zipfile.ZipFile(path, "w") as zipped:
            for folder in download.LOL_FOLDERS:
                zipped.writestr(f"{folder}/1.png", b"picture")
            zipped.writestr(zipfile.ZipInfo(name), b"outside")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        folder = tmp_path / f"data{name in outside}"
        tally.attempt(lambda folder=folder, digest=digest: download.lol(folder, path.as_uri(), digest))
        (folder / "lol_dataset.zip").unlink(missing_ok=True)
    assert (tally.survived, tally.refused) == (1, len(outside))
    content = path.read_bytes()
    for length in range(0, len(content), 100):
        path.write_bytes(content[:length])
        for digest in ("0" * 64, hashlib.sha256(content[:length]).hexdigest()):
            tally.attempt(lambda digest=digest: download.lol(tmp_path / "dataTrue", path.as_uri(), digest))
            (tmp_path / "dataTrue" / "lol_dataset.zip").unlink(missing_ok=True)
    assert tally.survived == 1 and list((tmp_path / "dataTrue").iterdir()) == []
