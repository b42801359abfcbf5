"""Files that are written as a whole: by several processes and threads at once, and after one was killed."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lle import paths
from lle.paths import HOST, remove_leftovers, replacing


def write(target, letter):
    with replacing(target) as temporary:
        with open(temporary, "w") as file:
            for _ in range(100):
                file.write(letter * 100)
        assert set(temporary.read_text()) == {letter}


def test_many_threads_write_one_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda letter: write(tmp_path / "a.csv", letter), "abcdefgh" * 10))
    assert os.listdir(tmp_path) == ["a.csv"] and len(set((tmp_path / "a.csv").read_text())) == 1


def test_what_is_being_written_is_left_alone(tmp_path):
    began, end = threading.Event(), threading.Event()

    def slowly():
        with replacing(tmp_path / "a.csv") as temporary:
            temporary.write_text("slow")
            began.set()
            end.wait(60)

    thread = threading.Thread(target=slowly)
    thread.start()
    began.wait(60)
    write(tmp_path / "a.csv", "f")
    remove_leftovers([tmp_path / "a.csv"])
    end.set()
    thread.join()
    assert (tmp_path / "a.csv").read_text() == "slow" and os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("name", ["a.csv", "line\nbreak.csv", "n" * 250 + ".csv"])
def test_what_a_killed_process_left_is_removed(tmp_path, name):
    code = "import os, sys; from lle.paths import replacing\nwith replacing(sys.argv[1]) as t: t.touch(); os._exit(1)"
    subprocess.run([sys.executable, "-c", code, tmp_path / name])
    (left,) = tmp_path.iterdir()
    remove_leftovers([tmp_path / "b.csv", tmp_path / "nowhere" / "a.csv"])
    assert left.exists()
    with replacing(tmp_path / name) as temporary:
        assert not left.exists()
        temporary.touch()
    assert os.listdir(tmp_path) == [name]


def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    other = "000000" if HOST != "000000" else "111111"
    fresh, old = (tmp_path / f".a.csv.{other}-1-0000000{i}.part" for i in range(2))
    fresh.touch(), old.touch()
    os.utime(old, (time.time() - paths.DAY - 60,) * 2)
    remove_leftovers([tmp_path / "a.csv"])
    assert os.listdir(tmp_path) == [fresh.name]
