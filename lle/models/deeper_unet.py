"""Report 3: a U-Net of residual blocks that brightens its input by a gamma curve first, and its plain sibling."""

import keras
import numpy as np
from keras import layers, ops

from lle.models.blocks import BatchNormalization, MatchSize
from lle.models.network import Network


def deeper_unet(filters=64, depth=5, gamma=2.2, residual=True, momentum=0.9):
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

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, in [0, 1], at least `2 ** depth` pixels high and
        wide, to float32 pictures of the same shape, which may leave [0, 1].

    Raises:
        ValueError: If `depth` is negative or `gamma` not positive.
    """
    if depth < 0 or not gamma > 0:
        raise ValueError(f"depth must be at least 0 and gamma above 0, got {depth} and {gamma}")
    inputs = keras.Input((None, None, 3))
    features = inputs if gamma == 1 else GammaCorrection(gamma)(inputs)
    features = convolution_block(features, filters, residual, momentum)
    skips = []
    for level in range(1, depth + 1):
        skips.append(features)
        features = convolution_block(layers.MaxPooling2D(2)(features), filters * 2**level, residual, momentum)
    for skip in reversed(skips):
        width = skip.shape[-1]
        features = layers.Conv2DTranspose(width, 2, strides=2)(features)
        features = layers.Concatenate()([skip, MatchSize()([features, skip])])
        features = convolution_block(features, width, residual, momentum)
    outputs = layers.Conv2D(3, 1, dtype="float32")(features)

    model = Network(inputs, outputs, name="deeper_unet" if residual else "unet")
    # Two 3x3 convolutions down and two up at each level, two at the last, and what pooling shifts.
    model.card = {"stride": 2**depth, "halo": 7 * 2**depth}
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


@keras.saving.register_keras_serializable(package="lle")
class GammaCorrection(layers.Layer):
    """Brightens pictures in [0, 1] by `x ** (1 / gamma)`, looked up in a table of 256 values as report 3 has it.

    As the first layer of a network it cannot be forgotten at inference. The table's values are 8-bit numbers, rounded
    down. The lookup has no gradient.

    Args:
        gamma: 2.2 in the report; above 1 it brightens.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, gamma=2.2, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.gamma = gamma
        self.table = np.floor((np.arange(256) / 255) ** (1 / gamma) * 255).astype("float32") / 255

    def call(self, inputs):
        levels = ops.cast(ops.round(ops.clip(ops.cast(inputs, "float32"), 0, 1) * 255), "int32")
        return ops.cast(ops.take(self.table, levels), self.compute_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}
