"""Report 4: a second U-Net that goes on where a first one ends ("U-UNet with skip-z")."""

import keras

from lle.models.blocks import unet_decoder, unet_encoder, unpacked_picture
from lle.models.network import Network
from lle.models.sid_unet import raw_card, sid_unet


def double_unet(first=None, filters=32, depth=5, freeze_first=False):
    """Build the double U-Net of report 4, which is to improve the colours of a U-Net that was trained before.

    A second U-Net takes the output of the first one, and at each level of its way down also the features that the first
    has on its way up. The report says no more. Taken here: the skips are concatenated before the convolutions; the
    second network gets the first one's picture still packed, 2x2 pixels in 12 channels, so that levels of the same
    number are of the same size; its own output is the picture, not a correction; and the first one is trained further
    unless it is frozen. With the defaults it has 16,306,200 parameters.

    Args:
        first: A `sid_unet` (or `attention_unet`) of as many levels, usually trained. A copy of it goes in: training the
            double network does not change it. By default a new `sid_unet` with the same `filters`.
        filters: Channels of the first level of the second network; each further one has twice as many.
        depth: Number of levels.
        freeze_first: Whether the first network keeps its weights.

    Returns:
        See `sid_unet`.

    Raises:
        ValueError: If `first` is not a `sid_unet` of `depth` levels, or if it is to be frozen and none is given.
    """
    if first is None and freeze_first:
        raise ValueError("freeze_first needs a trained network as first: a new one would stay random")
    first = _with_features(sid_unet(filters, depth) if first is None else first, depth)
    first.trainable = not freeze_first

    inputs = keras.Input((None, None, 4))
    packed_picture, *features = first(inputs)
    levels = unet_encoder(packed_picture, filters, depth, joined=features, prefix="second_")
    outputs = unpacked_picture(unet_decoder(levels, prefix="second_"), prefix="second_")

    model = Network(inputs, outputs, name="double_unet")
    model.card = raw_card(depth, reach=12)  # of one after the other
    return model


def _with_features(first, depth):
    """A copy of a `sid_unet` that returns its picture, still packed, and the features of each level of its way up."""
    names = {layer.name for layer in first.layers}
    if [level for level in range(len(names)) if f"decoder_{level}" in names] != list(range(depth - 1)):
        raise ValueError(f"first must be a sid_unet of {depth} levels, got {first.name} with other layers")
    copy = type(first).from_config(first.get_config())
    copy.set_weights(first.get_weights())
    wanted = ["packed_picture", *(f"decoder_{level}" for level in range(depth - 1))]
    outputs = [copy.get_layer(name).output for name in wanted]
    return keras.Model(copy.input, outputs, name="first_unet")
