"""Decoding pictures: one, or many into an array."""

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from PIL import Image

from lle.paths import naming
from lle.pictures import open_picture, to_samples, upright


def read_image(path, max_megapixels=None):
    """Read one picture, upright (EXIF orientation applied).

    Args:
        path: A file that Pillow can decode.
        max_megapixels: A larger picture is refused before it is decoded; by default above Pillow's limit, 179.

    Returns:
        A uint8 array, `(height, width, 3)`, RGB.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no regular file or does not decode to the end, or the limit is no positive number.
    """
    with open_picture(path, max_megapixels) as picture, naming(path):
        return np.asarray(to_rgb(picture))


def to_rgb(picture):
    """Bring a Pillow picture upright and to RGB of 8 bit.

    Args:
        picture: A `PIL.Image.Image`. Grey of 16 bit is scaled down, which Pillow's own conversion would clip to white.

    Returns:
        A `PIL.Image.Image` of mode RGB.

    Raises:
        ValueError: See `lle.pictures.to_samples`.
    """
    picture = to_samples(upright(picture))
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype("uint8"))
    return picture.convert("RGB")


def read_pairs(pairs):
    """Read pairs at their own size.

    Args:
        pairs: A list of `lle.data.Pair`.

    Returns:
        The dark pictures and their references: two lists of uint8 arrays, `(height, width, 3)`, RGB.

    Raises:
        OSError: See `read_image`.
        ValueError: See `read_image`.
    """
    return [read_image(pair.low) for pair in pairs], [read_image(pair.high) for pair in pairs]


def load_images(paths, size=None):
    """Read pictures into one array, for training without tf.data and for small sets.

    Args:
        paths: The files, or a single one. Without `size` all must have the same size.
        size: `(height, width)` in pixels to resize to (bilinear, no antialiasing, as `tf.image.resize` does).

    Returns:
        A float32 array, `(images, height, width, 3)`, in [0, 1].

    Raises:
        ValueError: If there is no file, one does not decode, the sizes differ, or `size` is not two positive integers.
        OSError: If one is missing or cannot be read.
    """
    check_size(size)
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not paths:
        raise ValueError("the list of pictures is empty")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda path: _read_float(path, size), paths))
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            sizes = [size_text(image.shape[1::-1]) for image in (images[0], image)]
            raise ValueError(f"{paths[0]} is {sizes[0]} but {path} is {sizes[1]}: give size=, to fit one array")
    return np.stack(images)


def check_size(size):
    """Refuse a size that no picture can have.

    Args:
        size: `None` or `(height, width)` in pixels.

    Raises:
        ValueError: If it is anything else than two positive integers.
    """
    if size is None:
        return
    if np.shape(size) != (2,) or np.asarray(size).dtype.kind not in "iu" or min(size) < 1:
        raise ValueError(f"size must be (height, width), two positive integers, got {size!r}")


def size_text(size):
    """Write a size `(width, height)` as messages show it: 600x400."""
    return f"{size[0]}x{size[1]}"


def _read_float(path, size):
    image = read_image(path).astype("float32") / 255
    return image if size is None else cv2.resize(image, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR)
