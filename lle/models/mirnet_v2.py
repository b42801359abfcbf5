"""MIRNet-v2: the authors' lighter and faster successor of MIRNet (arXiv 2205.01649)."""

import keras
from keras import layers, ops

from lle.models.blocks import DepthToSpace, Enlarge, selective_kernel_fusion
from lle.models.colors import GammaCorrection, smooth_colors
from lle.models.network import Network

GROUPS = (1, 2, 4, 4)  # of the 3x3 convolutions in each recursive residual group; the authors' code


def mirnet_v2(channels=80, num_mrb=2, widening=1.5, groups=GROUPS, gamma=1, color_residual=False, half_size=False):
    """Build MIRNet-v2.

    As in MIRNet three streams of different size exchange features in multi-scale residual blocks, but by residual
    contextual blocks, which are used twice with the same weights, and from the small streams to the large ones only.

    Args:
        channels: Channels of the first stream.
        num_mrb: Multi-scale residual blocks in each recursive residual group.
        widening: Factor of the channels from each stream to the next smaller one.
        groups: Groups of the 3x3 convolutions in the contextual blocks, one number for each recursive residual group;
            they must divide the channels of all streams.
        gamma: Of the curve `x ** (1 / gamma)` that the input goes through first, see `GammaCorrection`; 1 for none, as
            published.
        color_residual: Whether the smoothed colours of the picture (see `lle.models.colors`) are added to the output,
            which then goes through a sigmoid, in place of the picture itself. Not in the paper.
        half_size: Whether the first stream has half the size of the picture, to which a convolution leads in steps of
            two pixels; the last convolution gives four pixels at a time. Not in the paper.

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, in [0, 1], height and width multiples of 4 (8 with
        `half_size`), to float32 pictures of the same shape, which may leave [0, 1] unless `color_residual` is set.

    Raises:
        ValueError: If there is no group or no block in it, a number of groups is below 1, the groups do not divide the
            channels, or `gamma` is not positive.
    """
    if num_mrb < 1 or not groups or min(groups) < 1:
        raise ValueError(f"num_mrb, all groups and their number must be at least 1, got {num_mrb} and {groups}")
    widths = [int(channels * widening**level) for level in range(3)]
    if any(width % count for width in widths for count in groups):
        raise ValueError(f"the streams have {widths} channels, which {groups} groups do not all divide")
    inputs = keras.Input((None, None, 3))
    picture = inputs if gamma == 1 else GammaCorrection(gamma, dtype="float32")(inputs)
    entry = {"kernel_size": 6, "strides": 2} if half_size else {"kernel_size": 3}
    features = layers.Conv2D(channels, padding="same", **entry)(picture)
    for count in groups:
        group = features
        for _ in range(num_mrb):
            group = multi_scale_residual_block(group, widths, count)
        group = layers.Conv2D(channels, 3, padding="same")(group)
        features = layers.Add()([group, features])
    outputs = layers.Conv2D(12 if half_size else 3, 3, padding="same", dtype="float32")(features)
    outputs = DepthToSpace(dtype="float32")(outputs) if half_size else outputs
    outputs = layers.Add(dtype="float32")([smooth_colors(picture) if color_residual else picture, outputs])
    if color_residual:
        outputs = layers.Activation("sigmoid", dtype="float32")(outputs)

    model = Network(inputs, outputs, name="mirnet_v2")
    # It looks at the whole picture: tiles come out a little different.
    model.card = {"stride": 8, "halo": 128} if half_size else {"stride": 4, "halo": 64}
    return model


def multi_scale_residual_block(inputs, widths, groups=1):
    """Three streams, each refined twice by the same contextual block; the small ones flow into the next larger one.

    Args:
        inputs: `(batch, height, width, widths[0])`, height and width multiples of 4.
        widths: Channels of the streams at full, half and quarter size.
        groups: Of the convolutions in the contextual blocks.

    Returns:
        A tensor of the same shape.
    """
    streams = [inputs]
    for width in widths[1:]:
        streams.append(layers.Conv2D(width, 1, use_bias=False)(layers.AveragePooling2D(2)(streams[-1])))
    refine = [ContextualBlock(groups) for _ in widths]
    for _ in range(2):
        streams = [block(features) for block, features in zip(refine, streams, strict=True)]
        for level in (1, 0):
            enlarged = layers.Conv2D(widths[level], 1, use_bias=False)(streams[level + 1])
            enlarged = Enlarge()(enlarged)
            streams[level] = selective_kernel_fusion([streams[level], enlarged])
    return layers.Add()([layers.Conv2D(widths[0], 1, use_bias=False)(streams[0]), inputs])


@keras.saving.register_keras_serializable(package="lle")
class ContextualBlock(layers.Layer):
    """The residual contextual block: two convolutions, to which a summary of the whole picture is added.

    The summary is the mean of the features, weighed by a softmax over all places (global context, arXiv 1904.11492).
    From `(batch, height, width, channels)`, the channels a multiple of the groups, to the same shape.

    Args:
        groups: Of the two 3x3 convolutions.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, groups=1, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def build(self, input_shape):
        channels = input_shape[-1]
        width = channels // self.groups

        def convolve(filters, size, name):
            return layers.Conv2D(filters, size, padding="same", use_bias=False, name=name, dtype=self.dtype_policy)

        # One convolution for each group: TensorFlow has no grouped ones on a CPU.
        self.first = [convolve(width, 3, f"first_{index}") for index in range(self.groups)]
        self.second = [convolve(width, 3, f"second_{index}") for index in range(self.groups)]
        self.mask = convolve(1, 1, "mask")
        self.context = [convolve(channels, 1, f"context_{index}") for index in range(2)]
        for layer in self.first + self.second:
            layer.build((*input_shape[:-1], width))
        for layer in (self.mask, *self.context):
            layer.build((*input_shape[:-1], channels))

    def call(self, inputs):
        features = ops.leaky_relu(self._convolve(self.first, inputs), 0.2)
        features = self._convolve(self.second, features)
        batch, height, width, channels = ops.shape(features)
        mask = ops.reshape(self.mask(features), (batch, height * width, 1))
        places = ops.reshape(features, (batch, height * width, channels))
        if self.compute_dtype == "float16":  # in which the shares of many places vanish
            mask, places = ops.cast(mask, "float32"), ops.cast(places, "float32")
        summary = ops.sum(places * ops.softmax(mask, axis=1), axis=1)
        summary = ops.cast(ops.reshape(summary, (batch, 1, 1, channels)), self.compute_dtype)
        summary = self.context[1](ops.leaky_relu(self.context[0](summary), 0.2))
        return inputs + ops.leaky_relu(features + summary, 0.2)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}

    def _convolve(self, convolutions, features):
        parts = ops.split(features, self.groups, axis=-1) if self.groups > 1 else [features]
        return ops.concatenate([conv(part) for conv, part in zip(convolutions, parts, strict=True)], axis=-1)
