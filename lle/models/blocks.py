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
class BatchNormalization(layers.BatchNormalization):
    """Batch normalisation of feature maps: `(batch, height, width, channels)` to the same shape.

    `keras.layers.BatchNormalization`, whose arguments and weights it has, but on TensorFlow computed by its fused
    operation. Keras 3.15 puts the same together from a dozen elementwise operations in float32, which cost a fifth of a
    training step of report 1's network in bfloat16 on a CPU (`benchmarks/README.md`).
    """

    def call(self, inputs, training=None, mask=None):
        # On a CPU the operation is slow in 16 bit for a number of channels that its blocks of 16 do not divide.
        is_slow = self.compute_dtype in ("float16", "bfloat16") and inputs.shape[-1] % 16
        is_fused = keras.backend.backend() == "tensorflow" and self.axis == -1 and self.scale and self.center
        is_other = len(inputs.shape) != 4 or mask is not None or self.synchronized or self.compute_dtype == "float64"
        if is_slow or is_other or not is_fused:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        training = bool(training) and self.trainable
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=ops.convert_to_tensor(self.gamma), offset=ops.convert_to_tensor(self.beta),
            mean=ops.convert_to_tensor(self.moving_mean), variance=ops.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon, is_training=training,
        )  # fmt: skip
        if training:
            count = ops.cast(tf.size(inputs) / inputs.shape[-1], "float32")
            variance *= ops.maximum(count - 1, 1) / count  # the operation divides by count - 1, Keras by count
            for moving, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + found * (1 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="lle")
class Enlarge(layers.Layer):
    """Double height and width, bilinearly: `(batch, h, w, channels)` to `(batch, 2 * h, 2 * w, channels)`.

    `keras.layers.UpSampling2D(2, interpolation="bilinear")` gives the same, but in Keras 3.15 on TensorFlow it fails as
    soon as a model has seen pictures of several sizes.
    """

    def call(self, inputs):
        features = inputs
        for axis, window in ((1, (3, 1)), (2, (1, 3))):
            # Each value twice, then a quarter of each neighbour: the mean of three leaves out what is beyond the
            # border, where the last value goes on. Slices would take several times as long, for their gradients.
            twice = ops.repeat(features, 2, axis=axis)
            features = 0.75 * ops.average_pool(twice, window, strides=1, padding="same") + 0.25 * twice
        return features

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels)


@keras.saving.register_keras_serializable(package="lle")
class MatchSize(layers.Layer):
    """Brings feature maps to the size of others, which may have at most one row and one column more.

    The last row and column are repeated where they are missing; rows and columns too many are cut off.
    """

    def call(self, inputs):
        features, other = inputs
        height, width = ops.shape(other)[1:3]
        padded = ops.pad(features, ((0, 0), (0, 1), (0, 1), (0, 0)), "symmetric")
        # Not [:, :height, :width]: TensorFlow takes three times as long for the gradient of that.
        return ops.slice(padded, (0, 0, 0, 0), (ops.shape(features)[0], height, width, features.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[1][:3], input_shape[0][-1])


@keras.saving.register_keras_serializable(package="lle")
class DepthToSpace(layers.Layer):
    """Lays each pixel's channels out as 2x2 pixels: `(batch, h, w, 4 * c)` to `(batch, 2 * h, 2 * w, c)`.

    The first `c` channels become the upper left pixel, the next ones the upper right, the lower left, the lower right.
    """

    def call(self, inputs):
        batch, height, width, channels = ops.shape(inputs)
        pixels = ops.reshape(inputs, (batch, height, width, 2, 2, channels // 4))
        rows = ops.transpose(pixels, (0, 1, 3, 2, 4, 5))  # (batch, height, 2, width, 2, channels / 4)
        return ops.reshape(rows, (batch, 2 * height, 2 * width, channels // 4))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels // 4)


def convolve_twice(inputs, filters, name):
    """Two 3x3 convolutions with LeakyReLU, of slope 0.2.

    Args:
        inputs: `(batch, height, width, channels)`.
        filters: Channels of the output.
        name: Name of the second convolution; the first one's is `name` and `_first`.

    Returns:
        `(batch, height, width, filters)`.
    """
    features = inputs
    for layer_name in (f"{name}_first", name):
        features = layers.Conv2D(filters, 3, padding="same", activation="leaky_relu", name=layer_name)(features)
    return features


def unet_encoder(inputs, filters, depth, joined=(), prefix=""):
    """The way down of the U-Net of "Learning to See in the Dark" (arXiv 1805.01934).

    Two convolutions at each level, max pooling from one to the next. An odd side is rounded up.

    Args:
        inputs: `(batch, height, width, channels)`.
        filters: Channels of the first level; each further one has twice as many.
        depth: Number of levels, at least 1.
        joined: Feature maps of the first levels' sizes, which are concatenated to these levels' inputs.
        prefix: Of the names of all layers; `encoder_0` is the output of the first level.

    Returns:
        A list with the features of each level, the largest first.

    Raises:
        ValueError: If there is not even one level.
    """
    if depth < 1:
        raise ValueError(f"a U-Net has at least one level, got depth {depth}")
    features, levels = inputs, []
    for level in range(depth):
        if level:
            features = layers.MaxPooling2D(2, padding="same")(features)
        if level < len(joined):
            features = layers.Concatenate()([features, joined[level]])
        features = convolve_twice(features, filters * 2**level, f"{prefix}encoder_{level}")
        levels.append(features)
    return levels


def unet_decoder(levels, join=None, prefix=""):
    """The way up of the same U-Net: transposed convolution, the skip, two convolutions at each level.

    As in the authors' code the transposed convolutions have no bias and begin with weights of deviation 0.02.

    Args:
        levels: The features of each level, as `unet_encoder` returns them.
        join: A function of the enlarged features, the skip and the features before enlarging, which returns what is
            convolved; by default it concatenates the first two.
        prefix: Of the names of all layers; `decoder_0` is the output of the last level.

    Returns:
        Features of the shape of the first level.
    """
    features = levels[-1]
    for level in reversed(range(len(levels) - 1)):
        skip, coarser = levels[level], features
        enlarged = layers.Conv2DTranspose(
            skip.shape[-1], 2, strides=2, use_bias=False, name=f"{prefix}transposed_{level}",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )(coarser)  # fmt: skip
        enlarged = MatchSize()([enlarged, skip])
        features = join(enlarged, skip, coarser) if join else layers.Concatenate()([enlarged, skip])
        features = convolve_twice(features, skip.shape[-1], f"{prefix}decoder_{level}")
    return features


def unpacked_picture(features, prefix=""):
    """The last layers of the same U-Net: a 1x1 convolution to 12 channels, laid out as 2x2 RGB pixels.

    Args:
        features: `(batch, h, w, channels)`.
        prefix: Of the name of the convolution, `packed_picture`.

    Returns:
        `(batch, 2 * h, 2 * w, 3)`, float32 under any dtype policy.
    """
    packed = layers.Conv2D(12, 1, dtype="float32", name=f"{prefix}packed_picture")(features)
    return DepthToSpace(dtype="float32")(packed)


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
