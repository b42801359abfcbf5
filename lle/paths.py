"""Files that are written as a whole or not at all, and their names in messages."""

import hashlib
import os
import platform
import re
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_NAME = 255  # bytes, on most file systems
LONGEST_MARK = 60  # bytes that are kept for what distinguishes a temporary name
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # process ids count on one machine or container alone
TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{6})-([0-9]+)-[0-9a-f]{8}\.part.*", re.DOTALL)
DAY = 86400  # seconds


@contextmanager
def replacing(target, suffix=""):
    """Write a file as a whole or not at all: `with replacing("a.csv") as temporary:` write `temporary`.

    Args:
        target: The path; missing folders are made, and a file that is there is replaced at the end of the block.
        suffix: What the temporary name has to end with, for a writer that insists on one.

    Yields:
        The path to write to, a hidden one in the same folder that no other process or thread has.

    Raises:
        OSError: If the folder or the file cannot be made.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers([target])
    temporary = _temporary_name(target, suffix)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(targets):
    """Remove the temporary files that killed processes left of `replacing`, not those that are being written.

    A process of another machine cannot be seen from here: what it wrote is left over after a day.

    Args:
        targets: The paths that were to be written; folders and files that are missing are no error.
    """
    names = {}
    for target in map(Path, targets):
        names.setdefault(target.parent, set()).add(_short_name(target))
    for folder, wanted in names.items():
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                match = TEMPORARY.fullmatch(entry.name)
                if match and match[1] in wanted and _is_left(entry, match[2], int(match[3])):
                    os.unlink(entry.path)


def _temporary_name(target, suffix=""):
    mark = f"{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}"  # the last part for threads of one process
    return target.with_name(f".{_short_name(target)}.{mark}.part{suffix}")


def _short_name(target):
    name = os.fsencode(target.name)
    return target.name if len(name) + LONGEST_MARK <= LONGEST_NAME else hashlib.sha256(name).hexdigest()


def _is_left(entry, host, process):
    if host == HOST and not _is_alive(process):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY


def _is_alive(process):
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


@contextmanager
def naming(path):
    """Let the errors of a block name a file, and be of the two kinds that callers expect: codecs fail in many ways.

    Args:
        path: The file.

    Raises:
        OSError: For an `OSError`, of the same subclass.
        ValueError: For any other.
    """
    try:
        yield
    except OSError as error:
        if error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error  # becomes the right subclass
        raise OSError(_named(path, error)) from error
    except Exception as error:
        raise ValueError(_named(path, error)) from error


def _named(path, error):
    name, reason = one_line(path), one_line(error) or type(error).__name__
    return reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"


def one_line(text):
    """Write what would break the line or the terminal, such as a line break in a file's name, as Python does: \\n."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(text))


def sha256_of(path):
    """The SHA-256 of a file, 64 hexadecimal digits, read piece by piece."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
