"""Running the notebooks from top to bottom: `python -m lle.reproduce`, which is what `make reproduce` calls.

Works in the repository's root. Each notebook is executed there by this very Python, with the parameters of
`notebooks/quick.yaml` (preset `quick`) or its own (preset `report`), plus `run_dir`, where it keeps what it makes: the
files of `lle.results` go into `<run_dir>/results`. Quick runs mostly wait for one processor, so two of them go at a
time where there are two (`--jobs`). With `--update`, the outputs of the notebooks that succeeded replace those in
`notebooks/`. With `--deterministic`, the same seed gives the same figures bit for bit on the same machine; without,
they may differ in the last digits, by the order in which threads add numbers up.
"""

import argparse
import base64
import io
import json
import os
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import papermill
import yaml
from joblib import cpu_count
from PIL import Image

from lle.__main__ import hush_libraries

NOTEBOOKS = Path("notebooks")
LOL = Path("data/LOLdataset")
OUTPUTS = {"quick": Path("runs/reproduce"), "report": Path("runs/reproduce-report")}
JOBS = {"quick": min(2, cpu_count()), "report": 1}  # notebooks at a time; a long training wants all processors
DETERMINISTIC = {"TF_DETERMINISTIC_OPS": "1", "PYTHONHASHSEED": "0"}  # for the kernels; TensorFlow's own switch
LARGE = 300_000  # characters; a figure of this size shows photographs, and becomes a JPEG where it is kept
QUICK_NOTE = "Quick mode, a few epochs on a few pictures: the figures show that the code runs, not how good it is.\n\n"


def main(arguments=None):
    """Run the notebooks, collect their figures and results, and say where they are.

    Args:
        arguments: List of command-line arguments, those of the process by default.

    Raises:
        SystemExit: With one line if there is nothing to run or the data is missing; with status 1 if a notebook failed.
            (Ctrl-C ends the process at once, with status 130.)
    """
    parser = argparse.ArgumentParser(prog="python -m lle.reproduce", description="Run the notebooks.")
    parser.add_argument(
        "--preset", default="quick", choices=OUTPUTS, help="quick (default), or the settings in the notebooks"
    )
    parser.add_argument("--notebook", default="", help="beginning of a notebook's name, such as 05 (default: all)")
    parser.add_argument("--update", action="store_true", help="keep the outputs in notebooks/, to be committed")
    parser.add_argument("--deterministic", action="store_true", help="the same figures bit for bit, slower on a GPU")
    parser.add_argument(
        "--jobs", type=int, choices=range(1, 17), metavar="N", help="notebooks at a time (quick: 2, report: 1)"
    )
    options = parser.parse_args(arguments)
    if options.deterministic:
        os.environ |= DETERMINISTIC
    notebooks = _find_notebooks(options.notebook)
    if options.preset == "report" and not LOL.is_dir():
        sys.exit(f"PRESET=report needs {LOL}: fetch it with `python -m lle download lol`, or see data/README.md.")
    output = OUTPUTS[options.preset]
    (output / "figures").mkdir(parents=True, exist_ok=True)
    if arguments is None:
        hush_libraries(output / "kernels.log")
    start = time.monotonic()
    try:
        failed = _run_all(notebooks, output, options.preset, options.jobs or JOBS[options.preset], options.update)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # else the threads would first see their notebooks through
    tables = _results_tables([path.stem for path in _find_notebooks("")], options.preset)
    (output / "results.md").write_text((QUICK_NOTE if options.preset == "quick" else "") + tables, encoding="utf-8")
    seconds = time.monotonic() - start
    print(f"\n{tables}\n{len(notebooks) - len(failed)} of {len(notebooks)} notebooks in {seconds:.0f} s")
    print(f"  notebooks  {output}\n  figures    {output}/figures\n  results    {output}/results.md", flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(sorted(failed))}")


def _find_notebooks(beginning):
    everything = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in everything if path.stem.startswith(Path(beginning).stem)]
    if not chosen:
        names = ", ".join(path.stem for path in everything) or "none here; run this in the repository's root"
        sys.exit(f"No notebook begins with {beginning!r}. There are: {names}")
    return chosen


def _parameters(stem, preset):
    """Gather what papermill puts behind a notebook's cell tagged `parameters`."""
    values = {}
    if preset == "quick":
        quick = yaml.safe_load((NOTEBOOKS / "quick.yaml").read_text(encoding="utf-8")) or {}
        values = quick.get(stem) or {}
    return values | {"run_dir": f"runs/{preset}/{stem}"}


def _run_all(notebooks, output, preset, jobs, update):
    """Execute the notebooks, so many at a time, collect what they made, and return the names of those that failed."""
    # Threads, so that the kernels are this process's own children and end with it; also for one notebook at a time,
    # since Ctrl-C, where the main thread waits for a kernel, would end that kernel's cell alone.
    pool, running, failed = ThreadPoolExecutor(jobs), {}, []
    if jobs > 1:  # the longest first, lest it begin when nothing is left to run beside it
        notebooks = sorted(notebooks, key=_count_cells, reverse=True)
    for number, notebook in enumerate(notebooks, 1):
        title = f"[{number}/{len(notebooks)}] {notebook.stem}"
        values = _parameters(notebook.stem, preset)
        running[pool.submit(_run, notebook, output / notebook.name, values, preset, title, jobs == 1)] = notebook
    try:
        for task in as_completed(running):
            notebook, error = running[task], task.result()
            if error:
                print(f"{notebook.stem} failed in {error}", file=sys.stderr, flush=True)
                failed.append(notebook.stem)
            elif update:
                _keep_outputs(output / notebook.name, notebook)
            _save_figures(output / notebook.name, output / "figures")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # where collecting fails, nothing further begins
    return failed


def _count_cells(notebook):
    try:
        return len(json.loads(notebook.read_text(encoding="utf-8"))["cells"])
    except (OSError, ValueError, KeyError):  # which running it will say
        return 0


def _run(notebook, executed, values, preset, title, has_bar):
    """Execute a notebook and return None, or where it failed and why."""
    print(f"{title}\n", end="", flush=True)  # in one piece, as another thread prints, too
    run_dir = Path(values["run_dir"])
    if preset == "quick":
        shutil.rmtree(run_dir, ignore_errors=True)  # a quick run starts anew, a longer one goes on where it was
    run_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run_dir / "results", ignore_errors=True)  # these two would pass for this run's
    executed.unlink(missing_ok=True)
    # Otherwise a kernel `python3` that the user's JUPYTER_PATH holds would run the notebooks in another environment.
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix, "share", "jupyter"))
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            values,
            kernel_name="python3",
            progress_bar=has_bar,
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
    except papermill.PapermillExecutionError as error:
        beginning = (error.source.strip().splitlines() or [""])[0]
        return f"cell {error.exec_count} ({beginning} ...)\n  {error.ename}: {_shorten(error.evalue)}"
    except Exception as error:  # a dead kernel, a broken file: the other notebooks still run
        return f"{notebook}\n  {type(error).__name__}: {_shorten(str(error))}"


def _shorten(text, lines=5):
    return "\n  ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()[:lines])


def _keep_outputs(executed, notebook):
    """Copy the outputs into the notebook, without warnings, progress bars and papermill's own cell and notes."""
    target = nbformat.read(notebook, nbformat.NO_CONVERT)
    cells = nbformat.read(executed, nbformat.NO_CONVERT).cells
    cells = [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell, run in zip(target.cells, cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _worth_keeping(run.outputs), run.execution_count
    nbformat.write(target, notebook)


def _worth_keeping(outputs):
    kept = []
    for output in outputs:
        data = output.get("data", {})
        if output.get("name") == "stderr" or any("widget" in kind for kind in data):
            continue
        if "image/jpeg" in data:
            data.pop("image/png", None)  # the same picture again, ten times as large
        elif len(data.get("image/png", "")) > LARGE:
            data["image/jpeg"] = _to_jpeg(data.pop("image/png"))
        if kept and output.get("name") == kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if "text" in output:  # what a terminal would still show: a carriage return begins the line anew
            output.text = re.sub(r"[^\n]*\r|^WARNING:tensorflow.*\n", "", output.text.replace("\r\n", "\n"), flags=re.M)
    return kept


def _to_jpeg(png):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(buffer, "JPEG", quality=92)
    return base64.b64encode(buffer.getvalue()).decode()


def _save_figures(executed, folder):
    """Write the PNG pictures among a notebook's outputs as `<stem>_<number>.png`, in order."""
    for old in folder.glob(f"{executed.stem}_[0-9][0-9].png"):
        old.unlink()
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"] if executed.exists() else []
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    pictures = [data["image/png"] for data in outputs if "image/png" in data]
    for number, picture in enumerate(pictures, 1):
        text = picture if isinstance(picture, str) else "".join(picture)
        (folder / f"{executed.stem}_{number:02}.png").write_bytes(base64.b64decode(text))


def _results_tables(stems, preset):
    """Make a Markdown table of each notebook's result files, also those of earlier runs."""
    from lle import results  # brings Keras along, which no kernel should have to share the memory with

    folders = {stem: Path("runs", preset, stem, "results") for stem in stems}
    filled = {stem: folder for stem, folder in folders.items() if any(folder.glob("*.json"))}
    tables = [f"## {stem}\n\n{results.table(folder)}\n" for stem, folder in filled.items()]
    return "\n".join(tables) or "No results.\n"


if __name__ == "__main__":
    main()
