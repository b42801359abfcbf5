import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from write_dng import noise, write_dng

import lle
from lle import files
from lle.__main__ import _small, main
from lle.enhance import can_compute
from lle.metrics import PROTOCOLS
from lle.models.zero_dce import ZeroDCE


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "tiny.keras"
    ZeroDCE(filters=4).save(path)
    return str(path)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """low/1.png and low/2.png, and the same in high/, in the current folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("low/1.png", "low/2.png", "high/1.png", "high/2.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 80, (20, 30, 3), "uint8")).save(name)
    return tmp_path


def test_the_protocols_are_those_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert f"{{{','.join(PROTOCOLS)}}}" in "".join(capsys.readouterr().out.split())


def test_enhance(pairs, network, capsys):
    arguments = ["enhance", "low", "-o", "out", "--model", network]
    assert main(arguments) == 0
    assert sorted(os.listdir("out")) == ["1.png", "2.png"]
    assert capsys.readouterr().out == "2 enhanced, 0 there already, 0 failed\n"
    assert main(arguments) == 0
    assert capsys.readouterr().out == "0 enhanced, 2 there already (--force makes them anew), 0 failed\n"
    Path("low/0.png").write_text("no picture")
    assert main([*arguments, "--force"]) == 1
    output = capsys.readouterr()
    assert output.out == "2 enhanced, 0 there already, 1 failed\n"
    assert "low/0.png: not a picture that Pillow can read\n" in output.err


def test_enhance_in_bfloat16(pairs, network, capsys):
    if not can_compute("bfloat16"):
        pytest.skip("this machine cannot compute in bfloat16")
    write_dng(Path("low/3.dng"), noise())  # developed as without the flag
    command = ["enhance", "low", "--ratio", "auto", "-o"]
    assert main([*command, "exact"]) == main([*command, "fast", "--bfloat16"]) == 0
    assert Path("exact/3.dng.jpg").read_bytes() == Path("fast/3.dng.jpg").read_bytes()
    exact, fast = (np.asarray(Image.open(f"{folder}/1.png")).astype(int) for folder in ("exact", "fast"))
    assert 0 < np.abs(exact - fast).max() <= 2
    assert main(["enhance", "low", "-o", "none", "--bfloat16", "--model", "deeper_unet"]) == 1
    assert "lle: deeper_unet: computes in the precision" in capsys.readouterr().err and not Path("none").exists()


def test_the_size_limit(pairs, network, capsys):
    arguments = ["enhance", "low", "-o", "out", "--model", network, "--max-megapixels"]
    assert main([*arguments, "0.0005"]) == 1  # the pictures have 600 pixels
    assert "low/1.png: Image size (600 pixels) exceeds limit of 500 pixels" in capsys.readouterr().err
    assert main([*arguments, "0.001"]) == 0
    with pytest.raises(SystemExit):
        main([*arguments, "0"])


def test_the_terminal_shows_the_progress_and_nothing_else(pairs, network):
    Path("low/0.png").write_bytes(Path("low/1.png").read_bytes()[:300])
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "lle", "enhance", "low", "-o", "out", "--model", network],
        capture_output=True, text=True, env={**environment, "PYTHONPATH": str(Path(files.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == "2 enhanced, 0 there already, 1 failed\n"
    lines = [line.strip() for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert [line for line in lines if not line.endswith(("picture/s]", "s/picture]"))] == [
        "low/0.png: does not decode (image file is truncated)"
    ]


def test_evaluate(pairs, network, capsys):
    arguments = ["evaluate", "--model", network, "--data", ".", "-o", "table.csv"]
    assert main(arguments) == 0
    table = pd.read_csv("table.csv", index_col="image")
    assert list(table.index) == ["1", "2", "mean"] and list(table.columns) == ["psnr", "ssim", "ciede2000"]
    assert f"{table.loc['mean', 'psnr']:.4f}" in capsys.readouterr().out
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("lle: table.csv exists")
    assert main([*arguments, "--protocol", "gt_mean", "--force"]) == 0
    assert "psnr_gt_mean" in capsys.readouterr().out


def test_a_grey_picture_of_16_bit_is_not_white_on_the_sheet():
    dark = Image.fromarray(np.full((4, 5), 257 * 38, "uint16"))
    assert _small(dark).getpixel((0, 0)) == (38, 38, 38)


def test_compare(pairs, network):
    arguments = ["compare", "low/1.png", "high/2.png", "--model", network, "-o", "sheet.png"]
    assert main(arguments) == 0
    width, height = Image.open("sheet.png").size
    assert width == 900 and height > 300
    assert main(arguments) == 1
    assert main([*arguments, "--model", network, "--force"]) == 0


def test_compare_at_several_brightnesses(pairs, network, capsys):
    arguments = ["compare", "low/1.png", "--brightness", "0.3", "--brightness", "0.6", "-o"]
    assert main([*arguments, "told.png"]) == 0
    assert main(["compare", "low/1.png", "-o", "guessed.png"]) == 0
    heights = [Image.open(name).size[1] for name in ("told.png", "guessed.png")]
    assert heights[0] < heights[1]  # four pictures in the width of three
    assert main([*arguments, "beside.png", "--model", "dawn", "--model", network]) == 0  # which has one column
    assert main([*arguments, "new/folder/not.png", "--model", network]) == 1
    assert f"{Path(network).stem} cannot be told a brightness" in capsys.readouterr().err and not Path("new").exists()


def test_a_folder_of_pairs_has_no_parts(pairs, network, capsys):
    assert main(["evaluate", "--data", ".", "--model", network, "--split", "train"]) == 1
    assert "--split is for samples and lol" in capsys.readouterr().err


def test_no_input_is_replaced(pairs, network, capsys):
    Path("link.png").symlink_to("low/1.png")
    for out in ("low/1.png", "link.png", "low/../low/1.png"):
        before = Path("low/1.png").read_bytes()
        for arguments in (["compare", "high/1.png", "low/1.png"], ["evaluate", "--data", "."]):
            assert main([*arguments, "--model", network, "-o", out, "--force"]) == 1
            assert f"lle: {out} is the input low/1.png and would be replaced" in capsys.readouterr().err
            assert Path("low/1.png").read_bytes() == before
    for arguments in (["compare", "low/1.png", "-o"], ["evaluate", "--data", ".", "--force", "-o"]):
        assert main([*arguments, network, "--model", network]) == 1
        assert "would be replaced" in capsys.readouterr().err


def test_strange_names_on_a_sheet_and_in_a_table(pairs, network):
    strange = ("cost$5_and$6", "a$b^^c$", "\udcff\udcfe", "\u732b")
    for name in strange:
        for side in ("low", "high"):
            Path(side, f"{name}.png").write_bytes(Path("low/1.png").read_bytes())
    files = [f"low/{name}.png" for name in strange]
    assert main(["compare", *files, "--model", network, "-o", "sheet.png"]) == 0
    assert Image.open("sheet.png").width == 900
    assert main(["evaluate", "--data", ".", "--model", network, "-o", "table.csv"]) == 0
    shown = set(pd.read_csv("table.csv", index_col="image").index)
    assert shown == {"1", "2", "mean", *strange[:2], "\\udcff\\udcfe", "\u732b"}


def test_a_disk_that_is_full_is_named(pairs, network, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    for arguments in (["compare", "low/1.png", "-o", "out/a.png"], ["evaluate", "--data", ".", "-o", "out/a.csv"]):
        assert main([*arguments, "--model", network]) == 1
        assert capsys.readouterr().err.endswith(f"No space left on device: '{arguments[-1]}'\n")
    assert os.listdir("out") == []


@pytest.mark.parametrize("command", [["compare", "low/1.png", "-o", "a.png"], ["evaluate", "--data", "."]])
def test_the_size_limit_of_the_other_commands(pairs, network, capsys, command):
    assert main([*command, "--model", network, "--max-megapixels", "0.0005"]) == 1
    assert "low/1.png: " in (error := capsys.readouterr().err) and "exceeds limit of 500 pixels" in error
    assert main([*command, "--model", network, "--max-megapixels", "0.001"]) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["enhance", "low", "-o", "out", "--model", "nope"], "lle: no network is called 'nope'"),
        (["enhance", "low", "-o", "low", "--force"], "lle: low/1.png is a picture to enhance"),
        (["enhance", "low", "-o", "all.png"], "lle: all.png names a file: give a folder"),
        (["enhance", "low/1.png", "-o", "notes.txt"], "lle: notes.txt names a file: give a folder"),
        (["enhance", "low", "-o", "out", "--model", "notes.keras"], "lle: notes.keras: not a .keras file"),
        (["evaluate", "--data", "nowhere"], "lle: nowhere: neither samples nor lol nor a folder"),
        (["evaluate", "--data", ".", "-o", "low"], "lle: low is a folder"),
        (["compare", "low/1.png", "-o", "sheet.doc"], "lle: sheet.doc: the suffix must be one of "),
        (["compare", "low/1.png", "-o", "notes.txt/new/sheet.png"], "lle: notes.txt/new/sheet.png: "),
        (["evaluate", "--data", ".", "-o", "notes.txt/table.csv"], "lle: notes.txt/table.csv: "),
        (["evaluate", "--data", ".", "-o", "dangling/table.csv"], "lle: dangling/table.csv: "),
        (["evaluate", "--data", ".", "-o", ""], "lle: . is a folder"),
        (["evaluate", "--data", "lol"], "lle: LOL v1 is not at data/LOLdataset"),
        (["compare", "missing.png", "-o", "sheet.png"], "lle: [Errno 2] No such file or directory: 'missing.png'"),
        (["results", "nowhere"], "lle: nowhere: no result file (*.json) there"),
        (["results", "--reports"], "lle: results: no result file of a report there"),
        (["enhance", "low", "-o", "out", "--brightness", "0.5"], "lle: this network cannot be told a brightness: "),
        (["enhance", "low/1.png", "-o", "bright.jpgg"], "lle: bright.jpgg: no format that Pillow writes"),
    ],
)
def test_errors_are_one_line(pairs, network, capsys, arguments, message):
    Path("notes.txt").write_text("mine")
    Path("notes.keras").write_text("no archive")
    Path("dangling").symlink_to("gone")
    arguments += [] if "--model" in arguments or arguments[0] == "results" else ["--model", network]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1
    assert Path("notes.txt").read_text() == "mine"


def test_ctrl_c(pairs, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "enhance_files", interrupt)
    assert main(["enhance", "low", "-o", "out"]) == 130
    assert capsys.readouterr().err == "lle: interrupted\n"


def test_a_library_that_is_missing_is_named_with_its_remedy(pairs, monkeypatch, capsys):
    def fail(*_, **__):
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(files, "enhance_file", fail)
    assert main(["enhance", "low", "-o", "out"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lle: libGL.so.1: cannot open") and "pip install opencv-python-headless" in error


def test_usage(capsys):
    for arguments in ([], ["enhance", "a.png"], ["download", "everything"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


@pytest.mark.parametrize("text, message", [("abc", "--ratio: abc is no number"), ("-2", "--ratio: -2 is not above 0")])
def test_a_ratio_that_is_none(text, message, capsys):
    with pytest.raises(SystemExit):
        main(["enhance", "a.dng", "-o", "a.png", f"--ratio={text}"])
    assert message in capsys.readouterr().err


def test_a_brightness_that_is_none_is_refused_at_once(pairs, network, capsys):
    for value in ("0", "1", "2", "bright"):
        with pytest.raises(SystemExit):
            main(["enhance", "low", "-o", "out", "--model", network, "--brightness", value])
        assert f"{value} is " in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_reader_that_has_read_enough():
    command = [sys.executable, "-m", "lle", "results", str(Path(__file__).parent.parent / "results")]
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does at its end
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_it_says_its_version_and_its_networks(capsys):
    for arguments, said in ((["--version"], f"lle {lle.__version__}"), (["enhance", "--help"], "deeper_unet, mirnet")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0 and said in " ".join(capsys.readouterr().out.split())
