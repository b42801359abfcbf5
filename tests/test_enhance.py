import hashlib
import importlib
import json
import logging
import os
import subprocess
import sys
import textwrap
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import lle
from lle.enhance import can_compute, enhance, load, run
from lle.files import enhance_files
from lle.models import Network, ensemble
from lle.models.dawn import Dawn
from lle.models.zero_dce import ZeroDCE
from lle.tiles import averages_over_all, enhanced_tiles

module = importlib.import_module("lle.enhance")  # `import lle.enhance as module` would give the function
CARD = {"stride": 1, "halo": 7}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = ZeroDCE(filters=4)
    for weight in model.trainable_variables:  # far from the small initial ones: a wrong border shows
        weight.assign(np.random.normal(0, 0.3, weight.shape))
    model.card = CARD
    return model


@pytest.fixture
def weights(tmp_path, monkeypatch, model):
    """A folder of weights with one network, called tiny."""
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    model.save(tmp_path / "tiny.keras")
    digest = hashlib.sha256((tmp_path / "tiny.keras").read_bytes()).hexdigest()
    card = {"name": "tiny", "file": "tiny.keras", "sha256": digest, "model": "zero_dce", **CARD}
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    return tmp_path


def picture(height, width, dtype="float32", channels=(3,), seed=0):
    values = np.random.default_rng(seed).random((height, width, *channels))
    peak = module.PEAKS[dtype]
    return np.rint(values * peak).astype(dtype) if peak > 1 else values.astype(dtype)


def half(batch):
    return batch / 2


def same(batch):
    return batch


def python(code, *arguments, **environment):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_of_the_networks_that_come_along():
    pictures, raw = lle.networks(), lle.networks(4)
    assert {"dawn", "zero_dce"} <= set(pictures) and "sid_unet" in raw and not set(pictures) & set(raw)
    assert all(lle.load(name).card["name"] == name for name in pictures + raw)


def test_the_package_offers_the_functions_and_imports_no_backend():
    python("""
        import sys
        import lle
        from lle.enhance import run
        import lle.enhance
        import lle.files
        assert lle.enhance is sys.modules["lle.enhance"].enhance
        assert lle.load is sys.modules["lle.enhance"].load
        assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    """)
    assert lle.enhance is module.enhance


# load


def test_load_by_name(weights, model):
    loaded = load("tiny")
    assert loaded.card["sha256"] and loaded.card["halo"] == 7
    image = picture(20, 30)
    np.testing.assert_array_equal(run(loaded, image), run(model, image))


def test_load_refuses_another_file_before_reading_it(weights, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("was deserialised"))
    with open(weights / "tiny.keras", "ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match="tiny.keras: not the file that its card describes"):
        load("tiny")


def test_load_names_what_there_is(weights):
    with pytest.raises(ValueError, match=r"no network is called '../tiny': give one of \['tiny'\]"):
        load("../tiny")
    (weights / "tiny.keras").unlink()
    with pytest.raises(ValueError, match="the weights of 'tiny' are missing"):
        load("tiny")


def test_load_a_file_of_ones_own(tmp_path):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs)).save(tmp_path / "own.keras")
    assert load(tmp_path / "own.keras").card == {"stride": 32, "halo": 32}
    assert load(str(tmp_path / "own.keras")).input_shape == (None, None, None, 3)


def test_load_under_a_dtype_policy(tmp_path):
    if not can_compute("bfloat16"):
        pytest.skip("this machine cannot compute in bfloat16")
    image = picture(40, 56) / 5
    fast, exact = load("dawn", dtype="mixed_bfloat16"), load("dawn")
    assert fast.detail.get_layer("last").compute_dtype == "bfloat16" and keras.config.dtype_policy().name == "float32"
    found = run(fast, image)
    assert found.dtype == np.float32 and 0 < np.abs(found - run(exact, image)).max() < 2 / 255
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs)).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match=r"own.keras: computes in the precision .* not in mixed_bfloat16"):
        load(tmp_path / "own.keras", dtype="mixed_bfloat16")
    outputs = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(
        keras.layers.Conv2D(3, 3, padding="same", dtype="mixed_bfloat16")(inputs)
    )
    keras.Model(inputs, outputs).save(tmp_path / "half.keras")
    assert load(tmp_path / "half.keras", dtype="mixed_bfloat16").layers[1].compute_dtype == "bfloat16"
    with pytest.raises(ValueError, match=r"half.keras: computes in the precision .* not in float32"):
        load(tmp_path / "half.keras", dtype="float32")
    with pytest.raises(ValueError, match="nonsense"):
        load("dawn", dtype="nonsense")
    assert keras.config.dtype_policy().name == "float32"


def test_load_says_which_file_is_at_fault(tmp_path, model):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "code.keras")
    model.save(tmp_path / "whole.keras")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "whole.keras").read_bytes()[:-3000])
    (tmp_path / "empty.keras").touch()
    for name in ("code", "cut", "empty", "absent"):
        with pytest.raises(ValueError, match=f"{name}.keras: (cannot be loaded|no such|not a .keras)") as caught:
            load(tmp_path / f"{name}.keras")
        assert "\n" not in str(caught.value)


def test_enhance_loads_once_and_again_after_a_change(weights, monkeypatch):
    count = []
    monkeypatch.setattr(module, "load", lambda name: count.append(name) or half)
    for _ in range(3):
        enhance(picture(4, 4), "tiny")
    assert len(count) == 1
    os.utime(weights / "tiny.keras", (1, 1))
    enhance(picture(4, 4), "tiny")
    assert len(count) == 2


# run


@pytest.mark.parametrize("size", [(150, 97), (64, 200), (33, 34), (7, 301)])
@pytest.mark.parametrize("tile", [32, 50])
def test_tiles_equal_the_whole(model, size, tile):
    image = picture(*size)
    output = run(model, image, tile)
    assert output.dtype == np.float32 and output.min() >= 0 and output.max() <= 1
    np.testing.assert_allclose(output, np.asarray(model(image[None], training=False))[0], atol=1e-5)


def test_tiles_equal_the_whole_with_strides():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    x = keras.layers.UpSampling2D(4)(x)
    strided = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x))
    strided.card = {"stride": 4, "halo": 10}
    image = picture(130, 75)
    padded = np.pad(image, ((0, 2), (0, 1), (0, 0)), "symmetric")
    whole = strided.predict_on_batch(padded[None])[0, :130, :75]
    np.testing.assert_allclose(run(strided, image, 30), whole, atol=1e-5)
    np.testing.assert_array_equal(run(strided, image), whole)


def stub(predict=lambda batch: batch, shape=(None, None, None), **card):
    """A network by hand, built for a batch, height and width."""
    return SimpleNamespace(predict_on_batch=predict, inputs=[SimpleNamespace(shape=(*shape, 3))], card=card)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_how_many_tiles_a_network_gets(monkeypatch, batch, together):
    monkeypatch.setattr("lle.tiles.together", lambda: together)
    counts = set()
    network = stub(lambda tiles: counts.add(len(tiles)) or tiles, (batch, None, None), stride=1, halo=1)
    for tile in (8, 16):  # some of them an odd number
        np.testing.assert_array_equal(run(network, picture(40, 52), tile), picture(40, 52))
    assert counts == {batch or together}
    run(network, picture(8, 8))
    assert counts == {batch} if batch else counts == {1, together}


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("fixed", [(8, 8), (7, None), (None, 32), (1, 2), (30, 50)])
@pytest.mark.parametrize("stride", [1, 8, 32])
def test_every_pixel_of_a_network_built_for_one_size(fixed, stride, averages):
    for size in ((33, 40), (9, 65), (31, 97), (5, 3)):
        network = stub(shape=(None, *fixed), stride=stride, halo=9, averages=averages)
        np.testing.assert_allclose(run(network, picture(*size), 24), picture(*size), atol=1e-5)


def test_tiles_that_are_blended_and_enlarged():
    network = stub(lambda tiles: tiles.repeat(2, 1).repeat(2, 2), stride=4, halo=4, scale=2, averages=True)
    image = picture(900, 300)
    np.testing.assert_allclose(run(network, image, 64), image.repeat(2, 0).repeat(2, 1), atol=1e-5)
    assert run(network, np.ones_like(image), 64).max() <= 1  # though the weights do not add up to 1 exactly


@pytest.mark.parametrize("at_a_time, side", [(1, 52), (2, 36)])  # equal ones, of 48 and 32, and context
def test_the_card_names_the_tiles(at_a_time, side, monkeypatch):
    monkeypatch.setattr("lle.tiles.together", lambda: at_a_time)
    sizes = set()
    network = stub(lambda tiles: sizes.add(tiles.shape[1:3]) or tiles, stride=1, halo=2, tile=60, scale=1)
    run(network, picture(100, 100))
    assert sizes == {(side, side)}

    def whole(batch):
        sizes.add(batch.shape)
        return batch

    whole.card = network.card  # of which a function needs nothing
    run(whole, picture(100, 101))
    assert (1, 100, 101, 3) in sizes


@pytest.mark.parametrize("size", [(64, 48), (90, 120), (5, 200), (64, 49)])
@pytest.mark.parametrize("stride", [1, 4, 32])
def test_a_network_built_for_one_size_equals_one_for_any(size, stride):
    layer = keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid")
    free, inputs = keras.Input((None, None, 3)), keras.Input((64, 48, 3))
    network, other = keras.Model(inputs, layer(inputs)), keras.Model(free, layer(free))
    network.card = other.card = {"stride": stride, "halo": 1}
    image = picture(*size)
    inside = np.s_[1:-1, 1:-1]  # where one sees the image continued, the other may see its end
    np.testing.assert_allclose(run(network, image)[inside], run(other, image)[inside], atol=1e-5)
    assert enhance(np.uint8(255 * image), network).shape == image.shape


@pytest.mark.parametrize(
    "card",
    [
        None,
        3,
        {"stride": 0},
        {"stride": 2.0},
        {"halo": -1},
        {"halo": "9"},
        {"scale": 0.5},
        {"tile": 0},
        {"channels": 0},
        {"averages": "no"},
    ],
)
def test_cards_that_cannot_be(card):
    network = SimpleNamespace(predict_on_batch=same, card=card)
    with pytest.raises(ValueError, match="has a card"):
        run(network, picture(8, 8))


@pytest.mark.parametrize("tile", [0, -5, 33.5, np.nan, "64"])
def test_tiles_that_cannot_be(model, tile):
    with pytest.raises(ValueError, match="tile must be a whole number of pixels"):
        run(model, picture(8, 8), tile)


def test_outputs_of_0_to_255_are_refused():
    with pytest.raises(ValueError, match="made values up to 2.*, of 0 to 255, it seems"):
        run(lambda batch: 255 * batch, picture(20, 20))
    with pytest.raises(ValueError, match="made uint8, not float"):
        run(lambda batch: np.uint8(255 * batch), picture(20, 20))
    assert run(lambda batch: 100 * (batch - 0.5), picture(20, 20)).max() == 1  # one that has not learnt much yet


def test_the_reason_why_a_network_fails_is_said():
    inputs = keras.Input((None, None, 3))
    halves = keras.layers.Conv2D(3, 2, 2, padding="valid")(inputs)
    model = keras.Model(inputs, keras.layers.Add()([inputs, keras.layers.UpSampling2D(4)(halves)]))
    with pytest.raises(ValueError, match=r"does not take \(1, 32, 64, 3\) \(") as caught:
        run(model, picture(30, 40))
    assert "Exception encountered" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_photographs_keep_their_size():
    network = SimpleNamespace(predict_on_batch=lambda batch: batch.repeat(2, 1).repeat(2, 2), card={"scale": 2})
    assert run(network, picture(40, 30)).shape == (80, 60, 3)
    with pytest.raises(ValueError, match="makes pictures 2 times as large: call `run`"):
        enhance(picture(40, 30), network)


@pytest.mark.parametrize("batch, averages, shape", [(None, True, (2, 246, 246, 3)), (1, False, (1, 150, 150, 3))])
def test_two_at_a_time_are_as_large_as_one_where_it_matters_or_there_is_one(monkeypatch, batch, averages, shape):
    monkeypatch.setattr("lle.tiles.together", lambda: 2)
    shapes = []
    card = {"stride": 1, "halo": 0, "tile": 150, "averages": averages}
    run(stub(lambda tiles: shapes.append(tiles.shape) or tiles, (batch, None, None), **card), picture(600, 600))
    assert set(shapes) == {shape}


@pytest.mark.parametrize("together, shape", [(1, (1, 150, 150, 3)), (2, (2, 100, 100, 3))])
def test_two_tiles_at_a_time_have_no_more_pixels_than_one(monkeypatch, together, shape):
    monkeypatch.setattr("lle.tiles.together", lambda: together)
    shapes = []
    network = SimpleNamespace(
        predict_on_batch=lambda batch: shapes.append(batch.shape) or batch, card={"stride": 1, "halo": 0, "tile": 150}
    )
    np.testing.assert_array_equal(run(network, picture(300, 300)), picture(300, 300))
    assert set(shapes) == {shape}


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 9), st.integers(0, 20))
@settings(deadline=None)
def test_every_pixel_comes_from_one_tile(height, width, tile, stride, halo):
    shapes = set()

    def predict(batch):
        shapes.add(batch.shape)
        return batch

    image = picture(height, width)
    output = run(SimpleNamespace(predict_on_batch=predict, card={"stride": stride, "halo": halo}), image, tile)
    np.testing.assert_array_equal(output, image)
    ((_, rows, columns, _),) = shapes  # all alike: one trace
    assert rows % stride == 0 and columns % stride == 0
    assert max(rows, columns) < tile + 2 * halo + 3 * stride


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (2, 3), (33, 1)])
def test_any_size(model, size):
    image = picture(*size)
    assert run(model, image).shape == image.shape
    network = SimpleNamespace(predict_on_batch=same)  # without a card: padded to 32
    np.testing.assert_array_equal(run(network, image), image)


def test_a_function_gets_the_image_whole():
    shapes = []
    run(lambda batch: shapes.append(batch.shape) or batch, picture(70, 50), tile=16)
    assert shapes == [(1, 70, 50, 3)]


def test_what_resizing_leaves_outside_is_clipped_before_the_network_sees_it():
    image = np.float32([-5e-4, 0.5, 1.0005]).repeat(12).reshape(3, 4, 3)
    np.testing.assert_array_equal(run(half, image), np.clip(image, 0, 1) / 2)


def test_run_refuses_what_it_cannot_take():
    image = picture(4, 4)
    for wrong in (image[..., 0], image[None], picture(4, 4, "uint8"), image[:0], image * 2, image - 1, image * np.nan):
        with pytest.raises(ValueError):
            run(same, wrong)
    with pytest.raises(ValueError, match="not numbers"):
        run(lambda batch: batch * np.nan, image)
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 3\) of \(1, 4, 4, 3\)"):
        run(lambda batch: batch[:, ::2, ::2], image)
    assert run(lambda batch: batch * 3 - 1, image).max() == 1


# enhance: arrays and tensors


@pytest.mark.parametrize("dtype", list(module.PEAKS))
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
def test_arrays_keep_dtype_shape_and_values(dtype, channels):
    array = picture(9, 5, dtype, channels)
    output = enhance(array, same)
    assert output.dtype == array.dtype and output.shape == array.shape
    np.testing.assert_allclose(output, array, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_rounded(model, dtype):
    array, peak = picture(20, 17, dtype), module.PEAKS[dtype]
    np.testing.assert_array_equal(
        enhance(array, model), np.rint(run(model, (array.astype("float32") / peak)) * peak).astype(dtype)
    )


def test_alpha_is_passed_through_and_grey_is_the_luma(model):
    array = picture(12, 10, "uint8", (4,))
    np.testing.assert_array_equal(enhance(array, half)[..., 3], array[..., 3])
    np.testing.assert_array_equal(enhance(array, model)[..., :3], enhance(array[..., :3], model))
    grey = picture(12, 10, channels=())
    expected = run(model, np.stack([grey] * 3, axis=-1)) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(enhance(grey, model), expected, atol=1e-6)


def test_batches(model):
    batch = np.stack([picture(8, 9, "uint8", seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(enhance(batch, model), [enhance(image, model) for image in batch])


def test_tensors_stay_tensors(model):
    tensor = keras.ops.convert_to_tensor(picture(8, 9))
    output = enhance(tensor, model)
    assert type(output) is type(tensor) and output.dtype == tensor.dtype
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(output), run(model, picture(8, 9)))


def test_enhance_refuses_what_is_no_image():
    for wrong in (
        picture(4, 4) * 255, picture(4, 4).astype("int64"), np.ones((4, 4), bool), picture(4, 4, channels=(5,)),
        np.zeros((0, 4, 3), "uint8"), np.zeros((0, 4, 4, 3), "uint8"), np.float32([[np.nan]]), "missing.keras.txt.png",
        object(),
    ):  # fmt: skip
        with pytest.raises((ValueError, FileNotFoundError)):
            enhance(wrong, same)


# enhance: pictures


@pytest.mark.parametrize(
    "mode, expected",
    [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16"), ("P", "RGB"), ("CMYK", "RGB"),
     ("1", "L"), ("YCbCr", "RGB"), ("PA", "RGBA")],
)  # fmt: skip
def test_picture_modes(mode, expected):
    image = Image.new(mode, (7, 5)) if mode == "PA" else Image.fromarray(picture(5, 7, "uint8"))
    image = Image.fromarray(picture(5, 7, "uint16", ())) if mode == "I;16" else image.convert(mode)
    output = enhance(image, same)
    assert output.mode == expected and output.size == (7, 5)
    if mode == expected:
        np.testing.assert_array_equal(np.asarray(output), np.asarray(image))


def test_transparent_colours_become_alpha():
    image = Image.new("P", (3, 2))
    image.info["transparency"] = 0
    output = enhance(image, same)
    assert output.mode == "RGBA" and "transparency" not in output.info and output.getpixel((0, 0))[3] == 0
    image = Image.new("RGB", (3, 2), (9, 8, 7))
    image.info["transparency"] = (9, 8, 7)
    assert enhance(image, same).getpixel((1, 1)) == (9, 8, 7, 0)


def test_pictures_of_32_bits_are_refused():
    with pytest.raises(ValueError, match="mode F"):
        enhance(Image.new("F", (3, 2)), same)


def test_a_path_gives_an_upright_picture_with_its_metadata(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"  # a quarter turn to the right
    array = picture(16, 24, "uint8")
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif, icc_profile=profile, dpi=(300, 300))
    output = enhance(tmp_path / "a.png", same)
    np.testing.assert_array_equal(np.asarray(output), np.rot90(array, -1))
    assert output.getexif().get(0x0112, 1) == 1 and output.getexif()[0x010F] == "Maker"
    assert output.info["icc_profile"] == profile and round(output.info["dpi"][0]) == 300


def test_cmyk_is_read_through_its_profile():
    image = Image.new("CMYK", (3, 2), (0, 255, 255, 0))
    image.info["icc_profile"] = b"no profile"
    with pytest.raises((ValueError, OSError, ImageCms.PyCMSError)):
        enhance(image, same)
    image.info.pop("icc_profile")
    assert enhance(image, same).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ValueError, match="b.png: "):
        enhance(tmp_path / "b.png", same)


# the machine


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux")
def test_a_24_megapixel_picture_costs_little_besides_the_network():
    peak = python("""
        import re
        from types import SimpleNamespace
        from PIL import Image
        import lle
        network = SimpleNamespace(predict_on_batch=lambda batch: batch, card={"stride": 32, "halo": 32})
        assert lle.enhance(Image.new("RGB", (6000, 3999), 50), network).getpixel((5999, 3998)) == (50, 0, 0)
        print(re.search("VmHWM: *([0-9]+)", open("/proc/self/status").read().replace(chr(9), " "))[1])
    """)
    assert int(peak) / 1024 < 550  # MiB; one float copy of the picture would take 275 more


def test_another_backend(weights):
    if keras.backend.backend() == "jax":
        pytest.skip("every test here runs on it")
    pytest.importorskip("jax")
    code = """
        import sys
        import keras
        import numpy as np
        from lle.enhance import enhance, load, run
        model = load(sys.argv[1])
        model.card = {"stride": 1, "halo": 7}
        image = np.random.default_rng(0).random((70, 45, 3), "float32")
        whole = keras.ops.convert_to_numpy(model(image[None], training=False))[0]
        np.testing.assert_allclose(run(model, image, 32), whole, atol=1e-5)
        tensor = keras.ops.convert_to_tensor(image)
        output = enhance(tensor, model)
        assert type(output) is type(tensor) and not getattr(output, "requires_grad", False)  # as PyTorch has it
    """
    python(code, weights / "tiny.keras", KERAS_BACKEND="jax")


# networks that look at the whole picture first


@pytest.fixture(scope="module")
def dawn():
    keras.utils.set_random_seed(0)
    model = Dawn((4, 6, 8), hints=2, exposure_width=4)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


def test_a_card_that_says_a_part_is_completed():
    network = SimpleNamespace(predict_on_batch=lambda batch: batch, card={"stride": 4})
    image = np.full((10, 13, 3), 0.5, "float32")
    np.testing.assert_array_equal(run(network, image), image)


@pytest.mark.parametrize("layer", [keras.layers.GlobalMaxPooling2D(keepdims=True), keras.layers.GroupNormalization(3)])
def test_networks_that_average_are_found_unless_their_card_says_otherwise(layer, monkeypatch):
    monkeypatch.setattr("lle.tiles.together", lambda: 1)
    inputs = keras.Input((None, None, 3))
    model = Network(inputs, inputs + 0 * layer(inputs))
    assert averages_over_all(model) and averages_over_all(ensemble([model, model]))
    model.card = {"stride": 1, "halo": 0, "tile": 64}
    assert len(list(enhanced_tiles(model, picture(100, 100)))) == 1  # the whole, blended
    model.card["averages"] = False
    assert len(list(enhanced_tiles(model, picture(100, 100)))) == 4


@pytest.mark.parametrize("kind", ["layer", "nested", "operation", "nested operation", "built for one size"])
def test_tiles_go_over_into_each_other_where_a_network_averages_over_them(kind):
    inputs = keras.Input((224, 224, 3) if kind == "built for one size" else (None, None, 3))
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    mean = keras.ops.mean(inputs, (1, 2), keepdims=True) if "operation" in kind else mean
    model = Network(inputs, keras.layers.Add()([inputs, mean]) / 2)
    model.card = {"stride": 4, "halo": 4, **({"averages": True} if "operation" in kind else {})}
    model = ensemble([model, model]) if "nested" in kind else model
    image = np.full((90, 720, 3), 0.1, "float32")
    image[:, 360:] = 0.6
    output = run(model, image, tile=160)
    steps = np.abs(np.diff(output, axis=1)).max(axis=(0, 2))
    assert output[:, [0, -1]].mean(axis=(0, 2)) == pytest.approx([0.1, 0.6], abs=1e-3)  # by their own tile
    assert steps[359] > 0.2 and np.delete(steps, 359).max() < 0.005
    image = np.float32(np.random.default_rng(0).random((90, 720, 3)))
    expected = (image + image.mean(axis=(0, 1))) / 2
    np.testing.assert_allclose(run(model, image, tile=160), expected, atol=0.02)


def test_a_look_at_the_whole_leaves_no_seam(dawn):
    image = picture(300, 420)
    whole, cut = run(dawn, image), run(dawn, image, tile=64)
    np.testing.assert_allclose(cut, whole, atol=1e-4)
    assert np.abs(whole - run(dawn, image, brightness=0.9)).max() > 1e-3


def test_a_picture_that_is_continued_is_looked_at_as_a_whole(dawn):
    image = picture(33, 50)
    continued = np.pad(image, ((0, 7), (0, 6), (0, 0)), "symmetric")  # to multiples of 8
    expected = np.clip(dawn.predict(continued[None], verbose=0)[0, :33, :50], 0, 1)
    np.testing.assert_allclose(run(dawn, image), expected, atol=1e-5)


def test_brightness_reaches_the_network_in_every_kind_of_picture(dawn, tmp_path):
    image = picture(24, 40, "uint8")
    expected = np.rint(255 * run(dawn, image.astype("float32") / 255, brightness=0.7)).astype("uint8")
    for kind in (image, Image.fromarray(image), keras.ops.convert_to_tensor(image), image[None]):
        found = np.squeeze(np.asarray(enhance(kind, dawn, brightness=0.7)))
        np.testing.assert_allclose(found.astype(int), expected, atol=1)
    Image.fromarray(image).save(tmp_path / "a.png")
    enhance_files([tmp_path / "a.png"], tmp_path / "b.png", dawn, brightness=0.7)
    np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "b.png")).astype(int), expected, atol=1)


def test_arguments_in_the_wrong_place_are_named(dawn):
    with pytest.raises(TypeError, match="brightness must be a number, got '0.4'"):
        enhance(picture(8, 8), dawn, brightness="0.4")
    with pytest.raises(TypeError, match="brightness must be a number, got '0.4'"):
        enhance("a.png", dawn, brightness="0.4")
    with pytest.raises(TypeError, match="model must be a name, a path, a Keras model or a function, got 0.4"):
        enhance(picture(8, 8), 0.4)


def test_a_network_that_has_no_say_in_the_brightness_refuses_it(model):
    for network in (model, half):
        with pytest.raises(ValueError, match="brightness of this network's results cannot be set"):
            enhance(picture(8, 8), network, brightness=0.5)


def test_submodules_are_reached_from_the_package():
    code = """
import sys
import lle
assert not {"lle.files", "lle.data", "lle.plots", "keras", "tensorflow"} & set(sys.modules)
assert callable(lle.files.enhance_file) and callable(lle.data.read_image) and callable(lle.plots.curves)
assert callable(lle.enhance) and callable(lle.load)
import lle.enhance
assert callable(lle.enhance) and not hasattr(lle, "nothing")
assert {"enhance", "load", "networks", "metrics"} <= set(dir(lle)) and "importlib" not in dir(lle)
for name in lle.SUBMODULES:
    assert getattr(lle, name).__name__ == f"lle.{name}"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("image", [["a.jpg", "b.jpg"], b"bytes", None, BytesIO(b"file")])
def test_what_is_no_picture_at_all(image, model):
    with pytest.raises(ValueError, match="expected a path, a PIL image, an array or a tensor, got a"):
        enhance(image, model)


def test_networks_that_are_compiled_say_nothing(weights):
    load("tiny")
    logger = logging.getLogger("tensorflow")
    says = "5 out of the last 5 calls to <function Trainer.%s.<locals>.one_step> triggered tf.function retracing"
    functions = "make_predict_function", "make_train_function"
    records = [logger.makeRecord("tensorflow", 30, "", 0, says, (name,), None) for name in functions]
    assert [bool(logger.filter(record)) for record in records] == [False, True]
