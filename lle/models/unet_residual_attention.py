"""Report 1: a U-Net of residual dense blocks with attention in its encoder."""

import keras
from keras import layers

from lle.models.blocks import BatchNormalization, dual_attention
from lle.models.colors import SQUARE, GammaCorrection, smooth_colors
from lle.models.network import Network

ATTENTIONS = ("softmax", "dual", None)


def unet_residual_attention(
    input_shape=(128, 128, 3),
    filters=64,
    depth=5,
    dropout=0.3,
    weight_decay=1e-4,
    attention="softmax",
    multi_scale=False,
    momentum=0.99,
    gamma=1,
    color_residual=False,
):
    """Build the UNet-residual network with attention of report 1.

    Each level is a 3x3 convolution and a residual dense block; on the way down an attention block and a strided 2x2
    convolution follow, on the way up the features are enlarged and joined with those of the same level. A 1x1
    convolution with a sigmoid gives the picture. With the defaults, the report's, it has 66,156,915 parameters.

    Args:
        input_shape: `(height, width, 3)`, both multiples of `2 ** (depth - 1)`, or `None` for any such size (with the
            same weights).
        filters: Channels of the first level; each further one has twice as many.
        depth: Number of levels.
        dropout: Rate of the dropout in the residual dense blocks.
        weight_decay: Factor of the L2 penalty on the convolutions of these blocks.
        attention: `"softmax"`, the report's block; `"dual"`, the dual attention unit of MIRNet (arXiv 2003.06792),
            which weighs the channels by their means over the whole picture; or `None`.
        multi_scale: Whether each level of the encoder also sees the picture reduced to its size, as in MIMO-UNet
            (arXiv 2108.05054).
        momentum: Of the running means of the batch normalisation: Keras's default, as in the report, or less, so that
            they follow in a short training.
        gamma: Of the curve `x ** (1 / gamma)` that the picture goes through first, as in report 3; 1, as in the report,
            for none.
        color_residual: Whether the colours of the picture, without its brightness and smoothed over a few pixels, are
            added to the output before the sigmoid (see `lle.models.colors`); height and width must be multiples of 4
            then. Otherwise the colours have no way past the blocks, whose normalisation raises what varies most: in
            dark pictures the brightness.

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, in [0, 1], to float32 pictures of the same shape
        in [0, 1].

    Raises:
        ValueError: If `depth` is below 1, the size does not fit it, `attention` is not known or `gamma` not positive.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    stride = max(2 ** (depth - 1), SQUARE if color_residual else 1)
    if any(side and side % stride for side in input_shape[:2]):
        raise ValueError(f"height and width must be multiples of {stride} at depth {depth}, got {input_shape[:2]}")
    if attention not in ATTENTIONS:
        raise ValueError(f"attention must be one of {ATTENTIONS}, got {attention!r}")

    def attend(features):
        if attention == "softmax":
            return softmax_attention(features, momentum)
        return dual_attention(features) if attention else features

    def apply_level(features, level):
        features = layers.Conv2D(filters * 2**level, 3, padding="same", activation="relu")(features)
        return residual_dense_block(features, dropout, weight_decay, momentum)

    inputs = keras.Input(input_shape)
    picture = inputs if gamma == 1 else GammaCorrection(gamma, dtype="float32")(inputs)
    features, skips = picture, []
    for level in range(depth):
        if level:
            skips.append(features)
            features = layers.Conv2D(filters * 2 ** (level - 1), 2, strides=2, padding="same")(features)
        if level and multi_scale:
            features = layers.Concatenate()([features, layers.AveragePooling2D(2**level)(picture)])
        features = apply_level(features, level)
        features = attend(features)
    for level in reversed(range(depth - 1)):
        features = layers.Concatenate()([layers.UpSampling2D(2)(features), skips[level]])
        features = apply_level(features, level)
    outputs = layers.Conv2D(3, 1, dtype="float32")(features)
    if color_residual:
        outputs = layers.Add(dtype="float32")([outputs, smooth_colors(picture)])
    outputs = layers.Activation("sigmoid", dtype="float32")(outputs)

    model = Network(inputs, outputs, name="unet_residual_attention")
    # Eight 3x3 convolutions at each level but the last, four there, and what the 2x2 ones and the enlarging shift. The
    # dual attention has two of 3x3 and one of 5x5 besides, and looks at the whole: tiles come out a little different.
    model.card = {"stride": stride, "halo": (21 if attention == "dual" else 13) * stride}
    return model


def residual_dense_block(inputs, dropout=0.3, weight_decay=1e-4, momentum=0.99):
    """Three 3x3 convolutions with batch normalisation, added to their input; the first two with ReLU and dropout.

    Args:
        inputs: `(batch, height, width, channels)`.
        dropout: Its rate.
        weight_decay: Factor of the L2 penalty on the kernels.
        momentum: Of the running means of the batch normalisation.

    Returns:
        A tensor of the same shape.
    """
    features = inputs
    for index in range(3):
        features = layers.Conv2D(
            inputs.shape[-1], 3, padding="same", kernel_regularizer=keras.regularizers.L2(weight_decay)
        )(features)
        features = BatchNormalization(momentum=momentum)(features)
        if index < 2:
            features = layers.Dropout(dropout)(layers.ReLU()(features))
    return layers.Add()([features, inputs])


def softmax_attention(inputs, momentum=0.99):
    """The report's attention block: the input plus a branch that is weighed by a softmax over the channels.

    Three 1x1 convolutions with batch normalisation and ReLU give f and g (an eighth of the channels, at least two) and
    h; the softmax of f * g goes through another 1x1 convolution and is multiplied with h, pixel by pixel.

    Args:
        inputs: `(batch, height, width, channels)`.
        momentum: Of the running means of the batch normalisation.

    Returns:
        A tensor of the same shape.
    """
    channels = inputs.shape[-1]

    def project(width):
        return layers.ReLU()(BatchNormalization(momentum=momentum)(layers.Conv2D(width, 1)(inputs)))

    reduced = max(channels // 8, 2)  # of one channel alone the softmax would always be 1
    f, g, h = project(reduced), project(reduced), project(channels)
    weights = layers.Conv2D(channels, 1)(layers.Softmax()(layers.Multiply()([f, g])))
    return layers.Add()([inputs, layers.Multiply()([weights, h])])
