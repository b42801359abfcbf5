"""Large images in tiles, each with as much context as the network sees."""

import functools
import math
import sys
from numbers import Integral

import numpy as np

from lle.paths import one_line
from lle.pictures import FAR_OUTSIDE, first_line

CARD = {"stride": 32, "halo": 32}  # what is assumed of a network that says nothing about itself
TILE = 768  # pixels, where a card names none
AVX_512F = 13  # OpenCV's number of it, which its Python module does not name
RAMP = 64  # pixels by which tiles reach into their neighbours where they have to be blended


@functools.cache
def together():
    """Tiles in a batch: without AVX-512 oneDNN's convolutions of one alone take two to four times as long."""
    import cv2  # loads slowly

    return 1 if cv2.checkHardwareSupport(AVX_512F) else 2


def card_of(model):
    """What a network says about itself, or what is assumed where it says nothing.

    Args:
        model: See `lle.enhance.run`.

    Returns:
        A dictionary: `stride` and `halo`, see `lle.enhance.load`; `channels` that it takes; `scale`, by which its
        output is larger; `tile`, the side of a tile in pixels of the output, if it goes alone; and `averages`, if it
        says whether it averages over all that it is shown.

    Raises:
        ValueError: If its card is no dictionary, or one of these is no such number.
    """
    own = getattr(model, "card", {})
    if not isinstance(own, dict):
        raise ValueError(f"{_called(model)} has a card that is no dictionary: {own!r}")
    card = {"channels": 3, "scale": 1, "tile": TILE, **CARD, **own}
    if not hasattr(model, "predict_on_batch"):  # a function
        card |= {"stride": 1, "halo": 0, "tile": sys.maxsize}
    for key, least in {"stride": 1, "halo": 0, "channels": 1, "scale": 1, "tile": 1}.items():
        if not isinstance(card[key], Integral) or card[key] < least:
            raise ValueError(f"{_called(model)} has a card whose {key} is {card[key]!r}: give a number from {least} on")
    if not isinstance(card.get("averages", True), bool):
        raise ValueError(f"{_called(model)} has a card whose averages is {card['averages']!r}: give True or False")
    return card


def fixed_shape(model):
    """How many pictures a network was built for, no more and no fewer, their height and width; `None` if any."""
    inputs = getattr(model, "inputs", None) or []  # a subclassed model and a function have none
    return inputs[0].shape[:3] if inputs and len(inputs[0].shape) == 4 else (None, None, None)


def enhanced_tiles(model, image, peak=1, tile=None, brightness=None):
    """Enhance an image tile by tile.

    Integers up to `peak` become float tile by tile: a large picture is never held as float as a whole, unless tiles
    have to be blended, since the network averages over all that it is shown.

    Args:
        model: See `lle.enhance.run`.
        image: `(height, width, channels)`, float in [0, 1], or integers.
        peak: What counts as 1.
        tile: See `lle.enhance.run`.
        brightness: Likewise.

    Yields:
        The rows and the columns of the output, two slices, and its pixels there, float32 in [0, 1].

    Raises:
        ValueError: If the network does not take the image, or makes something else than a picture of it, or its card or
            the tile is not as it has to be.
    """
    if tile is not None and (not isinstance(tile, Integral) or tile < 1):
        raise ValueError(f"tile must be a whole number of pixels, at least 1, got {tile!r}")
    card = card_of(model)
    if tile and hasattr(model, "predict_on_batch"):
        card["tile"] = tile
    ramp = RAMP if card.get("averages", averages_over_all(model)) else 0
    if tile is None and "tile" in getattr(model, "card", {}) and not ramp and not fixed_shape(model)[0]:
        # The card's is of one; two at a time are to have as many pixels. (If the network averages over a tile, what
        # comes out hangs on its size, and is to be the same on every machine.)
        card["tile"] = math.ceil(card["tile"] / math.sqrt(together()))
    parts = _tiles(model, card, image, peak, brightness, ramp)
    if not ramp:
        yield from ((rows, columns, part) for rows, columns, part, _ in parts)
        return
    height, width = (side * card["scale"] for side in image.shape[:2])
    output = np.zeros((height, width, 3), "float32")
    for rows, columns, part, weight in parts:
        output[rows, columns] += weight * part
    for top in range(0, height, TILE):  # not all at once, of which others would make copies
        rows = slice(top, min(top + TILE, height))
        yield rows, slice(0, width), np.clip(output[rows], 0, 1)


def averages_over_all(model):
    """Whether it does, tile by tile; a network with `prepare` looks at the whole once, before the tiles."""
    layers = getattr(model, "layers", None)
    if not layers or hasattr(model, "prepare"):
        return False
    from keras.layers import GlobalAveragePooling2D, GlobalMaxPooling2D, GroupNormalization  # these load the backend

    kinds = GlobalAveragePooling2D, GlobalMaxPooling2D, GroupNormalization
    return any(isinstance(layer, kinds) or averages_over_all(layer) for layer in layers)


def _tiles(model, card, image, peak, brightness, ramp):
    """Yield rows, columns, pixels and their weights, `(height, width, 1)`, of one tile after the other."""
    size, scale = image.shape[:2], card["scale"]
    built_for, *sides = fixed_shape(model)
    (by_rows, height), (by_columns, width) = (_cuts(*pair, card, ramp) for pair in zip(size, sides, strict=True))
    if (height, width) != size:
        image = np.pad(image, ((0, height - size[0]), (0, width - size[1]), (0, 0)), "symmetric")
    enhance_tiles = _for_tiles(model, image, peak, brightness, size)
    places = [(rows, columns) for rows in by_rows for columns in by_columns]
    count = built_for or min(len(places), together())
    for first in range(0, len(places), count):
        chosen = places[first : first + count]
        shown = (chosen * count)[:count]  # equally many each time, so that the network is traced once
        shares = [np.float32([place[axis][:2] for place in shown]) / image.shape[axis] for axis in (0, 1)]
        parts = _enhance_batch(model, enhance_tiles, _batch(image, shown, peak), shares, scale)
        for part, ((top, _, rows, down), (left, _, columns, across)) in zip(parts, chosen, strict=False):
            part = np.clip(part[_scaled(rows, scale, top), _scaled(columns, scale, left)], 0, 1)
            part = part.astype("float32", copy=False)
            yield _scaled(rows, scale), _scaled(columns, scale), part, np.outer(down, across)[..., None]
        del parts  # before the next are made


def _batch(image, places, peak):
    batch = np.float32([image[top:bottom, left:right] for (top, bottom, *_), (left, right, *_) in places])
    batch /= peak
    return np.clip(batch, 0, 1, out=batch)


def _enhance_batch(model, enhance_tiles, batch, shares, scale):
    try:
        parts = _as_numpy(enhance_tiles(batch, *shares))
    except Exception as error:  # of Keras or its backend, several lines long
        raise ValueError(f"{_called(model)} does not take {batch.shape} ({first_line(error)})") from error
    expected = (len(batch), batch.shape[1] * scale, batch.shape[2] * scale, 3)
    if parts.shape != expected:
        raise ValueError(f"{_called(model)} made {parts.shape} of {batch.shape}, not {expected}")
    if parts.dtype.kind in "iub":
        raise ValueError(f"{_called(model)} made {parts.dtype}, not float in [0, 1]")
    least, most = parts.min(), parts.max()  # NaN, if there is one
    if not np.isfinite((least, most)).all():
        raise ValueError(f"{_called(model)} made values that are not numbers")
    if least >= 0 and FAR_OUTSIDE < most < 300:  # others are those of a network that has not learnt much yet
        raise ValueError(f"{_called(model)} made values up to {most:.4g}, of 0 to 255, it seems, not in [0, 1]")
    return parts


def _called(model):
    return one_line(f"the model {getattr(model, 'loaded_from', '')}").rstrip()


def _for_tiles(model, image, peak, brightness, own_size):
    """What enhances tiles of this image, given where in it each begins and ends."""
    if hasattr(model, "prepare"):  # a network that looks at the whole first
        return model.prepare(image, peak, brightness, own_size)
    if brightness is not None:
        raise ValueError("the brightness of this network's results cannot be set (leave it out, or take dawn)")
    return lambda tiles, rows, columns: getattr(model, "predict_on_batch", model)(tiles)


def _cuts(size, fixed, card, ramp):
    """Where to cut an axis of so many pixels, if the network takes any number of them or only the fixed one.

    Returns:
        Begin and end of each tile, the slice of the axis that it is for, and the weights there; and the length to which
        the axis has to be continued. All tiles have one length, so that the network is traced once, and begin at
        multiples of the stride where it takes any number. The slices reach into their neighbours by the ramp.
    """
    stride, scale = card["stride"], card["scale"]
    halo, ramp = _round_up(card["halo"], stride), _round_up(ramp, stride)
    if fixed:  # which has to hold context, and as much again that it is the context of
        halo, ramp = min(halo, fixed // (8 if ramp else 4)), min(ramp, fixed // 8)
        stride = math.gcd(stride, fixed)
        stride = stride if stride <= fixed // 4 else 1
    context, padded = 2 * (halo + ramp), max(_round_up(size, stride), fixed or 0)
    if fixed:
        step = (fixed - context) // stride * stride
    else:
        longest = _round_up(max(card["tile"] // scale, 1), stride)
        inner = max(padded - context, 1)
        step = _round_up(inner / math.ceil(inner / longest), stride)
    length = fixed or min(step + context, padded)
    cuts, total = [], np.zeros(size * scale, "float32")
    for index in range(1 + math.ceil((padded - length) / step)):
        start = min(index * step, padded - length)
        end = start + length
        part = slice(start + halo if start else 0, end - halo if end < padded else size)
        cuts.append((start, end, part, _weights(part, size, ramp, scale)))
        total[_scaled(part, scale)] += cuts[-1][-1]
    return [(*cut, part, weights / total[_scaled(part, scale)]) for *cut, part, weights in cuts], padded


def _weights(part, size, ramp, scale):
    """1 in the middle of a slice, rising from and falling to 0 where it reaches into its neighbours."""
    places = (np.arange(part.start * scale, part.stop * scale, dtype="float32") + 0.5) / scale
    rise = (places - part.start) / (2 * ramp) if ramp and part.start else np.ones_like(places)
    fall = (part.stop - places) / (2 * ramp) if ramp and part.stop < size else np.ones_like(places)
    return np.minimum(np.minimum(rise, fall), 1)


def _scaled(part, scale, start=0):
    return slice((part.start - start) * scale, (part.stop - start) * scale)


def _round_up(number, multiple):
    return math.ceil(number / multiple) * multiple


def _as_numpy(tensor):
    if isinstance(tensor, np.ndarray):
        return tensor
    from keras import ops

    return ops.convert_to_numpy(tensor)
