"""Pairs of a low-light image and its reference: finding the files and checking that they fit."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lle.data.checking import sizes_of
from lle.data.reading import size_text
from lle.paths import one_line
from lle.pictures import DEVELOP, RAW_SUFFIXES

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"}


class Pair(NamedTuple):
    """The paths of a low-light image and of its reference."""

    low: Path
    high: Path

    @property
    def name(self):
        return self.low.stem


class Split(NamedTuple):
    """Three lists of `Pair`: training, validation (for every choice made), test (for the final figure alone)."""

    train: list
    validation: list
    test: list


def find_images(folder):
    """List the pictures directly in a folder.

    Args:
        folder: A path.

    Returns:
        Their paths in natural order (2.png before 10.png).

    Raises:
        OSError: If the folder does not exist or cannot be read.
        ValueError: If it holds no picture.
    """
    folder = Path(folder)
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        is_raw = any(path.suffix.lower() in RAW_SUFFIXES for path in files)
        hint = f", but camera raw: {DEVELOP}" if is_raw else ""
        looked_for = ", ".join(sorted(SUFFIXES))
        raise ValueError(f"{one_line(folder)}: no picture in this folder (looked for {looked_for}){hint}")
    return sorted(images, key=_natural_key)


def find_pairs(low_dir, high_dir, max_megapixels=None):
    """Match the pictures of two folders by their stems, and check that each decodes to its end.

    The check runs in parallel, with a progress bar if it takes more than a second, and what it found sound then is not
    decoded again until it changes.

    Args:
        low_dir: Folder of the dark pictures.
        high_dir: Folder of the references.
        max_megapixels: A larger picture is refused before it is decoded; by default above Pillow's limit, 179.

    Returns:
        A list of `Pair` in natural order.

    Raises:
        OSError: If a folder does not exist or cannot be read.
        ValueError: If a folder is empty, two pictures of one folder share a stem, a picture has no partner, or another
            size than its partner, or does not decode to the end. The message names the files.
    """
    low, high = _by_stem(low_dir), _by_stem(high_dir)
    alone = [
        one_line(path) for path in sorted((low.get(s) or high[s] for s in low.keys() ^ high.keys()), key=_natural_key)
    ]
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise ValueError(
            f"no partner for {', '.join(alone[:5])}{more}: a pair is two files with the same stem (upper and lower "
            f"case differ), one in {one_line(low_dir)} and one in {one_line(high_dir)}"
        )
    pairs = [Pair(low[stem], high[stem]) for stem in low]
    sizes = sizes_of((path for pair in pairs for path in pair), max_megapixels)
    for pair, low_size, high_size in zip(pairs, sizes[::2], sizes[1::2], strict=True):
        if low_size != high_size:
            low_text, high_text = size_text(low_size), size_text(high_size)
            raise ValueError(f"{one_line(pair.low)} is {low_text} but {one_line(pair.high)} is {high_text}")
    return pairs


def _natural_key(path):
    parts = re.split(r"([0-9]+)", path.name)  # numbers at the odd places
    return [int(part) if place % 2 else part.lower() for place, part in enumerate(parts)]


def _by_stem(folder):
    images = find_images(folder)
    repeated = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if repeated:
        names = ", ".join(one_line(path.name) for path in images if path.stem == repeated[0])
        raise ValueError(f"{one_line(folder)}: {names} share a stem, so neither can be matched")
    return {path.stem: path for path in images}
