"""Which pictures show the same scene, and splits that keep a scene on one side."""

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from lle.data.reading import read_image

SAME_SCENE = 0.95  # correlation; on LOL v1 any value from 0.87 to 0.95 finds the same test scenes


def scenes(paths):
    """Group pictures that show the same scene.

    Two pictures show the same scene when their grey versions of 60 x 40 pixels correlate above 0.95; so do two that are
    linked by a third.

    Args:
        paths: Well-lit pictures (in dark ones noise hides the likeness).

    Returns:
        An int array, one scene label for each picture.
    """
    from scipy.sparse.csgraph import connected_components

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        small = np.stack(list(pool.map(_thumbnail, paths)))
    return connected_components(np.atleast_2d(np.corrcoef(small)) > SAME_SCENE, directed=False)[1]


def split_by_scene(pairs, validation=0.1, seed=0):
    """Put some pairs aside to validate on, all that show the same scene (see `scenes`) on one side.

    Args:
        pairs: A list of `Pair`.
        validation: Share of the scenes to validate on.
        seed: Which scenes these are.

    Returns:
        Two lists of `Pair`, to train and to validate on, in the given order.

    Raises:
        ValueError: If the references all show one scene, or a picture does not decode.
    """
    labels = scenes([pair.high for pair in pairs])
    if len(set(labels)) < 2:
        raise ValueError("all references show one scene: there is none to put aside")
    return split_by_label(pairs, labels, validation, seed)


def split_by_label(pairs, labels, share, seed):
    """Put some pairs aside to validate on, all of one label on one side.

    Args:
        pairs: A list of pairs.
        labels: As many labels.
        share: Share of the labels to validate on.
        seed: Which labels these are.

    Returns:
        Two lists of pairs, to train and to validate on, in the given order.
    """
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    train, held_out = next(splitter.split(pairs, groups=labels))
    return [pairs[i] for i in sorted(train)], [pairs[i] for i in sorted(held_out)]


def _thumbnail(path):
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (60, 40), interpolation=cv2.INTER_AREA).ravel()
