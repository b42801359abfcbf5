"""Camera raw files: Bayer frames packed into four planes, and a cache of them on disk.

A packed frame is `(height / 2, width / 2, 4)`, 1 at the white level. Each of its pixels stands for a cell of 2 x 2
pixels of the sensor, and its planes are always R, G1, B, G2: G1 is the green in the row of red, G2 that in the row of
blue. In the phase RGGB they lie at row and column (0, 0), (0, 1), (1, 1) and (1, 0) of the cell, the order of "Learning
to See in the Dark" (SID; Chen et al., CVPR 2018, arXiv 1805.01934). In the other phases they lie elsewhere in it, up to
one sensor pixel away from where a network trained on RGGB expects them.
"""

import re
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rawpy
from tqdm.auto import tqdm

from lle.paths import remove_leftovers, replacing
from lle.pictures import to_float

LARGEST_RATIO = 300  # as in SID
MEAN_LEVEL = 0.15  # of a well-exposed frame, see estimate_ratio
CACHE_VERSION = 1  # to be raised when the content of cached frames changes
SECONDS = re.compile(r"_(\d+(?:\.\d+)?)s$")  # the end of a stem: 10003_00_0.1s


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
    return to_float(pixels[:height, :width])


def size(path):
    """Say how large the visible area of a raw file is, without decoding it.

    Args:
        path: A raw file.

    Returns:
        `(width, height)` in pixels of the sensor.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no raw file.
    """
    with _opened(path) as raw:
        return raw.sizes.width, raw.sizes.height


def white_balance(path):
    """Say by how much the camera wants red and blue multiplied, relative to green, to make grey grey.

    Args:
        path: A raw file.

    Returns:
        Two floats, the gains of red and of blue; those for daylight if the camera noted none.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no raw file, or says nothing of white.
    """
    with _opened(path) as raw:
        for red, green, blue, _ in (raw.camera_whitebalance, raw.daylight_whitebalance):
            if min(red, green, blue) > 0:
                return red / green, blue / green
    raise ValueError(f"{path}: it says nothing of the white balance")


def quarter_turns(path):
    """Say how often a frame has to be turned left by 90 degrees to stand upright, by how the camera was held.

    Args:
        path: A raw file.

    Returns:
        An int from 0 to 3, as `numpy.rot90` takes it.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no raw file or is cut off.
    """
    with _opened(path) as raw:
        return {3: 2, 5: 1, 6: 3}.get(raw.sizes.flip, 0)


def amplify(frame, ratio):
    """Multiply a packed frame by the ratio of the exposures and clip it at the white level.

    Args:
        frame: Array of any shape: float in [0, 1], or uint16, where 65535 stands for 1.
        ratio: A positive number.

    Returns:
        float32, same shape, in [0, 1].

    Raises:
        ValueError: If the ratio is not positive.
    """
    if not 0 < ratio < np.inf:
        raise ValueError(f"the ratio must be a positive number, got {ratio!r}")
    return np.minimum(to_float(frame) * np.float32(ratio), 1)


def estimate_ratio(frame):
    """Guess by how much to amplify a packed frame of which no well-exposed one is known ("auto ISO" of report 4).

    The ratio that brings the mean of the frame to 0.15, the median over the references of LOL v1 as
    `lle.degrade.raw_pair` turns them back into raw; two thirds of them lie within a factor of 1.4 of it.

    Args:
        frame: Array of any shape: float in [0, 1], or uint16, where 65535 stands for 1.

    Returns:
        A float from 1 to 300.
    """
    return float(np.clip(MEAN_LEVEL / max(to_float(frame).mean(dtype="float64"), 1e-9), 1, LARGEST_RATIO))


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
    remove_leftovers(targets.values())
    todo = {path: target for path, target in targets.items() if not target.exists()}
    for path, target in tqdm(todo.items(), "decoding", unit="file", disable=not todo):
        pixels = np.rint(read(path) * np.float32(65535)).astype("uint16")
        try:
            with replacing(target, ".npy") as temporary:
                np.save(temporary, pixels)
        except OSError as error:
            raise OSError(f"{target}: cannot be written ({error})") from error
    return Frames(targets[path] for path in paths)


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
