"""The brightness from a network that is shown the whole picture, the rest from one that was shown crops."""

import cv2
import numpy as np

CELLS = 32  # across the picture, in which the brightness of the two is compared
OFFSET = 0.01  # keeps the ratio of two dark cells within bounds


class TwoScales:
    """Two networks as one: how bright and which colour from the coarse one, everything else from the fine one.

    A network that learns from crops cannot tell how bright the whole picture should be; one that learns from whole
    pictures, reduced so that they fit, cannot tell what is noise at full size. So the fine one enhances the picture,
    the coarse one the same picture reduced, and each of 32x32 cells of the fine result is multiplied, colour by colour,
    by what it takes to have the mean of both there, with bilinear interpolation between the cells.

    It is no `keras.Model`, but a function of a whole picture as `lle.metrics.evaluate` and `lle.enhance.run` take it.

    Args:
        coarse: A network that was trained on whole pictures, reduced to squares.
        fine: A network that was trained on crops of pictures at their own size.
        size: The side of the squares in pixels, a multiple of what the coarse network asks for.
        share: Of the coarse network in the brightness, between 0 (that of the fine one) and 1.

    Call arguments:
        batch: One picture, `(1, height, width, 3)`, RGB, float, in [0, 1].

    Returns:
        A picture of the same shape, float32, in [0, 1].

    Raises:
        ValueError: If `share` does not lie between 0 and 1; and from a call, if there is more than one picture.

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
        self.coarse, self.fine, self.size, self.share = coarse, fine, size, share

    def __call__(self, batch):
        from lle.enhance import run  # which imports this package to load networks

        if len(batch) != 1:
            raise ValueError(f"one picture at a time, got {len(batch)}")
        picture = np.asarray(batch[0], "float32")
        small = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        coarse, fine = run(self.coarse, small), run(self.fine, picture)
        wanted, found = (cv2.resize(part, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for part in (coarse, fine))
        ratio = 1 + self.share * ((wanted + OFFSET) / (found + OFFSET) - 1)
        ratio = cv2.resize(ratio, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.clip(fine * ratio, 0, 1)[None]

    def count_params(self):
        """The parameters of both."""
        return self.coarse.count_params() + self.fine.count_params()

    def get_config(self):
        """What sets it apart from another of the same networks."""
        return {"size": self.size, "share": self.share}


def remembering(network):
    """Let a network enhance each picture once, however often it is asked, as where several shares are tried.

    Args:
        network: What `lle.enhance.run` takes.

    Returns:
        A function of a batch of one picture, `(1, height, width, 3)`, float, in [0, 1], to the enhanced one, which
        `lle.enhance.run` and `TwoScales` take in the network's place. It keeps all results in memory.
    """
    from lle.enhance import run

    known = {}

    def enhance_once(batch):
        key = batch.shape, batch.tobytes()
        if key not in known:
            known[key] = run(network, batch[0])[None]
        return known[key]

    return enhance_once
