import importlib.util
import json
from pathlib import Path

import pytest

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
    assert all(row["value"] > 0 and row["peak_mib"] > 50 for row in rows.values())
    milliseconds, images_per_second = rows["train"]["value"], rows["data_resize_later"]["value"]
    assert ratios["later"] == pytest.approx(images_per_second / (1000 / milliseconds))
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(bench.ROWS) + len(ratios)
