"""Opening picture files of any origin, and what to say of those that cannot be opened."""

import errno
import math
import os
import re
import stat
import threading
import warnings
from contextlib import ExitStack, suppress
from io import BytesIO
from numbers import Real
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from lle.paths import naming, one_line

RAW_SUFFIXES = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"}
HEIF_SUFFIXES = {".heic", ".heif"}
DEVELOP = "develop it by `python -m lle enhance` or lle.files.enhance_file"
NOT_RGB = {"CMYK", "LAB", "HSV", "YCbCr"}  # modes whose colour profile does not fit what `to_samples` makes of them
# What a TIFF file says about its picture, not about how it is stored.
TIFF_TEXTS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
TIFF_FOLDERS = (34665, 34853)  # EXIF, GPS
ORIENTATION = 0x0112
BITS, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # how a TIFF file stores its samples
FAR_OUTSIDE = 16  # a network's output may leave [0, 1], one of 0 to 255 is a mistake
GREY = np.float32([0.299, 0.587, 0.114])  # the weights of red, green and blue in a grey value, BT.601
OPENING = threading.Lock()


class _Quiet:
    """Keeps warnings from being shown while any thread is in it: of half of the limit, of broken metadata.

    `warnings.catch_warnings` alone would put its filter back for good where threads leave in another order than they
    came.
    """

    def __init__(self):
        self.lock, self.inside, self.caught = threading.Lock(), 0, None

    def __enter__(self):
        with self.lock:
            if not self.inside:
                self.caught = warnings.catch_warnings(action="ignore")
                self.caught.__enter__()
            self.inside += 1

    def __exit__(self, *error):
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.caught.__exit__(*error)


QUIET = _Quiet()


def open_picture(path, max_megapixels=None):
    """Open a picture file and decode it.

    Args:
        path: A file that Pillow can decode.
        max_megapixels: A larger picture is refused before it is decoded, since a small file may hold one that does not
            fit into memory. By default Pillow's limit, 179 megapixels (twice `PIL.Image.MAX_IMAGE_PIXELS`).

    Returns:
        The `PIL.Image.Image`, the first one where the file holds several. Its attribute `is_deep` says that the file
        has 16 bits per sample, of which Pillow keeps 8 unless the picture is grey.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no regular file, camera raw by its suffix, or does not decode, and the message names the
            file; or if `max_megapixels` is no positive number.
    """
    check_megapixels(max_megapixels)
    check_file(path)
    if Path(path).suffix.lower() in RAW_SUFFIXES:  # many are TIFF files, of which Pillow would decode a small preview
        raise ValueError(f"{one_line(path)}: camera raw, no picture yet: {DEVELOP}")
    register_decoder(path)
    try:
        with QUIET, ExitStack() as on_error:
            picture = open_within(path, max_megapixels)
            on_error.callback(picture.close)
            check_samples(picture)
            # The decoder's name for it, such as "RGB;16B"; CMYK and LAB are left to Pillow, which knows what they mean.
            picture.is_deep = ";16" in str(picture.tile) and picture.mode not in ("CMYK", "LAB")
            picture.load()
            on_error.pop_all()
            return picture
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Image.UnidentifiedImageError as error:
        check_decoder(path)
        raise ValueError(f"{one_line(path)}: not a picture that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{one_line(path)}: {first_line(error)}; max_megapixels sets the limit") from error
    except Exception as error:  # a broken file makes Pillow's decoders fail in many ways
        raise ValueError(f"{one_line(path)}: does not decode ({first_line(error)})") from error


def check_file(path):
    """Refuse what is no regular file: opening a named pipe would wait for ever, and a device may have no end.

    Args:
        path: The file; links are followed.

    Raises:
        OSError: If there is no such file, it cannot be reached or is a folder.
        ValueError: If it is anything else than a file, or the name cannot be one.
    """
    with naming(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "A folder, not a picture (lle.files.enhance_files takes folders)")
        if not stat.S_ISREG(mode):
            raise ValueError("not a regular file")


def check_megapixels(max_megapixels):
    """Refuse a limit that is none.

    Args:
        max_megapixels: `None` or a positive number.

    Raises:
        ValueError: If it is anything else.
    """
    if max_megapixels is None:
        return
    if not isinstance(max_megapixels, Real) or not 0 < max_megapixels < math.inf:
        raise ValueError(f"max_megapixels must be a positive number, got {max_megapixels!r}")


def check_pixels(size, max_megapixels=None):
    """Refuse what is too large, as `open_picture` does.

    Args:
        size: `(width, height)`.
        max_megapixels: See `open_picture`.

    Raises:
        ValueError: If it has more pixels.
    """
    most = 2 * (Image.MAX_IMAGE_PIXELS or math.inf) if max_megapixels is None else max_megapixels * 1e6
    if size[0] * size[1] > most:
        raise ValueError(f"{size[0]} x {size[1]} pixels exceed the limit of {most / 1e6:g} megapixels (max_megapixels)")


def check_samples(picture):
    """Refuse the TIFF files that Pillow and OpenCV open, but whose samples they take for something else.

    Args:
        picture: An opened `PIL.Image.Image`.

    Raises:
        ValueError: If the samples are signed, or have 16 bits and lie in separate planes or count from white.
    """
    if picture.format != "TIFF":
        return
    bits, tags = max(picture.tag_v2.get(BITS, (1,))), picture.tag_v2
    if bits == 8 and 2 in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("signed samples of 8 bits have no known white")
    if bits == 16 and tags.get(PLANES) == 2 and len(tags[BITS]) > 1:
        raise ValueError("16 bits per sample in separate planes: save it with interleaved samples")
    if bits == 16 and tags.get(PHOTOMETRIC) == 0:
        raise ValueError("16 bits per sample where 0 is white: save it with 0 for black")


def check_white(picture):
    """Refuse samples of 32 bit.

    Args:
        picture: A `PIL.Image.Image`.

    Raises:
        ValueError: If it has such samples, integers or floats.
    """
    if picture.mode in ("I", "F"):
        raise ValueError(f"samples of 32 bit (mode {picture.mode}) have no known white: give an array in [0, 1]")


def register_decoder(path):
    """Let pillow-heif decode the pictures of phones, where it is installed.

    Args:
        path: The file, of which the suffix counts.
    """
    if Path(path).suffix.lower() in HEIF_SUFFIXES - set(Image.registered_extensions()):
        with suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()


def check_decoder(path):
    """Refuse a picture of a phone that Pillow knows nothing about, and say what would help.

    Args:
        path: The file, of which the suffix counts.

    Raises:
        ValueError: If it is HEIC or HEIF, and no decoder of it has been registered with Pillow.
    """
    if Path(path).suffix.lower() in HEIF_SUFFIXES - set(Image.registered_extensions()):
        raise ValueError(f"{one_line(path)}: HEIC: install pillow-heif, which reads it, or convert it to JPEG or PNG")


def upright(picture):
    """Turn a picture as its EXIF orientation says.

    Args:
        picture: A `PIL.Image.Image`.

    Returns:
        A `PIL.Image.Image`, without its EXIF data if these are broken.
    """
    try:
        turned, before = ImageOps.exif_transpose(picture), picture.getexif()
        # Written anew: by Pillow, which spoils texts; or here, lest a thumbnail stay as dark as the picture was.
        if "exif" in turned.info and (ORIENTATION in before or before.get_ifd(ExifTags.IFD.IFD1)):
            exif = Image.Exif()
            exif.load(turned.info["exif"])
            exif.update(exif_texts(before))
            turned.info["exif"] = exif.tobytes()
        return turned
    except Exception:  # Pillow cannot write again what it could read
        turned = picture.copy()
        turned.info = {key: value for key, value in picture.info.items() if key != "exif"}
        turned.getexif()[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
        return ImageOps.exif_transpose(turned)


def to_samples(picture):
    """Bring a picture into a mode whose samples are brightness, or red, green and blue, with alpha or without.

    Args:
        picture: A `PIL.Image.Image` of any mode.

    Returns:
        A `PIL.Image.Image` of the mode `L`, `LA`, `RGB`, `RGBA` or one that begins with `I;16`.

    Raises:
        ValueError: If its samples have no known white, or the colour profile of a CMYK picture cannot be used.
    """
    check_white(picture)
    info, mode = picture.info.copy(), picture.mode
    if mode.startswith("I;16") or (mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in info):
        return picture
    profile = info.pop("icc_profile", None) if mode in NOT_RGB else None  # it does not fit what the picture becomes
    if mode == "CMYK" and profile:
        picture = _through(picture, profile)
    base = "L" if mode in ("1", "L", "La") else "RGB"
    picture = picture.convert(base + "A" if picture.has_transparency_data else base)
    picture.info = {key: value for key, value in info.items() if key != "transparency"}
    return picture


def exif_without_layout(exif):
    """The EXIF data of a TIFF file but for the tags that say how it stores its samples, which would not fit another.

    Args:
        exif: A `PIL.Image.Exif`.

    Returns:
        A new `PIL.Image.Exif`, empty if the data are broken.
    """
    try:
        kept = _chosen_exif(exif)
        kept.tobytes()
        return kept
    except Exception:  # broken data, which would spoil the file that they go into
        return Image.Exif()


def exif_texts(exif):
    """Take the texts out of EXIF data: camera, artist and the like, as they stand in the file.

    Pillow reads each of their bytes as a character, but writes none beyond ASCII.

    Args:
        exif: A `PIL.Image.Exif`.

    Returns:
        A dictionary from tags to bytes.
    """
    return {tag: str(exif[tag]).encode("latin-1", "replace") for tag in TIFF_TEXTS if tag in exif}


def first_line(error):
    """Shorten the message of an error to its first line that says something, of at most 200 characters."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]  # of colours
    lines = [line for line in lines if line and not line.startswith("Exception encountered when calling")]  # of Keras
    return lines[0][:200] if lines else type(error).__name__


def to_float(image):
    """Bring an array to float32, where the largest value of an integer type stands for 1.

    Args:
        image: Array of any shape: float, or unsigned integers.

    Returns:
        float32, same shape.
    """
    return image.astype("float32") / np.float32(np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)


def to_uint8(image):
    """Bring a picture to 8 bit as the protocol `standard` measures it: clipped, then rounded.

    Args:
        image: Array of any shape: uint8, or float in [0, 1], which an output may leave by a bit.

    Returns:
        uint8, same shape.

    Raises:
        ValueError: If it is of another type, or holds values that are not numbers or far outside.
    """
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"a picture must be uint8 or float in [0, 1], got {image.dtype}")
    if not (np.isfinite(image).all() and np.abs(image).max(initial=0) < FAR_OUTSIDE):
        found = f"values from {image.min()} to {image.max()}"
        raise ValueError(f"a picture must be uint8 or float in [0, 1], got {found}")
    return np.rint(np.clip(image, 0, 1) * 255).astype("uint8")


def count_pictures(path):
    """Count the pictures that are meant to be seen in a file: the frames of an animation, the pages of a TIFF file.

    Args:
        path: A file that Pillow can decode.

    Returns:
        An int, 1 also where it cannot be told, and of MPO, in which cameras keep a preview of the same picture.
    """
    with QUIET, suppress(Exception), open_within(path) as picture:
        return 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    return 1


def open_within(path, max_megapixels=None):
    """Read the header of a picture, with a limit of one's own, which Pillow only has for the whole process.

    Args:
        path: A file that Pillow can decode.
        max_megapixels: See `open_picture`.

    Returns:
        The `PIL.Image.Image`, not yet decoded. Of its errors nothing is caught.
    """
    with OPENING:  # also without one, lest the limit of another thread be met
        before = Image.MAX_IMAGE_PIXELS
        try:
            if max_megapixels is not None:
                Image.MAX_IMAGE_PIXELS = round(max_megapixels * 1e6) // 2  # refuses above twice of it
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _chosen_exif(exif):
    kept = Image.Exif()
    kept.update(exif_texts(exif))
    for folder in TIFF_FOLDERS:
        if entries := exif.get_ifd(folder):
            kept.get_ifd(folder).update(entries)
            kept[folder] = kept.get_ifd(folder)
    return kept


def _through(picture, profile):
    """A CMYK picture in sRGB, through its colour profile."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError(f"its colour profile cannot be used ({first_line(error)})") from error
