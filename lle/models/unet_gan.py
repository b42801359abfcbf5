"""Report 4: a U-Net trained against a U-Net discriminator (arXiv 2002.12655)."""

import keras
from keras import layers, ops

from lle.models.blocks import unet_decoder, unet_encoder
from lle.models.sid_unet import sid_unet
from lle.tiles import averages_over_all


@keras.saving.register_keras_serializable(package="lle")
class UNetGAN(keras.Model):
    """A generator and a U-Net discriminator, trained together with one `fit`; called, it is the generator.

    The discriminator (`unet_discriminator`) judges the picture as a whole and each pixel. It sees pictures alone,
    clipped to [0, 1], not the raw frame that they come from: so does the paper's, and that the picture fits its frame
    is what the L1 term asks for. Its losses are those of the paper's code: cross entropy on both heads, and CutMix,
    where it gets real and generated pictures cut together, has to find the cut (its image head: to say "generated"),
    and has to judge the parts as it judges the whole pictures (consistency). The paper's code trains on such mixes, in
    place of whole pictures, with a probability that rises to 0.5; here each step does both, weighed by that
    probability. The report names no weights; the L1 loss is weighed 100 times the adversarial one, as usual since
    pix2pix (arXiv 1611.07004).

    One total loss trains both networks, from the same state of both: the generator's part goes through a copy of the
    discriminator whose weights are constants, the discriminator's part sees generated pictures as constants. So every
    weight gets the gradient of its own network's loss alone, `fit` needs nothing of its own on any Keras backend, and
    one optimizer does; `two_optimizers` gives each network its own.

    The history holds, before weighing, `l1`, `adversarial`, `discriminator_image`, `discriminator_pixel` (each of these
    three log 2 where the discriminator knows nothing), `cutmix` (both heads together), `consistency`, and
    `discriminator_accuracy`, the share of whole pictures that it judges right. `loss` adds up both networks' losses and
    says little: choose a model by `val_l1` or a metric.

    Args:
        generator: A `keras.Model` from `(batch, h, w, 4)` to pictures, `(batch, 2 * h, 2 * w, 3)`; by default a new
            `sid_unet`. Losses that its layers add by themselves are left out.
        discriminator: Likewise from pictures to image and pixel logits; by default a new `unet_discriminator`.
        adversarial_weight: Weight of the adversarial loss; the L1 loss has 1.
        warm_up: Training steps until CutMix has its full share. The count is saved with the weights.
        **kwargs: Passed to `keras.Model`.

    Example:

    ```python
    model = UNetGAN()
    model.compile(two_optimizers(keras.optimizers.Adam(1e-4, beta_1=0.5), keras.optimizers.Adam(5e-4, beta_1=0.5)))
    model.fit(frames, references, batch_size=1)  # (frames, h, w, 4) and (frames, 2 * h, 2 * w, 3)
    ```
    """

    terms = (
        "l1", "adversarial", "discriminator_image", "discriminator_pixel", "cutmix", "consistency",
        "discriminator_accuracy",
    )  # fmt: skip

    def __init__(self, generator=None, discriminator=None, adversarial_weight=0.01, warm_up=5000, **kwargs):
        super().__init__(autocast=False, **kwargs)  # raw frames have 14 bits: half precision would lose some
        self.generator = sid_unet() if generator is None else generator
        self.discriminator = unet_discriminator() if discriminator is None else discriminator
        self.trackers = [keras.metrics.Mean(name=name) for name in self.terms]
        self.seed_generator = keras.random.SeedGenerator()
        # Not the optimizer's count: on JAX a loss would see that one's value of the first step for ever.
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")

        self.adversarial_weight = adversarial_weight
        self.warm_up = warm_up
        self.generator_weights = {"l1": 1.0, "adversarial": adversarial_weight}
        if hasattr(self.generator, "card"):
            # The discriminator averages over all it is shown, which is of no concern to tiles.
            self.card = {"averages": averages_over_all(self.generator), **self.generator.card}
        self.built = True  # both networks were, with their graphs

    def call(self, inputs, training=None):
        return self.generator(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = ops.cast(y, "float32")
        fake = ops.stop_gradient(ops.clip(y_pred, 0, 1))  # else their range alone would tell generated pictures
        terms = {**self.generator_terms(y, y_pred), **self.discriminator_terms(y, fake)}
        for tracker in self.trackers:
            tracker.update_state(terms[tracker.name], sample_weight=ops.shape(x)[0])
        mixed = 0.5 * ops.minimum(self.steps / max(self.warm_up, 1), 1.0)
        if training:
            self.steps.assign_add(1.0)
        total = sum(weight * terms[name] for name, weight in self.generator_weights.items())
        total += (1 - mixed) * (terms["discriminator_image"] + terms["discriminator_pixel"])
        return total + mixed * (terms["cutmix"] + terms["consistency"])

    def generator_terms(self, real, fake):
        image, pixel = call_frozen(self.discriminator, ops.clip(fake, 0, 1))
        adversarial = (cross_entropy(image, 1.0) + cross_entropy(pixel, 1.0)) / 2
        return {"l1": ops.mean(ops.abs(real - fake)), "adversarial": adversarial}

    def discriminator_terms(self, real, fake):
        mask = cutmix_masks(real, self.seed_generator)
        images, pixels = self.discriminator(ops.concatenate([real, fake, mask * real + (1 - mask) * fake]))
        image_real, image_fake, image_mixed = ops.split(images, 3)
        real_map, fake_map, mixed_map = ops.split(pixels, 3)
        correct = ops.concatenate([image_real > 0, image_fake <= 0])
        return {
            "discriminator_image": (cross_entropy(image_real, 1.0) + cross_entropy(image_fake, 0.0)) / 2,
            "discriminator_pixel": (cross_entropy(real_map, 1.0) + cross_entropy(fake_map, 0.0)) / 2,
            "cutmix": cross_entropy(image_mixed, 0.0) + cross_entropy(mixed_map, mask),
            "consistency": ops.mean(ops.square(mixed_map - mask * real_map - (1 - mask) * fake_map)),
            "discriminator_accuracy": ops.mean(ops.cast(correct, "float32")),
        }

    def get_config(self):
        config = super().get_config()
        config.update(
            generator=keras.saving.serialize_keras_object(self.generator),
            discriminator=keras.saving.serialize_keras_object(self.discriminator),
            adversarial_weight=self.adversarial_weight,
            warm_up=self.warm_up,
        )
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        networks = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("generator", "discriminator")
        }
        return cls(**{**config, **networks})


def unet_discriminator(filters=32, depth=5):
    """Build the U-Net discriminator (arXiv 2002.12655), which judges a picture as a whole and each of its pixels.

    The encoder and decoder of `sid_unet`, so that both players are alike, as the report wants it. The paper's has the
    residual blocks and the spectral normalisation of BigGAN instead. With the defaults it has 7,760,130 parameters.

    Args:
        filters: Channels of the first level; each further one has twice as many.
        depth: Number of levels.

    Returns:
        A `keras.Model` from pictures, `(batch, height, width, 3)`, to two logits, float32, positive for real: of the
        picture, from the mean of the coarsest features, `(batch, 1)`; of each pixel, `(batch, height, width, 1)`.
    """
    prefix = "discriminator_"  # by which `two_optimizers` knows these layers
    inputs = keras.Input((None, None, 3))
    levels = unet_encoder(inputs, filters, depth, prefix=prefix)
    pooled = layers.GlobalAveragePooling2D()(levels[-1])
    image = layers.Dense(1, dtype="float32", name=f"{prefix}image")(pooled)
    features = unet_decoder(levels, prefix=prefix)
    pixel = layers.Conv2D(1, 1, dtype="float32", name=f"{prefix}pixel")(features)
    return keras.Model(inputs, [image, pixel], name="unet_discriminator")


def two_optimizers(generator, discriminator):
    """Join two optimizers for `UNetGAN.compile`, so that its networks may learn at different rates.

    The paper has 1e-4 and 5e-4. What clips or averages by all weights then does so for each network by itself.

    Args:
        generator: A `keras.optimizers.Optimizer`.
        discriminator: Another one, for the layers whose names begin with `discriminator_`.

    Returns:
        A `keras.optimizers.MultiOptimizer`. It has no learning rate of its own: callbacks that change one, such as
        `ReduceLROnPlateau`, do not work with it; schedules inside the two optimizers do.
    """
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(generator, {"discriminator_.*": discriminator})
    )


def call_frozen(model, inputs):
    """Call a model so that the gradient reaches its inputs but none of its weights.

    Args:
        model: A built `keras.Model`.
        inputs: What it takes.

    Returns:
        What it returns. Changes of its state, such as moving averages, are dropped.
    """
    constants = [ops.stop_gradient(variable.value) for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]
    outputs, _ = model.stateless_call(constants, state, inputs)
    return outputs


def cross_entropy(logits, target):
    """Mean of the binary cross entropy, `-target * log(p) - (1 - target) * log(1 - p)` with `p = sigmoid(logits)`.

    Args:
        logits: A tensor.
        target: 1 for real, 0 for generated, or a tensor of the shape of the logits.

    Returns:
        A scalar.
    """
    return ops.mean(ops.softplus(logits) - target * logits)


def cutmix_masks(pictures, seed):
    """Draw a mask for each picture: 1 inside a random rectangle and 0 outside, or the other way round.

    The rectangle has the proportions of the picture, a share of its area that is uniform in [0, 1], and a uniform
    centre; what lies beyond the border is cut off (CutMix, arXiv 1905.04899, as in the code of arXiv 2002.12655).

    Args:
        pictures: `(batch, height, width, channels)`.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        `(batch, height, width, 1)`, float32.
    """
    batch, height, width = ops.shape(pictures)[:3]
    draws = keras.random.uniform((batch, 1, 1, 4), seed=seed, dtype="float32")
    area, row, column, side = ops.split(draws, 4, axis=-1)

    def is_within(centre, length, axis):
        places = (ops.cast(ops.arange(length), "float32") + 0.5) / ops.cast(length, "float32")
        return ops.abs(ops.expand_dims(places, axis) - centre) < ops.sqrt(area) / 2

    inside = ops.logical_and(is_within(row, height, (0, 2, 3)), is_within(column, width, (0, 1, 3)))
    return ops.cast(ops.logical_xor(inside, side < 0.5), "float32")
