"""Tests of lle.reproduce: real notebooks, executed by a real kernel."""

import base64
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from lle import reproduce

PARAMETERS = "epochs = 70\nrun_dir = '.'\nthreshold = 1"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([0, epochs]); plt.show()\nplt.plot([epochs, 0]); plt.show()"
RESULTS = """
import json, os, pathlib, sys
folder = pathlib.Path(run_dir, "results")
folder.mkdir()
metrics = {"eval15": {"1": {"psnr": 14.861}, "mean": {"psnr": 14.861}}}
settings = {"epochs": epochs, "threshold": threshold, "python": sys.executable}
settings["deterministic"] = os.environ["TF_DETERMINISTIC_OPS"]
result = {"name": "tiny", "model": {"parameters": 79416}, "metrics": metrics, "settings": settings}
(folder / "tiny.json").write_text(json.dumps(result))
"""


def read_settings(preset):
    return json.loads(Path(f"runs/{preset}/05_real/results/tiny.json").read_text())["settings"]


def write_notebook(name, *sources):
    cells = [v4.new_code_cell(source) for source in (PARAMETERS, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "elsewhere", "display_name": "x", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), f"notebooks/{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project as the working directory, and a kernel `python3` of another Python first on the path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/quick.yaml").write_text("05_real: {epochs: 3, threshold: 2}\n")
    kernel = tmp_path / "jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/no/such/python", "{connection_file}"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "0")
    return tmp_path


def test_runs_all_and_names_the_one_that_fails(project, capfd):
    write_notebook("05_real", PLOT, RESULTS)
    write_notebook("04_broken", PLOT, "# training\nvalue = 0\n1 / value")
    output = project / "runs/reproduce"
    for old in (output / "figures/05_real_09.png", project / "runs/quick/05_real/checkpoint"):
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_bytes(b"of an older run")
    with pytest.raises(SystemExit, match="Failed: 04_broken"):
        reproduce.main([])
    printed = capfd.readouterr()
    assert "04_broken failed in cell 4 (# training ...)\n  ZeroDivisionError: division by zero" in printed.err
    assert "1 of 2 notebooks" in printed.out and "runs/reproduce/results.md" in printed.out
    figures = sorted(path.name for path in (output / "figures").iterdir())
    assert figures == ["04_broken_01.png", "04_broken_02.png", "05_real_01.png", "05_real_02.png"]
    assert (output / "figures/05_real_01.png").read_bytes().startswith(b"\x89PNG")
    # From the notebook's entry in quick.yaml.
    expected = {"epochs": 3, "threshold": 2, "python": sys.executable, "deterministic": "0"}
    assert read_settings("quick") == expected
    assert not (project / "runs/quick/05_real/checkpoint").exists()
    text = (output / "results.md").read_text()
    assert text.startswith("Quick mode") and "## 05_real" in text and "| tiny | 79,416 | eval15 (1 images) |" in text


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_two_at_a_time_or_one_after_the_other(project, capfd, jobs):
    wait = "import time\nopen(f'{run_dir}/begin', 'w').write(str(time.time()))\ntime.sleep(2)\nend = time.time()"
    for name in ("03_one", "04_two", "05_three"):
        write_notebook(name, wait, "open(f'{run_dir}/end', 'w').write(str(end))")
    reproduce.main(["--jobs", jobs])
    assert "3 of 3 notebooks" in capfd.readouterr().out
    times = {
        (name, when): float(Path(f"runs/quick/{name}/{when}").read_text())
        for name in ("03_one", "04_two", "05_three")
        for when in ("begin", "end")
    }
    assert (times["04_two", "begin"] < times["03_one", "end"]) == (jobs == "2")
    assert times["05_three", "begin"] > min(times["03_one", "end"], times["04_two", "end"])


def test_of_several_at_a_time_the_longest_begins_first(project, capfd):
    for name, cells in (("03_one", 1), ("04_two", 2), ("05_three", 3)):
        write_notebook(name, *["pass"] * cells)
    for jobs, last in (("1", "05"), ("2", "03")):  # of two that begin together either may say so first
        reproduce.main(["--jobs", jobs])
        lines = capfd.readouterr().out.splitlines()
        begun = [line.split("] ")[1][:2] for line in lines if line.startswith("[")]
        assert sorted(begun) == ["03", "04", "05"] and begun[-1] == last


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_ends_it_at_once_and_its_kernel_too(project):
    beating = "import pathlib, time\nwhile True:\n    pathlib.Path(run_dir, 'beat').touch()\n    time.sleep(0.1)"
    for name in ("04_one", "05_two"):
        write_notebook(name, beating)
    command = [sys.executable, "-m", "lle.reproduce", "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        beat = Path("runs/quick/04_one/beat")
        try:
            wait_for(beat.exists)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()  # else a failure would wait for it
        assert "interrupted" in process.stdout.read()
    wait_for(lambda: time.time() - beat.stat().st_mtime > 2)
    assert not Path("runs/quick/05_two").exists()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_report_preset(project, capfd):
    write_notebook("05_real", RESULTS)
    with pytest.raises(SystemExit, match="data/LOLdataset"):
        reproduce.main(["--preset", "report"])
    (project / "data/LOLdataset").mkdir(parents=True)
    (project / "runs/report/05_real").mkdir(parents=True)
    (project / "runs/report/05_real/checkpoint").touch()
    reproduce.main(["--preset", "report", "--notebook", "05", "--deterministic"])
    expected = {"epochs": 70, "threshold": 1, "python": sys.executable, "deterministic": "1"}
    assert read_settings("report") == expected
    assert (project / "runs/reproduce-report/05_real.ipynb").exists()
    assert (project / "runs/report/05_real/checkpoint").exists()  # to go on from


def test_unknown_notebook(project):
    write_notebook("05_real", RESULTS)
    with pytest.raises(SystemExit, match="'07'. There are: 05_real"):
        reproduce.main(["--notebook", "07"])


def test_keeps_outputs_that_are_worth_it(project, capfd):
    noise = "import sys\nprint('a warning', file=sys.stderr)\nprint('10 %\\r90 %\\r100 % done')\nprint(epochs)"
    photograph = "import numpy as np\nfrom PIL import Image\n"
    photograph += "Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), 'uint8'))"
    write_notebook("05_real", PLOT, noise, photograph)
    (project / "data/LOLdataset").mkdir(parents=True)
    path = project / "notebooks/05_real.ipynb"
    before = nbformat.read(path, 4)
    reproduce.main(["--preset", "report", "--update"])
    cells = nbformat.read(path, 4).cells
    assert [cell.source for cell in cells] == [cell.source for cell in before.cells]
    assert [len(cell.outputs) for cell in cells] == [0, 2, 1, 1]
    assert "image/png" in cells[1].outputs[0].data
    assert "image/jpeg" in cells[3].outputs[0].data and "image/png" not in cells[3].outputs[0].data
    assert cells[2].outputs[0].text == "100 % done\n70\n"


def test_a_large_figure_is_kept_as_jpeg():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), "uint8")).save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    (kept,) = reproduce._worth_keeping([v4.new_output("display_data", {"image/png": picture})])
    decoded = Image.open(io.BytesIO(base64.b64decode(kept.data["image/jpeg"])))
    assert list(kept.data) == ["image/jpeg"] and decoded.size == (400, 400)
