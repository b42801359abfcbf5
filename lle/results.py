"""Result files: what a finished run was, and what it scored, so that every printed figure has a source."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lle.machine import hardware, machines_of, repeatable, versions
from lle.paths import replacing, sha256_of
from lle.plots import read_log

FIFTH, RAW = "the report's fifth", "raw of eval15's references"
# Report, what it claims, the result file of its recipe, the test set that it printed its figure on and the one to judge
# by, and what the recipe here does otherwise.
REPORTS = (
    (
        "1, U-Net with attention",
        "19.24 dB, pooled",
        "unet_residual_attention_report",
        FIFTH,
        "eval15",
        "RGB, bfloat16, fresh batch statistics, up to 100 epochs there",
    ),
    (
        "2, MIRNet",
        "27.79 dB",
        "mirnet_plain_report",
        "eval15",
        "eval15",
        "bfloat16, scenes held out, up to 50 epochs there",
    ),
    (
        "3, ensemble of U-Nets",
        "21.62 dB, mean over epochs",
        "deeper_unet_member",
        "eval15",
        "eval15",
        "standard: one member of five; 12 filters of 64, depth 4 of 5, rate 5e-4, bfloat16, scenes held out",
    ),
    (
        "4, U-Nets on camera raw",
        "27.25 dB / 0.756 on SID",
        "raw_baseline_seed_0",
        RAW,
        RAW,
        "simulated, not SID; 12 filters",
    ),
    ("5, Zero-DCE", "28.21 dB", "zero_dce_report", "the report's 30", "eval15", "the authors' losses"),
)
SEED = re.compile(r"_seed_\d+$")


def save(path, model, settings, tables, log=None, as_printed=None, members=()):
    """Write the result file of a run.

    Args:
        path: The JSON file; its stem is the name of the result.
        model: The network that was measured.
        settings: A dictionary of what defines the run: data, pair counts, epochs, batch, optimizer, seed and so on; and
            `precision`, the name of its dtype policy, if that is no longer the global one.
        tables: A dictionary from the name of a test set (such as `"eval15"`) to the table that
            `lle.metrics.evaluate` returned.
        log: The CSV log of the run, or a list of those of its phases, which gives its epochs, its wall time and the
            validation PSNR in dB of each epoch (of the last phase: those before it may validate something else); it
            must have the column `seconds`, as those of `lle.training.resumable` have. The machines that it was trained
            on are read from beside it.
        as_printed: The PSNR in dB that the report prints of such a run, where it is not the mean over a test set.
        members: In place of `log`, those of the networks that an ensemble or `lle.models.TwoScales` is made of. Their
            wall times add up, also where the networks were trained at the same time.

    Returns:
        What was written, as a dictionary.

    Raises:
        OSError: If the file cannot be written, or the log not be read.
        ValueError: If two pictures of a table have the same name, of which the file would hold one, or there are both a
            log and members.
    """
    import keras

    if log is not None and members:
        raise ValueError("give the log of a run or those of an ensemble's members, not both")

    path = Path(path)
    kind, arguments = _kind_and_arguments(model)
    result = {
        "name": path.stem,
        "model": {"class": kind, "parameters": model.count_params(), "arguments": arguments},
        "settings": settings,
        "metrics": {name: _table(table) for name, table in tables.items()},
        "dtype_policy": settings.get("precision", keras.config.dtype_policy().name),  # it was trained under
        "hardware": hardware(),
        "versions": versions(),
        "repeatable": repeatable(),
    }
    if as_printed is not None:
        result["psnr_as_printed"] = float(as_printed)
    phases = log if isinstance(log, list) else [log]
    logs = [Path(part) for part in members or phases if part is not None]
    rows = [read_log(part) for part in logs]
    if machines := machines_of(part.parent for part in logs):
        result["training_hardware"] = machines
    if log is not None:
        result["epochs_finished"] = sum(len(part["epoch"]) for part in rows)
    if rows:
        result["training_seconds"] = round(sum(float(part["seconds"].sum()) for part in rows), 1)
    if log is not None and "val_psnr" in rows[-1]:  # with these a figure needs no log, which stays where it was made
        known = [None if np.isnan(value) else round(float(value), 3) for value in rows[-1]["val_psnr"]]
        result["validation_psnr"] = known  # `None` for the epochs without a validation (`validation_freq`)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def publish(model, result, folder, chosen_by):
    """Write a network's weights with the card that `lle.load` checks them against.

    Args:
        model: The network; its `card` attribute holds the stride and halo of `lle.enhance.run`.
        result: What `save` returned for it. Its name becomes the name of the weights.
        folder: Where `<name>.keras` and `<name>.json` go.
        chosen_by: A sentence: how this network was selected, and on which pictures.

    Returns:
        The card, as a dictionary.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['name']}.keras"
    weights, plain = model.get_weights(), type(model).from_config(model.get_config())  # leaves the optimizer behind
    plain.set_weights([np.where(np.abs(weight) < 1e-30, 0, weight) for weight in weights])  # subnormals are slow
    with replacing(path, ".keras") as temporary:
        plain.save(temporary)
    card = {
        **model.card,  # that of a published network, trained further, names it: what follows comes instead
        "name": result["name"],
        "file": path.name,
        "sha256": sha256_of(path),
        "model": result["model"]["class"],
        "parameters": result["model"]["parameters"],
        **({"arguments": result["model"]["arguments"]} if result["model"]["arguments"] else {}),
        "trained_on": result["settings"],
        "chosen_by": chosen_by,
        "results": {name: rows["mean"] for name, rows in result["metrics"].items()},
        "license": "Apache-2.0",
    }
    with replacing(folder / f"{result['name']}.json") as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def table(folder="results", names=None):
    """Collect result files into one Markdown table, a row for each network and test set.

    Files whose names differ by their seed alone (`..._seed_0`, `..._seed_1`) share a row, with the lowest and the
    highest of their figures.

    Args:
        folder: Where the JSON files are.
        names: List of the names of those to collect, without the seed; `None` for all.

    Returns:
        Markdown text.

    Raises:
        ValueError: If the folder holds no result file, none of a name, or one that is not a result.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if names is not None:
        stems = [SEED.sub("", path.stem) for path in paths]
        if missing := sorted(set(names) - set(stems)):
            raise ValueError(f"{folder}: no result called {', '.join(missing)} (the name is without the seed)")
        paths = [path for path, stem in zip(paths, stems, strict=True) if stem in set(names)]
    if not paths:
        raise ValueError(f"{folder}: no result file (*.json) there: run this in the clone, or name a folder of them")
    rows = _join_seeds(row for path in paths for row in _rows(path))
    columns = "result, parameters, trained on, epochs, test set, PSNR dB, SSIM, GT-mean PSNR, as printed".split(", ")
    frame = pd.DataFrame(rows, columns=columns, dtype=object).dropna(axis=1, how="all").fillna("")
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def reports_table(folder="results"):
    """What the five reports claim, beside what their own recipes give here: as they printed it, and as it should be.

    Args:
        folder: Where the JSON files are; a report whose file is missing has not been run in full yet.

    Returns:
        Markdown text.

    Raises:
        ValueError: If there is no file of any report, or one is not a result.
    """
    if not any((Path(folder) / f"{name}.json").is_file() for _, _, name, *_ in REPORTS):
        raise ValueError(f"{folder}: no result file of a report there, such as {REPORTS[0][2]}.json")
    columns = ["report", "reported", "as printed, here", "standard, here", "epochs", "what differs here"]
    lines = [columns, ["---"] * len(columns)]
    for report, claim, name, printed_on, test_set, other in REPORTS:
        path = Path(folder) / f"{name}.json"
        rows = {row["test set"].split(" (")[0]: row for row in _rows(path)} if path.is_file() else {}
        measured = rows.get(test_set, {"epochs": ""})
        mean_of_epochs = _printed(path)
        printed = mean_of_epochs or rows.get(printed_on, {}).get("as printed")
        printed = printed and f"{printed} dB ({test_set if mean_of_epochs else printed_on})"
        figures = "not run in full yet"
        if test_set in rows:
            figures = f"{measured['PSNR dB']} dB / {measured['SSIM']} ({test_set})"
        lines.append([report, claim, printed or "", figures, measured["epochs"], other])
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _kind_and_arguments(model):
    config = model.get_config()
    if "layers" in config:  # a functional one
        return model.name, {}
    return type(model).__name__, {k: v for k, v in config.items() if k not in ("name", "dtype", "trainable")}


def _printed(path):
    printed = json.loads(path.read_text(encoding="utf-8")).get("psnr_as_printed") if path.is_file() else None
    return _number(printed, 2)


def _table(table):
    if not table.index.is_unique:
        raise ValueError(f"two pictures are called {table.index[table.index.duplicated()][0]}: name the rows apart")
    return {str(name): {key: round(float(value), 5) for key, value in row.items()} for name, row in table.iterrows()}


def _rows(path):
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        data = result["settings"].get("data")
        for test_set, rows in result["metrics"].items():
            mean, count = rows["mean"], len(rows) - 1
            yield {
                "result": result["name"],
                "parameters": f"{result['model']['parameters']:,}",
                "trained on": ", ".join(data) if isinstance(data, dict) else data,  # names and shares
                "epochs": result.get("epochs_finished"),
                "test set": f"{test_set} ({count} images)",
                "PSNR dB": _number(mean.get("psnr"), 2),
                "SSIM": _number(mean.get("ssim"), 3),
                "GT-mean PSNR": _number(mean.get("psnr_gt_mean"), 2),
                "as printed": _number(mean.get("psnr_as_printed"), 2),
            }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a result file ({type(error).__name__}: {error})") from error


def _join_seeds(rows):
    groups = {}
    for row in rows:
        groups.setdefault((SEED.sub("", row["result"]), row["test set"]), []).append(row)
    for (name, test_set), group in groups.items():
        names = {"result": f"{name} ({len(group)} seeds)", "trained on": group[0]["trained on"], "test set": test_set}
        figures = {key: _span([row[key] for row in group]) for key in group[0] if key not in names}
        yield group[0] if len(group) == 1 else {**names, **figures}


def _span(values):
    """The lowest and the highest of figures that are written as text, or `None` if one is missing."""
    if None in values:
        return None
    found = sorted(map(str, values), key=lambda text: float(text.replace(",", "")))
    return found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def _number(value, digits):
    return None if value is None else f"{value:.{digits}f}"
