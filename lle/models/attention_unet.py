"""Report 4: the U-Net on camera raw with attention gates on its skips."""

import keras
from keras import layers

from lle.models.blocks import Enlarge, MatchSize, unet_decoder, unet_encoder, unpacked_picture
from lle.models.network import Network
from lle.models.sid_unet import raw_card


def attention_unet(filters=32, depth=5):
    """Build the U-Net of report 4 with attention: `sid_unet` with an additive gate on each skip (arXiv 1804.03999).

    The report names no details. Taken here: the paper's gate, steered by the features of the next coarser level on the
    way up, on every skip (the paper leaves the first one out, widespread code does not), and without the convolution
    and batch normalisation that the paper's code puts behind it, as the rest of the network has none. With the
    defaults it has 8,021,872 parameters.

    Args:
        filters: Channels of the first level, at least 2; each further one has twice as many.
        depth: Number of levels.

    Returns:
        See `sid_unet`.

    Raises:
        ValueError: If there is not even one level, or `filters` is below 2.
    """
    if filters < 2:
        raise ValueError(f"the gates halve the channels, of which there must be at least 2, got {filters}")

    def join(enlarged, skip, coarser):
        return layers.Concatenate()([enlarged, attention_gate(skip, coarser)])

    inputs = keras.Input((None, None, 4))
    features = unet_decoder(unet_encoder(inputs, filters, depth), join)
    outputs = unpacked_picture(features)

    model = Network(inputs, outputs, name="attention_unet")
    model.card = raw_card(depth, reach=8)  # enlarging the weights looks one pixel further at each level
    return model


def attention_gate(skip, coarser):
    """Weigh each place of a skip by what it holds and what the coarser level holds there.

    Both are brought to half the skip's channels, the skip to half its size as well, and added; ReLU, a 1x1 convolution
    and a sigmoid give one weight for each place of the coarser level, enlarged bilinearly.

    Args:
        skip: `(batch, height, width, channels)`, at least 2 channels.
        coarser: The gating signal, of half the height and width (rounded up).

    Returns:
        A tensor of the shape of `skip`.
    """
    width = skip.shape[-1] // 2
    reduced = layers.Conv2D(width, 2, strides=2, padding="same", use_bias=False)(skip)
    features = layers.Add()([reduced, layers.Conv2D(width, 1)(coarser)])
    weights = layers.Conv2D(1, 1, activation="sigmoid")(layers.ReLU()(features))
    return layers.Multiply()([skip, MatchSize()([Enlarge()(weights), skip])])
