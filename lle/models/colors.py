"""What leads the brightness and the colours of a picture past the blocks of a network."""

import keras
import numpy as np
from keras import layers, ops

from lle.models.blocks import Enlarge, MatchSize

SQUARE = 4  # pixels, over which `smooth_colors` averages


@keras.saving.register_keras_serializable(package="lle")
class GammaCorrection(layers.Layer):
    """Brightens pictures in [0, 1] by `x ** (1 / gamma)`, looked up in a table of 256 values as report 3 has it.

    As the first layer of a network it cannot be forgotten at inference. The table's values are 8-bit numbers, rounded
    down. The lookup has no gradient. What is no finite number stays what it is, lest a broken picture go unnoticed.

    Args:
        gamma: 2.2 in the report; above 1 it brightens.
        **kwargs: Passed to `keras.layers.Layer`. With `dtype="float32"` nothing is rounded further in mixed precision.

    Raises:
        ValueError: If `gamma` is not positive.
    """

    def __init__(self, gamma=2.2, **kwargs):
        if not gamma > 0:
            raise ValueError(f"gamma must be above 0, got {gamma}")
        super().__init__(autocast=False, **kwargs)
        self.gamma = gamma
        self.table = np.floor((np.arange(256) / 255) ** (1 / gamma) * 255).astype("float32") / 255

    def call(self, inputs):
        inputs = ops.cast(inputs, "float32")
        is_number = ops.isfinite(inputs)
        levels = ops.cast(ops.round(ops.clip(ops.where(is_number, inputs, 0), 0, 1) * 255), "int32")
        return ops.cast(ops.where(is_number, ops.take(self.table, levels), inputs), self.compute_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


def smooth_colors(picture):
    """What sets each colour apart from grey, as a difference of logits, over squares of 4x4 pixels: little noise.

    Rows and columns at the end that fill no square get the colours of those before them.

    Args:
        picture: `(batch, height, width, 3)` in [0, 1], at least 4 pixels high and wide.

    Returns:
        A tensor of the same shape, float32, whose mean over the channels is 0.
    """
    halves = layers.AveragePooling2D(2, dtype="float32")(picture)
    colors = Chroma(dtype="float32")(layers.AveragePooling2D(2, dtype="float32")(halves))
    for larger in (halves, picture):
        colors = MatchSize(dtype="float32")([Enlarge(dtype="float32")(colors), larger])
    return colors


@keras.saving.register_keras_serializable(package="lle")
class Chroma(layers.Layer):
    """The inverse of the sigmoid of each channel, less the mean of the three: `(..., 3)` to the same shape.

    Values are clipped to [0.02, 0.98] first.
    """

    def call(self, inputs):
        clipped = ops.clip(inputs, 0.02, 0.98)
        logits = ops.log(clipped) - ops.log(1 - clipped)
        return logits - ops.mean(logits, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return input_shape
