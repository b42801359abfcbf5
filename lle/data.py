"""Finding image pairs, splitting them by scene, and reading them in batches.

An image in memory is RGB, `(height, width, 3)`: uint8 as read, float32 in [0, 1] as the networks take it.
"""

import os
import re
import tempfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from lle.degrade import random_darken

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
LOL_HELP = (
    "LOL v1 is not at {root}. Fetch it with `python -m lle download lol`, or unpack the archive so that "
    "{root}/our485/low/2.png exists (data/README.md says where to get it)."
)
# Photographs that scikit-image and scikit-learn bring along, by their part in the embedded sample set.
PHOTOGRAPHS = {
    "train": ("astronaut", "chelsea", "motorcycle"),
    "validation": ("flower",),
    "test": ("china", "coffee"),
}
VERSIONS = 3  # dark versions of each photograph


class Pair(NamedTuple):
    """The paths of a low-light image and of its reference."""

    low: Path
    high: Path

    @property
    def name(self):
        return self.low.stem


class Split(NamedTuple):
    """Three lists of `Pair`: training, validation (for every choice made), test (for the final figure alone)."""

    train: list
    validation: list
    test: list


def find_images(folder):
    """List the pictures directly in a folder.

    Args:
        folder: A path.

    Returns:
        Their paths in natural order (2.png before 10.png).

    Raises:
        OSError: If the folder does not exist or cannot be read.
        ValueError: If it holds no picture.
    """
    folder = Path(folder)
    images = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not images:
        raise ValueError(f"{folder}: no picture in this folder (looked for {', '.join(sorted(SUFFIXES))})")
    return sorted(images, key=_natural_key)


def find_pairs(low_dir, high_dir):
    """Match the pictures of two folders by their stems.

    Args:
        low_dir: Folder of the dark pictures.
        high_dir: Folder of the references.

    Returns:
        A list of `Pair` in natural order.

    Raises:
        OSError: If a folder does not exist or cannot be read.
        ValueError: If a folder is empty, two pictures of one folder share a stem, a picture has no partner, or another
            size than its partner, or cannot be opened. The message names the files.
    """
    low, high = _by_stem(low_dir), _by_stem(high_dir)
    alone = [str(low.get(stem) or high[stem]) for stem in sorted(low.keys() ^ high.keys())]
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise ValueError(f"no partner for {', '.join(alone[:5])}{more}: a pair is two files with the same stem")
    pairs = [Pair(low[stem], high[stem]) for stem in low]
    sizes = _sizes(path for pair in pairs for path in pair)
    for pair, low_size, high_size in zip(pairs, sizes[::2], sizes[1::2], strict=True):
        if low_size != high_size:
            raise ValueError(f"{pair.low} is {_text(low_size)} but {pair.high} is {_text(high_size)}")
    return pairs


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
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: does not decode ({error})") from error


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
    picture = ImageOps.exif_transpose(picture)
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
            sizes = [_text(image.shape[1::-1]) for image in (images[0], image)]
            raise ValueError(f"{paths[0]} is {sizes[0]} but {path} is {sizes[1]}: give size=, to fit one array")
    return np.stack(images)


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
        ValueError: If `items` is empty or a picture is smaller than the crop.
    """
    import tensorflow as tf

    if not items:
        raise ValueError("the list of pictures is empty")
    paired = isinstance(items[0], Pair)
    files = [[str(path) for path in item] if paired else [str(item)] for item in items]
    if crop:
        _check_crop(files, size, crop)
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


def lol(root="data/LOLdataset", leak_free=False, validation=0.1, seed=0):
    """Load the pairs of LOL v1 (Wei et al., "Deep Retinex Decomposition", arXiv 1808.04560).

    485 pairs train and 15 test, but 14 of the 15 test scenes are also among the training pictures, and the training
    pictures show each scene several times. So the validation pairs are chosen by scene, and `leak_free` leaves out the
    training pairs that show a test scene.

    Args:
        root: The folder that holds `our485` and `eval15`.
        leak_free: Leave out the training pairs whose reference shows the scene of a test reference.
        validation: Share of the training scenes to validate on.
        seed: Which scenes these are.

    Returns:
        A `Split` of pairs in natural order.

    Raises:
        FileNotFoundError: If the data is not there; the message says how to get it.
        ValueError: If a pair is broken.
    """
    root = Path(root)
    if not (root / "our485" / "low").is_dir() or not (root / "eval15" / "low").is_dir():
        raise FileNotFoundError(LOL_HELP.format(root=root))
    pairs, test = (find_pairs(root / part / "low", root / part / "high") for part in ("our485", "eval15"))
    labels = scenes([pair.high for pair in pairs + test])
    labels, test_scenes = labels[: len(pairs)], set(labels[len(pairs) :])
    if leak_free:
        kept = [i for i, label in enumerate(labels) if label not in test_scenes]
        pairs, labels = [pairs[i] for i in kept], labels[kept]
    return Split(*_split(pairs, labels, validation, seed), test)


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
    return _split(pairs, labels, validation, seed)


def samples(directory=None):
    """Make the embedded sample set: photographs of scikit-image and scikit-learn, darkened by `lle.degrade`.

    It is there so that every notebook and test runs without a download. Figures on it say that the code works, not how
    good a network is.

    Args:
        directory: Where the PNG files go, once; by default `lle/samples_v1` in Keras's folder (`~/.keras`).

    Returns:
        A `Split` of 9, 3 and 6 pairs, split by photograph.

    Raises:
        OSError: If the folder cannot be written.
    """
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    directory = Path(directory or Path(home) / "lle" / "samples_v1")
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            _write_samples(Path(scratch) / "samples")
            try:
                os.replace(Path(scratch) / "samples", directory)  # complete or not at all
            except OSError:
                if not directory.is_dir():  # else another process was faster
                    raise
    return Split(*(find_pairs(directory / part / "low", directory / part / "high") for part in PHOTOGRAPHS))


def scenes(paths, threshold=0.95):
    """Group pictures that show the same scene.

    Two pictures show the same scene when their grey versions of 60 x 40 pixels correlate above the threshold; so do
    two that are linked by a third.

    Args:
        paths: Well-lit pictures (in dark ones noise hides the likeness).
        threshold: Correlation in [-1, 1]. On LOL v1 any value from 0.87 to 0.95 finds the same test scenes.

    Returns:
        An int array, one scene label for each picture.
    """
    from scipy.sparse.csgraph import connected_components

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        small = np.stack(list(pool.map(_thumbnail, paths)))
    return connected_components(np.corrcoef(small) > threshold, directed=False)[1]


def _split(pairs, labels, share, seed):
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    train, held_out = next(splitter.split(pairs, groups=labels))
    return [pairs[i] for i in sorted(train)], [pairs[i] for i in sorted(held_out)]


def _write_samples(directory):
    for part, names in PHOTOGRAPHS.items():
        for side in ("low", "high"):
            (directory / part / side).mkdir(parents=True)
        for name in names:
            photograph = _photograph(name)
            for version in range(VERSIONS):
                dark = random_darken(photograph, seed=zlib.crc32(f"{name}{version}".encode()))
                file = f"{name}_{version + 1}.png"
                Image.fromarray(np.rint(dark * 255).astype("uint8")).save(directory / part / "low" / file)
                Image.fromarray(photograph).save(directory / part / "high" / file)


def _photograph(name):
    import skimage.data
    from sklearn.datasets import load_sample_image

    if name in ("china", "flower"):
        return load_sample_image(f"{name}.jpg")
    return skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()


def _thumbnail(path):
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (60, 40), interpolation=cv2.INTER_AREA).ravel()


def _natural_key(path):
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path.name)]


def _by_stem(folder):
    images = find_images(folder)
    repeated = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if repeated:
        names = ", ".join(path.name for path in images if path.stem == repeated[0])
        raise ValueError(f"{folder}: {names} share a stem, so neither can be matched")
    return {path.stem: path for path in images}


def _size(path):
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 lie on their side
            return image.size[::-1] if turned else image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be opened as a picture ({error})") from error


def _sizes(paths):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_size, paths))


def _text(size):
    return f"{size[0]}x{size[1]}"


def _check_crop(files, size, crop):
    if size and min(size) < crop:
        raise ValueError(f"a crop of {crop}x{crop} does not fit into pictures resized to {size}")
    paths = [] if size else [path for group in files for path in group]
    for path, size in zip(paths, _sizes(paths), strict=True):
        if min(size) < crop:
            raise ValueError(f"{path} is {_text(size)}, smaller than the crop of {crop}x{crop}")


def _read_float(path, size):
    image = read_image(path).astype("float32") / 255
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) if size else image


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
    if size:
        images = tf.image.resize(images, size)
    if crop:
        images = tf.image.stateless_random_crop(images, (images.shape[0], crop, crop, 3), seed)
    if not augment:
        return images
    height, width = images.shape[1:3]
    bits = tf.random.stateless_uniform((3,), seed + 1, 0, 2, tf.int32)
    images = tf.reverse(images, tf.where(bits[:2] == 1)[:, 0] + 1)  # up-down, left-right
    square = height is not None and height == width
    return tf.cond(bits[2] == 1, lambda: tf.transpose(images, (0, 2, 1, 3)), lambda: images) if square else images
