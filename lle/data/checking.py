"""Finding broken pictures before training begins, and remembering which ones were sound."""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm.auto import tqdm

from lle.paths import naming, one_line, replacing
from lle.pictures import ORIENTATION, check_megapixels, check_white, open_picture

WORTH_REMEMBERING = 1.0  # seconds of checking; less is faster done again than kept


def cache_folder():
    """The folder of this package in Keras's (`$KERAS_HOME` or `~/.keras`), which need not exist."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "lle"


def sizes_of(paths, max_megapixels=None):
    """Read the sizes of pictures, decoding each to its end so that a broken one is found before training begins.

    Works in parallel, with a progress bar if it takes more than a second. Pictures that were found sound by such a
    longer check are not decoded again until they change (size or time stamps); the notes lie in `checked/` of the
    package's cache folder, one file for each folder of pictures.

    Args:
        paths: The files.
        max_megapixels: A larger picture is refused before it is decoded; by default above Pillow's limit, 179.

    Returns:
        A list of `(width, height)`, upright (EXIF orientation applied).

    Raises:
        OSError: If a file is missing or cannot be read.
        ValueError: If some do not decode or are none that `read_image` takes; the message names the first with the
            reason, and up to five more.
    """
    check_megapixels(max_megapixels)
    paths = [Path(path) for path in paths]
    notes = {folder: _read_notes(folder) for folder in {path.parent for path in paths}}
    start = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(lambda path: _check(path, notes[path.parent].get(path.name), max_megapixels), paths)
        bar = tqdm(checks, "checking pictures", len(paths), unit="picture", leave=False, delay=1)
        found = list(bar)
    for path, (stamp, size, error) in zip(paths, found, strict=True):
        notes[path.parent].pop(path.name, None)
        if not error:
            notes[path.parent][path.name] = [*stamp, *size]
    if time.monotonic() - start > WORTH_REMEMBERING and max_megapixels is None:
        for folder, entries in notes.items():
            _write_notes(folder, entries)
    broken = [(path, error) for path, (_, _, error) in zip(paths, found, strict=True) if error]
    if broken:
        _refuse(broken)
    return [size for _, size, _ in found]


def _refuse(broken):
    """Raise the error of the first broken picture, which then names the others too."""
    (_, error), *others = broken
    if not others:
        raise error
    names = ", ".join(one_line(path) for path, _ in others[:5])
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    raise ValueError(f"{error}; broken are also {names}{more}") from error


def _check(path, note, max_megapixels):
    """What identifies the content of a file, the size of its picture, and what is wrong with it."""
    try:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        if note and note[:3] == stamp and max_megapixels is None:  # notes are of the default limit
            return stamp, tuple(note[3:]), None
        return stamp, _decoded_size(path, max_megapixels), None
    except (OSError, ValueError) as error:
        return None, None, error


def _decoded_size(path, max_megapixels):
    with open_picture(path, max_megapixels) as picture, naming(path):
        check_white(picture)
        turned = picture.getexif().get(ORIENTATION, 1) >= 5  # 5 to 8 lie on their side
        return picture.size[::-1] if turned else picture.size


def _notes_file(folder):
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_folder() / "checked" / f"{name}.json"


def _read_notes(folder):
    try:
        notes = json.loads(_notes_file(folder).read_text(encoding="utf-8"))
        return {name: note for name, note in notes.items() if len(note) == 5}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or not ours to read: then all is checked
        return {}


def _write_notes(folder, notes):
    with suppress(OSError):  # a full or read-only home folder costs the next check its speed, nothing more
        with replacing(_notes_file(folder)) as temporary:
            temporary.write_text(json.dumps(notes), encoding="utf-8")
