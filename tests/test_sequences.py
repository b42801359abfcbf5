import numpy as np
import pytest
from PIL import Image

from lle import data
from lle.data.sequences import HELD_OUT, sequences_of


def scene(seed):
    coarse = np.random.default_rng(seed).random((6, 9, 3))
    return np.asarray(Image.fromarray((255 * coarse).astype("uint8")).resize((90, 60), Image.Resampling.BILINEAR)) / 255


def write(folder, seed, numbers, means):
    for number, mean in zip(numbers, means, strict=True):
        picture = np.clip(scene(seed) * mean / scene(seed).mean(), 0, 255)
        Image.fromarray(picture.astype("uint8")).save(folder / f"{number}.jpg", quality=95)


@pytest.fixture
def folder(tmp_path):
    """The scenes to test on, with a frame more than the pair has, and six others."""
    for seed, pair in enumerate(HELD_OUT.split()):
        low, high = map(int, pair.split("-"))
        write(tmp_path, seed, [low, high, max(low, high) + 1], [20, 110, 190])
    for seed in range(6):
        write(tmp_path, 100 + seed, range(2000 + 4 * seed, 2004 + 4 * seed), [10, 30, 110, 200])
    return tmp_path


def test_sequences_and_pairs(folder):
    found = data.exposures(folder, validation=0.3)
    assert len(found.train) == 4 and len(found.validation) == 2 and len(found.test) == 15
    for frames in found.train + found.validation:
        numbers = [int(path.stem) for path in frames]
        assert numbers == list(range(numbers[0], numbers[0] + 4)) and numbers[0] % 4 == 0 and numbers[0] >= 2000
        pair = data.exposure_pair(frames)
        assert (int(pair.low.stem), int(pair.high.stem)) == (numbers[1], numbers[2])
    assert [f"{pair.low.stem}-{pair.high.stem}" for pair in found.test] == HELD_OUT.split()


def test_the_split_depends_on_the_seed_alone(folder):
    assert data.exposures(folder) == data.exposures(folder)
    assert data.exposures(folder).train != data.exposures(folder, seed=1).train


def test_a_scene_ends_where_the_next_begins(folder):
    lengths = [len(frames) for frames in sequences_of(data.find_images(folder))]
    assert lengths == 15 * [3] + 6 * [4]


def test_no_pair_without_a_dark_and_a_well_lit_frame(tmp_path):
    write(tmp_path, 0, [1, 2, 3], [20, 60, 200])
    assert data.exposure_pair(data.find_images(tmp_path)) is None


def test_what_is_missing(folder):
    (folder / "28.jpg").unlink()
    for root in (folder, folder / "nowhere"):
        with pytest.raises(FileNotFoundError, match="multi-exposure photographs are not at"):
            data.exposures(root)
