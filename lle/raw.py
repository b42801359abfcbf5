"""Camera raw files: Bayer frames packed into four planes, a cache of them on disk, and batches of crops for training.

A packed frame is `(height / 2, width / 2, 4)`, 1 at the white level. Each of its pixels stands for a cell of 2 x 2
pixels of the sensor, and its planes are always R, G1, B, G2: G1 is the green in the row of red, G2 that in the row of
blue. In the phase RGGB they lie at row and column (0, 0), (0, 1), (1, 1) and (1, 0) of the cell, the order of "Learning
to See in the Dark" (SID; Chen et al., CVPR 2018, arXiv 1805.01934). In the other phases they lie elsewhere in it, up to
one sensor pixel away from where a network trained on RGGB expects them.
"""

import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rawpy
from tqdm.auto import tqdm

from lle.batches import Batches
from lle.data import Split

LARGEST_RATIO = 300  # as in SID
CACHE_VERSION = 1  # to be raised when the content of cached frames changes
SECONDS = re.compile(r"_(\d+(?:\.\d+)?)s$")  # the end of a stem: 10003_00_0.1s
SID_NAME = re.compile(r"\d{5}_\d{2}_\d+(?:\.\d+)?s\.arw", re.IGNORECASE)
MISALIGNED = {"10034", "10045", "10172"}  # scenes that the authors of SID leave out of their figures
SID_HELP = (
    "SID is not at {root}. Get its Sony part (25 GB) once from its authors, who ask not to download it repeatedly, and "
    "unpack it so that {root}/Sony/short and {root}/Sony/long hold the .ARW files (data/README.md says where it is)."
)


class RawPair(NamedTuple):
    """The paths of a short exposure and of its reference, and how much more exposure the second one has."""

    short: Path
    long: Path
    ratio: float

    @property
    def name(self):
        return self.short.stem


class Frames(Sequence):
    """Arrays in `.npy` files, opened one at a time and memory-mapped: only the pixels that are used are read.

    They are not kept open: a memory map holds its file open, and SID has more files than a process may have open.

    Args:
        paths: The files.
    """

    def __init__(self, paths):
        self.paths = list(paths)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return np.load(self.paths[index], mmap_mode="r")


class RawBatches(Batches):
    """Batches `(low, high)` of amplified packed frames and their references, else as `lle.batches.Batches` has them.

    Frame and reference get the same window, flip and turn. A flip of the packed frame is one of its planes: on the
    sensor it would also exchange the columns or rows of each cell, so a flipped plane lies up to one sensor pixel off.
    SID trains so too.

    Args:
        frames: `Frames`, or a list or array of packed frames, each `(height / 2, width / 2, 4)`: uint16, where 65535
            stands for the white level, or float in [0, 1].
        references: As many RGB pictures, each `(height, width, 3)`: uint16, uint8 or float in [0, 1].
        ratios: As many numbers, by which the frames are multiplied; what goes above 1 is clipped.
        batch_size: Frames in a batch; the last one may be smaller.
        crop: Side in packed pixels of a square crop at a random place; that of the reference is twice as large.
        augment: Random flips and quarter turns (these where the frame or the crop is square).
        seed: An int.

    Raises:
        ValueError: If there is no frame, the three differ in number, a shape is not as above, or a frame is smaller
            than the crop.

    Example:

    ```python
    pairs = sid().train
    frames = cache_frames([pair.short for pair in pairs], "data/SID/cache")
    references = cache_frames([pair.long for pair in pairs], "data/SID/cache", develop)
    batches = RawBatches(frames, references, [pair.ratio for pair in pairs], batch_size=1, crop=512, augment=True)
    ```
    """

    def __init__(self, frames, references, ratios, batch_size=1, crop=None, augment=False, seed=0):
        counts = len(frames), len(references), len(ratios)
        if 0 in counts or len(set(counts)) > 1:
            raise ValueError(f"frames, references and ratios must be equally many and at least one, got {counts}")
        super().__init__(frames, None, batch_size, crop, augment, seed)
        for i, (frame, reference) in enumerate(zip(frames, references, strict=True)):
            height, width = frame.shape[:2]
            if frame.shape != (height, width, 4) or reference.shape != (2 * height, 2 * width, 3):
                raise ValueError(f"pair {i}: a reference of {reference.shape} does not fit a frame of {frame.shape}")
        self.references, self.ratios = references, ratios

    def _prepare(self, images, i):
        """Crop, flip and turn a frame and its reference alike; to float32 in [0, 1]."""
        random = np.random.default_rng((self.seed, self.epoch, 1, i))
        images = [images[0], self.references[i]]
        height, width = images[0].shape[:2]
        if self.crop:
            top, left = random.integers((height - self.crop + 1, width - self.crop + 1))
            height = width = self.crop
            images = [  # the reference has twice the size
                image[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
                for scale, image in enumerate(images, 1)
            ]
        if self.augment:
            flip, turns = random.integers(2), random.integers(4) if height == width else 2 * random.integers(2)
            images = [np.rot90(image[:, ::-1] if flip else image, turns) for image in images]
        return [amplify(images[0], self.ratios[i]), _to_float(images[1])]


def read_raw(path):
    """Read the visible area of a Bayer raw file.

    Black level (of each channel) and white level are those of the file: `(value - black) / (white - black)`, clipped to
    [0, 1]. Of an odd size the last row or column is left out. The frame lies as on the sensor, however the camera was
    held.

    Args:
        path: A file of any camera that LibRaw knows.

    Returns:
        The packed frame, float32, `(height / 2, width / 2, 4)`: R, G1, B, G2, linear, in [0, 1].

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no raw file, is cut off, or holds no Bayer mosaic (X-Trans, sRAW, linear DNG, monochrome).
    """
    with _opened(path) as raw:
        colours = _bayer_cell(raw, path)
        black, white = raw.black_level_per_channel, raw.white_level
        if white <= max(black):
            raise ValueError(f"{path}: its white level, {white}, is not above its black level, {max(black)}")
        height, width = (side // 2 for side in raw.raw_image_visible.shape)
        frame = np.empty((height, width, 4), "float32")
        for plane in range(4):
            row, column = np.argwhere(colours == plane)[0]
            values = raw.raw_image_visible[row : 2 * height : 2, column : 2 * width : 2].astype("float32")
            frame[..., plane] = (values - black[plane]) / (white - black[plane])
    return np.clip(frame, 0, 1, out=frame)


def develop(path):
    """Develop a raw file to the RGB picture that serves as reference, as SID does.

    By LibRaw at full size, with the white balance of the camera and without automatic brightness. The gamma curve
    (BT.709) is in it already: a second one costs about 3 dB.

    Args:
        path: A file of any camera that LibRaw knows.

    Returns:
        float32, `(height, width, 3)`, RGB in [0, 1], lying as the frame that `read_raw` returns and exactly twice its
        size.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no raw file or is cut off.
    """
    with _opened(path) as raw:
        pixels = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            half_size=False,
            output_bps=16,
            user_flip=0,  # turned upright it would not lie as the frame
        )
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    return _to_float(pixels[:height, :width])


def amplify(frame, ratio):
    """Multiply a packed frame by the ratio of the exposures and clip it at the white level.

    Args:
        frame: Array of any shape: float in [0, 1], or uint16, where 65535 stands for 1.
        ratio: A positive number.

    Returns:
        float32, same shape, in [0, 1].
    """
    return np.minimum(_to_float(frame) * np.float32(ratio), 1)


def exposure_ratio(short, long):
    """Say how many times more exposure the second of two raw files has, at most 300.

    Where both names hold the exposure time as SID's do (`10003_00_0.1s.ARW`), they decide, which takes ISO speed and
    aperture for equal. Else the files do, with `time * ISO / aperture ** 2`, to which the values of the sensor are
    proportional; ISO and aperture each count only if both files state them (a manual lens states no aperture).

    Args:
        short: Path of the file with less exposure.
        long: Path of that with more.

    Returns:
        A float from 1 to 300.

    Raises:
        OSError: If a file is missing or cannot be read.
        ValueError: If a file is no raw file or states no exposure time, or the first has more exposure than the second.
    """
    times = [SECONDS.search(Path(path).stem) for path in (short, long)]
    exposures = [float(time[1]) for time in times] if all(times) else _exposures((short, long))
    if not 0 < exposures[0] <= exposures[1]:
        raise ValueError(f"{short} must have an exposure above 0 and at most that of {long}")
    return min(float(exposures[1] / exposures[0]), LARGEST_RATIO)


def cache_frames(paths, directory, read=read_raw):
    """Decode raw files once, into `.npy` files of uint16 (65535 for 1), to be read memory-mapped from then on.

    A file that has changed is decoded again, and an interrupted call goes on where it stopped. Of 2848 x 4256 pixels a
    packed frame takes 24 MB on disk, a reference 73 MB.

    Args:
        paths: The raw files. One that occurs several times is decoded once.
        directory: Where the `.npy` files go, made if missing.
        read: `read_raw` or `develop`.

    Returns:
        `Frames` in the order of `paths`.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If a file cannot be decoded.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    targets = {path: directory / _cache_name(Path(path), read) for path in paths}
    todo = {path: target for path, target in targets.items() if not target.exists()}
    for path, target in tqdm(todo.items(), "decoding", unit="file", disable=not todo):
        pixels = np.rint(read(path) * np.float32(65535)).astype("uint16")
        try:
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                np.save(Path(scratch) / "frame.npy", pixels)
                os.replace(Path(scratch) / "frame.npy", target)  # complete or not at all
        except OSError as error:
            raise OSError(f"{target}: cannot be written ({error})") from error
    return Frames(targets[path] for path in paths)


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


@contextmanager
def _opened(path):
    """The raw file, which rawpy decodes on first use; whatever fails becomes one line that names it."""
    with open(path, "rb"):  # says why a file cannot be read, which LibRaw does not
        pass
    try:
        with rawpy.imread(str(path)) as raw:  # given a file object, LibRaw overlooks a missing byte at the end
            yield raw
    except rawpy.LibRawIOError as error:
        raise ValueError(f"{path}: the raw file is cut off or damaged") from error
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ValueError(f"{path}: does not decode as camera raw ({reason})") from error


def _bayer_cell(raw, path):
    """The colours of the first 2 x 2 visible pixels, as LibRaw numbers them: 0 R, 1 G1, 2 B, 3 G2."""
    if raw.raw_type != rawpy.RawType.Flat:
        raise ValueError(f"{path}: no Bayer mosaic, its pixels have all colours already (sRAW or linear DNG)")
    pattern = raw.raw_pattern
    if pattern.shape == (6, 6):
        raise ValueError(f"{path}: no Bayer mosaic but X-Trans")
    is_bayer = sorted(pattern.flat) == [0, 1, 2, 3] and {pattern[0, 0], pattern[1, 1]} in ({0, 2}, {1, 3})
    if not is_bayer or raw.color_desc != b"RGBG":
        raise ValueError(f"{path}: no Bayer mosaic of red, green and blue")
    return raw.raw_colors_visible[:2, :2]  # raw_pattern is that of the margins, which may be odd


def _exposures(paths):
    shots = []
    for path in paths:
        with _opened(path) as raw:
            shots.append((raw.other.shutter_speed, raw.other.iso_speed, raw.other.aperture))  # 0 where not stated
        if not shots[-1][0] > 0:
            raise ValueError(f"{path}: neither its name nor the file itself states the exposure time")
    times, speeds, apertures = np.array(shots).T
    exposures = times * speeds if speeds.all() else times
    return exposures / apertures**2 if apertures.all() else exposures


def _cache_name(path, read):
    status = path.stat()
    content = f"{CACHE_VERSION} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return f"{path.stem}.{read.__name__}.{zlib.crc32(content.encode()):08x}.npy"


def _sid_files(folder):
    return sorted(path for path in folder.glob("*") if SID_NAME.fullmatch(path.name))


def _to_float(image):
    """float32, where the largest value of an integer type stands for 1."""
    return image.astype("float32") / np.float32(np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)
