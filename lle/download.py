"""Fetching the public LOL v1 archive."""

import errno
import http.client
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PureWindowsPath

from tqdm.auto import tqdm

from lle.paths import sha256_of

# The SHA-256 and the size (347,171,015 bytes) are those of the git-lfs pointer in this commit; the copy in
# huggingface.co/keras-io/low-light-image-enhancement has the same.
LOL_URL = (
    "https://huggingface.co/datasets/geekyrakshit/LoL-Dataset/resolve/"
    "c3c017b600cca4d8f2d55595b73213d96dfdbc4b/lol_dataset.zip"
)
LOL_SHA256 = "419fddc48958cd0f5599939ee0248852a37ceb8bb738c9b9525e95b25a89de9a"
LOL_PAGE = "https://daooshee.github.io/BMVC2018website/"
LOL_FOLDERS = ("our485/low", "our485/high", "eval15/low", "eval15/high")

TIMEOUT = 60  # seconds without a byte

_ARCHIVE = "lol_dataset.zip"
_PICTURE = re.compile(r"(?:^|/)((?:our485|eval15)/(?:low|high)/[^/.][^/]*\.png)$")


def lol(directory="data", url=LOL_URL, sha256=LOL_SHA256):
    """Fetch the LOL v1 pictures, 347 MB, into `<directory>/LOLdataset`.

    The archive is kept in `directory` while it is needed; one that already lies there is used if its hash is right. A
    download that was cut off goes on where it stopped. A data set that is already in place is left as it is.

    Args:
        directory: Folder for the data set, made if it is not there.
        url: Address of a zip file with the folders `our485` and `eval15` at any depth.
        sha256: SHA-256 of that file, 64 hexadecimal digits.

    Returns:
        The `Path` of the data set, with `our485` and `eval15`, each with `low` and `high`.

    Raises:
        ConnectionError: If the archive cannot be fetched; the message says what to do by hand.
        FileExistsError: If the target holds something else.
        ValueError: If the hash is wrong or the archive is not what it should be; nothing is unpacked then.

    The data set is that of "Deep Retinex Decomposition for Low-Light Enhancement" (arXiv 1808.04560).
    """
    directory = Path(directory)
    target = directory / "LOLdataset"
    if all((target / folder).is_dir() for folder in LOL_FOLDERS):
        return target
    if target.exists():
        raise FileExistsError(f"{target} is there but lacks {' or '.join(LOL_FOLDERS)}: move it away and try again")
    directory.mkdir(parents=True, exist_ok=True)
    archive = _fetch(directory, url, sha256)
    try:
        _unpack(archive, target)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} is not a sound zip file: {error}") from error
    archive.unlink()
    return target


def _fetch(directory, url, sha256):
    """Download the archive into the folder, or find it there, and check its hash."""
    if not os.access(directory, os.W_OK):
        raise PermissionError(f"{directory} cannot be written to")
    archive, part = directory / _ARCHIVE, directory / f"{_ARCHIVE}.part"
    if archive.exists() and sha256_of(archive) == sha256:
        return archive
    try:
        _download(url, part)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ConnectionError(
            f"LOL v1 could not be downloaded ({error}): run this again, it goes on where it stopped. By hand: save "
            f"{url} as {archive} and run this again, or take the data set from {LOL_PAGE} and unpack it so that "
            f"{directory / 'LOLdataset'} holds our485 and eval15, each with low and high."
        ) from error
    if sha256_of(part) != sha256:
        part.unlink()
        raise ValueError(f"the file at {url} does not have the SHA-256 {sha256}: not used")
    return part.replace(archive)


def _download(url, part):
    """Fetch what is missing of a file, going on after a broken connection as long as some bytes come through."""
    while True:
        size = part.stat().st_size if part.exists() else 0
        try:
            if _append(url, part, size):
                return
            error = ConnectionError("the connection broke off")
        except (TimeoutError, ConnectionError, http.client.HTTPException) as broken:
            error = broken
        if not part.exists() or part.stat().st_size <= size:
            raise error


def _append(url, part, size):
    """Append the rest of the file from the given byte, and say whether it is whole now."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and size:  # there is no such byte: the file was whole, or is another one
            return True
        raise
    with response:
        is_rest = getattr(response, "status", None) == 206  # else the server sends it all again
        size = size if is_rest else 0
        rest = response.headers.get("Content-Length")
        total = None if rest is None else size + int(rest)
        with (
            part.open("ab" if is_rest else "wb") as file,
            tqdm(desc=part.stem, total=total, initial=size, unit="B", unit_scale=True) as bar,
        ):
            while chunk := response.read(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
    return total is None or part.stat().st_size == total


def _unpack(archive, target):
    """Write the archive's pictures to a folder beside the target, which then takes the target's name at once."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".lol-") as scratch, zipfile.ZipFile(archive) as zipped:
        root = Path(scratch) / target.name
        for folder in LOL_FOLDERS:
            (root / folder).mkdir(parents=True)
        for entry, place in _pictures(zipped).items():
            with zipped.open(entry) as source, (root / place).open("wb") as picture:
                shutil.copyfileobj(source, picture)
        root.rename(target)


def _pictures(zipped):
    """Map each picture's entry to its place below the data set, after every entry has been found harmless."""
    for entry in zipped.infolist():
        path = PureWindowsPath(entry.filename)  # takes both slashes and drive letters for what they are
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if path.anchor or ".." in path.parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{zipped.filename} holds {entry.filename!r}, which could write outside: not unpacked")
    matches = {entry.filename: _PICTURE.search(entry.filename) for entry in zipped.infolist()}
    pictures = {name: match[1] for name, match in matches.items() if match and not name.startswith("__MACOSX/")}
    if missing := [folder for folder in LOL_FOLDERS if not any(p.startswith(folder) for p in pictures.values())]:
        raise ValueError(f"{zipped.filename} holds no pictures in {' or '.join(missing)}: it is not LOL v1")
    return pictures
