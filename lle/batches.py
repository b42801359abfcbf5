"""Batches from arrays in memory, for any Keras backend and without tf.data."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Shuffled, cropped and flipped batches whose content depends on the seed and the epoch alone.

    So a run that was interrupted goes on with the very batches it would have had (see `lle.training.resumable`), which
    `fit` on arrays or a shuffled tf.data pipeline cannot do. Both pictures of a pair get the same crop, flip and turn.

    Args:
        low: The dark pictures, `(images, height, width, 3)`, uint8 or float in [0, 1]; or a list of such pictures of
            different sizes, if they are cropped.
        high: Their references, likewise, or `None` for training without.
        batch_size: Pictures in a batch; the last one may be smaller.
        crop: Side in pixels of a square crop at a random place.
        augment: Random flips and quarter turns (these where the picture or the crop is square).
        seed: An int.

    Raises:
        ValueError: If there is no picture, the two differ in number or in size, or a picture is smaller than the crop.

    Example:

    ```python
    batches = Batches(low, high, batch_size=32, augment=True)
    model.fit(batches, epochs=40, callbacks=resumable("runs/mine", settings, batches=batches))
    ```
    """

    def __init__(self, low, high=None, batch_size=32, crop=None, augment=False, seed=0):
        super().__init__()
        if len(low) == 0 or (high is not None and [len(low), *map(_size, low)] != [len(high), *map(_size, high)]):
            raise ValueError("low and high must hold equally many pictures, at least one, each pair of one size")
        smallest = min(min(_size(image)) for image in low)
        if crop and smallest < crop:
            raise ValueError(f"a crop of {crop}x{crop} does not fit into a picture with a side of {smallest}")
        self.low, self.high = low, high
        self.batch_size, self.crop, self.augment, self.seed = batch_size, crop, augment, seed
        self.epoch = 0

    def __len__(self):
        return -(-len(self.low) // self.batch_size)

    def __getitem__(self, index):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.low))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        sides = [self.low] if self.high is None else [self.low, self.high]
        items = [self._prepare([side[i] for side in sides], i) for i in chosen]
        return tuple(np.stack(images) for images in zip(*items, strict=True))

    def on_epoch_end(self):
        self.epoch += 1

    def _prepare(self, images, i):
        """Crop, flip and turn one picture or the two of a pair alike; to float32 in [0, 1]."""
        random = np.random.default_rng((self.seed, self.epoch, 1, i))
        height, width = _size(images[0])
        if self.crop:
            top, left = random.integers((height - self.crop + 1, width - self.crop + 1))
            images = [image[top : top + self.crop, left : left + self.crop] for image in images]
        if self.augment:
            height, width = _size(images[0])
            flip, turns = random.integers(2), random.integers(4) if height == width else 2 * random.integers(2)
            images = [np.rot90(image[:, ::-1] if flip else image, turns) for image in images]
        return [image.astype("float32") / (255 if image.dtype == np.uint8 else 1) for image in images]


def _size(image):
    return image.shape[:2]
