"""A tf.data pipeline that decodes, resizes, crops and flips pictures. TensorFlow is imported on first use."""

import numpy as np

from lle.data.checking import sizes_of
from lle.data.pairs import Pair
from lle.data.reading import check_size, read_image, size_text
from lle.paths import one_line


def dataset(items, batch_size, size=None, crop=None, augment=False, shuffle=False, cache=True, seed=None):
    """Build a tf.data pipeline over pairs, or over single pictures for training without references.

    Decoded pictures stay in memory as uint8 after the first epoch. Both pictures of a pair always get the same crop,
    flip and turn.

    Args:
        items: A list of `Pair`, or a list of paths.
        batch_size: Pictures in a batch. The last batch may be smaller.
        size: `(height, width)` to resize to (bilinear, no antialiasing).
        crop: Side in pixels of a square crop at a random place, after resizing.
        augment: Random flips, and quarter turns where the picture is square (after `size` and `crop`).
        shuffle: A fresh order each epoch.
        cache: `False` decodes anew in each epoch, for sets that do not fit in memory.
        seed: An int makes order, crops and flips repeatable.

    Returns:
        A `tf.data.Dataset` of float32 batches in [0, 1], `(low, high)` for pairs, each `(batch, height, width, 3)`.

    Raises:
        ValueError: If `items` is empty, a picture is smaller than the crop, neither `size` nor `crop` is given and the
            sizes differ, or one of the numbers is below 1.
    """
    import tensorflow as tf

    check_size(size)
    if min(batch_size, 1 if crop is None else crop) < 1:
        raise ValueError(f"batch_size and crop must be at least 1, got {batch_size} and {crop}")
    if not items:
        raise ValueError("the list of pictures is empty")
    paired = isinstance(items[0], Pair)
    files = [[str(path) for path in item] if paired else [str(item)] for item in items]
    if crop:
        _check_crop(files, size, crop)
    elif size is None:
        _check_equal(files)
    images = tf.data.Dataset.from_tensor_slices(files).map(_decode, tf.data.AUTOTUNE)
    images = images.cache() if cache else images
    images = images.shuffle(len(files), seed, reshuffle_each_iteration=True) if shuffle else images
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    images = tf.data.Dataset.zip(images, seeds).map(
        lambda image, seed: _prepare(image, seed, size, crop, augment), tf.data.AUTOTUNE
    )
    images = images.batch(batch_size)
    images = images.map(lambda batch: (batch[:, 0], batch[:, 1]) if paired else batch[:, 0])
    return images.prefetch(tf.data.AUTOTUNE)


def _check_crop(files, size, crop):
    if size is not None and min(size) < crop:
        raise ValueError(f"a crop of {crop}x{crop} does not fit into pictures resized to {size}")
    paths = [] if size is not None else [path for group in files for path in group]
    for path, size in zip(paths, sizes_of(paths), strict=True):
        if min(size) < crop:
            raise ValueError(f"{one_line(path)} is {size_text(size)}, smaller than the crop of {crop}x{crop}")


def _check_equal(files):
    paths = [path for group in files for path in group]
    sizes = sizes_of(paths)
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            sides = size_text(sizes[0]), size_text(size)
            raise ValueError(f"{paths[0]} is {sides[0]} but {path} is {sides[1]}: give size= or crop=, to make batches")


def _decode(paths):
    """(1 or 2,) paths -> (1 or 2, height, width, 3) uint8."""
    import tensorflow as tf

    read = lambda paths: np.stack([read_image(path.decode()) for path in paths])  # noqa: E731
    images = tf.numpy_function(read, [paths], tf.uint8, stateful=False)
    images.set_shape((paths.shape[0], None, None, 3))
    return images


def _prepare(images, seed, size, crop, augment):
    """Resize, crop, flip and turn all pictures of one item alike; to float32 in [0, 1]."""
    import tensorflow as tf

    images = tf.image.convert_image_dtype(images, tf.float32)
    if size is not None:
        images = tf.image.resize(images, size)
    if crop:
        images = tf.image.stateless_random_crop(images, (images.shape[0], crop, crop, 3), seed)
    if not augment:
        return images
    shape = tf.shape(images)  # of which nothing is known before, without size and crop
    bits = tf.random.stateless_uniform((3,), seed + 1, 0, 2, tf.int32)
    images = tf.reverse(images, tf.where(bits[:2] == 1)[:, 0] + 1)  # up-down, left-right
    is_turned = tf.logical_and(bits[2] == 1, shape[1] == shape[2])
    turned = tf.cond(is_turned, lambda: tf.transpose(images, (0, 2, 1, 3)), lambda: images)
    return tf.ensure_shape(turned, images.shape)
