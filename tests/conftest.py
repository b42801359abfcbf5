import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import reliability
from PIL import Image

from lle.data import checking


@pytest.fixture
def write(tmp_path):
    """Writes a random picture below the test's folder and returns its path."""

    def write(name, height=12, width=16, seed=0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def tally(request):
    """Counts inputs that are refused and survived, and compares them with `docs/reliability.md` after the test."""
    counts = reliability.Tally()
    yield counts
    if not request.node.is_failed:
        title = request.function.__doc__.splitlines()[0].rstrip(".")
        reliability.check(title, counts, is_random=hasattr(request.function, "hypothesis"))


@pytest.fixture
def heeded():
    """Python's own answer to SIGINT, which a process that was started in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.is_failed = not report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """Leaves no notes on the pictures of the tests in the user's folder."""
    monkeypatch.setattr(checking, "WORTH_REMEMBERING", np.inf)
