"""Exposure sequences: several frames of one scene, from too dark to too bright, as pairs that are not LOL's."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lle.data.pairs import Pair, find_images
from lle.data.reading import read_image
from lle.data.splitting import split_by_label

EXPOSURES_HELP = (
    "The multi-exposure photographs are not at {root}. Get Zero-DCE's training pictures from its authors and put them "
    "into {root} (data/README.md says where they are)."
)
SAME_SCENE = 0.65  # correlation of the ranks; within a scene it is 0.73 and more, from one to the next 0.54 and less
DARK, WELL_LIT, IDEAL = (4, 40), (90, 150), 115  # means of the grey values (BT.601), 0 to 255
# For testing only: the dark and the well-lit frame of 15 scenes. All frames of these are kept from training.
HELD_OUT = (
    "28-30 143-141 195-196 283-286 364-366 405-408 426-429 488-491 532-535 574-577 1047-1050 1070-1073 1096-1100 "
    "1169-1172 1194-1197"
)


class Exposures(NamedTuple):
    """Sequences of paths to train and to validate on, and the 15 pairs to test on."""

    train: list
    validation: list
    test: list


def exposures(root="data/multi_exposure", validation=0.25, seed=0):
    """Group the training photographs of Zero-DCE (from SICE) into sequences of one scene each.

    Files whose numbers follow each other show one scene where the ranks of their pixels correlate, which does not
    depend on the exposure. 15 sequences are for testing.

    Args:
        root: The folder of the pictures, `1.jpg` and so on.
        validation: Share of the other sequences to validate on.
        seed: Which these are.

    Returns:
        `Exposures`; each sequence is a list of paths.

    Raises:
        FileNotFoundError: If the pictures, or some of those to test on, are not there.
        ValueError: If a picture does not decode.
    """
    root = Path(root)
    test = [Pair(*(root / f"{number}.jpg" for number in pair.split("-"))) for pair in HELD_OUT.split()]
    if not all(path.is_file() for pair in test for path in pair):
        raise FileNotFoundError(EXPOSURES_HELP.format(root=root))
    tested = {path for pair in test for path in pair}
    sequences = [frames for frames in sequences_of(find_images(root)) if not tested & set(frames)]
    return Exposures(*split_by_label(sequences, range(len(sequences)), validation, seed), test)


def sequences_of(paths):
    """Cut a list of pictures where the scene changes.

    Args:
        paths: Pictures, those of a scene next to each other.

    Returns:
        A list of lists of paths.
    """
    sequences, before = [], None
    for path in paths:
        ranks = _ranks(path)
        if before is not None and np.corrcoef(before, ranks)[0, 1] > SAME_SCENE:
            sequences[-1].append(path)
        else:
            sequences.append([path])
        before = ranks
    return sequences


def exposure_pair(frames):
    """Choose a dark and a well-lit frame of a sequence, as those to test on were (14 of the 15 come out the same).

    Args:
        frames: Paths of pictures of one scene.

    Returns:
        The `Pair` of the brightest frame whose mean is 4 to 40, and of the frame nearest to 115 whose mean is 90 to
        150, of 255; `None` if there is no such frame.
    """
    means = {path: grey_mean(read_image(path)) for path in frames}
    dark = [path for path in frames if DARK[0] <= means[path] <= DARK[1]]
    lit = [path for path in frames if WELL_LIT[0] <= means[path] <= WELL_LIT[1]]
    if not dark or not lit:
        return None
    return Pair(max(dark, key=means.get), min(lit, key=lambda path: abs(means[path] - IDEAL)))


def grey_mean(picture):
    """The mean grey value (BT.601) of a picture, `(height, width, 3)`, uint8, from 0 to 255."""
    return _grey(picture).mean()


def _ranks(path):
    from scipy.stats import rankdata

    return rankdata(cv2.resize(_grey(read_image(path)), (60, 40), interpolation=cv2.INTER_AREA))


def _grey(picture):
    return cv2.cvtColor(picture.astype("float32"), cv2.COLOR_RGB2GRAY)
