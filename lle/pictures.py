"""Opening picture files of any origin, and what to say of those that cannot be opened."""

import threading
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from lle.paths import one_line

HEIF_SUFFIXES = {".heic", ".heif"}
# What a TIFF file says about its picture, not about how it is stored.
TIFF_TEXTS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
TIFF_FOLDERS = (34665, 34853)  # EXIF, GPS
ORIENTATION = 0x0112
OPENING = threading.Lock()


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
        ValueError: If it does not decode; the message names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of half of the limit, of broken metadata
            picture = _open(path, max_megapixels)
            picture.is_deep = ";16" in str(picture.tile)  # the decoder's name for it, such as "RGB;16B"
            picture.load()
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


def check_decoder(path):
    """Refuse a picture of a phone that Pillow knows nothing about, and say what would help.

    Args:
        path: The file, of which the suffix counts.

    Raises:
        ValueError: If it is HEIC or HEIF, and no decoder of it has been registered with Pillow.
    """
    if Path(path).suffix.lower() in HEIF_SUFFIXES - set(Image.registered_extensions()):
        raise ValueError(f"{one_line(path)}: HEIC, which takes pillow-heif to read: convert it to JPEG or PNG")


def upright(picture):
    """Turn a picture as its EXIF orientation says.

    Args:
        picture: A `PIL.Image.Image`.

    Returns:
        A `PIL.Image.Image`, without its EXIF data if these are broken.
    """
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow cannot write again what it could read
        turned = picture.copy()
        turned.info = {key: value for key, value in picture.info.items() if key != "exif"}
        turned.getexif()[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
        return ImageOps.exif_transpose(turned)


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


def first_line(error):
    """Shorten the message of an error to its first line, of at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _open(path, max_megapixels):
    """Read the header of a picture, with a limit of one's own, which Pillow only has for the whole process."""
    if max_megapixels is None:
        return Image.open(path)
    with OPENING:
        before, Image.MAX_IMAGE_PIXELS = (
            Image.MAX_IMAGE_PIXELS,
            round(max_megapixels * 1e6) // 2,
        )  # refuses above twice of it
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _chosen_exif(exif):
    kept = Image.Exif()
    kept.update({tag: exif[tag] for tag in TIFF_TEXTS if tag in exif})
    for folder in TIFF_FOLDERS:
        if entries := exif.get_ifd(folder):
            kept.get_ifd(folder).update(entries)
            kept[folder] = kept.get_ifd(folder)
    return kept
