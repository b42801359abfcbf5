"""The project's own network: brightness and colours from a thumbnail, the noise at full size."""

import math
from numbers import Real

import keras
import numpy as np
from keras import layers, ops

from lle.models.blocks import DepthToSpace
from lle.models.mirnet_v2 import mirnet_v2
from lle.pictures import GREY

THUMBNAIL = 128  # pixels; side of the square that the whole picture is averaged to
LARGE_TILE = 1536  # pixels, of a tile that goes alone; a fifth of it is halo, of smaller ones more
BOUNDED = "relu6"  # of the detail; with ReLU one training died, values growing tenfold from block to block
TOE = 0.01  # where the powers turn linear, whose slope at black would be infinite else
CELLS = THUMBNAIL // 8  # side of the grid that the gains are read from
BLACK = 0.02  # of the brightest value in a picture: what a film still has above and below it is no brighter
# When black beside what is well lit does not count: from nothing at the first of each two to wholly at the second.
BLACK_SHARE = (0.04, 0.05)  # of the picture, that is black
LIT_SHARE = (0.15, 0.25)  # of the picture, that is not: a lamp in a dark room is less
LIT_MEAN = (60 / 255, 90 / 255)  # grey value of what is not
ASKED = np.linspace(0.05, 0.95, 10, dtype="float32")  # brightnesses to try, to find what to ask for


@keras.saving.register_keras_serializable(package="lle")
class Dawn(keras.Model):
    """A network for everybody's photographs, in three parts, since three questions are asked of a dark picture.

    *How bright should it be?* `sketch`, a small MIRNet-v2, makes a rough version of the result out of a thumbnail of
    the picture, 128x128 pixels, and another one of that mirrored. Their mean is used and nothing else of them: one
    number, which may be given instead.

    *What is to be brightened by how much, and what colour is the light?* needs the whole picture, too, and no detail.
    `exposure` looks at the thumbnail, is told the number, and returns a grid of 16x16 cells: a gain for each colour,
    and some features ("hints") of what is to be seen there. So the cost of these two parts is the same for a picture of
    any size. The grid is interpolated bilinearly, as in HDRnet (arXiv 1707.02880). For the whole picture it returns an
    exponent and a white level for each colour ("tone"). With the gain `g`, the exponent `e` and the white level `w`,
    all of them logarithms, the curve is

        p = power(x, exp(e)), curved = exp(w) * p * exp(g) / (1 + p * (exp(g) - 1))

    where `power` is `x ** exp(e)`, made linear below 0.01 or so. It is the identity where all three are 0.

    *What is noise?* needs every pixel and no more than its surroundings. `detail`, a U-Net of plain residual blocks,
    sees the curved picture, the gains and the hints, all at half size (2x2 pixels in the channels), and returns a
    factor for each colour and a summand for each value, close to 1 and 0: `output = curved * factor + summand`. With
    new weights it leaves the curved picture as it is.

    Where a picture is cut into tiles or crops, the thumbnail is that of the whole, so that no seam can show.

    They are learnt one after the other (`learn`): sketch and exposure from many pictures, or large parts of them,
    reduced to thumbnails; then the detail, from crops whose result has the brightness that it should have, lest the
    error of a wrong guess, which no crop can mend, hide that of the noise. From there exposure and detail may go on
    together, which is the first that the hints hear of a loss. Until the sketch has learnt, say how bright the result
    is to be. (So a plain `fit(low, high)` never teaches the brightness, and takes each crop for a whole picture: for
    crops train on `lle.mixture.Mixture`. `notebooks/08_your_own_data.ipynb` goes on from the shipped weights.)

    It may be trained in bfloat16 and used so (`lle.load("dawn", dtype="mixed_bfloat16")`): built with `dtype="float32"`
    under Keras's policy `mixed_bfloat16`, it keeps the curve and what leaves its parts in float32.

    Args:
        widths: Channels of `detail` at a half, a quarter and so on of the picture's size.
        hints: Feature maps that `exposure` hands over to `detail`.
        exposure_width: Channels of the first level of `exposure`.
        sketch_width: Channels of the first stream of `sketch` (see `mirnet_v2`).
        sketch_groups: Groups of the convolutions in each of its recursive residual groups, which divide the channels of
            all streams.
        **kwargs: Passed to `keras.Model`.

    Call arguments:
        inputs: The dark pictures, `(batch, height, width, 3)` in [0, 1], sides multiples of the card's stride. Or a
            tuple of these and

            - the brightness of each result, `(batch, 1)`: its mean grey value (BT.601) in [0, 1], or -1 where the
              network is to decide. It then aims no lower than the picture is. (In training the exposure guesses the
              number itself.)

            and, if each is a part of a larger picture, whose brightness is meant then,

            - that picture's thumbnail, `(batch, 128, 128, 3)`;
            - where the part begins and ends, as shares of its height, `(batch, 2)`, and of its width, `(batch, 2)`.

    Returns:
        Pictures of the same shape, float32; they may leave [0, 1].

    Example:

    ```python
    model = Dawn()
    for part in ("sketch", "exposure", "detail"):
        model.learn(part)
        model.compile(keras.optimizers.AdamW(1e-3), losses.charbonnier)
        model.fit((low, brightness), high)  # 128x128, for the detail of any size; brightness: that of `high`, or -1
    model.learn("all")
    bright = model.predict(low)
    ```
    """

    def __init__(
        self, widths=(24, 48, 72, 96), hints=8, exposure_width=16, sketch_width=32, sketch_groups=(1, 1), **kwargs
    ):
        super().__init__(**kwargs)
        if self.compute_dtype in ("float16", "bfloat16"):
            raise ValueError('Dawn adds up its parts in float32: give dtype="float32", the parts follow the policy')
        self.options = {
            "widths": tuple(widths),
            "hints": hints,
            "exposure_width": exposure_width,
            "sketch_width": sketch_width,
            "sketch_groups": tuple(sketch_groups),
        }
        self.sketch = sketch_network(sketch_width, sketch_groups)
        self.exposure = exposure_network(exposure_width, hints)
        self.detail = detail_network(widths, hints)
        self.unpack = DepthToSpace(dtype="float32")
        stride = 2 ** len(widths)
        # By its layers a pixel sees 118 far. With 80, and so smaller tiles, no value that the shipped network made of
        # 54 pictures in tiles of 352 pixels moved by more than 0.001 of 255; of one trained before, some moved by 0.4.
        self.card = {"stride": stride, "halo": 5 * stride, "tile": LARGE_TILE}
        self.learn("all")
        self.built = True  # its parts were

    def learn(self, part):
        """Choose what `fit` trains. To be called before `compile`.

        Args:
            part: `"sketch"`: the output is the sketch then, of the size of the thumbnail; `"exposure"`: the output is
                the curved picture; `"detail"`; or `"all"`, exposure and detail together, as of a new network. (The
                sketch learns alone: no other part's loss reaches it.)

        Raises:
            ValueError: If it is none of these.
        """
        parts = {"sketch": self.sketch, "exposure": self.exposure, "detail": self.detail}
        if part not in (*parts, "all"):
            raise ValueError(f"part must be 'sketch', 'exposure', 'detail' or 'all', got {part!r}")
        learning = ("exposure", "detail") if part == "all" else (part,)
        for name, network in parts.items():
            network.trainable = name in learning
        self.learns = part

    def call(self, inputs, training=False):
        image, *context = inputs if isinstance(inputs, (list, tuple)) else (inputs,)
        count = ops.shape(image)[0]
        asked = context[0] if context else -ops.ones((count, 1))
        whole = ops.tile(ops.convert_to_tensor([[0.0, 1.0]]), (count, 1))
        small, rows, columns = context[1:] if len(context) > 1 else (thumbnail(image), whole, whole)
        if self.learns == "sketch":
            return self.sketch(small)
        asked = ops.cast(asked, "float32")
        if not training:
            asked = ops.cond(ops.any(asked < 0), lambda: ops.where(asked < 0, self.aim(small), asked), lambda: asked)
        grid, tone, _ = self.read(small, asked)
        return self.enhance(image, grid, tone, rows, columns)

    def read(self, small, asked):
        """The grid, tone and guessed brightness, from `(batch, 128, 128, 3)` and `(batch, 1)`, -1 for the guess."""
        return self.exposure([beside_logarithm(small), ops.convert_to_tensor(asked)])

    def aim(self, small):
        """How bright the results are to be, `(batch, 1)`, when nobody says: from thumbnails, `(batch, 128, 128, 3)`."""
        return _aim(small, self.sketch(_beside_mirrored(small)))

    def enhance(self, image, grid, tone, rows, columns):
        """Enhance parts of pictures, which begin and end at these shares of their height and width."""
        packed = space_to_depth(image)
        height, width = ops.shape(packed)[1:3]
        weights = interpolation(rows, height), interpolation(columns, width)
        local = ops.einsum("byr,brcf,bxc->byxf", weights[0], grid, weights[1])
        gains, exponents, whites = (
            ops.tile(part, (1, 1, 1, 4)) for part in (local[..., :3], *ops.split(tone[:, None, None], 2, axis=-1))
        )
        curved = curve(packed, gains, exponents, whites)
        if self.learns == "exposure":
            return self.unpack(curved)
        maps = self.detail(ops.concatenate([curved, local], axis=-1))
        return self.unpack(curved * ops.tile(1 + maps[..., :3], (1, 1, 1, 4)) + maps[..., 3:])

    def prepare(self, image, peak=1, brightness=None, own_size=None):
        """Look at a whole picture once, to enhance it tile by tile.

        Args:
            image: `(height, width, 3)`, a NumPy array of any type. What lies between black bars alone is looked at (see
                `between_bars`), and what is black beside what is well lit does not count (see `without_black`), unless
                the brightness is given.
            peak: The value of white in it.
            brightness: The mean grey value that the result should have, between 0 and 1, black bars left aside, or
                `None` to leave it to the network. What lies beyond its reach, such as a bright picture of darkness,
                comes out as near as can be.
            own_size: Height and width of the picture, where the image is that continued by reflection.

        Returns:
            A function of a batch of tiles, float in [0, 1], and of the shares of the picture's height and width where
            each begins and ends, two arrays `(batch, 2)`; it returns the enhanced tiles.

        Raises:
            TypeError: If the brightness is no number.
            ValueError: If it is not between 0 and 1, or the sketch is what learns (see `learn`).
        """
        if self.learns == "sketch":
            raise ValueError("the network returns its sketch while that learns: call learn('all') first")
        if brightness is not None and not isinstance(brightness, Real):
            raise TypeError(f"brightness must be a number, got {brightness!r}")
        if brightness is not None and not 0 < brightness < 1:
            raise ValueError(f"brightness must lie between 0 and 1, got {brightness}")
        height, width = own_size or image.shape[:2]
        bars = between_bars(image[:height, :width])
        inside = tuple(part or slice(0, side) for part, side in zip(bars, image.shape, strict=False))
        small = shrink(image[inside]) / np.float32(peak)
        small = (without_black(small) if brightness is None else small)[None]
        asked = np.float32([[-1 if brightness is None else self.ask(small, brightness)]])

        def enhance_tiles(tiles, rows, columns):
            nonlocal asked
            count, is_whole = len(tiles), np.array_equal((rows, columns), [[(0, 1)]] * 2)
            if asked < 0 and not is_whole:  # once for all tiles; of a single one it is faster in the call below
                asked = ops.convert_to_numpy(_aim(small, self.sketch.predict_on_batch(_beside_mirrored(small))))
            places = [
                (np.float32(shares) * side - part.start) / (part.stop - part.start)
                for shares, side, part in zip((rows, columns), image.shape, inside, strict=False)
            ]
            return self.predict_on_batch((tiles, np.repeat(asked, count, 0), np.repeat(small, count, 0), *places))

        return enhance_tiles

    def ask(self, small, brightness):
        """Find what to ask for, since the network follows what it is told, but not to the letter.

        Args:
            small: The thumbnail, `(1, 128, 128, 3)`, which is enhanced at several brightnesses.
            brightness: The mean grey value that the result should have.

        Returns:
            The brightness to give to the network for that, a float.
        """
        count = len(ASKED)
        small, whole = np.repeat(small, count, axis=0), np.repeat(np.float32([[0, 1]]), count, axis=0)
        results = self.predict_on_batch((small, ASKED[:, None], small, whole, whole))
        means = (np.clip(results, 0, 1) @ GREY).mean(axis=(1, 2))
        return float(np.interp(brightness, np.maximum.accumulate(means), ASKED))

    def get_config(self):
        return {**super().get_config(), **self.options}


def sketch_network(width=32, groups=(1, 1)):
    """Build the part that makes a rough version of the result.

    Args:
        width: Channels of the first stream, see `mirnet_v2`, of which it is a small one: with one block in each group,
            report 3's gamma correction, the picture's own colours, and half the size.
        groups: See `mirnet_v2`.

    Returns:
        A `keras.Model` from thumbnails, `(batch, 128, 128, 3)`, in [0, 1], to pictures of that shape.
    """
    return mirnet_v2(width, num_mrb=1, groups=groups, gamma=2.2, color_residual=True, half_size=True)


def exposure_network(width=16, hints=8):
    """Build the part that looks at the thumbnail.

    Args:
        width: Channels of the first level, each further one has twice as many.
        hints: See `Dawn`.

    Returns:
        A `keras.Model` from the thumbnail beside its logarithm, `(batch, 128, 128, 6)`, and the brightness asked for or
        -1, `(batch, 1)`, to the grid, `(batch, 16, 16, 3 + hints)`, the tone, 3 exponents and 3 white levels,
        `(batch, 6)`, and its own guess of the brightness, `(batch, 1)`, which serves in training alone.
    """
    seen, asked = keras.Input((THUMBNAIL, THUMBNAIL, 6)), keras.Input((1,))
    features = seen
    for level in range(3):
        features = _smaller(features, width * 2**level, f"exposure_{level}")
        features = residual_block(features, f"exposure_{level}_block") if level else features
    cells = features
    features = residual_block(_smaller(cells, width * 8, "exposure_3"), "exposure_3_block")
    pooled = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    whole = layers.Dense(width * 8, activation="relu", name="whole")(layers.Concatenate()(pooled))
    guess = layers.Dense(1, activation="sigmoid", dtype="float32", name="guess")(whole)

    aim = ops.where(asked >= 0, asked, guess)
    whole = layers.Concatenate()([whole, aim, ops.log(aim + 0.01)])
    whole = layers.Dense(width * 8, activation="relu", name="aimed")(whole)
    scale, shift = (layers.Dense(cells.shape[-1], name=name)(whole)[:, None, None] for name in ("scale", "shift"))
    features = residual_block(cells * (1 + scale) + shift, "cells")
    grid = layers.Conv2D(3 + hints, 3, padding="same", dtype="float32", name="grid")(layers.ReLU()(features))
    tone = layers.Dense(6, kernel_initializer="zeros", dtype="float32", name="tone")(whole)
    return keras.Model([seen, asked], [grid, tone, guess], name="exposure")


def detail_network(widths=(24, 48, 72, 96), hints=8):
    """Build the part that looks at each pixel.

    Args:
        widths: See `Dawn`.
        hints: See `Dawn`.

    Returns:
        A `keras.Model` from the curved picture, 2x2 pixels in 12 channels, the 3 gains and the hints,
        `(batch, height / 2, width / 2, 15 + hints)`, to the 3 factors less 1 and the 12 summands, all 0 at first.
    """
    inputs = keras.Input((None, None, 15 + hints))
    features = layers.Conv2D(widths[0], 3, padding="same", activation=BOUNDED, name="first")(inputs)
    skips = []
    for level, width in enumerate(widths[1:], 1):
        skips.append(features)
        features = layers.Conv2D(width, 2, 2, name=f"smaller_{level}")(features)
        features = residual_block(features, f"down_{level}", BOUNDED)
    features = residual_block(features, "coarsest", BOUNDED)
    for level in reversed(range(len(skips))):
        features = DepthToSpace()(layers.Conv2D(4 * widths[level], 1, name=f"larger_{level}")(features))
        features = layers.Add()([features, skips[level]])
        features = residual_block(features, f"up_{level}", BOUNDED) if level else features
    features = layers.Conv2D(widths[0], 3, padding="same", activation=BOUNDED, name="last")(features)
    maps = layers.Conv2D(15, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="maps")(features)
    return keras.Model(inputs, maps, name="detail")


def residual_block(inputs, name, activation="relu"):
    """Two 3x3 convolutions with an activation between them, beside the identity.

    Args:
        inputs: `(batch, height, width, channels)`.
        name: Name of the sum; those of the convolutions begin with it.
        activation: What `keras.layers.Conv2D` takes as such.

    Returns:
        A tensor of the same shape.
    """
    channels = inputs.shape[-1]
    features = layers.Conv2D(channels, 3, padding="same", activation=activation, name=f"{name}_first")(inputs)
    features = layers.Conv2D(channels, 3, padding="same", name=f"{name}_second")(features)
    return layers.Add(name=name)([inputs, features])


def curve(image, gains, exponents, whites):
    """Brighten each value: the curve of `Dawn`.

    Args:
        image: In [0, 1]; any shape, which those of the following fit.
        gains: Logarithms of the slope at black, and of that of the inverse at white.
        exponents: Logarithms of the exponents.
        whites: Logarithms of what white becomes.

    Returns:
        A tensor of the image's shape, at least 0 but for rounding.
    """
    power = ops.exp(exponents)
    black, white = ops.exp(power * math.log(TOE)), ops.exp(power * math.log(1 + TOE))
    # By logarithms: TensorFlow's own power takes five times as long.
    raised = (ops.exp(power * ops.log(image + TOE)) - black) / (white - black)
    steeper = raised * ops.exp(gains)
    return ops.exp(whites) * (steeper / (1 + (steeper - raised)))


def thumbnail(image):
    """Average pictures of any size to squares: `(batch, height, width, 3)` to `(batch, 128, 128, 3)`.

    Each pixel is the mean over its share of the area, as OpenCV's INTER_AREA has it for pictures larger than that.
    """
    rows, columns = (_averaging(side) for side in ops.shape(image)[1:3])
    return ops.einsum("yh,bhwc,xw->byxc", rows, image, columns)


def beside_logarithm(small):
    """Put the logarithm of thumbnails, in which what is ten times darker lies as far apart, beside them: 6 channels."""
    small = ops.convert_to_tensor(small)
    return ops.concatenate([small, ops.log(small + 0.01) / 5 + 1], axis=-1)


def shrink(image):
    """What `thumbnail` does, for one large picture of any NumPy type: `(height, width, 3)` to `(128, 128, 3)`, float32.

    Only the rows of one place of the thumbnail at a time become float.
    """
    rows, columns = (ops.convert_to_numpy(_averaging(side)) for side in image.shape[:2])
    small = np.empty((THUMBNAIL, THUMBNAIL, 3), "float32")
    for place, weights in enumerate(rows):
        inside = np.flatnonzero(weights)
        strip = image[inside[0] : inside[-1] + 1].astype("float32")
        small[place] = columns @ np.tensordot(weights[inside[0] : inside[-1] + 1], strip, 1)
    return small


def between_bars(image):
    """Find what lies between black bars, as those of a film still, which say nothing about how bright it should be.

    Bars are on both of two opposite sides, black (no value above 2 % of the brightest in the picture), and as wide as
    each other but for 1 % of the picture. What is dark on one side alone, as in a picture of a lit window, is none; but
    darkness that is as wide on both sides counts, though it be part of the scene.

    Args:
        image: `(height, width, 3)`, a NumPy array of any type.

    Returns:
        Two slices, of its rows and of its columns, or `None` where there are no bars.
    """
    limit = BLACK * image.max()
    inside = []
    for lines in (image, image.swapaxes(0, 1)):
        begin, end = 0, len(lines)
        while begin < end and lines[begin].max() <= limit:
            begin += 1
        while end > begin and lines[end - 1].max() <= limit:
            end -= 1
        rest = len(lines) - end
        is_framed = begin and rest and begin < end and abs(begin - rest) <= len(lines) / 100
        inside.append(slice(begin, end) if is_framed else None)
    return tuple(inside)


def without_black(small):
    """Give what is black the mean colour of the rest, if that is well lit, as a face before a black background is.

    The mean of such a picture says nothing of how bright it should be: made brighter, the lit part burns out. With this
    the network sees a picture that is well lit. In a dark picture black counts as ever, since there may be something to
    see in it; what this does to dark frames of exposure sequences is measured in notebooks/09_one_network.ipynb. (In a
    dark room with a window of a quarter of the picture, what is below 2 % of the window's brightness stays dark.)

    Args:
        small: The thumbnail, `(height, width, 3)`, in [0, 1].

    Returns:
        The thumbnail. It is changed gradually, along its logarithm, where one of these is between its limits: black,
        which ends at 1.5 to 2.5 % of the brightest value, `BLACK_SHARE`, `LIT_SHARE` and `LIT_MEAN`.
    """
    brightest = small.max() or 1.0
    lit = np.interp(small.max(axis=-1), (0.75 * BLACK * brightest, 1.25 * BLACK * brightest), (0, 1))
    color = np.tensordot(lit, small, 2) / max(lit.sum(), 1)  # 0 where nothing is lit
    measured = ((1 - lit.mean(), BLACK_SHARE), (lit.mean(), LIT_SHARE), (color @ GREY, LIT_MEAN))
    applies = np.prod([np.interp(value, limits, (0, 1)) for value, limits in measured])
    if not applies:
        return small
    share = applies * (1 - lit[..., None])
    return np.float32(np.exp((1 - share) * np.log(small + 0.01) + share * np.log(color + 0.01)) - 0.01)


def space_to_depth(image):
    """Put 2x2 pixels into the channels, in `DepthToSpace`'s order: `(batch, 2h, 2w, c)` to `(batch, h, w, 4c)`."""
    batch, height, width, channels = ops.shape(image)
    pixels = ops.reshape(image, (batch, height // 2, 2, width // 2, 2, channels))
    return ops.reshape(ops.transpose(pixels, (0, 1, 3, 2, 4, 5)), (batch, height // 2, width // 2, 4 * channels))


def interpolation(parts, pixels):
    """The weights, `(batch, pixels, 16)`, of the cells at the centres of equally many pixels of parts of an axis.

    Args:
        parts: Where they begin and end, as shares of the whole axis, `(batch, 2)`; may reach beyond 0 and 1.
        pixels: An int or a scalar tensor.
    """
    parts = ops.convert_to_tensor(parts)
    begin, end = parts[:, :1], parts[:, 1:]
    centres = (ops.cast(ops.arange(pixels), "float32") + 0.5) / ops.cast(pixels, "float32")
    places = ops.clip((begin + centres * (end - begin)) * CELLS - 0.5, 0, CELLS - 1)
    return ops.maximum(1 - ops.abs(places[..., None] - ops.arange(CELLS, dtype="float32")), 0)


def _beside_mirrored(small):
    return ops.concatenate([small, ops.flip(small, axis=2)])


def _aim(small, sketches):
    """As bright as both sketches on average, that of the mirrored picture too, and no darker than the picture."""
    return ops.maximum(_grey_mean(small), sum(ops.split(_grey_mean(sketches), 2)) / 2)


def _grey_mean(images):
    return ops.mean(ops.matmul(images, ops.convert_to_tensor(GREY)), axis=(1, 2))[:, None]


def _averaging(pixels):
    """The share that each pixel of an axis has in each place of the thumbnail, `(128, pixels)`."""
    scale = THUMBNAIL / ops.cast(pixels, "float32")
    begin = ops.cast(ops.arange(pixels), "float32") * scale
    place = ops.arange(THUMBNAIL, dtype="float32")[:, None]
    return ops.maximum(ops.minimum(begin + scale, place + 1) - ops.maximum(begin, place), 0)


def _smaller(inputs, channels, name):
    return layers.Conv2D(channels, 3, 2, padding="same", activation="relu", name=name)(inputs)
