"""Batches from arrays in memory or memory-mapped, for any Keras backend and without tf.data.

Importing this leaves tf.data's autotuning out of every `fit` of the process (see `lle.feeding`).
"""

import cv2
import keras
import numpy as np

from lle.feeding import leave_autotuning_out
from lle.pictures import to_float

leave_autotuning_out()


class Batches(keras.utils.PyDataset):
    """Shuffled, cropped and flipped batches whose content depends on the seed and the epoch alone.

    So a run that was interrupted goes on with the very batches it would have had (see `lle.training.resumable`), which
    `fit` on arrays or a shuffled tf.data pipeline cannot do. Both pictures of a pair get the same crop, flip and turn.
    To validate, leave `crop` and `augment` out: Keras counts the epochs of validation batches in a way of its own.

    Args:
        low: The dark pictures, `(images, height, width, 3)`, uint8 or float in [0, 1]; or a list of such pictures of
            different sizes, if they are cropped.
        high: Their references, likewise, or `None` for training without.
        batch_size: Pictures in a batch; the last one may be smaller.
        crop: Side in pixels of a square crop at a random place.
        augment: Random flips and quarter turns (these where the picture or the crop is square).
        seed: An int.
        names: What messages shall call the pictures, as many strings or paths; by default their places, from 0.
        zoom: Crops are taken up to so many times as large, as far as the picture reaches, and reduced to `crop` by
            averaging: they show more of the picture and less of its noise. The logarithm of the factor is uniform.
        drop_remainder: Leave out the last batch of an epoch if it is smaller: other pictures in each epoch. Backends
            that compile a step for each shape, such as JAX, then compile one.

    Raises:
        ValueError: If there is no picture, or with `drop_remainder` too few for one batch, the two differ in number or
            in size, a picture is smaller than the crop, there are not as many names, or `batch_size`, `crop` or `zoom`
            is below 1. And of a batch, if its pictures are neither uint8 nor float in [0, 1].
        IndexError: Of a batch that there is not.

    Example:

    ```python
    batches = Batches(low, high, batch_size=32, augment=True)
    model.fit(batches, epochs=40, callbacks=resumable("runs/mine", settings, monitor="loss", batches=batches))
    ```
    """

    def __init__(
        self,
        low,
        high=None,
        batch_size=32,
        crop=None,
        augment=False,
        seed=0,
        names=None,
        zoom=1,
        drop_remainder=False,
    ):
        super().__init__()
        if min(batch_size, 1 if crop is None else crop, zoom) < 1:
            raise ValueError(f"batch_size, crop and zoom must be at least 1, got {batch_size}, {crop} and {zoom}")
        if len(low) == 0 or (high is not None and [len(low), *map(_size, low)] != [len(high), *map(_size, high)]):
            raise ValueError("low and high must hold equally many pictures, at least one, each pair of one size")
        if names is not None and len(names) != len(low):
            raise ValueError(f"{len(names)} names do not fit {len(low)} pictures")
        smallest = min(range(len(low)), key=lambda i: min(_size(low[i])))
        if crop and min(_size(low[smallest])) < crop:
            name, (height, width) = smallest if names is None else names[smallest], _size(low[smallest])
            raise ValueError(f"a crop of {crop}x{crop} does not fit into picture {name}, which is {width}x{height}")
        if drop_remainder and len(low) < batch_size:
            raise ValueError(f"{len(low)} pictures are too few for a batch of {batch_size}")
        self.low, self.high, self.names, self.drop_remainder = low, high, names, drop_remainder
        self.batch_size, self.crop, self.augment, self.seed, self.zoom = batch_size, crop, augment, seed, zoom
        self.epoch, self.served = 0, []  # the numbers of the batches in the order in which `fit` took them

    def __len__(self):
        full, rest = divmod(len(self.low), self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} batches, from 0, and no batch {index}")
        self.served.append(index)
        chosen = self._chosen(index)
        sides = [self.low] if self.high is None else [self.low, self.high]
        items = [self._prepare([side[i] for side in sides], i) for i in chosen]
        return tuple(np.stack(images) for images in zip(*items, strict=True))

    def on_epoch_begin(self):
        self.served = []

    def on_epoch_end(self):
        self.epoch += 1

    def names_of(self, step):
        """Name the pictures of a training step.

        Args:
            step: Its number in the running epoch of `fit`, which takes the batches in an order of its own.

        Returns:
            A list of strings.
        """
        chosen = self._chosen(self.served[step])
        return [str(i if self.names is None else self.names[i]) for i in chosen]

    def _chosen(self, index):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.low))
        return order[index * self.batch_size : (index + 1) * self.batch_size]

    def _prepare(self, images, i):
        """Crop, flip and turn one picture or the two of a pair alike; to float32 in [0, 1]."""
        images = [self._as_float(image, i) for image in self._window(images, i)]
        if self.crop and self.zoom > 1:
            size = self.crop, self.crop
            images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
        return images

    def _as_float(self, image, i, integers=(np.uint8,)):
        if image.dtype in integers:
            return to_float(image)
        # What is no number ends the training, with names.
        if image.dtype.kind != "f" or 1.001 < np.max(image) < np.inf or -np.inf < np.min(image) < -0.001:
            name = i if self.names is None else self.names[i]
            known = " or ".join(np.dtype(kind).name for kind in integers)
            found = f"{image.dtype} from {image.min()} to {image.max()}"
            raise ValueError(f"picture {name} must be {known} or float in [0, 1], got {found}")
        return image.astype("float32")

    def _window(self, images, i):
        """Crop, flip and turn alike; from a picture n times as large as the first, a crop n times as large."""
        random = np.random.default_rng((self.seed, self.epoch, 1, i))
        height, width = _size(images[0])
        if self.crop:
            side = self.crop
            if self.zoom > 1:
                side = int(side * min(self.zoom, height / side, width / side) ** random.random())
            top, left = random.integers((height - side + 1, width - side + 1))
            scales = [len(image) // height for image in images]
            height = width = side
            images = [
                image[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
                for scale, image in zip(scales, images, strict=True)
            ]
        if self.augment:
            flip, turns = random.integers(2), random.integers(4) if height == width else 2 * random.integers(2)
            images = [np.rot90(image[:, ::-1] if flip else image, turns) for image in images]
        return images


class RawBatches(Batches):
    """Batches `(low, high)` of amplified packed frames and their references, else as `Batches` has them.

    But for `zoom` and `drop_remainder`.

    Frame and reference get the same window, flip and turn. A flip of the packed frame is one of its planes: on the
    sensor it would also exchange the columns or rows of each cell, so a flipped plane lies up to one sensor pixel off.
    SID trains so too.

    Args:
        frames: `lle.raw.Frames`, or a list or array of packed frames, each `(height / 2, width / 2, 4)`: uint16, where
            65535 stands for the white level, or float in [0, 1].
        references: As many RGB pictures, each `(height, width, 3)`: uint16, uint8 or float in [0, 1].
        ratios: As many numbers, by which the frames are multiplied; what goes above 1 is clipped.
        batch_size: Frames in a batch; the last one may be smaller.
        crop: Side in packed pixels of a square crop at a random place; that of the reference is twice as large.
        augment: Random flips and quarter turns (these where the frame or the crop is square).
        seed: An int.
        names: See `Batches`.

    Raises:
        ValueError: If there is no frame, the three differ in number, a shape is not as above, a frame is smaller than
            the crop, or a ratio is no positive number. And of a batch, if its pixels are not as above.

    Example:

    ```python
    pairs = data.sid().train
    frames = raw.cache_frames([pair.short for pair in pairs], "data/SID/cache")
    references = raw.cache_frames([pair.long for pair in pairs], "data/SID/cache", raw.develop)
    batches = RawBatches(frames, references, [pair.ratio for pair in pairs], batch_size=1, crop=512, augment=True)
    ```
    """

    def __init__(self, frames, references, ratios, batch_size=1, crop=None, augment=False, seed=0, names=None):
        counts = len(frames), len(references), len(ratios)
        if 0 in counts or len(set(counts)) > 1:
            raise ValueError(f"frames, references and ratios must be equally many and at least one, got {counts}")
        super().__init__(frames, None, batch_size, crop, augment, seed, names)
        for i, (frame, reference) in enumerate(zip(frames, references, strict=True)):
            height, width = frame.shape[:2]
            if frame.shape != (height, width, 4) or reference.shape != (2 * height, 2 * width, 3):
                raise ValueError(f"pair {i}: a reference of {reference.shape} does not fit a frame of {frame.shape}")
        if not all(0 < ratio < np.inf for ratio in ratios):
            raise ValueError(f"the ratios must be positive numbers, got {list(ratios)}")
        self.high, self.ratios = references, ratios

    def _prepare(self, images, i):
        """Crop, flip and turn a frame and its reference alike; to float32 in [0, 1]."""
        frame, reference = (self._as_float(part, i, (np.uint8, np.uint16)) for part in self._window(images, i))
        return [np.minimum(frame * np.float32(self.ratios[i]), 1), reference]


def _size(image):
    return image.shape[:2]
