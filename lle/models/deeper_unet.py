"""Report 3: a U-Net of residual blocks that brightens its input by a gamma curve first, and its plain sibling."""

import keras
from keras import layers

from lle.models.blocks import BatchNormalization, MatchSize, dual_attention
from lle.models.colors import SQUARE, GammaCorrection, smooth_colors
from lle.models.network import Network


def deeper_unet(filters=64, depth=5, gamma=2.2, residual=True, momentum=0.9, attention=False, color_residual=False):
    """Build the deeper U-Net of report 3.

    A residual block, then on the way down max pooling and a residual block for each level, on the way up a transposed
    convolution, the features from the way down, and a residual block; a 1x1 convolution gives the picture. Sizes that
    do not halve evenly, such as the report's 150x150, lose their last row or column in the pooling, and the enlarged
    features are continued by it.

    Args:
        filters: Channels at full size; each further level has twice as many.
        depth: How often the size is halved.
        gamma: Of the curve `x ** (1 / gamma)` that the input goes through first, see `GammaCorrection`; 1 for none.
        residual: Whether the blocks are residual, as in the report's `DeeperUNet`, or plain, as in the `UNet` that its
            training loop names.
        momentum: Of the running means of the batch normalisation. PyTorch's default, the report's, is 0.9 counted as
            Keras does; with Keras's 0.99 the means take a few hundred steps to follow the weights.
        attention: Whether each level on the way down ends with the dual attention unit of MIRNet (arXiv 2003.06792),
            which weighs the channels by their means over the whole picture. Not in the report.
        color_residual: Whether the colours of the picture, without its brightness and smoothed over a few pixels (see
            `lle.models.colors`), are added to the output, which then goes through a sigmoid. Not in the report.

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, in [0, 1], at least `2 ** depth` pixels high and
        wide (4 with `color_residual`), to float32 pictures of the same shape, which may leave [0, 1] unless
        `color_residual` is set.

    Raises:
        ValueError: If `depth` is negative or `gamma` not positive.
    """
    if depth < 0:
        raise ValueError(f"depth must be at least 0, got {depth}")
    inputs = keras.Input((None, None, 3))
    picture = inputs if gamma == 1 else GammaCorrection(gamma, dtype="float32")(inputs)
    features, skips = picture, []
    for level in range(depth + 1):
        if level:
            skips.append(features)
            features = layers.MaxPooling2D(2)(features)
        features = convolution_block(features, filters * 2**level, residual, momentum)
        features = dual_attention(features) if attention else features
    for skip in reversed(skips):
        width = skip.shape[-1]
        features = layers.Conv2DTranspose(width, 2, strides=2)(features)
        features = layers.Concatenate()([skip, MatchSize()([features, skip])])
        features = convolution_block(features, width, residual, momentum)
    outputs = layers.Conv2D(3, 1, dtype="float32")(features)
    if color_residual:
        outputs = layers.Add(dtype="float32")([outputs, smooth_colors(picture)])
        outputs = layers.Activation("sigmoid", dtype="float32")(outputs)

    model = Network(inputs, outputs, name="deeper_unet" if residual else "unet")
    # Two 3x3 convolutions down and two up at each level, two at the last, and what pooling shifts. The dual attention
    # has two of 3x3 and one of 5x5 besides, and looks at the whole: tiles come out a little different.
    stride = max(2**depth, SQUARE if color_residual else 1)
    model.card = {"stride": stride, "halo": (15 if attention else 7) * stride}
    return model


def unet(filters=64, depth=4, gamma=2.2, momentum=0.9):
    """Build the plain U-Net (arXiv 1505.04597), with batch normalisation: `deeper_unet` without residual blocks.

    Args:
        filters: See `deeper_unet`.
        depth: See `deeper_unet`.
        gamma: See `deeper_unet`.
        momentum: See `deeper_unet`.

    Returns:
        See `deeper_unet`.
    """
    return deeper_unet(filters, depth, gamma, residual=False, momentum=momentum)


def convolution_block(inputs, filters, residual=True, momentum=0.9):
    """Two 3x3 convolutions with batch normalisation and ReLU.

    Args:
        inputs: `(batch, height, width, channels)`.
        filters: Channels of the output.
        residual: Whether the input, brought to as many channels by a 1x1 convolution, is added before the last ReLU.
        momentum: See `deeper_unet`.

    Returns:
        `(batch, height, width, filters)`.
    """
    features = layers.Conv2D(filters, 3, padding="same")(inputs)
    features = layers.ReLU()(BatchNormalization(momentum=momentum)(features))
    features = layers.Conv2D(filters, 3, padding="same")(features)
    features = BatchNormalization(momentum=momentum)(features)
    if residual:
        same = inputs.shape[-1] == filters
        features = layers.Add()([features, inputs if same else layers.Conv2D(filters, 1)(inputs)])
    return layers.ReLU()(features)
