"""Blocks that more than one network uses."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="lle")
class ChannelPooling(layers.Layer):
    """The maximum and the mean over the channels: `(batch, height, width, channels)` to `(batch, height, width, 2)`."""

    def call(self, inputs):
        return ops.concatenate(
            [ops.max(inputs, axis=-1, keepdims=True), ops.mean(inputs, axis=-1, keepdims=True)], axis=-1
        )

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable(package="lle")
class Enlarge(layers.Layer):
    """Double height and width, bilinearly: `(batch, h, w, channels)` to `(batch, 2 * h, 2 * w, channels)`.

    `keras.layers.UpSampling2D(2, interpolation="bilinear")` gives the same, but in Keras 3.15 on TensorFlow it fails as
    soon as a model has seen pictures of several sizes.
    """

    def call(self, inputs):
        return self._double(self._double(inputs, 1), 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels)

    def _double(self, features, axis):
        """Each new value lies a quarter of the old distance from an old one; beyond the border the last one goes on."""

        def cut(start, stop):
            return features[(slice(None),) * axis + (slice(start, stop),)]

        before = ops.concatenate([cut(None, 1), cut(None, -1)], axis=axis)
        after = ops.concatenate([cut(1, None), cut(-1, None)], axis=axis)
        both = ops.stack([0.75 * features + 0.25 * before, 0.75 * features + 0.25 * after], axis=axis + 1)
        shape = list(ops.shape(features))
        shape[axis] *= 2
        return ops.reshape(both, shape)


def selective_kernel_fusion(streams, reduction=8, softmax_over="streams"):
    """Fuse feature maps of one shape by weights that the whole picture decides (SKFF of MIRNet, arXiv 2003.06792).

    Args:
        streams: A list of tensors, each `(batch, height, width, channels)`.
        reduction: Divisor of the channels between the 1x1 convolutions.
        softmax_over: `"streams"`, as in the paper: for each channel the weights of the streams add up to 1. Or
            `"channels"`, as in a widely copied port: for each stream those of its channels do.

    Returns:
        A tensor of the shape of each stream.
    """
    channels = streams[0].shape[-1]
    descriptor = layers.GlobalAveragePooling2D(keepdims=True)(layers.Add()(streams))
    compact = layers.Conv2D(max(channels // reduction, 4), 1, activation="relu")(descriptor)
    scores = layers.Concatenate(axis=1)([layers.Conv2D(channels, 1)(compact) for _ in streams])
    weights = layers.Softmax(axis=1 if softmax_over == "streams" else -1)(scores)  # (batch, streams, 1, channels)
    weights = ops.split(weights, len(streams), axis=1)
    return layers.Add()([layers.Multiply()([stream, w]) for stream, w in zip(streams, weights, strict=True)])


def channel_attention(inputs, reduction=8):
    """Weigh the channels by what the whole picture holds (squeeze and excitation, arXiv 1709.01507).

    Args:
        inputs: `(batch, height, width, channels)`.
        reduction: Divisor of the channels between the two 1x1 convolutions.

    Returns:
        A tensor of the same shape.
    """
    channels = inputs.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    weights = layers.Conv2D(max(channels // reduction, 1), 1, activation="relu")(weights)
    weights = layers.Conv2D(channels, 1, activation="sigmoid")(weights)
    return layers.Multiply()([inputs, weights])


def spatial_attention(inputs):
    """Weigh the places by a 5x5 convolution of the pooled channels (CBAM, arXiv 1807.06521).

    Args:
        inputs: `(batch, height, width, channels)`.

    Returns:
        A tensor of the same shape.
    """
    weights = layers.Conv2D(1, 5, padding="same", activation="sigmoid")(ChannelPooling()(inputs))
    return layers.Multiply()([inputs, weights])


def dual_attention(inputs, reduction=8):
    """The dual attention unit of MIRNet (arXiv 2003.06792): both attentions side by side, on a residual branch.

    Args:
        inputs: `(batch, height, width, channels)`.
        reduction: See `channel_attention`.

    Returns:
        A tensor of the same shape.
    """
    channels = inputs.shape[-1]
    features = layers.Conv2D(channels, 3, padding="same", activation="relu")(inputs)
    features = layers.Conv2D(channels, 3, padding="same")(features)
    both = layers.Concatenate()([spatial_attention(features), channel_attention(features, reduction)])
    return layers.Add()([inputs, layers.Conv2D(channels, 1)(both)])
