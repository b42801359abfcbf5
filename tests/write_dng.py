"""A raw file for the tests."""

import struct

import numpy as np
import tifffile


def write_dng(path, mosaic, phase="RGGB", black=(0,) * 4, white=16383, tags=()):
    """Write an uncompressed DNG file: a mosaic `(height, width)`; `(height, width, 3)` is linear, 1 monochrome."""
    is_linear, side = mosaic.ndim == 3, round(len(phase) ** 0.5)
    cell = [
        (33421, "H", 2, (side, side), True),  # CFARepeatPatternDim
        (33422, "B", side * side, bytes("RGB".index(colour) for colour in phase), True),  # CFAPattern
        (50713, "H", 2, (2, 2), True),  # BlackLevelRepeatDim
        (50714, "H", 4, black, True),  # BlackLevel
        (50717, "H", 1, white, True),  # WhiteLevel
    ]
    camera = [
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),  # DNGVersion
        (50708, "s", 0, "camera of the tests", True),  # UniqueCameraModel
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),  # ColorMatrix1
        (50728, "2I", 3, (1, 2, 1, 1, 2, 3), True),  # AsShotNeutral
        (50778, "H", 1, 21, True),  # CalibrationIlluminant1
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    extra = camera + ([] if is_linear else cell) + list(tags)
    photometric, planes = (34892, "contig") if is_linear else (32803, None)
    if mosaic.shape[-1] == 1:  # which tifffile writes as a grey picture alone
        mosaic, photometric, planes = mosaic[..., 0], "minisblack", None
    tifffile.imwrite(path, mosaic, photometric=photometric, planarconfig=planes, extratags=extra, metadata=None)
    if photometric == "minisblack":
        tag = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation
        path.write_bytes(path.read_bytes().replace(tag + struct.pack("<H", 1), tag + struct.pack("<H", 34892)))
    return path


def noise(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 16384, (height, width), dtype="uint16")
