"""What a newcomer reads and types."""

import json
import re
import shlex
import tomllib
from functools import partialmethod
from pathlib import Path

import keras
import pytest
import yaml
from write_dng import noise, write_dng

import lle
from lle import download, results
from lle.__main__ import main
from lle.enhance import can_compute

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PHOTOGRAPHS = (ROOT / "docs/photographs.md").read_text(encoding="utf-8")
PAGES = README + PHOTOGRAPHS


def test_the_tables_are_the_generated_ones():
    folder = ROOT / "results"
    every_result = (folder / "README.md").read_text(encoding="utf-8")
    for page, name, generated in (
        (README, "reports", results.reports_table(folder)),
        (every_result, "results", results.table(folder)),
    ):
        assert page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0] == generated


def test_the_comparison_has_the_figures_that_were_measured():
    """The peers' in `peers.yaml`, those of the networks in their cards and in what 06 shows of the exposures."""
    rows = re.search(r"<!-- comparison -->\n(.*?)\n<!-- /comparison -->", README, re.DOTALL)[1].splitlines()[2:]
    cells = {row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}
    cards = {path.stem: json.loads(path.read_text()) for path in (ROOT / "weights").glob("*.json")}
    shown = (ROOT / "notebooks/06_comparison.ipynb").read_text(encoding="utf-8")
    for name in lle.networks():
        parameters, _, *figures = cells.pop(name)
        measured = cards[name]["results"]["eval15"]
        expected = [f"{measured['psnr']:.2f}", f"{measured['ssim']:.3f}", f"{measured['psnr_gt_mean']:.2f}"]
        assert figures[:3] == expected and parameters == f"{cards[name]['parameters']:,}"
        psnr, ssim, gt_mean = figures[3:]
        assert re.search(rf'"{name} +{psnr} ± [\d.]+ +{ssim} ± [\d.]+ +[\d.]+ ± [\d.]+ +{gt_mean} ±', shown), name
    peers = yaml.safe_load((ROOT / "notebooks/peers.yaml").read_text(encoding="utf-8"))
    assert list(cells) == list(peers)
    for name, peer in peers.items():
        measured = zip([*peer["eval15"], *peer["exposures"]], (2, 3, 2) * 2, strict=True)
        assert cells[name][2:] == ["" if value is None else f"{value:.{digits}f}" for value, digits in measured]


def test_what_it_names_exists():
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`(notebooks/[^`]+|data/[^`*]+md)`", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([^)#:]+)\)", PHOTOGRAPHS):
        assert (ROOT / "docs" / path).exists(), path
    for stem in re.findall(r"^\| `(\d\d_\w+)`", README, re.MULTILINE):
        assert (ROOT / "notebooks" / f"{stem}.ipynb").exists(), stem


def test_every_notebook_is_listed():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"| `{path.stem}` |" in README


@pytest.mark.parametrize("number", range(7))
def test_the_python_examples_run(number, tmp_path, monkeypatch, write):
    for name in ("dark.jpg", "my_dark_pictures/1.png", "my_dark_pictures/2.png"):
        write(name, 40, 48)
    for name in ("my_pairs/low/1.png", "my_pairs/high/1.png"):
        write(name, 128, 144)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGES, re.DOTALL)
    assert len(examples) == 7
    example = examples[number]
    if "bfloat16" in example and not can_compute("bfloat16"):
        pytest.skip("this machine cannot compute in bfloat16")
    for full, quick in (("epochs=100", "epochs=1"), ("epochs=epochs", "epochs=1"), ('"dawn"), 250', '"dawn"), 1')):
        example = example.replace(full, quick)
    if "steps = " in example:  # of which building the graph would take longer
        monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / ("bright.jpg", *["mine.keras"] * 4, "bright.jpg", "bright.jpg")[number]).exists()


def test_the_commands_run(tmp_path, monkeypatch, write):
    for name in ("dark.jpg", "PICTURES/a.png", "PAIRS/low/1.png", "PAIRS/high/1.png"):
        write(name, 40, 48)
    write_dng(tmp_path / "photo.ARW", noise())
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^python -m lle ((?:enhance|compare|evaluate) [^#\n]+)", README, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)) == 0
    assert (tmp_path / "ENHANCED" / "a.png").exists() and (tmp_path / "sheet.png").exists()


def test_the_peers_are_those_that_were_measured():
    text = " ".join((README + (ROOT / "results/README.md").read_text(encoding="utf-8")).split())
    peers = yaml.safe_load((ROOT / "notebooks/peers.yaml").read_text(encoding="utf-8"))
    for peer in peers.values():
        assert f"{peer['eval15'][0]:.2f} dB" in text
    for name in ("LYT-Net", "LYT-Net, LOL v2"):
        psnr, ssim, gt_mean = peers[name]["exposures"]
        assert re.search(rf"{psnr:.2f} dB / {ssim:.3f} / (GT-mean )?{gt_mean:.2f}", text)
    assert f"IAT {peers['IAT']['exposures'][0]:.2f} dB" in text


def test_the_calls_within_the_text_run(tmp_path, monkeypatch, write):
    write("dark.jpg", 40, 48), write("dark.tif", 40, 48), write("PICTURES/dark.jpg", 40, 48)
    write_dng(tmp_path / "photo.ARW", noise())
    monkeypatch.chdir(tmp_path)
    calls = re.findall(r"`(lle\.[a-z_.]+\([^`]*\))`", PAGES)
    assert len(calls) == 8
    for call in calls:
        exec(compile(f"import lle\n{call}", "README.md", "exec"), {})
    assert (tmp_path / "bright.png").exists() and (tmp_path / "photo.png").exists()
    assert (tmp_path / "ENHANCED" / "dark.jpg").exists()


def test_the_command_that_fetches_lol_runs(tmp_path, monkeypatch, capsys):
    command = re.search(r"`python -m lle (download lol)`", README)[1]
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(download, "lol", lambda *arguments: tmp_path / "data" / "LOLdataset")
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0 and "LOLdataset" in capsys.readouterr().out


def test_the_variables_of_make_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in set(re.findall(r"make \w+ ([A-Z]+)=", README)) | {"DETERMINISTIC"}:
        assert f"\n{name} ?=" in makefile
    for target in set(re.findall(r"`?make (reproduce|test|bench|clean|notebooks)", README)):
        assert f"\n{target}:" in makefile


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == lle.__version__ == str(cited["version"])


@pytest.mark.parametrize("command", ["results", "results --reports"])
def test_the_commands_of_the_tables_run(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert f"python -m lle {command}`" in README
    assert main(command.split()) == 0 and "Zero-DCE" in capsys.readouterr().out.replace("zero_dce", "Zero-DCE")
