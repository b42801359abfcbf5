"""MIRNet: features at several scales that keep exchanging what they know (report 2, arXiv 2003.06792)."""

import keras
from keras import layers

from lle.models.blocks import Enlarge, dual_attention, selective_kernel_fusion
from lle.models.network import Network

BLOCKS = ("multi_scale", "plain")
SOFTMAXES = ("streams", "channels")


def mirnet(channels=64, num_rrg=3, num_mrb=2, block="multi_scale", softmax_over="streams"):
    """Build MIRNet.

    A convolution, recursive residual groups of multi-scale residual blocks, and a convolution whose output is added to
    the picture. The defaults are the paper's.

    Args:
        channels: Channels at full size; half and quarter size have twice and four times as many.
        num_rrg: Number of recursive residual groups.
        num_mrb: Blocks in each group.
        block: `"multi_scale"`, or `"plain"` for the convolution, ReLU and addition that report 2 put in its place: it
            defines the block twice, and the second definition, of which its printed summary with 446,659 parameters
            tells, won.
        softmax_over: What the weights of the fusion add up to 1 over, see `lle.models.blocks.selective_kernel_fusion`.

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, in [0, 1], to float32 pictures of the same shape,
        which may leave [0, 1]. Height and width must be multiples of 4 (any size for `"plain"`).

    Raises:
        ValueError: If `block` or `softmax_over` is not known, or there is no group or no block in it.
    """
    if num_rrg < 1 or num_mrb < 1:
        raise ValueError(f"num_rrg and num_mrb must be at least 1, got {num_rrg} and {num_mrb}")
    if block not in BLOCKS or softmax_over not in SOFTMAXES:
        raise ValueError(
            f"block must be one of {BLOCKS} and softmax_over one of {SOFTMAXES}, got {block!r} and {softmax_over!r}"
        )

    def apply_block(features):
        return plain_block(features) if block == "plain" else multi_scale_residual_block(features, softmax_over)

    inputs = keras.Input((None, None, 3))
    features = layers.Conv2D(channels, 3, padding="same")(inputs)
    for _ in range(num_rrg):
        features = recursive_residual_group(features, num_mrb, apply_block)
    outputs = layers.Conv2D(3, 3, padding="same", dtype="float32")(features)
    outputs = layers.Add(dtype="float32")([inputs, outputs])

    model = Network(inputs, outputs, name="mirnet")
    # Plain, it sees as many pixels far as it has convolutions. Else it pools over the whole picture: a large one that
    # is cut into tiles comes out a little different in any case.
    model.card = {"stride": 1, "halo": 2 + num_rrg * (num_mrb + 2)} if block == "plain" else {"stride": 4, "halo": 64}
    return model


def recursive_residual_group(inputs, num_mrb, apply_block):
    """A convolution, blocks one after the other and a convolution, added to the input.

    Args:
        inputs: `(batch, height, width, channels)`.
        num_mrb: Number of blocks.
        apply_block: A function from such a tensor to one of the same shape.

    Returns:
        A tensor of the same shape.
    """
    features = layers.Conv2D(inputs.shape[-1], 3, padding="same")(inputs)
    for _ in range(num_mrb):
        features = apply_block(features)
    features = layers.Conv2D(inputs.shape[-1], 3, padding="same")(features)
    return layers.Add()([features, inputs])


def plain_block(inputs):
    """Report 2's second definition: a 3x3 convolution with ReLU, added to its input.

    Args:
        inputs: `(batch, height, width, channels)`.

    Returns:
        A tensor of the same shape.
    """
    features = layers.ReLU()(layers.Conv2D(inputs.shape[-1], 3, padding="same")(inputs))
    return layers.Add()([features, inputs])


def multi_scale_residual_block(inputs, softmax_over="streams"):
    """Three parallel streams at full, half and quarter size, joined at each size, refined, and joined at full size.

    Args:
        inputs: `(batch, height, width, channels)`, height and width multiples of 4.
        softmax_over: See `lle.models.blocks.selective_kernel_fusion`.

    Returns:
        A tensor of the same shape.
    """
    streams = [dual_attention(inputs)]
    for _ in range(2):
        streams.append(dual_attention(down_sampling(streams[-1])))
    fused = [selective_kernel_fusion(_all_at(streams, level), softmax_over=softmax_over) for level in range(3)]
    streams = [dual_attention(features) for features in fused]
    features = selective_kernel_fusion(_all_at(streams, 0), softmax_over=softmax_over)
    features = layers.Conv2D(inputs.shape[-1], 3, padding="same")(features)
    return layers.Add()([features, inputs])


def down_sampling(inputs):
    """Halve the size and double the channels, with a residual branch.

    Args:
        inputs: `(batch, height, width, channels)`, height and width even.

    Returns:
        `(batch, height / 2, width / 2, 2 * channels)`. Averaging takes the place of the authors' blurred subsampling.
    """
    pool = layers.AveragePooling2D(2)
    main, aside = pool(_refine(inputs)), pool(inputs)
    return layers.Add()([layers.Conv2D(2 * inputs.shape[-1], 1)(branch) for branch in (main, aside)])


def up_sampling(inputs):
    """Double the size (bilinear) and halve the channels, with a residual branch.

    Args:
        inputs: `(batch, height, width, channels)`.

    Returns:
        `(batch, 2 * height, 2 * width, channels / 2)`. The 1x1 convolutions come before the enlarging, not after it as
        in the paper: the values are the same, at a fraction of the cost.
    """
    branches = (_refine(inputs), inputs)
    return Enlarge()(layers.Add()([layers.Conv2D(inputs.shape[-1] // 2, 1)(branch) for branch in branches]))


def _refine(inputs):
    features = layers.Conv2D(inputs.shape[-1], 1, activation="relu")(inputs)
    return layers.Conv2D(inputs.shape[-1], 3, padding="same", activation="relu")(features)


def _all_at(streams, level):
    """All streams brought to the size and the channels of one of them."""
    brought = []
    for index, features in enumerate(streams):
        for _ in range(abs(level - index)):
            features = down_sampling(features) if index < level else up_sampling(features)
        brought.append(features)
    return brought
