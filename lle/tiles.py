"""Large images in tiles, each with as much context as the network sees."""

import numpy as np

from lle.paths import one_line
from lle.pictures import first_line

CARD = {"stride": 32, "halo": 32}  # what is assumed of a network that says nothing about itself
TILE = 768  # pixels, where a card names none
TOGETHER = 2  # tiles in a batch: with one alone TensorFlow's convolutions take two to four times as long on a CPU
RAMP = 64  # pixels by which tiles reach into their neighbours where they have to be blended


def channels_and_scale(model):
    """How many channels a network takes, and by which factor its output is larger."""
    card = getattr(model, "card", CARD)
    return card.get("channels", 3), card.get("scale", 1)


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
        ValueError: If the network does not take the image, or makes something else than a picture of it.
    """
    if not _averages_over_all(model):
        yield from ((rows, columns, part) for rows, columns, part, _ in _tiles(model, image, peak, tile, brightness, 0))
        return
    scale = channels_and_scale(model)[1]
    size = image.shape[0] * scale, image.shape[1] * scale
    output, total = np.zeros((*size, 3), "float32"), np.zeros((*size, 1), "float32")
    for rows, columns, part, weight in _tiles(model, image, peak, tile, brightness, RAMP):
        output[rows, columns] += weight * part
        total[rows, columns] += weight
    output /= total
    yield slice(0, size[0]), slice(0, size[1]), np.clip(output, 0, 1, out=output)


def _averages_over_all(model):
    """Whether it does, tile by tile; a network with `prepare` looks at the whole once, before the tiles."""
    layers = getattr(model, "layers", None)
    if not layers or hasattr(model, "prepare"):
        return False
    from keras.layers import GlobalAveragePooling2D  # loads the backend, which other functions do without

    return any(isinstance(layer, GlobalAveragePooling2D) or _averages_over_all(layer) for layer in layers)


def _tiles(model, image, peak, tile, brightness, ramp):
    """Yield rows, columns, pixels and their weights, `(height, width, 1)`, of one tile after the other."""
    height, width = image.shape[:2]
    is_network = hasattr(model, "predict_on_batch")
    card = {**CARD, **getattr(model, "card", {})} if is_network else {"stride": 1, "halo": 0}
    stride, halo = card["stride"], _round_up(card["halo"], card["stride"])
    ramp, scale = _round_up(ramp, stride), channels_and_scale(model)[1]
    tile = tile or card.get("tile", TILE)
    tile = _round_up(max(tile // scale, 1) if is_network else max(height, width), stride)
    if height % stride or width % stride:
        image = np.pad(image, ((0, -height % stride), (0, -width % stride), (0, 0)), "symmetric")
    enhance_tiles = _for_tiles(model, image, peak, brightness, (height, width))
    by_rows, by_columns = _cuts(height, tile, halo, stride, ramp), _cuts(width, tile, halo, stride, ramp)
    places = [(rows, columns) for rows in by_rows for columns in by_columns]
    count = _fixed_batch(model) or min(len(places), TOGETHER)
    for first in range(0, len(places), count):
        chosen = places[first : first + count]
        shown = (chosen * count)[:count]  # equally many each time, so that the network is traced once
        shares = [np.float32([place[axis][:2] for place in shown]) / image.shape[axis] for axis in (0, 1)]
        parts = _enhance_batch(model, enhance_tiles, _batch(image, shown, peak), shares, scale)
        for part, ((top, _, rows), (left, _, columns)) in zip(parts, chosen, strict=False):
            part = np.clip(part[_scaled(rows, scale, top), _scaled(columns, scale, left)], 0, 1).astype("float32")
            weight = np.outer(_weights(rows, height, ramp, scale), _weights(columns, width, ramp, scale))
            yield _scaled(rows, scale), _scaled(columns, scale), part, weight[..., None]
        del parts  # before the next are made


def _fixed_batch(model):
    """How many pictures the network takes, no more and no fewer, if it was built so."""
    inputs = getattr(model, "inputs", None) or []  # a subclassed model and a function have none
    return inputs[0].shape[0] if inputs else None


def _batch(image, places, peak):
    batch = np.float32([image[top:bottom, left:right] for (top, bottom, _), (left, right, _) in places])
    batch /= peak
    return np.clip(batch, 0, 1, out=batch)


def _enhance_batch(model, enhance_tiles, batch, shares, scale):
    try:
        parts = _as_numpy(enhance_tiles(batch, *shares))
    except Exception as error:  # of Keras or its backend, several lines long
        raise ValueError(f"{_called(model)} does not take {batch.shape} ({first_line(error)})") from error
    expected = (len(batch), batch.shape[1] * scale, batch.shape[2] * scale, 3)
    if parts.shape != expected or not np.isfinite(parts).all():
        raise ValueError(f"{_called(model)} made {parts.shape} of {batch.shape}, or values that are not numbers")
    return parts


def _called(model):
    return one_line(f"the model {getattr(model, 'loaded_from', '')}").rstrip()


def _for_tiles(model, image, peak, brightness, own_size):
    """What enhances tiles of this image, given where in it each begins and ends."""
    if hasattr(model, "prepare"):  # a network that looks at the whole first
        return model.prepare(image, peak, brightness, own_size)
    if brightness is not None:
        raise ValueError("the brightness of this network's results cannot be set")
    return lambda tiles, rows, columns: getattr(model, "predict_on_batch", model)(tiles)


def _cuts(size, tile, halo, stride, ramp=0):
    """Begin and end of the tiles along an axis, padded to the stride, and the slice of it that each is for.

    All have one length, so that the network is traced once, and begin at multiples of the stride. The slices reach into
    their neighbours by the ramp.
    """
    padded, context = _round_up(size, stride), halo + ramp
    if padded <= tile + 2 * context:
        return [(0, padded, slice(0, size))]
    count = -(-(padded - 2 * context) // tile)
    step = _round_up(-(-(padded - 2 * context) // count), stride)
    cuts = []
    for start in (min(index * step, padded - step - 2 * context) for index in range(count)):
        end = start + step + 2 * context
        cuts.append((start, end, slice(start + halo if start else 0, end - halo if end < padded else size)))
    return cuts


def _weights(part, size, ramp, scale):
    """1 in the middle of a slice, rising from and falling to 0 where it reaches into its neighbours."""
    places = (np.arange(part.start * scale, part.stop * scale, dtype="float32") + 0.5) / scale
    rise = (places - part.start) / (2 * ramp) if ramp and part.start else np.ones_like(places)
    fall = (part.stop - places) / (2 * ramp) if ramp and part.stop < size else np.ones_like(places)
    return np.minimum(np.minimum(rise, fall), 1)


def _scaled(part, scale, start=0):
    return slice((part.start - start) * scale, (part.stop - start) * scale)


def _round_up(number, multiple):
    return -(-number // multiple) * multiple


def _as_numpy(tensor):
    if isinstance(tensor, np.ndarray):
        return tensor
    from keras import ops

    return ops.convert_to_numpy(tensor)
