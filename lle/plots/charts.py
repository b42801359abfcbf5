"""Curves over epochs, and a measure per image."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from lle.plots.style import COLORS, GREY, WIDTH, add_legend, as_it_is, color_of, label_of, new_figure, tidy, value_text

TRAINING = {"linestyle": "-", "markersize": 4}
VALIDATION = {"linestyle": "--", "markersize": 4, "markerfacecolor": "white"}


def read_log(path):
    """Read the file of a `keras.callbacks.CSVLogger`.

    A run that was interrupted and resumed can hold an epoch twice: the later row counts. The empty `val_` columns that
    `CSVLogger` gives a run without validation data are left out.

    Args:
        path: The CSV file.

    Returns:
        A dictionary from each column's name to a float64 array with a value per epoch, NaN where the file has none.
        `"epoch"` is among them, ascending, and counts from 0.

    Raises:
        ValueError: If the file holds no epoch.
    """

    def number(text):
        try:
            return float(text)
        except (TypeError, ValueError):  # "NA", or a last line cut short
            return np.nan

    with open(path, newline="") as file:
        rows = [{name: number(row[name]) for name in row if name} for row in csv.DictReader(file)]
    by_epoch = {row["epoch"]: row for row in rows if np.isfinite(row.get("epoch", np.nan))}
    if not by_epoch:
        raise ValueError(f"{path} holds no epoch of a training run")
    log = {name: np.array([by_epoch[epoch][name] for epoch in sorted(by_epoch)]) for name in rows[0]}
    return {name: values for name, values in log.items() if not (name.startswith("val_") and np.isnan(values).all())}


def _read_run(name, run):
    if isinstance(run, (str, Path)):
        return read_log(run)
    if not hasattr(run, "history"):
        raise TypeError(f"{name} must be a keras History or the path of a CSVLogger file, got {type(run).__name__}")
    log = {"epoch": np.array(run.epoch, float)}
    for key, values in run.history.items():
        if len(values) != len(run.epoch):  # validation_freq: the History does not say which epochs these are
            raise ValueError(f"{name}: {len(values)} values of {key} in {len(run.epoch)} epochs; use a CSVLogger file")
        log[key] = np.array(values, float)
    return log


def _best(log, key):
    """The place and the value of a measure's best epoch in validation, or `None`."""
    values = log.get(f"val_{key}", np.array([]))
    if key not in ("psnr", "ssim") or not np.isfinite(values).any():
        return None
    best = np.nanargmax(values)
    return log["epoch"][best] + 1, values[best]


def _draw_curve(axes, log, key, color, write_best):
    there = np.isfinite(log[key])
    epochs, values = log["epoch"][there] + 1, log[key][there]
    validation = key.startswith("val_")
    style = VALIDATION if validation else TRAINING
    axes.plot(epochs, values, color=color, marker="o" if len(values) <= 12 else "", linewidth=1.6, **style)
    best = _best(log, key[4:]) if validation else None
    if best:
        axes.plot(*best, "o", color=color, markersize=7, markeredgecolor="white")
    if best and write_best:
        axes.annotate(
            value_text(key[4:], best[1]),
            best,
            (0, 7),
            textcoords="offset points",
            ha="center",
            color=color,
            fontsize=9,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def _draw_panel(axes, logs, key, log_scale):
    for index, (name, log) in enumerate(logs.items()):
        found = [column for column in (key, f"val_{key}") if column in log]
        if not found:
            raise ValueError(f"{name} has no {key!r}; it has {sorted(set(log) - {'epoch'})}")
        for column in found:
            _draw_curve(axes, log, column, color_of(index), write_best=len(logs) == 1)
    tidy(axes)
    axes.margins(y=0.1)
    if log_scale:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.5))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label_of(key))


def _curve_legend(figure, logs, keys):
    """An entry for each of several runs with its best values, and one for each kind of line where they differ."""
    handles = []
    for index, (name, log) in enumerate(logs.items()):  # beside the curves of several the values would overlap
        found = [value_text(key, best[1]) for key in keys if (best := _best(log, key))]
        handles.append(Line2D([], [], color=color_of(index), label=", best ".join([name, *found])))
    handles, color = (handles, GREY) if len(handles) > 1 else ([], COLORS[0])
    lines = [line for axes in figure.axes for line in axes.lines]
    if any(line.get_linestyle() == "--" for line in lines):
        options = {"color": color, "marker": lines[0].get_marker()}
        handles.append(Line2D([], [], label="training", **options, **TRAINING))
        handles.append(Line2D([], [], label="validation", **options, **VALIDATION))
    if any(line.get_linestyle() == "None" for line in lines):
        handles.append(Line2D([], [], color=color, linestyle="", marker="o", label="best validation"))
    if handles:
        add_legend(figure, handles)


def curves(runs, keys=("loss",), log_scale=("learning_rate",)):
    """Draw training and validation curves over the epochs, a panel per key.

    The validation curve is dashed, in the colour of its run. The best validation PSNR and SSIM are marked; their
    values stand beside the curve, or with several runs in the legend.

    Args:
        runs: A `keras.callbacks.History`, the path of a CSVLogger file, or a dictionary from a name to either, for
            several runs in one figure.
        keys: Names of what the run logged, such as `("loss", "psnr")`, without `val_`; or one name.
        log_scale: The keys among them whose axis is logarithmic.

    Returns:
        A `Figure`. The first epoch is drawn at 1, as Keras prints it.

    Raises:
        TypeError: If a run is neither a History nor a path.
        ValueError: If there is no run, or one did not log one of the keys; the message lists what it has.

    Example:

    ```python
    history = model.fit(train, validation_data=validation, epochs=70)
    plots.curves(history, ["loss", "psnr"])
    plots.curves({"authors' losses": "runs/a/log.csv", "Keras port": "runs/b/log.csv"}, "psnr")
    ```
    """
    logs = runs if isinstance(runs, dict) else {"the run": runs}
    logs = {name: _read_run(name, run) for name, run in logs.items()}
    keys = (keys,) if isinstance(keys, str) else tuple(keys)
    if not logs or not keys:
        raise ValueError(f"there are {len(logs)} runs and {len(keys)} keys to draw")
    columns = 2 if len(keys) == 4 else min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = new_figure(WIDTH, rows * {1: 3.8, 2: 3.4, 3: 2.8}[columns], layout="constrained")
    for index, key in enumerate(keys):
        _draw_panel(figure.add_subplot(rows, columns, index + 1), logs, key, key in log_scale)
    _curve_legend(figure, logs, keys)
    return figure


def per_image(tables, measure="psnr"):
    """Draw a measure of each image as a dot, and the mean as a line.

    Args:
        tables: A table of `metrics.evaluate`, or a dictionary from a method's name to one, all of the same images.
        measure: A column of the tables.

    Returns:
        A `Figure`.

    Raises:
        ValueError: If there is no table, or one lacks the column, or has other images than the first.
    """
    tables = tables if isinstance(tables, dict) else {"": tables}
    if not tables:
        raise ValueError("there is no table to draw")
    first = next(iter(tables.values()))
    images = [name for name in first.index if name != "mean"]
    figure = new_figure(WIDTH, 3.6, layout="constrained")
    axes, handles = figure.add_subplot(), []
    for index, (name, table) in enumerate(tables.items()):
        if measure not in table.columns:
            raise ValueError(f"the table {name!r} has no {measure!r}; it has {list(table.columns)}")
        if set(table.index) != set(first.index):
            raise ValueError(f"the table {name!r} is about {list(table.index)}, the first about {list(first.index)}")
        mean = table.loc["mean", measure]
        label = f"{name}, mean {value_text(measure, mean)}".removeprefix(", ")
        axes.axhline(mean, color=color_of(index), linewidth=1.4)
        same_order = list(table.index) == list(first.index)  # in which two pictures may have one name
        values = table[measure].drop("mean") if same_order else table.loc[images, measure]
        handles += axes.plot(range(len(images)), values, "o", color=color_of(index), markersize=6, label=label)
    tidy(axes)
    axes.grid(axis="x", color="0.95", linewidth=0.8)
    step = -(-len(images) // 60)  # as many names as find room
    rotation = 90 if sum(len(str(name)) for name in images) > 90 else 0
    axes.set_xticks(range(0, len(images), step), images[::step], rotation=rotation, fontsize=9)
    for label, name in zip(axes.get_xticklabels(), images[::step], strict=True):
        label.set(**as_it_is(name))
    axes.set(xlabel="image", ylabel=label_of(measure))
    add_legend(figure, handles)
    return figure
