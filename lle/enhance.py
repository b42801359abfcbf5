"""Any image of any size in, the enhanced image out.

At package level `lle.enhance` is the function below; the rest of this module is reached by `from lle.enhance import`.
"""

import functools
import json
import logging
import zipfile
from contextlib import contextmanager
from numbers import Real
from pathlib import Path

import numpy as np
from PIL import Image

from lle.paths import naming, sha256_of
from lle.pictures import GREY, check_megapixels, exif_without_layout, first_line, open_picture, to_samples, upright
from lle.tiles import CARD, card_of, enhanced_tiles

PACKAGE = Path(__file__).parent
WEIGHTS = PACKAGE / "weights" if (PACKAGE / "weights").is_dir() else PACKAGE.parent / "weights"  # installed, checkout
DEFAULT = "dawn"  # the network for everybody's photographs
RAW_DEFAULT = "sid_unet"  # that for camera raw
RAW_CARD = {"stride": 32, "halo": 192, "channels": 4, "scale": 2}  # as `CARD`, of a network on packed camera raw
TAKES_RAW = "this network takes camera raw (.ARW, .DNG and the like), no pictures: see lle.files.enhance_raw"
LARGEST_TEXT = 1e8  # bytes of a configuration in a .keras file, of which a small file may hold gigabytes
PEAKS = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}


def load(name_or_path=DEFAULT, dtype=None):
    """Load a network with its weights.

    Args:
        name_or_path: The name of one of the networks that come with the package, whose file is loaded only if it has
            the SHA-256 that its card names; or the path of a `.keras` file of your own. Code inside a file is never
            run (`safe_mode=True`), and the model comes back without its optimizer.
        dtype: The name of the dtype policy to build it under, such as `"mixed_bfloat16"`, which is faster where the
            processor or GPU has bfloat16, and moves what `dawn` makes by one or two levels of 255. For networks that
            are built anew on loading: of those here `dawn` and `zero_dce`. Saved again, they are as before. `None`: the
            policy that is set in Keras.

    Returns:
        A `keras.Model` whose attribute `card` says what it is. `card["stride"]` is the number that height and width
        have to be multiples of, `card["halo"]` how many pixels around a tile reach into it. For a file of your own
        whose class has no `card` both are 32. There may be `tile`, see `run`, and `averages`: whether the network
        averages over all that it is shown, as one with global pooling or group normalisation does (found where these
        are layers of the model or of models in it, elsewhere to be said). A network on camera raw also has `channels`
        and `scale` (see `run`); a file of your own without a card whose network takes 4 channels is taken for one.

    Raises:
        ValueError: If there is no such name or file, the hash differs, the file does not load, Keras knows no such
            dtype policy, the machine cannot compute under it, or the network was saved with layers and keeps theirs.
    """
    path, card = find(name_or_path)
    if card and sha256_of(path) != card["sha256"]:
        raise ValueError(f"{path}: not the file that its card describes (its SHA-256 differs), fetch it again")

    if not zipfile.is_zipfile(path):  # of which Keras says that it was not found
        raise ValueError(f"{path}: not a .keras file, or one that was cut off")
    _check_texts(path)

    import keras

    import lle.models  # noqa: F401  (registers the classes that a file may name)

    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    if dtype and not can_compute(keras.dtype_policies.get(dtype).compute_dtype):
        raise ValueError(f"this machine cannot compute in {dtype}: leave that out")
    with _dtype_policy(dtype):
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # from Keras, zipfile, json and h5py, whichever meets the fault first
            raise ValueError(f"{path}: cannot be loaded ({_newer(path)}{first_line(error)})") from error
    if dtype and not _follows(model, keras.dtype_policies.get(dtype).compute_dtype):
        raise ValueError(
            f"{name_or_path}: computes in the precision that it was saved with, not in {dtype}: leave that out, or "
            "take dawn or zero_dce"
        )
    inputs = getattr(model, "inputs", None) or []  # a subclassed model has none
    is_raw = [tensor.shape[-1] for tensor in inputs] == [4]
    model.card = card or getattr(model, "card", RAW_CARD if is_raw else CARD)
    model.loaded_from = str(name_or_path)  # for messages
    return model


def networks(channels=3):
    """Name the networks that come with the package.

    Args:
        channels: 3 for those that enhance pictures, 4 for those that develop packed camera raw.

    Returns:
        A sorted list of the names that `load` takes.

    Raises:
        ValueError: If a card is damaged.
    """
    cards = {path.stem: _read_card(path) for path in sorted(WEIGHTS.glob("*.json"))}
    return [name for name, card in cards.items() if card.get("channels", 3) == channels]


def run(model, image, tile=None, brightness=None):
    """Enhance one image of any size with a network.

    The image is continued by reflection up to a multiple of the network's stride. A large one is cut into equal tiles
    with the card's halo as context. Where a pixel of the output depends on no pixel of the input that is farther away,
    the result equals that of the uncut image. A network that averages over all it is shown makes neighbouring tiles a
    little brighter or darker; there the tiles overlap and go over into each other. A network built for one size gets
    tiles of that size, smaller images continued to it, and as context at most a quarter of it on each side.

    Args:
        model: A Keras model, which gets one tile at a time, two where the processor lacks AVX-512, or as many as it was
            built for; `model.card` holds its stride and halo (see `load`). Or a name or path as `load` takes it. Or any
            function from a float32 batch, (1, height, width, 3), to such a batch, which then gets the image whole and
            as it is.
        image: (height, width, 3), RGB, float, in [0, 1]; or what else the card names: `channels`, and `scale`, by which
            the output is larger (packed camera raw: 4 and 2, see `lle.raw`).
        tile: Side of a tile in pixels of the output, without its context. Memory grows with its square. `None` leaves
            it to the network's card, whose tiles are smaller where two go at a time.
        brightness: The mean grey value that the result should have, between 0 and 1, if the network has a say in it
            (`lle.models.Dawn`); `None` leaves it to the network.

    Returns:
        (height, width, 3), times the scale, RGB, float32, clipped to [0, 1].

    Raises:
        ValueError: If the image is of another shape or kind, image or result hold values that are not numbers, the
            result seems to go from 0 to 255, card or tile are not as they have to be, the network's brightness
            cannot be set, or not to this, or there is no network of this name or path.
    """
    model, image = as_network(model), np.asarray(image)
    channels, scale = (card_of(model)[key] for key in ("channels", "scale"))
    if channels == 4 and image.shape[-1:] == (3,):
        raise ValueError(TAKES_RAW)
    if image.ndim != 3 or image.shape[-1] != channels or image.dtype.kind != "f":
        raise ValueError(f"expected a float image (height, width, {channels}), got {image.dtype} {image.shape}")
    _check(image)
    height, width = image.shape[:2]
    output = np.empty((height * scale, width * scale, 3), "float32")
    for rows, columns, part in enhanced_tiles(model, image, tile=tile, brightness=brightness):
        output[rows, columns] = part
    return output


def enhance(image, model=DEFAULT, brightness=None, max_megapixels=None):
    """Enhance a photograph; what comes back is of the kind that was given.

    The network works on sRGB values. A picture with another colour profile is enhanced as it is, in its own values,
    and keeps the profile: a conversion to sRGB and back would clip the colours that sRGB lacks.

    Args:
        image: One of

            - a path (gives a PIL image, colour in 8 bit; `lle.files.enhance_file` keeps 16) or a PIL image (gives one
              of the same mode; palettes become RGB or RGBA, CMYK becomes RGB). The EXIF orientation is applied, `info`
              with profile and EXIF is kept;
            - a NumPy array, or what NumPy takes for one: (height, width), also with 1 to 4 channels (grey, grey and
              alpha, RGB, RGBA) or as a batch; uint8, uint16, or float in [0, 1]. Shape and dtype stay;
            - a tensor of the Keras backend in use, likewise.

            Grey goes through the network as RGB and comes back as its BT.601 luma. Alpha is passed through.
        model: A name or path as `load` takes it (loaded once), or a model or function as `run` takes it.
        brightness: See `run`.
        max_megapixels: See `open_picture`.

    Returns:
        The enhanced image.

    Raises:
        OSError: If the file is missing or cannot be read.
        TypeError: If the model is none of these, or the brightness is no number.
        ValueError: If the image is none of these, or the brightness cannot be set, or not to this; the
            message names the file. Or if the limit is no positive number.
    """
    check_megapixels(max_megapixels)
    model = as_network(model)
    if not (callable(model) or hasattr(model, "predict_on_batch")):
        raise TypeError(f"model must be a name, a path, a Keras model or a function, got {model!r}")
    if brightness is not None and not isinstance(brightness, Real):  # here, since `naming` knows two kinds of errors
        raise TypeError(f"brightness must be a number, got {brightness!r}")
    if isinstance(image, (str, Path)):
        with naming(image), open_picture(image, max_megapixels) as picture:
            return _enhance_picture(picture, model, brightness)
    if isinstance(image, Image.Image):
        return _enhance_picture(image, model, brightness)
    if not isinstance(image, np.ndarray):
        from keras import ops

        if ops.is_tensor(image):
            return ops.convert_to_tensor(
                _enhance_array(ops.convert_to_numpy(image), model, brightness), dtype=image.dtype
            )
    array = np.asarray(image)
    if array.dtype.kind in "OSU":
        raise ValueError(f"expected a path, a PIL image, an array or a tensor, got a {type(image).__name__}")
    return _enhance_array(array, model, brightness)


def as_network(model):
    """Load a network that is given by its name or path, as `load` does, but once.

    Args:
        model: A name or path, or anything else.

    Returns:
        The `keras.Model`; what is neither name nor path comes back as it is.

    Raises:
        ValueError: See `load`.
    """
    if not isinstance(model, (str, Path)):
        return model
    path, _ = find(model)
    return _load_once(model, (path.resolve(), path.stat().st_mtime_ns))  # a file that has changed is loaded anew


@functools.cache
def can_compute(dtype):
    """Whether this machine can convolve in a dtype, such as `"bfloat16"`: processors without AVX-512 often cannot."""
    from keras import ops

    try:
        ops.conv(ops.ones((1, 8, 8, 16), dtype), ops.ones((3, 3, 16, 16), dtype), padding="same")
    except Exception:  # of the backend
        return False
    return True


def find(name_or_path):
    """Find a network without loading it.

    Args:
        name_or_path: See `load`.

    Returns:
        The path of its file, and its card as a dictionary, or `None` for a file of your own.

    Raises:
        ValueError: If there is no such name or file, or the card is damaged.
    """
    if str(name_or_path).endswith(".keras"):
        if not Path(name_or_path).is_file():
            raise ValueError(f"{name_or_path}: no such file")
        return Path(name_or_path), None
    names = sorted(card.stem for card in WEIGHTS.glob("*.json"))
    if str(name_or_path) not in names:
        raise ValueError(f"no network is called '{name_or_path}': give one of {names}, or a .keras file of your own")
    card = _read_card(WEIGHTS / f"{name_or_path}.json")
    if not (WEIGHTS / card["file"]).is_file():
        raise ValueError(f"{WEIGHTS / card['file']}: the weights of {name_or_path!r} are missing")
    return WEIGHTS / card["file"], card


def _read_card(path):
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: a damaged card ({first_line(error)})") from error
    for key, kind in (("file", str), ("sha256", str), ("stride", int), ("halo", int)):
        if not isinstance(card, dict) or not isinstance(card.get(key), kind):
            raise ValueError(f"{path}: a damaged card, which lacks {key!r}")
    return card


def _check_texts(path):
    """Refuse a `.keras` file whose configuration would fill the memory."""
    with naming(path), zipfile.ZipFile(path) as file:
        for entry in file.infolist():
            if entry.filename.endswith(".json") and entry.file_size > LARGEST_TEXT:
                raise ValueError(f"its {entry.filename} has {entry.file_size / 1e6:.0f} MB, more than a network's")


@contextmanager
def _dtype_policy(name):
    """Let Keras build layers under a dtype policy, or under the one that is set."""
    import keras

    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or usual)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


def _follows(model, dtype):
    """Whether its convolutions and the like compute in this, but for some that a network keeps in float32."""
    found = _compute_dtypes(model)
    return dtype in found and found <= {dtype, "float32"}


def _compute_dtypes(layer):
    parts = getattr(layer, "layers", [])
    return set().union(*map(_compute_dtypes, parts)) if parts else {layer.compute_dtype} if layer.weights else set()


def _newer(path):
    """Say that a `.keras` file comes from a later Keras than the one here, if it does."""
    import keras

    try:
        with zipfile.ZipFile(path) as file:
            made_by = json.loads(file.read("metadata.json"))["keras_version"]
        numbers = [[int(part) for part in text.split(".")[:2]] for text in (made_by, keras.__version__)]
        return f"made by Keras {made_by}, this is {keras.__version__}; " if numbers[0] > numbers[1] else ""
    except Exception:  # a broken file, which the caller's message is about
        return ""


def _is_no_retracing(record):
    """Leaves out what TensorFlow says of pictures of several sizes, or of several networks, each compiled by itself."""
    return "make_predict_function" not in record.getMessage()


@functools.lru_cache(maxsize=4)
def _load_once(name_or_path, version):
    return load(name_or_path)


def _check(image):
    if 0 in image.shape:
        raise ValueError(f"the image is empty, its shape is {image.shape}")
    if image.dtype.kind == "f" and not (image.min() >= -1e-3 and image.max() <= 1.001):  # resizing leaves 1.0000001
        raise ValueError(f"a float image must lie in [0, 1], this one goes from {image.min()} to {image.max()}")


def _enhance_array(array, model, brightness=None):
    if array.ndim == 2:
        return _enhance_array(array[..., None], model, brightness)[..., 0]
    if array.ndim == 4 and len(array):
        return np.stack([_enhance_array(image, model, brightness) for image in array])
    if array.ndim != 3 or not 1 <= array.shape[-1] <= 4 or array.dtype.name not in PEAKS:
        raise ValueError(
            f"expected (height, width), also with 1 to 4 channels or as a batch, of uint8, uint16 or float, "
            f"got {array.dtype} {array.shape}"
        )
    _check(array)
    card = card_of(model)
    if card["channels"] != 3:
        raise ValueError(
            TAKES_RAW if card["channels"] == 4 else f"this network takes {card['channels']} channels, no RGB"
        )
    if card["scale"] != 1:
        raise ValueError(f"this network makes pictures {card['scale']} times as large: call `run` of lle.enhance")
    is_grey, peak = array.shape[-1] <= 2, PEAKS[array.dtype.name]
    color = np.broadcast_to(array[..., :1], (*array.shape[:2], 3)) if is_grey else array[..., :3]
    output = array.copy()  # with its alpha
    for rows, columns, part in enhanced_tiles(model, color, peak, brightness=brightness):
        part = np.clip(part @ GREY[:, None], 0, 1) if is_grey else part
        output[rows, columns, : part.shape[-1]] = np.rint(part * peak) if peak > 1 else part
    return output


def _enhance_picture(picture, model, brightness):
    plain = to_samples(upright(picture))
    result = Image.fromarray(_enhance_array(np.asarray(plain), model, brightness))
    result.info = plain.info.copy()
    if picture.format == "TIFF":  # of which Pillow keeps EXIF elsewhere
        result.info["exif"] = exif_without_layout(picture.getexif()).tobytes()
    return result
