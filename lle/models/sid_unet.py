"""Report 4: the U-Net of "Learning to See in the Dark", from packed camera raw to RGB."""

import keras

from lle.models.blocks import unet_decoder, unet_encoder, unpacked_picture
from lle.models.network import Network


def sid_unet(filters=32, depth=5):
    """Build the U-Net of "Learning to See in the Dark" (arXiv 1805.01934).

    Two 3x3 convolutions with LeakyReLU at each level, max pooling down, transposed convolutions up, the features of the
    way down concatenated on the way up; a 1x1 convolution gives 12 channels, laid out as 2x2 RGB pixels. With the
    defaults, the paper's, it has 7,760,268 parameters: the authors' transposed convolutions have no bias, those of
    widespread ports do (480 more).

    Args:
        filters: Channels of the first level; each further one has twice as many.
        depth: Number of levels. 5 is the paper's network, 6 the deeper one of report 4 (31 million parameters).

    Returns:
        A `keras.Model` from packed Bayer frames, `(batch, h, w, 4)`, amplified and clipped to [0, 1], of any size, to
        float32 pictures, `(batch, 2 * h, 2 * w, 3)`, which may leave [0, 1].

    Raises:
        ValueError: If there is not even one level.

    Example:

    ```python
    model = sid_unet()
    model.compile(keras.optimizers.Adam(1e-4), "mae")
    model.fit(frames, references, batch_size=1)  # (frames, h, w, 4) and (frames, 2 * h, 2 * w, 3)
    ```
    """
    inputs = keras.Input((None, None, 4))
    features = unet_decoder(unet_encoder(inputs, filters, depth))
    outputs = unpacked_picture(features)

    model = Network(inputs, outputs, name="sid_unet")
    model.card = raw_card(depth)
    return model


def raw_card(depth, reach=6):
    """The card of a U-Net on packed frames, in pixels of the packed frame (one is 2x2 pixels of the picture).

    Args:
        depth: Number of levels.
        reach: How far the network sees from a tile that begins and ends at multiples of the stride, in strides: one
            for each 3x3 convolution at the coarsest level, the finer ones together add less than twice as much down
            and up.

    Returns:
        A dictionary with `stride`, `halo`, `channels` (of a packed frame) and `scale` (of the picture).
    """
    stride = 2 ** (depth - 1)
    return {"stride": stride, "halo": reach * stride, "channels": 4, "scale": 2}
