"""Pictures side by side, and a crop of them magnified."""

import re
import textwrap

import cv2
import numpy as np
from matplotlib.patches import Rectangle

from lle.pictures import to_uint8
from lle.plots.style import DPI, GREY, WIDTH, as_it_is, new_figure

MARK = "#E69F00"  # seen on dark and on bright pictures
GAP = 0.06  # inches between pictures
LINE = 0.24  # inches that a line of text takes
BREAKS = re.compile(r"(\s+|(?<=[_-])(?=\w))")  # where a title may be broken: names of networks have underscores


def _as_uint8(title, image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"{title} must be an image (height, width, 3), got shape {image.shape}")
    try:
        return to_uint8(image)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error


def _checked(images):
    images = {title: _as_uint8(title, image) for title, image in images.items()}
    sizes = {title: image.shape[:2] for title, image in images.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"pictures of one and the same size are needed, got {sizes}")
    return images


def _columns(titles, left=0):
    """The width of a column, the titles broken into lines that fit it, and the height of those."""
    cell = min((WIDTH - left) / len(titles), WIDTH / 2)
    wrapper = textwrap.TextWrapper(int(11 * cell))
    wrapper.wordsep_re = BREAKS
    titles = [wrapper.fill(title) for title in titles]
    return cell, titles, LINE * max(1 + title.count("\n") for title in titles)


def _text(figure, x, y, shown, fontsize=10, **options):
    """Text centred on a point, in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    text = figure.text(x / across, 1 - y / down, "", ha="center", va="center", fontsize=fontsize, **options)
    text.set(**as_it_is(shown))


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
    figure = new_figure(left + cell * len(titles), top + sum(heights) + sum(captions))
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
    figure = new_figure(cell * len(images), header + upper + GAP + lower + GAP / 2)
    for index, (title, image) in enumerate(zip(lines, images.values(), strict=True)):
        x = index * cell + GAP / 2
        _text(figure, x + across / 2, header / 2, title)
        axes = _picture(figure, x, header, across, upper, image)
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, color=MARK, linewidth=1.5))
        crop = image[top : top + rows, left : left + columns]
        axes = _picture(figure, x, header + upper + GAP, across, lower, crop, interpolation="nearest")
        axes.spines[:].set(visible=True, color=MARK, linewidth=1.5)
    return figure
