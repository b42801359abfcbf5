"""Training pairs drawn from several sources: real pairs, exposure sequences, photographs made dark.

A source is a function of a `numpy.random.Generator`, the smallest side that is of use and whether the brightness of the
result is told to the network; it returns a dark and a well-lit view of one scene, `(height, width, 3)`, uint8 or float
in [0, 1].
"""

import math

import cv2
import keras
import numpy as np

from lle.data.sequences import IDEAL, WELL_LIT, grey_mean
from lle.degrade import darken, light_in_part
from lle.feeding import leave_autotuning_out
from lle.models.dawn import THUMBNAIL
from lle.pictures import GREY, to_float

leave_autotuning_out()

USABLE = (50, 200)  # mean grey value of a frame that serves as result where the network is told the brightness
VIEW = 0.6  # least share of a picture's sides that is taken for a whole picture, where nobody says
LIGHT, COLOR = 0.3, 0.04  # standard deviations of the logarithms of gains that vary the light of a dark picture
DARKER = 0.7  # at most this share of the well-lit frame's mean


class Mixture(keras.utils.PyDataset):
    """Batches for `lle.models.Dawn`, whose content depends on the seed and epoch alone.

    What a source gives of a picture is flipped and turned by quarters. The network gets its thumbnail and a crop of it,
    at full size.

    Args:
        sources: A dictionary from names to sources (see the module).
        shares: A dictionary from the same names to their shares, which add up to 1.
        steps: Batches in an epoch.
        batch_size: Pictures in a batch.
        crop: Side in pixels of the square crops; or `None` for the whole, reduced to the size of the thumbnail, which
            teaches sketch and exposure in less time.
        told: The probability that the network is told the brightness of the result; else it gets -1.
        varied: Names of the sources whose dark pictures are made darker or brighter, and slightly coloured, at random:
            the same scene in other light. Without it the exposure soon knows the scenes of the training set by heart.
        seed: An int.
        levels: A dictionary from names of sources to a mean grey value between 0 and 1 that their references are scaled
            to, and then clipped, where the network is not told how bright they are: for sources that have nothing to
            teach about that.
        lit: The probability that the dark picture is lit in part, see `lle.degrade.light_in_part`: without such
            pictures Dawn brightens what a lamp or a window lights along with the rest.

    Raises:
        ValueError: If names, shares, levels or `lit` do not fit; from a batch, if a picture is smaller than a crop, or
            than the thumbnail (128 pixels) where there are no crops.

    Example:

    ```python
    sources = {"lol": paired(low, high), "darkened": darkened(high)}
    batches = Mixture(sources, {"lol": 0.7, "darkened": 0.3}, steps=60, batch_size=8, crop=256)
    ```
    """

    def __init__(
        self, sources, shares, steps, batch_size=8, crop=256, told=0.5, varied=(), seed=0, levels=None, lit=0.0
    ):
        super().__init__()
        levels = levels or {}
        if not {*varied, *levels} <= set(sources):
            raise ValueError(f"varied and levels may name {sorted(sources)}, got {varied} and {levels}")
        if not all(0 < level < 1 for level in levels.values()):
            raise ValueError(f"levels must lie between 0 and 1, got {levels}")
        if set(sources) != set(shares) or not math.isclose(sum(shares.values()), 1) or min(shares.values()) < 0:
            raise ValueError(f"shares must name {sorted(sources)} and add up to 1, got {shares}")
        if not 0 <= lit <= 1:
            raise ValueError(f"lit must be a probability, got {lit}")
        self.sources, self.shares = sources, shares
        self.steps, self.batch_size, self.crop, self.told, self.seed = steps, batch_size, crop, told, seed
        self.varied, self.levels, self.lit = varied, levels, lit
        self.epoch = 0

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        """Batch number `index` of this epoch: what `Dawn` takes of parts of pictures, and the well-lit parts."""
        if not 0 <= index < self.steps:
            raise IndexError(f"there are {self.steps} batches, from 0, and no batch {index}")
        items = [self._draw(np.random.default_rng((self.seed, self.epoch, index, i))) for i in range(self.batch_size)]
        *inputs, high = (np.stack(part) for part in zip(*items, strict=True))
        return tuple(inputs), high

    def on_epoch_end(self):
        self.epoch += 1

    def _draw(self, random):
        names = list(self.shares)
        name = names[random.choice(len(names), p=[self.shares[name] for name in names])]
        is_told = random.random() < self.told
        low, high = self.sources[name](random, self.crop or THUMBNAIL, is_told)
        small_high = _reduce(to_float(high))
        mean = (small_high @ GREY).mean()
        brightness = np.float32([mean if is_told else -1])
        scale = np.float32(1 if is_told or not mean else self.levels.get(name, mean) / mean)
        is_lit = self.lit and random.random() < self.lit
        light = np.exp(random.normal(0, LIGHT) + random.normal(0, COLOR, 3)) if name in self.varied else np.ones(3)
        if is_lit:  # what is lit is as bright as in the result, so the dark picture alone varies
            low, light = np.clip(to_float(low) * light, 0, 1), np.ones(3)
            low = light_in_part(low, np.clip(to_float(high) * scale, 0, 1), random)
        flip, turns = random.integers(2), random.integers(4)

        def turn(image):
            return np.rot90(image[:, ::-1] if flip else image, turns)

        small = turn(_reduce(to_float(low)))
        small, low, high = np.clip(small * light.astype("float32"), 0, 1), turn(low), turn(high)
        if not self.crop:
            whole = np.float32([0, 1])
            return small, brightness, small, whole, whole, np.clip(turn(small_high) * scale, 0, 1)
        sides = np.array(low.shape[:2])
        begin = random.integers(sides - self.crop + 1)
        rows, columns = (np.stack([begin, begin + self.crop], 1) / sides[:, None]).astype("float32")
        low, high = (to_float(part[begin[0] :, begin[1] :][: self.crop, : self.crop]) for part in (low, high))
        low = np.clip(low * light.astype("float32"), 0, 1)
        return low, brightness, small, rows, columns, np.clip(high * scale, 0, 1)


class WholePictures(keras.utils.PyDataset):
    """Pairs to validate on, one a batch, `(low, high)`, float32: of each its middle, as large as all of them have it.

    Args:
        low: List of dark pictures, `(height, width, 3)`, uint8 or float in [0, 1].
        high: List of their references.
        stride: Height and width are cut to a multiple of this.
        most: Pixels that neither shall exceed.

    Raises:
        ValueError: If there is no pair, the two differ in number or in size, one is no RGB picture, or a side is
            shorter than the stride.
    """

    def __init__(self, low, high, stride=16, most=math.inf):
        super().__init__()
        _check_pairs(low, high)
        self.low, self.high = low, high
        smallest = np.min([image.shape[:2] for image in low], axis=0)  # Keras wants one shape
        self.size = (np.minimum(smallest, most) // stride * stride).astype(int)
        if not self.size.all():
            raise ValueError(f"pictures of {smallest[0]}x{smallest[1]} are smaller than the stride, {stride}")

    def __len__(self):
        return len(self.low)

    def __getitem__(self, index):
        return tuple(self._middle(part[index])[None] for part in (self.low, self.high))

    def _middle(self, image):
        top, left = (image.shape[:2] - self.size) // 2
        return to_float(image[top : top + self.size[0], left : left + self.size[1]])


def paired(low, high, view=VIEW):
    """A source of real pairs.

    Args:
        low: List of dark pictures, `(height, width, 3)`.
        high: List of their references.
        view: The least share of a picture's sides that is taken for the whole, which lies anywhere between it and 1.

    Returns:
        A source for `Mixture`: a function of a NumPy generator, the least side in pixels and whether the brightness is
        told, to a dark and a well-lit part of one size. It raises ValueError if a picture is smaller than that.

    Raises:
        ValueError: If there is no pair, the two differ in number or in size, or one is no RGB picture.
    """
    _check_pairs(low, high)

    def draw(random, least, is_told):
        i = random.integers(len(low))
        return _cut(random, least, view, low[i], high[i])

    return draw


def exposures(sequences, view=VIEW):
    """A source of pairs of frames of one scene: one well lit, one darker.

    The result is the well-lit frame whose mean is nearest to 115: a network that is to guess can learn one brightness
    alone. Where it is told, it may be any frame that is not far too dark or bright.

    Args:
        sequences: List of lists of frames, `(height, width, 3)`, uint8. Those without a well-lit frame and a darker one
            are left out.
        view: See `paired`.

    Returns:
        A source, see `paired`.

    Raises:
        ValueError: If none is left.
    """
    scenes = []
    for frames in sequences:
        means = np.array([grey_mean(frame) for frame in frames])
        bright = {told: [i for i in range(len(frames)) if _is_bright(i, means, told)] for told in (False, True)}
        bright[False] = sorted(bright[False], key=lambda i: abs(means[i] - IDEAL))[:1]
        if bright[False]:
            scenes.append((frames, means, bright))
    if not scenes:
        raise ValueError("no sequence holds a well-lit frame and a darker one")

    def draw(random, least, is_told):
        frames, means, bright = scenes[random.integers(len(scenes))]
        high = random.choice(bright[is_told])
        low = random.choice(np.flatnonzero(means <= DARKER * means[high]))
        return _cut(random, least, view, frames[low], frames[high])

    return draw


def darkened(photographs, exposure=(0.005, 0.5), shot=(1e-5, 2e-3), view=VIEW):
    """A source of well-lit photographs and the same made dark by `lle.degrade.darken`, each by a camera of its own.

    They are reduced at random, to no less than the smallest side that is of use and at most half as much more: it
    spares the network some of their own noise, and the time to simulate more of it.

    Args:
        photographs: List of `(height, width, 3)`, uint8 or float in [0, 1].
        exposure: Range of the share of the light, drawn log-uniformly: from starlight to barely dark.
        shot: Range of the shot noise, likewise.
        view: See `paired`.

    Returns:
        A source, see `paired`.
    """

    def draw(random, least, is_told):
        (high,) = _cut(random, least, view, photographs[random.integers(len(photographs))])
        side = min(high.shape[:2])
        scale = random.uniform(least, min(1.5 * least, side)) / side
        sides = [max(least, round(length * scale)) for length in high.shape[:2]]
        high = cv2.resize(high, sides[::-1], interpolation=cv2.INTER_AREA)
        high = high if high.dtype == np.uint8 else np.clip(high, 0, 1)  # resizing leaves 1.0000001
        light, noise, red, blue = (
            math.exp(random.uniform(*np.log(limits))) for limits in (exposure, shot, (0.8, 1.25), (0.8, 1.25))
        )
        return darken(high, light, (red, 1.0, blue), noise, seed=random), high

    return draw


def unchanged(photographs, view=VIEW):
    """A source of well-lit photographs that are to come out as they are.

    Args:
        photographs: List of `(height, width, 3)`, uint8 or float in [0, 1].
        view: See `paired`.

    Returns:
        A source, see `paired`.
    """

    def draw(random, least, is_told):
        (high,) = _cut(random, least, view, photographs[random.integers(len(photographs))])
        return high, high

    return draw


def _check_pairs(low, high):
    if len(low) != len(high) or not len(low):
        raise ValueError(f"{len(low)} pictures and {len(high)} references are no pairs")
    for i, pair in enumerate(zip(low, high, strict=True)):
        shapes = [image.shape for image in pair]
        if not all(len(shape) == 3 and shape[2] == 3 for shape in shapes):
            raise ValueError(f"pair {i}: expected pictures of (height, width, 3), got {shapes[0]} and {shapes[1]}")
        if shapes[0] != shapes[1]:
            raise ValueError(f"pair {i}: a picture of {shapes[0][:2]} pixels and a reference of {shapes[1][:2]}")


def _is_bright(i, means, is_told):
    lowest, highest = USABLE if is_told else WELL_LIT
    return lowest <= means[i] <= highest and means.min() <= DARKER * means[i]


def _cut(random, least, view, *images):
    """The same part of each, which stands for a whole picture."""
    whole = np.array(images[0].shape[:2])
    if whole.min() < least:
        raise ValueError(f"a picture of {whole[0]}x{whole[1]} pixels is too small: sides of {least} or more are needed")
    sides = np.maximum(np.rint(whole * random.uniform(view, 1)).astype(int), least)
    top, left = random.integers(whole - sides + 1)
    return [image[top : top + sides[0], left : left + sides[1]] for image in images]


def _reduce(image):
    return cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
