"""Decoding pictures: one, or many into an array."""

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from PIL import Image

from lle.paths import one_line
from lle.pictures import upright


def read_image(path):
    """Read one picture, upright (EXIF orientation applied).

    Args:
        path: A file that Pillow can decode.

    Returns:
        A uint8 array, `(height, width, 3)`, RGB.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it does not decode to the end.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(to_rgb(image))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # a broken file makes Pillow's decoders fail in many ways
        raise ValueError(f"{one_line(path)}: does not decode ({error})") from error


def to_rgb(picture):
    """Bring a Pillow picture upright and to RGB of 8 bit.

    Args:
        picture: A `PIL.Image.Image`. Grey of 16 bit is scaled down, which Pillow's own conversion would clip to white.

    Returns:
        A `PIL.Image.Image` of mode RGB.

    Raises:
        ValueError: If the samples have 32 bit, whose white is not known.
    """
    if picture.mode in ("I", "F"):
        raise ValueError(f"samples of 32 bit (mode {picture.mode}) have no known white")
    picture = upright(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray(np.rint(np.asarray(picture) / 257).astype("uint8"))
    return picture.convert("RGB")


def load_images(paths, size=None):
    """Read pictures into one array, for training without tf.data and for small sets.

    Args:
        paths: The files. Without `size` all must have the same size.
        size: `(height, width)` in pixels to resize to (bilinear, no antialiasing, as `tf.image.resize` does).

    Returns:
        A float32 array, `(images, height, width, 3)`, in [0, 1].

    Raises:
        ValueError: If there is no file, one does not decode, or the sizes differ.
    """
    paths = list(paths)
    if not paths:
        raise ValueError("the list of pictures is empty")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda path: _read_float(path, size), paths))
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            sizes = [size_text(image.shape[1::-1]) for image in (images[0], image)]
            raise ValueError(f"{paths[0]} is {sizes[0]} but {path} is {sizes[1]}: give size=, to fit one array")
    return np.stack(images)


def size_text(size):
    """Write a size `(width, height)` as messages show it: 600x400."""
    return f"{size[0]}x{size[1]}"


def _read_float(path, size):
    image = read_image(path).astype("float32") / 255
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) if size else image
