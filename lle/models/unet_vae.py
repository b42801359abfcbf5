"""Report 4: a variational autoencoder beside the U-Net, both judged by a discriminator (its "VAE-GAN")."""

import keras
from keras import layers, ops

from lle.models.blocks import unet_decoder, unet_encoder, unpacked_picture
from lle.models.network import Network
from lle.models.sid_unet import raw_card
from lle.models.unet_gan import UNetGAN


@keras.saving.register_keras_serializable(package="lle")
class UNetVAE(UNetGAN):
    """A U-Net and a variational autoencoder (VAE, arXiv 1312.6114) side by side, against a U-Net discriminator.

    The report trains both in parallel, combines their outputs and has a discriminator judge the result. It also
    says that the VAE learns brightness, contrast and saturation from a large set of good photographs, which is left
    out here: both learn from the same frames. It names no sizes, weights or losses. Taken here: see `unet_with_vae`
    for the networks. The L1 loss is that of the combined picture, and as the reconstruction error of the VAE it
    trains both; the Kullback-Leibler divergence of its latent values from the standard normal distribution is
    added. The discriminator and its losses are those of `UNetGAN`. At inference the latent values are their means,
    so that the same frame always gives the same picture.

    The history holds `kl`, the divergence before weighing, besides what it holds for `UNetGAN`.

    Args:
        generator: A `keras.Model` as `unet_with_vae` returns it, by default a new one.
        discriminator: See `UNetGAN`.
        kl_weight: Weight of the divergence. The mean over all latent values is small beside the L1 loss of a picture,
            and the U-Net does without the VAE: with 0.01 the latent values soon said nothing. With 1e-4 they go on
            saying something in `notebooks/04_raw_unet_family.ipynb`, see `kl` there.
        **kwargs: See `UNetGAN`.
    """

    terms = (*UNetGAN.terms, "kl")

    def __init__(self, generator=None, discriminator=None, kl_weight=1e-4, **kwargs):
        super().__init__(unet_with_vae() if generator is None else generator, discriminator, **kwargs)
        self.kl_weight = kl_weight
        self.generator_weights["kl"] = kl_weight

    def generator_terms(self, real, fake):
        return {**super().generator_terms(real, fake), "kl": sum(self.losses)}

    def get_config(self):
        return {**super().get_config(), "kl_weight": self.kl_weight}


def unet_with_vae(filters=32, depth=5, latent_channels=64):
    """Build a U-Net and a VAE that share nothing but their input, and whose pictures are averaged.

    The VAE is the same U-Net without its skips: all that it knows of the frame has to pass the latent values, which are
    maps, not vectors, so that any size goes in. With the defaults both have 14,836,120 parameters.

    Args:
        filters: Channels of the first level of both; each further one has twice as many.
        depth: Number of levels.
        latent_channels: Latent values at each place of the coarsest level.

    Returns:
        See `sid_unet`. Its layers add the divergence of the latent values as a loss.
    """
    inputs = keras.Input((None, None, 4))
    accurate = unpacked_picture(unet_decoder(unet_encoder(inputs, filters, depth)))

    *levels, coarsest = unet_encoder(inputs, filters, depth, prefix="vae_")
    mean = layers.Conv2D(latent_channels, 1, dtype="float32", name="vae_mean")(coarsest)
    log_variance = layers.Conv2D(  # 0 at first: the exponential of anything else can be huge
        latent_channels, 1, kernel_initializer="zeros", dtype="float32", name="vae_log_variance"
    )(coarsest)
    latent = LatentSample(dtype="float32", name="vae_latent")([mean, log_variance])
    coarsest = layers.Conv2D(coarsest.shape[-1], 1, activation="leaky_relu", name="vae_from_latent")(latent)
    # The levels on the way down only say which size to enlarge to.
    features = unet_decoder([*levels, coarsest], lambda enlarged, skip, coarser: enlarged, prefix="vae_")
    pleasing = unpacked_picture(features, prefix="vae_")

    outputs = layers.Average(dtype="float32")([accurate, pleasing])
    model = Network(inputs, outputs, name="unet_with_vae")
    model.card = raw_card(depth)
    return model


@keras.saving.register_keras_serializable(package="lle")
class LatentSample(layers.Layer):
    """Draws latent values from normal distributions in training, and takes their means at inference.

    Its inputs are the means and the logarithms of the variances, which are clipped to [-20, 10]. The Kullback-Leibler
    divergence from the standard normal distribution, `(mean ** 2 + variance - 1 - log(variance)) / 2`, the mean over
    all values, is added as a loss.

    Args:
        seed: An int, by default a random one.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        mean, log_variance = inputs
        log_variance = ops.clip(log_variance, -20, 10)
        variance = ops.exp(log_variance)
        self.add_loss(ops.mean(ops.square(mean) + variance - 1 - log_variance) / 2)
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.sqrt(variance) * noise

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
