"""Counts what became of hostile input, for `docs/reliability.md`.

A test that takes the fixture `tally` counts its inputs, and its row of the table has to say the same.
`make reliability` writes the rows anew.
"""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from lle.paths import one_line

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
PACKAGES = ("pillow", "opencv-python", "tifffile", "rawpy", "keras", "hypothesis")  # what the counts depend on
INTRODUCTION = """# What becomes of hostile input

Made by the test suite (`make reliability` writes this page anew), which fails where it counts otherwise with the
versions below, and with any where an input does neither of these:

- Refused: a `ValueError` or `OSError` of one line that names the reason, and the file if there is one, and nothing was
  written.
- Survived: the work was done, and its result is whole and what it should be.
- There is no third column: an input that crashes, hangs, leaves half a file or gives a wrong result fails the suite.

How many broken files still decode depends on the decoders, and the inputs of property tests (60 each) vary from run to
run within what they describe. Counted with

{versions}.

| input | tried | refused | survived |
| --- | --- | --- | --- |
"""


class Tally:
    """Counts the inputs of one test."""

    def __init__(self):
        self.refused = self.survived = 0

    def attempt(self, action, name=""):
        """Call a function that may refuse its input.

        Args:
            action: A function without arguments.
            name: What the refusal has to name; a path is meant as messages show it.

        Returns:
            What the function returned, or `None` if it refused.
        """
        try:
            result = action()
        except (ValueError, OSError) as error:
            message = str(error)
            assert one_line(name) in message and message.isprintable(), repr(message)
            self.refused += 1
            return None
        self.survived += 1
        return result

    def row(self, title):
        return f"| {title} | {self.refused + self.survived:,} | {self.refused:,} | {self.survived:,} |"


def versions():
    python = ".".join(platform.python_version_tuple()[:2])
    return ", ".join([f"Python {python}", *(f"{package} {version(package)}" for package in PACKAGES)])


def check(title, tally, is_random=False):
    """Compare a row with the page, or write it there if `LLE_RELIABILITY=write`.

    Args:
        title: What was tried: the first line of the test's docstring, without its full stop.
        tally: A `Tally`.
        is_random: Compare only how many were tried: Hypothesis chooses by what else has been imported.

    Raises:
        AssertionError: If the page says otherwise, and was made with the same versions.
    """
    assert tally.refused + tally.survived, "nothing was tried"
    if os.environ.get("LLE_RELIABILITY") == "write":
        rows = [row for row in read_rows() if not row.startswith(f"| {title} |")]
        page = INTRODUCTION.format(versions=versions()) + "\n".join(sorted([*rows, tally.row(title)])) + "\n"
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
    elif versions() in PAGE.read_text(encoding="utf-8"):
        row, rows = tally.row(title), read_rows()
        if is_random:
            row, rows = row.rsplit("|", 3)[0], [row.rsplit("|", 3)[0] for row in rows]
        assert row in rows, f"docs/reliability.md says otherwise: {row}"


def read_rows():
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return re.findall(r"^\| .+ \| [0-9,]+ \| [0-9,]+ \| [0-9,]+ \|$", text, re.MULTILINE)
