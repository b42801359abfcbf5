import os
import re
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lle import data
from lle.data import Pair


@pytest.fixture
def pairs(write):
    return [Pair(write(f"low/{i}.png", 24, 32, i), write(f"high/{i}.png", 24, 32, i)) for i in range(5)]


def test_find_pairs_in_natural_order_and_any_format(write, tmp_path):
    for name in ("low/10.png", "low/2.jpg", "low/a3.webp", "low/1.bmp", "high/10.tif", "high/2.PNG", "high/a3.png",
                 "high/1.jpeg"):  # fmt: skip
        write(name)
    (tmp_path / "low" / "notes.txt").write_text("no picture")
    (tmp_path / "low" / ".hidden.png").write_text("of the file system")
    pairs = data.find_pairs(tmp_path / "low", tmp_path / "high")
    assert [pair.name for pair in pairs] == ["1", "2", "10", "a3"]
    assert pairs[2].high == tmp_path / "high" / "10.tif"


def test_find_pairs_names_a_file_without_partner(write, tmp_path):
    for name in ("low/1.png", "low/2.png", "high/2.png"):
        write(name)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "low" / "1.png"))):
        data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_find_pairs_names_both_files_of_two_sizes(write, tmp_path):
    low, high = write("low/1.png", 12, 16), write("high/1.png", 16, 12)
    with pytest.raises(ValueError, match=re.escape(f"{low} is 16x12 but {high} is 12x16")):
        data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_find_pairs_sees_a_photograph_as_it_is_shown(write, tmp_path):
    write("low/1.png", 12, 16)
    turned = write("high/1.jpg", 16, 12)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(turned).save(turned, exif=exif)
    assert len(data.find_pairs(tmp_path / "low", tmp_path / "high")) == 1
    assert data.read_image(turned).shape == (12, 16, 3)


def test_find_pairs_refuses_what_it_cannot_match(write, tmp_path):
    with pytest.raises(FileNotFoundError):
        data.find_pairs(tmp_path / "low", tmp_path / "high")
    write("low/1.png"), write("high/1.png"), (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no picture"):
        data.find_pairs(tmp_path / "low", tmp_path / "none")
    write("low/1.jpg")
    with pytest.raises(ValueError, match="share a stem"):
        data.find_pairs(tmp_path / "low", tmp_path / "high")


@pytest.mark.parametrize("broken", [b"", b"not a picture", "cut"])
def test_a_file_that_does_not_decode_is_named(write, tmp_path, broken):
    path = write("low/1.png", 40, 40)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if broken == "cut" else broken)
    for read in (data.read_image, lambda path: data.load_images([path])):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(path)
    if broken != "cut":  # the header of a file that is cut off is whole
        write("high/1.png", 40, 40)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_load_images_resizes_as_tensorflow_does(pairs):
    paths = [pair.low for pair in pairs]
    whole = data.load_images(paths)
    assert whole.shape == (5, 24, 32, 3) and whole.dtype == np.float32 and 0.9 < whole.max() <= 1
    np.testing.assert_allclose(data.load_images(paths, (7, 9)), tf.image.resize(whole, (7, 9)), atol=1e-5)


def test_load_images_of_several_sizes(write):
    with pytest.raises(ValueError, match="1.png is 16x12 but .*2.png is 12x16: give size="):
        data.load_images([write("1.png", 12, 16), write("2.png", 16, 12)])
    with pytest.raises(ValueError, match="empty"):
        data.load_images([])


def test_dataset_batches(pairs):
    batches = list(data.dataset(pairs, 2))
    assert [len(low) for low, high in batches] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate([low for low, high in batches]), data.load_images([p.low for p in pairs]))
    unpaired = list(data.dataset([pair.low for pair in pairs], 2, size=(8, 8)))
    np.testing.assert_allclose(
        np.concatenate(unpaired), data.load_images([pair.low for pair in pairs], (8, 8)), atol=1e-5
    )


def test_crops_flips_and_turns_are_shared_by_a_pair(pairs):
    pipeline = data.dataset(pairs, 5, crop=9, augment=True, shuffle=True, seed=3)
    seen = []
    for _ in range(4):
        for low, high in pipeline:
            np.testing.assert_array_equal(low, high)  # the fixture's pairs are equal pictures
            seen.append(np.rint(low.numpy() * 255).astype("uint8"))
    assert seen[0].shape == (5, 9, 9, 3)
    windows = {window.tobytes() for pair in pairs for window in _all_windows(data.read_image(pair.low), 9)}
    assert all(image.tobytes() in windows for batch in seen for image in batch)
    assert len({image.tobytes() for batch in seen for image in batch}) > 15


@pytest.mark.parametrize("height, variants", [(9, 8), (10, 4)])
def test_pictures_as_they_are_are_turned_if_they_are_square(write, height, variants):
    pipeline = data.dataset([write("one.png", height, 9)], 1, augment=True, seed=3)
    seen = {low.numpy().tobytes() for _ in range(60) for low in pipeline}
    assert len(seen) == variants


def _all_windows(image, side):
    for y in range(image.shape[0] - side + 1):
        for x in range(image.shape[1] - side + 1):
            window = image[y : y + side, x : x + side]
            for turned in (window, window.transpose(1, 0, 2)):
                for flipped in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
                    yield np.ascontiguousarray(flipped)


def test_each_epoch_has_a_fresh_order_and_a_seed_repeats_it(pairs):
    def orders(seed):
        pipeline = data.dataset([pair.low for pair in pairs], 1, shuffle=True, seed=seed)
        return [[batch.numpy().tobytes() for batch in pipeline] for _ in range(4)]

    first, again = orders(0), orders(0)
    assert first == again
    assert len(set(map(tuple, first))) > 1
    assert all(sorted(order) == sorted(first[0]) for order in first)


def test_images_are_decoded_once(pairs, monkeypatch):
    calls = []
    original = data.read_image
    monkeypatch.setattr(data.pipeline, "read_image", lambda path: calls.append(path) or original(path))
    pipeline = data.dataset(pairs, 5, shuffle=True)
    for _ in range(3):
        list(pipeline)
    assert len(calls) == 10


def test_dataset_refuses(pairs, write):
    with pytest.raises(ValueError, match="empty"):
        data.dataset([], 1)
    small = write("small.png", 8, 40)
    with pytest.raises(ValueError, match=f"{re.escape(str(small))} is 40x8, smaller than the crop"):
        data.dataset([pairs[0].low, small], 1, crop=16)
    with pytest.raises(ValueError, match="crop"):
        data.dataset(pairs, 1, size=(20, 20), crop=21)


def test_a_broken_file_stops_the_pipeline_with_its_name(pairs):
    batches = data.dataset(pairs, 1, size=(8, 8))
    pairs[3].low.write_bytes(pairs[3].low.read_bytes()[:200])
    with pytest.raises(tf.errors.OpError, match=re.escape(str(pairs[3].low))):
        list(batches)


def test_batches_need_one_size(write):
    images = [write("a.png", 12, 16), write("b.png", 12, 20)]
    with pytest.raises(ValueError, match="a.png is 16x12 but .*b.png is 20x12: give size= or crop="):
        data.dataset(images, 2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_file_that_is_cut_off_is_found_before_training(write, tmp_path, suffix):
    for folder in ("low", "high"):
        write(f"{folder}/1{suffix}", 64, 64)
    path = tmp_path / f"low/1{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        data.find_pairs(tmp_path / "low", tmp_path / "high")


def test_digits_that_are_no_number(write, tmp_path):
    write("²1.png"), write("x10.png"), write("x2.png")
    assert [path.stem for path in data.find_images(tmp_path)] == ["x2", "x10", "²1"]


@pytest.fixture
def lol_folder(tmp_path):
    """LOL's layout in small: 8 scenes, three exposures each; the test pairs show scenes 0 and 1 once more."""
    generator = np.random.default_rng(0)
    for scene in range(8):
        photograph = generator.integers(0, 256, (40, 60, 3), dtype="uint8")
        names = [("our485", 3 * scene + i) for i in range(3)] + ([("eval15", 100 + scene)] if scene < 2 else [])
        for part, number in names:
            shifted = np.clip(photograph.astype(int) + generator.integers(-3, 4, photograph.shape), 0, 255)
            for side, pixels in (("high", shifted), ("low", shifted // 10)):
                folder = tmp_path / "LOL" / part / side
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype("uint8")).save(folder / f"{number}.png")
    return tmp_path / "LOL"


def test_threads_that_read_pictures_leave_the_warnings_and_no_file_open(write, tmp_path):
    paths = [write(f"{i}.png", 16, 16, i) for i in range(40)]
    filters = list(warnings.filters)
    for _ in range(5):
        data.load_images(paths)
    assert warnings.filters == filters
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:60])
    opened, errors = len(os.listdir("/proc/self/fd")), []
    for _ in range(5):
        with pytest.raises(ValueError, match="does not decode") as caught:
            data.read_image(broken)
        errors.append(caught.value)  # whose traceback holds on to what was open
    assert len(os.listdir("/proc/self/fd")) == opened


def test_scenes_of_one_picture(write):
    assert list(data.scenes([write("1.png", 16, 16)])) == [0]


def test_lol_splits_by_scene(lol_folder):
    split = data.lol(lol_folder, validation=0.25)
    assert [len(part) for part in split] == [18, 6, 2]
    scenes = [{int(pair.name) // 3 for pair in part} for part in split[:2]]
    assert not scenes[0] & scenes[1]
    assert split == data.lol(lol_folder, validation=0.25)
    assert split.validation != data.lol(lol_folder, validation=0.25, seed=1).validation


def test_split_by_scene_of_one_s_own_pairs(lol_folder):
    pairs = data.find_pairs(lol_folder / "our485/low", lol_folder / "our485/high")
    train, validation = data.split_by_scene(pairs, validation=0.25)
    assert len(train) == 18 and sorted(train + validation) == sorted(pairs)
    assert not {int(pair.name) // 3 for pair in train} & {int(pair.name) // 3 for pair in validation}
    with pytest.raises(ValueError, match="one scene"):
        data.split_by_scene(pairs[:3])


def test_lol_leak_free_leaves_out_the_scenes_of_the_test_pairs(lol_folder):
    split = data.lol(lol_folder, leak_free=True)
    assert {int(pair.name) // 3 for pair in split.train + split.validation} == {2, 3, 4, 5, 6, 7}
    assert len(split.test) == 2


def test_lol_says_how_to_get_the_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m lle download lol"):
        data.lol(tmp_path / "nothing")


def test_samples_do_not_go_among_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr("lle.data.sets._write_samples", lambda folder: (folder / "train").mkdir(parents=True))
    (tmp_path / "letter.txt").touch()
    with pytest.raises(OSError, match=tmp_path.name):
        data.samples(tmp_path)


def test_samples(tmp_path):
    (tmp_path / "samples").mkdir()
    split = data.samples(tmp_path / "samples")
    assert [len(part) for part in split] == [9, 3, 6]
    photographs = [{pair.name.rsplit("_", 1)[0] for pair in part} for part in split]
    assert not photographs[0] & photographs[1] and not photographs[0] & photographs[2]
    low, high = (data.read_image(path).mean() for path in split.test[0])
    assert low < 0.4 * high
    written = split.test[0].low.stat().st_mtime_ns
    assert data.samples(tmp_path / "samples").test[0].low.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]


def test_a_grey_picture_of_16_bit_keeps_its_values_and_a_float_one_is_refused(tmp_path):
    Image.fromarray(np.array([[0, 257 * 38, 65535]], "uint16")).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(data.read_image(tmp_path / "grey.png")[0, :, 0], [0, 38, 255])
    Image.fromarray(np.full((2, 2), 0.5, "float32")).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="float.tif.*32 bit"):
        data.read_image(tmp_path / "float.tif")


def test_a_folder_of_camera_raw_says_what_to_do(tmp_path):
    (tmp_path / "photo.NEF").write_bytes(b"")
    with pytest.raises(ValueError, match="no picture in this folder .*camera raw: develop it by"):
        data.find_images(tmp_path)
