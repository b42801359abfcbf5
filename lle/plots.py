"""Figures: curves over epochs, pictures side by side, a crop magnified, a measure per image.

Every function returns a matplotlib `Figure` that pyplot knows nothing of: no display is needed, no window opens, and a
notebook shows it once, where it is the last line of a cell. `figure.savefig(path)` writes it to a file.
"""

import csv
import io
import textwrap
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WORDS = {"psnr": "PSNR", "ssim": "SSIM", "ciede2000": "CIEDE2000", "gt mean": "GT-mean"}
GREY = "0.4"
MARK = "#E69F00"  # seen on dark and on bright pictures
TRAINING = {"linestyle": "-", "markersize": 4}
VALIDATION = {"linestyle": "--", "markersize": 4, "markerfacecolor": "white"}
DPI = 100
WIDTH = 9  # inches; 900 pixels are the column of a notebook
GAP = 0.06  # inches between pictures
LINE = 0.24  # inches that a line of text takes


class _NotebookFigure(Figure):
    """Jupyter shows a plain `Figure` as text until pyplot has set its backend up. This one is a picture everywhere."""

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def _figure(width, height, layout=None):
    return _NotebookFigure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)


def _color(index):
    return COLORS[index % len(COLORS)]


def _label(key):
    label = key.replace("_", " ")
    for word, spelled in WORDS.items():
        label = label.replace(word, spelled)
    return f"{label} (dB)" if "PSNR" in label else label


def _value(key, value):
    return f"{value:.2f} dB" if key.startswith("psnr") else f"{value:.3f}"


def _tidy(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


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


def _draw_curve(axes, log, key, color):
    there = np.isfinite(log[key])
    epochs, values = log["epoch"][there] + 1, log[key][there]
    validation = key.startswith("val_")
    style = VALIDATION if validation else TRAINING
    axes.plot(epochs, values, color=color, marker="o" if len(values) <= 12 else "", linewidth=1.6, **style)
    if validation and key[4:] in ("psnr", "ssim") and len(values):
        best = np.argmax(values)
        axes.plot(epochs[best], values[best], "o", color=color, markersize=7, markeredgecolor="white")
        axes.annotate(
            _value(key[4:], values[best]),
            (epochs[best], values[best]),
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
            _draw_curve(axes, log, column, _color(index))
    _tidy(axes)
    axes.margins(y=0.1)
    if log_scale:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.5))
    axes.set_xlabel("epoch")
    axes.set_ylabel(_label(key))


def _curve_legend(figure, names):
    """An entry for each of several runs, and one for each kind of line where they differ."""
    handles = [Line2D([], [], color=_color(index), label=name) for index, name in enumerate(names)]
    handles, color = (handles, GREY) if len(handles) > 1 else ([], COLORS[0])
    lines = [line for axes in figure.axes for line in axes.lines]
    if any(line.get_linestyle() == "--" for line in lines):
        options = {"color": color, "marker": lines[0].get_marker()}
        handles.append(Line2D([], [], label="training", **options, **TRAINING))
        handles.append(Line2D([], [], label="validation", **options, **VALIDATION))
    if any(line.get_linestyle() == "None" for line in lines):
        handles.append(Line2D([], [], color=color, linestyle="", marker="o", label="best validation"))
    if handles:
        _legend(figure, handles)


def _as_it_is(text):
    """Options of a text for matplotlib, which takes dollar signs for formulas and no names that are not UTF-8."""
    return {"text": str(text).encode("utf-8", "backslashreplace").decode("utf-8"), "parse_math": False}


def _legend(figure, handles):
    """A legend above the axes, in as many columns as find room: about 6 pixels a letter, 45 for mark and gap."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, int(100 * WIDTH / (6 * longest + 45)))
    legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set(**_as_it_is(text.get_text()))


def curves(runs, keys=("loss",), log_scale=("learning_rate",)):
    """Draw training and validation curves over the epochs, a panel per key.

    The validation curve is dashed, in the colour of its run. The best validation PSNR and SSIM are marked.

    Args:
        runs: A `keras.callbacks.History`, the path of a CSVLogger file, or a dictionary from a name to either, for
            several runs in one figure.
        keys: Names of what the run logged, such as `("loss", "psnr")`, without `val_`; or one name.
        log_scale: The keys among them whose axis is logarithmic.

    Returns:
        A `Figure`. The first epoch is drawn at 1, as Keras prints it.

    Raises:
        TypeError: If a run is neither a History nor a path.
        ValueError: If a run did not log one of the keys; the message lists what it has.

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
    figure = _figure(WIDTH, rows * {1: 3.8, 2: 3.4, 3: 2.8}[columns], layout="constrained")
    for index, key in enumerate(keys):
        _draw_panel(figure.add_subplot(rows, columns, index + 1), logs, key, key in log_scale)
    _curve_legend(figure, logs)
    return figure


def _as_uint8(title, image):
    """The picture as the standard protocol measures it: clipped, rounded to 8 bit."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"{title} must be an image (height, width, 3), got shape {image.shape}")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f" or np.mean(image) > 1:
        raise ValueError(f"{title} must be uint8 or float in [0, 1], got {image.dtype} up to {image.max()}")
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _checked(images):
    images = {title: _as_uint8(title, image) for title, image in images.items()}
    sizes = {title: image.shape[:2] for title, image in images.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"pictures of one and the same size are needed, got {sizes}")
    return images


def _columns(titles, left=0):
    """The width of a column, the titles broken into lines that fit it, and the height of those."""
    cell = min((WIDTH - left) / len(titles), WIDTH / 2)
    titles = [textwrap.fill(title, int(11 * cell)) for title in titles]
    return cell, titles, LINE * max(1 + title.count("\n") for title in titles)


def _text(figure, x, y, shown, fontsize=10, **options):
    """Text centred on a point, in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    text = figure.text(x / across, 1 - y / down, "", ha="center", va="center", fontsize=fontsize, **options)
    text.set(**_as_it_is(shown))


def _picture(figure, left, top, width, height, image, **options):
    """Axes with a picture, placed in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    rows, columns = image.shape[:2]
    if columns > 2 * DPI * width:  # matplotlib takes seconds to draw a photograph of many megapixels
        image = cv2.resize(image, (round(2 * DPI * width), round(2 * DPI * height)), interpolation=cv2.INTER_AREA)
    axes.imshow(image, aspect="auto", extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), **options)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _caption(row, title, reference):
    from lle import metrics  # loads Keras, which the other figures do without

    if title == reference:
        return "PSNR / SSIM"
    return f"{metrics.psnr(row[reference], row[title]):.1f} dB / {metrics.ssim(row[reference], row[title]):.2f}"


def enhanced(networks, pairs):
    """Enhance dark pictures with several networks, to be shown by `compare` or `magnify`.

    Args:
        networks: A dictionary from a column's title to a network: a name, a path, a model or a function as
            `lle.enhance` takes it.
        pairs: A list of `lle.data.Pair`.

    Returns:
        A list with a row for each pair: a dictionary from `"input"`, the titles and `"reference"` to pictures,
        `(height, width, 3)`, uint8.

    Raises:
        OSError: If a picture is missing or cannot be read.
        ValueError: See `lle.enhance`.

    Example:

    ```python
    plots.compare(plots.enhanced({"dawn": "dawn", "mine": model}, pairs), names=[pair.name for pair in pairs])
    ```
    """
    from lle.data import read_image
    from lle.enhance import enhance  # loads Keras, which the other figures do without

    rows = []
    for low, high in ((read_image(pair.low), read_image(pair.high)) for pair in pairs):
        outputs = {title: enhance(low, network) for title, network in networks.items()}
        rows.append({"input": low, **outputs, "reference": high})
    return rows


def compare(rows, names=None, reference="reference"):
    """Show pictures side by side, each with its PSNR and SSIM (protocol `standard`) against the reference.

    Args:
        rows: A list of dictionaries from a column's title to an image, (height, width, 3), uint8 or float in [0, 1];
            or one such dictionary. The pictures of a row have one size, which may differ from the next row's. A row
            may lack some of the columns.
        names: A name for each row, written at its left.
        reference: The title of the column that the others are measured against. A row without it gets no measures.

    Returns:
        A `Figure`.

    Raises:
        ValueError: If there is no picture, those of a row differ in size, one is neither uint8 nor in [0, 1], or there
            are more or fewer names than rows.

    Example:

    ```python
    plots.compare({"input": low, "enhanced": lle.enhance(low), "reference": high})
    ```
    """
    rows = [_checked(row) for row in ([rows] if isinstance(rows, dict) else rows)]
    if not rows or (names and len(names) != len(rows)):
        raise ValueError(f"there are {len(rows)} rows of pictures and {len(names or [])} names")
    titles = list(dict.fromkeys(title for row in rows for title in row))
    left = LINE if names else 0
    cell, lines, top = _columns(titles, left)
    sizes = [next(iter(row.values())).shape for row in rows]
    heights = [(cell - GAP) * height / width for height, width, _ in sizes]
    captions = [LINE if reference in row and len(row) > 1 else GAP for row in rows]
    figure = _figure(left + cell * len(titles), top + sum(heights) + sum(captions))
    for column, title in enumerate(lines):
        _text(figure, left + (column + 0.5) * cell, top / 2, title)
    for index, (row, height, caption) in enumerate(zip(rows, heights, captions, strict=True)):
        if names:
            _text(figure, left / 2, top + height / 2, names[index], rotation=90)
        for title, image in row.items():
            x = left + titles.index(title) * cell
            _picture(figure, x + GAP / 2, top, cell - GAP, height, image)
            if caption == LINE:
                text = _caption(row, title, reference)
                _text(figure, x + cell / 2, top + height + LINE / 2, text, color=GREY, fontsize=9)
        top += height + caption
    return figure


def magnify(images, window=None):
    """Show one picture as several methods give it, and below each the same crop, magnified.

    Args:
        images: A dictionary from a title to an image, (height, width, 3), uint8 or float in [0, 1], all of one size.
        window: The crop `(top, left, height, width)` in pixels, by default a fifth of the sides, up and left of the
            middle. It is marked in each picture.

    Returns:
        A `Figure`. The crops show the pixels as they are, without interpolation.

    Raises:
        ValueError: If the pictures differ in size, one is neither uint8 nor in [0, 1], or the crop is not inside them.
    """
    images = _checked(images)
    height, width = next(iter(images.values())).shape[:2]
    top, left, rows, columns = window or (height // 3, width // 3, max(height // 5, 1), max(width // 5, 1))
    if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
        raise ValueError(f"window (top, left, height, width) {window} is not inside a picture of {height} x {width}")
    cell, lines, header = _columns(images)
    across = cell - GAP
    upper, lower = across * height / width, across * rows / columns
    figure = _figure(cell * len(images), header + upper + GAP + lower + GAP / 2)
    for index, (title, image) in enumerate(zip(lines, images.values(), strict=True)):
        x = index * cell + GAP / 2
        _text(figure, x + across / 2, header / 2, title)
        axes = _picture(figure, x, header, across, upper, image)
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, color=MARK, linewidth=1.5))
        crop = image[top : top + rows, left : left + columns]
        axes = _picture(figure, x, header + upper + GAP, across, lower, crop, interpolation="nearest")
        axes.spines[:].set(visible=True, color=MARK, linewidth=1.5)
    return figure


def per_image(tables, measure="psnr"):
    """Draw a measure of each image as a dot, and the mean as a line.

    Args:
        tables: A table of `metrics.evaluate`, or a dictionary from a method's name to one, all of the same images.
        measure: A column of the tables.

    Returns:
        A `Figure`.

    Raises:
        ValueError: If a table lacks the column, or has other images than the first.
    """
    tables = tables if isinstance(tables, dict) else {"": tables}
    if not tables:
        raise ValueError("there is no table to draw")
    first = next(iter(tables.values()))
    images = [name for name in first.index if name != "mean"]
    figure = _figure(WIDTH, 3.6, layout="constrained")
    axes, handles = figure.add_subplot(), []
    for index, (name, table) in enumerate(tables.items()):
        if measure not in table.columns:
            raise ValueError(f"the table {name!r} has no {measure!r}; it has {list(table.columns)}")
        if set(table.index) != set(first.index):
            raise ValueError(f"the table {name!r} is about {list(table.index)}, the first about {list(first.index)}")
        mean = table.loc["mean", measure]
        label = f"{name}, mean {_value(measure, mean)}".removeprefix(", ")
        axes.axhline(mean, color=_color(index), linewidth=1.4)
        values = table.loc[images, measure]
        handles += axes.plot(range(len(images)), values, "o", color=_color(index), markersize=6, label=label)
    _tidy(axes)
    axes.grid(axis="x", color="0.95", linewidth=0.8)
    step = -(-len(images) // 60)  # as many names as find room
    rotation = 90 if sum(len(str(name)) for name in images) > 90 else 0
    axes.set_xticks(range(0, len(images), step), images[::step], rotation=rotation, fontsize=9)
    for label, name in zip(axes.get_xticklabels(), images[::step], strict=True):
        label.set(**_as_it_is(name))
    axes.set(xlabel="image", ylabel=_label(measure))
    _legend(figure, handles)
    return figure
