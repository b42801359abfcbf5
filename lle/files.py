"""Enhancing picture files: what stands in a file comes out again, with 16 bits, EXIF and colour profile."""

import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lle.data import SUFFIXES
from lle.enhance import DEFAULT, RAW_DEFAULT, enhance, find, load, run
from lle.paths import naming, one_line, remove_leftovers, replacing
from lle.pictures import (
    HEIF_SUFFIXES,
    NOT_RGB,
    ORIENTATION,
    RAW_SUFFIXES,
    check_decoder,
    check_file,
    check_megapixels,
    check_pixels,
    count_pictures,
    exif_without_layout,
    first_line,
    open_picture,
    upright,
)
from lle.writing import read_deep, write_picture

ALONE = {".avif", ".gif", ".jp2", ".mpo", ".ppm", ".tga"}  # enhanced where they are named, not in folders
RESOLUTION = 0x011A
WITH_ALPHA = {"PNG", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF", "TGA", "ICO", "DDS"}  # formats that keep transparency
MISSPELT = re.compile(r"\.[A-Za-z]{2,5}")  # suffixes that are meant for a format


class Report(NamedTuple):
    """What became of each picture: paths written, paths that were there already, and (path, reason) of the failed."""

    written: list
    skipped: list
    failed: list


def enhance_files(
    sources, out, model=None, overwrite=False, ratio=None, brightness=None, max_megapixels=None, dtype=None
):
    """Enhance picture files and folders of them, with a progress bar.

    A picture that fails is named on stderr with the reason, and the others are done. Each is written under a temporary
    name and then renamed, so a run that was interrupted leaves no half-written file, and goes on where it stopped.

    Args:
        sources: Paths of pictures and of folders, or a single one; subfolders, but for `out` itself, are mirrored below
            `out`. Camera raw is developed (see `enhance_raw`), to `photo.ARW.jpg` if `out` is a folder.
        out: The output folder; or, for a single picture, the name of the output picture. The suffix says the format.
        model: What `lle.enhance` takes; camera raw needs a network on packed frames. By default there is one for each.
        overwrite: `False` leaves the pictures that are there already.
        ratio: Of camera raw, see `enhance_raw`; other pictures among them take no notice. Raw files inside folders are
            left out unless it is given.
        brightness: See `lle.enhance`. Given one, camera raw counts as failed: the ratio sets its brightness.
        max_megapixels: Likewise.
        dtype: Of a network that is loaded for the purpose, see `lle.enhance.load`; not of that for camera raw, where no
            model is named.

    Returns:
        A `Report`.

    Raises:
        ValueError: If a folder holds no picture, `out` is no folder but several pictures go there, two pictures would
            get the same name, a picture would replace one of those to enhance, there is a ratio but no camera raw, a
            brightness for a network that takes none, or `max_megapixels` is no positive number; nothing is written
            then.
    """
    check_megapixels(max_megapixels)
    sources = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if "" in map(str, [*sources, out]):  # an unset variable of the shell, which would stand for the current folder
        raise ValueError("an empty path: name a picture or a folder, and where the results go")
    if isinstance(model, (str, Path)):
        find(model)  # also where nothing is left to do
    jobs, unread, left_out = _plan(
        [Path(source) for source in sources], out, SUFFIXES | HEIF_SUFFIXES | (set() if ratio is None else RAW_SUFFIXES)
    )
    if ratio is not None and not any(map(_is_raw, jobs.values())):
        raise ValueError("a ratio amplifies camera raw, of which there is none here")
    remove_leftovers(jobs)
    report = Report([], [target for target in jobs if os.path.exists(target) and not overwrite], [])
    skipped = set(report.skipped)
    todo = {target: source for target, source in jobs.items() if target not in skipped}
    if isinstance(model, (str, Path)) and any(map(os.path.exists, todo.values())):
        model = load(model, dtype)
    if brightness is not None and not isinstance(model, (str, Path, type(None))) and not hasattr(model, "prepare"):
        raise ValueError("this network cannot be told a brightness: leave it out, or take dawn")
    networks = {}
    for path, error in unread:
        _fail(report, path, error)
    if left_out:
        kinds = ", ".join(sorted({path.suffix.lower() for path in left_out}))
        ratio_too = ", or give a ratio for camera raw" if any(map(_is_raw, left_out)) else ""
        tqdm.write(f"{len(left_out)} left out ({kinds}): name them{ratio_too}", file=sys.stderr)
    for target, source in tqdm(todo.items(), unit="picture", disable=not todo):
        name = RAW_DEFAULT if _is_raw(source) else DEFAULT
        try:
            check_file(source)  # before a network is loaded for it
            if model is None and name not in networks:
                networks[name] = load(name, dtype if name == DEFAULT else None)
            enhance_file(
                source,
                target,
                model if model is not None else networks[name],
                ratio if ratio is not None and _is_raw(source) else "auto",
                brightness,
                max_megapixels,
            )
            report.written.append(target)
        except ImportError:  # a backend that is not installed, which no other picture will find either
            raise
        except Exception as error:  # one bad picture must not cost the others
            _fail(report, source, error)
    return report


def enhance_file(source, target, model=None, ratio="auto", brightness=None, max_megapixels=None):
    """Enhance one picture file into another.

    The picture is turned upright, and of several in one file the first is taken, which is said on stderr. EXIF (but for
    a thumbnail), colour profile and resolution are kept, of a TIFF file's EXIF at 16 bits only the texts (camera, date,
    author and the like). PNG and TIFF files keep 16 bits per sample. Of camera raw nothing but the picture is kept.

    Args:
        source: A file that Pillow can decode, or camera raw (see `enhance_raw`).
        target: Where the result goes; missing folders are made, a file that is there is replaced. The suffix says the
            format.
        model: What `lle.enhance` takes; camera raw needs a network on packed frames. By default there is one for each.
        ratio: Of camera raw, see `enhance_raw`.
        brightness: Of other pictures than camera raw, see `lle.enhance`.
        max_megapixels: Likewise.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the target is the source, the picture is no regular file or does not decode, the format is not
            known or cannot hold its transparency, there is a ratio for what is no camera raw or a brightness for what
            is, or the limit is no positive number.
    """
    check_megapixels(max_megapixels)
    check_file(source)
    target = Path(target)
    if target.exists() and target.samefile(source):
        raise ValueError(f"{one_line(target)} is the picture to enhance and would be replaced: choose another target")
    form = Image.registered_extensions().get(target.suffix.lower())
    if form not in Image.SAVE:
        check_decoder(source)  # whose format then is the reason
        raise ValueError(f"{one_line(target)}: no format that Pillow writes")
    if _is_raw(source):
        if brightness is not None:
            raise ValueError("the brightness of camera raw is set by the ratio")
        result, metadata = enhance_raw(source, RAW_DEFAULT if model is None else model, ratio, max_megapixels), {}
    else:
        if ratio != "auto":
            raise ValueError("a ratio amplifies camera raw, which this is not")
        with naming(source):
            pixels, metadata = _read(source, max_megapixels)
            if form not in WITH_ALPHA and _has_alpha(pixels):
                raise ValueError(f"{form} keeps no transparency, which this has: choose .png for {target}")
            result = enhance(pixels, DEFAULT if model is None else model, brightness)
    with replacing(target) as temporary, naming(target):
        write_picture(temporary, form, result, metadata)
    if not _is_raw(source) and (count := count_pictures(source)) > 1:
        tqdm.write(f"{one_line(source)}: the first of {count} pictures in this file", file=sys.stderr)


def enhance_raw(path, model=RAW_DEFAULT, ratio="auto", max_megapixels=None):
    """Develop a camera raw file with a network on packed frames, such as `notebooks/04_raw_unet_family.ipynb` trains.

    A network learns the colours of its camera: those of another come out as well as they resemble it. Where its card
    names the white balance that it learnt with, the frame is brought to that from the one that the camera chose.

    Args:
        path: A Bayer raw file that LibRaw knows (see `lle.raw.read_raw`).
        model: Such a network, or a name or path as `lle.load` takes it.
        ratio: By how much the frame is to be amplified: a positive number, such as the ratio of a good exposure to this
            one; or `"auto"` (see `lle.raw.estimate_ratio`).
        max_megapixels: A larger file is refused; by default above Pillow's limit, 179.

    Returns:
        The upright picture, uint16, `(height, width, 3)`, sRGB.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no Bayer raw file, cut off or too large, or holds no white balance where the network needs
            one; the ratio is not positive, or the network takes pictures.
    """
    from lle import raw  # brings LibRaw along

    if ratio != "auto" and not 0 < ratio < np.inf:
        raise ValueError(f"ratio must be a positive number or 'auto', got {ratio!r}")
    model = load(model) if isinstance(model, (str, Path)) else model
    card = getattr(model, "card", {})
    if card.get("channels") != 4:
        raise ValueError("camera raw needs a network on packed frames (--model), this one takes pictures")
    with naming(path):
        check_pixels(raw.size(path), max_megapixels)
    frame = raw.read_raw(path)
    if "white_balance" in card:
        red, blue = np.divide(raw.white_balance(path), card["white_balance"])
        frame *= np.float32([red, 1, blue, 1])
    ratio = raw.estimate_ratio(frame) if ratio == "auto" else ratio
    picture = run(model, raw.amplify(frame, ratio))
    np.multiply(picture, 65535, out=picture)
    return np.rot90(np.rint(picture, out=picture).astype("uint16"), raw.quarter_turns(path))


def _is_raw(path):
    return Path(path).suffix.lower() in RAW_SUFFIXES


def _plan(sources, out, suffixes):
    """Which picture goes where, a dictionary from the output file to the picture; and what cannot be read.

    That is a list of a path and an error each. Last come the pictures in folders that are left out. Only `os.path` says
    something of any path: `pathlib` raises errors for links in a circle and for folders that are forbidden.
    """
    is_folder, out = str(out).endswith(("/", os.sep)), Path(out)
    is_single = len(sources) == 1 and not os.path.isdir(sources[0])
    is_name = is_single and Image.registered_extensions().get(out.suffix.lower()) in Image.SAVE and not out.is_dir()
    if not is_name and (out.is_file() or (out.suffix.lower() in SUFFIXES and not out.is_dir())):
        raise ValueError(f"{out} names a file: give a folder, or for a single picture also the name of a picture")
    if is_single and not is_name and not is_folder and MISSPELT.fullmatch(out.suffix) and not out.is_dir():
        raise ValueError(f"{one_line(out)}: no format that Pillow writes (a new folder of that name ends in /)")
    jobs, left_out = {}, []
    unread = [(source, ValueError("embedded null byte")) for source in sources if "\0" in str(source)]
    for source in (source for source in sources if "\0" not in str(source)):
        if os.path.isdir(source):
            found, errors, others = _pictures(source, out, suffixes)
            left_out += others
            if not found and len(sources) == 1:
                raise errors[0][1]
            unread += errors
            pairs = [(path, out / path.relative_to(source)) for path in found]
        else:
            pairs = [(source, out if is_name else out / source.name)]
        for path, target in pairs:
            if path.suffix.lower() in RAW_SUFFIXES | HEIF_SUFFIXES and not is_name:
                target = target.with_name(f"{target.name}.jpg")  # beside photo.jpg, which many cameras make with it
            if os.path.realpath(jobs.setdefault(target, path)) != os.path.realpath(path):
                raise ValueError(f"{jobs[target]} and {path} would both become {target}: enhance them one by one")
    _check_targets(jobs)
    return jobs, unread, left_out


def _check_targets(jobs):
    originals = {os.path.realpath(path) for path in jobs.values()}
    for target in jobs:
        if os.path.realpath(target) in originals:
            raise ValueError(f"{target} is a picture to enhance and would be replaced: choose another output")


def _pictures(folder, out, suffixes):
    """The pictures in a folder and below it, without hidden ones and those in an output folder inside it.

    Links to folders are not followed. Also returns the folders that cannot be read, each with the error, and what is
    left out though it could be read by itself.
    """
    inner = Path(os.path.realpath(out))
    inner = inner if Path(os.path.realpath(folder)) in inner.parents else None
    found, unread, others = [], [], []
    for parent, folders, names in os.walk(folder, onerror=lambda error: unread.append((Path(error.filename), error))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            suffix = path.suffix.lower()
            if (
                suffix in suffixes | RAW_SUFFIXES | ALONE
                and _may_be_file(path)
                and inner not in Path(os.path.realpath(path)).parents
            ):
                (found if suffix in suffixes else others).append(path)
    if not found and not unread:
        hint = " but camera raw, which needs a ratio, such as auto" if any(map(_is_raw, others)) else ""
        raise ValueError(f"{one_line(folder)}: no picture in this folder{hint}")
    return sorted(found), unread, others


def _may_be_file(path):
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:  # opening it will say so
        return True
    except OSError:  # a link that leads nowhere or in a circle
        return False


def _has_alpha(pixels):
    return pixels.shape[2:] == (4,) if isinstance(pixels, np.ndarray) else pixels.has_transparency_data


def _read(path, max_megapixels):
    """The upright picture, a PIL image or a uint16 array, and what goes with it into the output file."""
    with open_picture(path, max_megapixels) as picture:
        exif = picture.getexif()  # Pillow has turned TIFF files by now and taken the tag away, as OpenCV does
        pixels = read_deep(path, exif.get(ORIENTATION)) if picture.is_deep else picture
        turned = upright(picture)
        metadata = {key: turned.info[key] for key in ("icc_profile", "exif", "dpi", "xmp") if key in turned.info}
        if picture.format == "TIFF":
            metadata["exif"] = exif_without_layout(exif).tobytes()
            if RESOLUTION not in picture.tag_v2:
                metadata.pop("dpi", None)  # Pillow then says 1
        if not all(0 < float(dpi) < np.inf for dpi in metadata.get("dpi", ())):
            del metadata["dpi"]  # a broken one, such as 0/0
        if picture.mode in NOT_RGB:
            metadata.pop("icc_profile", None)  # it becomes RGB
        return pixels if picture.is_deep else turned, metadata


def _fail(report, source, error):
    report.failed.append((source, _reason(error, source)))
    tqdm.write(f"{one_line(source)}: {report.failed[-1][1]}", file=sys.stderr)


def _reason(error, source):
    if isinstance(error, OSError) and error.strerror:
        is_other = error.filename not in (None, str(source))
        return f"{error.strerror}: {one_line(error.filename)}" if is_other else error.strerror
    return first_line(str(error).removeprefix(f"{one_line(source)}: ") or type(error).__name__)
