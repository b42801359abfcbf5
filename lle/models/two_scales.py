"""The brightness from a network that was trained on whole pictures, the rest from one that was trained on crops."""

import hashlib
from numbers import Integral

import cv2
import numpy as np

from lle.enhance import run

CELLS = 32  # along each side of the picture; in these the brightness of the two is compared
OFFSET = 0.01  # bounds the ratio where the fine result is dark


class TwoScales:
    """Two networks as one: the detail of the fine one, and a mixture of the brightness and colours of both.

    A network that learns from crops cannot tell how bright the whole picture should be; one that learns from whole
    pictures, reduced so that they fit, cannot tell what is noise at full size. So the fine one enhances the picture,
    the coarse one the same picture reduced. The fine result is divided into 32 by 32 cells, and each is multiplied,
    colour by colour, so that its mean comes to `share` of the coarse result's mean there and the rest of its own, with
    bilinear interpolation between the cells. Where the fine result is nearly black it stays dark, what comes out above
    1 is clipped, and at a hard edge between dark and bright, where cells hold both, a halo about a cell wide may show.

    It is no `keras.Model`, but a function of a whole picture as `lle.metrics.evaluate` and `lle.enhance.run` take it.

    Args:
        coarse: A network that was trained on whole pictures, reduced to squares.
        fine: A network that was trained on crops of pictures at their own size.
        size: The side of the squares in pixels. If it is no multiple of the coarse network's stride, they are continued
            by reflection, as `lle.enhance.run` does.
        share: Of the coarse network in the brightness, between 0 (that of the fine one) and 1.

    Call arguments:
        batch: One picture, `(1, height, width, 3)`, RGB, float, in [0, 1].

    Returns:
        A picture of the same shape, float32, in [0, 1].

    Raises:
        ValueError: If `share` does not lie between 0 and 1, or `size` is no whole number of at least 1. From a call, if
            there is more than one picture, or it is not as above.

    Example:

    ```python
    both = TwoScales(coarse, fine, size=150)
    table = metrics.evaluate(both, split.test)
    bright = both(picture[None])[0]
    ```
    """

    def __init__(self, coarse, fine, size=150, share=0.5):
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        if not (isinstance(size, Integral) and size >= 1):
            raise ValueError(f"size must be a whole number of at least 1, got {size}")
        self.coarse, self.fine, self.size, self.share = coarse, fine, int(size), float(share)

    def __call__(self, batch):
        picture = _only_one(batch)
        fine = run(self.fine, picture)  # which checks the picture
        coarse = run(self.coarse, cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA))
        wanted, found = (cv2.resize(part, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for part in (coarse, fine))
        ratio = 1 + self.share * ((wanted + OFFSET) / (found + OFFSET) - 1)
        ratio = cv2.resize(ratio, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.clip(fine * ratio, 0, 1)[None]

    def count_params(self):
        """The parameters of both."""
        return self.coarse.count_params() + self.fine.count_params()

    def get_config(self):
        """Its settings, without the networks."""
        return {"size": self.size, "share": self.share}


def remembering(network):
    """Let a network enhance each picture once, however often it is asked, as where several shares are tried.

    For measuring: what it returns keeps every result in memory, and has no `count_params`.

    Args:
        network: What `lle.enhance.run` takes.

    Returns:
        A function of a batch of one picture, `(1, height, width, 3)`, float, in [0, 1], to the enhanced one, which
        `lle.enhance.run` and `TwoScales` take in the network's place, and which cannot be written to.

    Raises:
        ValueError: From a call, if there is more than one picture.
    """
    known = {}

    def enhance_once(batch):
        picture = _only_one(batch)
        key = picture.shape, hashlib.sha256(np.ascontiguousarray(picture)).digest()
        if key not in known:
            known[key] = run(network, picture)[None]
            known[key].flags.writeable = False  # or a caller could change what the next one gets
        return known[key]

    return enhance_once


def _only_one(batch):
    if len(batch) != 1:
        raise ValueError(f"one picture at a time, got {len(batch)}")
    return np.asarray(batch[0])
