"""The data sets by name: LOL v1, SID, and the embedded samples that need no download."""

import os
import re
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lle.data.checking import cache_folder
from lle.data.pairs import Split, find_pairs
from lle.data.splitting import scenes, split_by_label
from lle.degrade import random_darken

LOL_HELP = (
    "LOL v1 is not at {root}. Fetch it with `python -m lle download lol`, or unpack the archive so that "
    "{root}/our485/low/2.png exists (data/README.md says where to get it)."
)
SID_HELP = (
    "SID is not at {root}. Get its Sony part (25 GB) once from its authors, who ask not to download it repeatedly, and "
    "unpack it so that {root}/Sony/short and {root}/Sony/long hold the .ARW files (data/README.md says where it is)."
)
SID_NAME = re.compile(r"\d{5}_\d{2}_\d+(?:\.\d+)?s\.arw", re.IGNORECASE)
MISALIGNED = {"10034", "10045", "10172"}  # scenes that the authors of SID leave out of their figures
# Photographs that scikit-image and scikit-learn bring along, by their part in the embedded sample set.
PHOTOGRAPHS = {
    "train": ("astronaut", "chelsea", "motorcycle"),
    "validation": ("flower",),
    "test": ("china", "coffee"),
}
VERSIONS = 3  # dark versions of each photograph


class RawPair(NamedTuple):
    """The paths of a short exposure and of its reference, and how much more exposure the second one has."""

    short: Path
    long: Path
    ratio: float

    @property
    def name(self):
        return self.short.stem


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
    return Split(*split_by_label(pairs, labels, validation, seed), test)


def sid(root="data/SID", bursts=True):
    """Find the pairs of SID's Sony part: each short exposure and the long one of its scene.

    The first digit of a scene is its split: 0 training, 1 test, 2 validation. Three misaligned scenes of the test are
    left out, as their authors ask.

    Args:
        root: The folder that holds `Sony/short` and `Sony/long`.
        bursts: The short exposures were taken in bursts. `False` takes the first of each burst, as the authors' code
            does for training and test: 280, 36 and 88 pairs in place of 1865, 234 and 562.

    Returns:
        A `Split` of `RawPair` in order of the names.

    Raises:
        FileNotFoundError: If the data is not there; the message says how to get it.
        ValueError: If a short exposure has no long one.
    """
    from lle.raw import exposure_ratio  # loads LibRaw, which the other sets do without

    short, long = (_sid_files(Path(root) / "Sony" / part) for part in ("short", "long"))
    if not short or not long:
        raise FileNotFoundError(SID_HELP.format(root=root))
    references = {path.name[:5]: path for path in long}
    pairs = []
    for path in short:
        scene, frame = path.name.split("_")[:2]
        if scene in MISALIGNED or not (bursts or frame == "00"):
            continue
        if scene not in references:
            raise ValueError(f"{path}: no long exposure of its scene in {long[0].parent}")
        pairs.append(RawPair(path, references[scene], exposure_ratio(path, references[scene])))
    return Split(*([pair for pair in pairs if pair.name[0] == digit] for digit in ("0", "2", "1")))


def samples(directory=None):
    """Make the embedded sample set: photographs of scikit-image and scikit-learn, darkened by `lle.degrade`.

    It is there so that every notebook and test runs without a download. Figures on it say that the code works, not how
    good a network is.

    Args:
        directory: Where the PNG files go, once; by default `lle/samples_v1` in Keras's folder (`~/.keras`).

    Returns:
        A `Split` of 9, 3 and 6 pairs, split by photograph.

    Raises:
        OSError: If the folder cannot be written, or holds something else.
    """
    directory = Path(directory or cache_folder() / "samples_v1")
    last = directory / "test/high"
    if not last.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            _write_samples(Path(scratch) / "samples")
            try:
                os.replace(Path(scratch) / "samples", directory)  # complete or not at all
            except OSError:
                if not last.is_dir():  # else another process was faster
                    raise
    return Split(*(find_pairs(directory / part / "low", directory / part / "high") for part in PHOTOGRAPHS))


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


def _sid_files(folder):
    return sorted(path for path in folder.glob("*") if SID_NAME.fullmatch(path.name))
