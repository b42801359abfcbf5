import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image


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
