import importlib.util
import json
from pathlib import Path

import pytest

from lle.enhance import can_compute

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "run.py"


def test_every_row_is_measured_or_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("bench", BENCHMARK)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)

    def lack_torch():
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(bench, "_torch_network", lack_torch)
    monkeypatch.setattr(bench, "ONNX", None)
    monkeypatch.setattr(bench, "_in_new_process", lambda function, *arguments: function(*arguments))  # saves imports
    bench.main(["--quick", "--output", str(tmp_path / "bench.json")])

    rows, ratios = (json.loads((tmp_path / "bench.json").read_text())[key] for key in ("rows", "data_over_training"))
    assert list(rows) == list(bench.ROWS)
    assert rows.pop("zero_dce_small_torch") == {"skipped": "torch is not installed"}
    assert rows.pop("onnx_small")["skipped"] in ("LLE_ONNX names no file", "onnxruntime is not installed")
    if not can_compute("bfloat16"):
        assert all(rows.pop(f"dawn_{size}_bfloat16")["skipped"] for size in ("small", "large"))
    assert all(row["value"] > 0 and row["peak_mib"] > 50 for row in rows.values())
    milliseconds, images_per_second = rows["train"]["value"], rows["data_resize_later"]["value"]
    assert ratios["later"] == pytest.approx(images_per_second / (1000 / milliseconds))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(bench.ROWS) + len(ratios)


def test_the_recipe_without_tensorflow_runs(tmp_path, monkeypatch, write, capsys):
    page = (BENCHMARK.parent / "README.md").read_text(encoding="utf-8")
    recipe = next(block for block in page.split("```\n") if block.startswith("import keras"))
    small = {"((None, None, 3))": "((None, None, 3), 2, 2)", "(128, 128)": "(32, 32)", "epochs=100": "epochs=1"}
    for old, new in small.items():
        assert recipe.count(old) == 1
        recipe = recipe.replace(old, new)
    for number in range(6):
        for side in ("low", "high"):
            folder = f"data/LOLdataset/{'our485' if number else 'eval15'}"
            write(f"{folder}/{side}/{number}.png", 128, 128, number)
    monkeypatch.chdir(tmp_path)
    exec(compile(recipe, "benchmarks/README.md", "exec"), {})
    assert "psnr_as_printed" in capsys.readouterr().out and (tmp_path / "runs/unet_jax/log.csv").exists()
