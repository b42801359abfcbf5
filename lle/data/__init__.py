"""Finding image pairs, splitting them by scene, and reading them in batches.

An image in memory is RGB, `(height, width, 3)`: uint8 as read, float32 in [0, 1] as the networks take it.
"""

from lle.data.pairs import SUFFIXES, Pair, Split, find_images, find_pairs
from lle.data.pipeline import dataset
from lle.data.reading import load_images, read_image, read_pairs, to_rgb
from lle.data.sequences import exposure_pair, exposures
from lle.data.sets import RawPair, lol, samples, sid
from lle.data.splitting import scenes, split_by_scene

__all__ = [
    "SUFFIXES",
    "Pair",
    "RawPair",
    "Split",
    "dataset",
    "exposure_pair",
    "exposures",
    "find_images",
    "find_pairs",
    "load_images",
    "lol",
    "read_image",
    "read_pairs",
    "samples",
    "scenes",
    "sid",
    "split_by_scene",
    "to_rgb",
]
