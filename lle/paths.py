"""Files that are written as a whole or not at all, and their names in messages."""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 255  # bytes, on most file systems


@contextmanager
def replacing(target, suffix=""):
    """Write a file as a whole or not at all: `with replacing("a.csv") as temporary:` write `temporary`.

    Args:
        target: The path; missing folders are made, and a file that is there is replaced at the end of the block.
        suffix: What the temporary name has to end with, for a writer that insists on one.

    Yields:
        The path to write to, a hidden one in the same folder.

    Raises:
        OSError: If the folder or the file cannot be made.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target, suffix)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(target, suffix=""):
    """The path that `replacing` writes to before it renames."""
    name = f".{target.name}.part{suffix}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}.part{suffix}"
    return target.with_name(name)


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
