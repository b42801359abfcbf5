"""Zero-DCE: enhancement by iterated curves, trained without any reference (arXiv 2001.06826)."""

import keras
from keras import layers, ops

from lle import losses

LOSS_WEIGHTS = {"spatial": 1.0, "exposure": 10.0, "color": 5.0, "illumination": 200.0}  # the authors' code


@keras.saving.register_keras_serializable(package="lle")
class ZeroDCE(keras.Model):
    """Zero-Reference Deep Curve Estimation.

    Seven convolutions (DCE-Net, `conv1` to `conv7`) look at the image and give, for each pixel, channel and iteration,
    the parameter `a` of a curve `x + a * (x ** 2 - x)`. The curves are applied one after the other. With the defaults
    the network has 79,416 parameters.

    Training needs dark images only: `model.fit(images)`. The history holds `loss` and its four weighted terms,
    `spatial`, `exposure`, `color` and `illumination`.

    Args:
        filters: Width of the convolutions.
        iterations: How many curves are applied.
        exposure: The brightness in [0, 1] that the exposure loss asks for.
        loss_weights: Weights of the four terms; those not named keep the value of the authors' code
            (1, 10, 5 and 200 in the order above).
        loss_form: `"authors"`, or `"keras_port"` for the losses that report 5 trained with (see `lle.losses`).
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If a loss weight has an unknown name or `loss_form` is not known.

    Example:

    ```python
    model = ZeroDCE()
    model.compile(keras.optimizers.Adam(1e-4))
    model.fit(dark_images, batch_size=16, epochs=70)  # (images, height, width, 3), in [0, 1]
    enhanced = model.predict(dark_images)
    ```
    """

    card = {"stride": 1, "halo": 7}  # for `lle.enhance`: any size; seven 3 x 3 convolutions see 7 pixels far

    def __init__(self, filters=32, iterations=8, exposure=0.6, loss_weights=None, loss_form="authors", **kwargs):
        super().__init__(autocast=False, **kwargs)  # the curves are applied to the image in float32
        unknown = set(loss_weights or {}) - set(LOSS_WEIGHTS)
        if unknown or loss_form not in losses.FORMS:
            raise ValueError(
                f"loss_weights may name {list(LOSS_WEIGHTS)} and loss_form one of {losses.FORMS}, "
                f"got {loss_weights} and {loss_form!r}"
            )
        self.dce_net = dce_net(filters, iterations)
        self.trackers = [keras.metrics.Mean(name=name) for name in LOSS_WEIGHTS]

        self.filters = filters
        self.iterations = iterations
        self.exposure = exposure
        self.loss_weights = {**LOSS_WEIGHTS, **(loss_weights or {})}
        self.loss_form = loss_form
        self.built = True  # DCE-Net was, with its graph

    def call(self, images):
        return apply_curves(images, self.dce_net(images))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # The losses need the curve maps, which `call` does not return. The graph backends drop the unused first pass.
        curves = self.dce_net(x)
        enhanced = apply_curves(x, curves)
        terms = {
            "spatial": losses.spatial_consistency(x, enhanced, self.loss_form),
            "exposure": losses.exposure_control(enhanced, self.exposure),
            "color": losses.color_constancy(enhanced),
            "illumination": losses.illumination_smoothness(curves, self.loss_form),
        }
        total = 0.0
        for tracker in self.trackers:
            weighted = self.loss_weights[tracker.name] * terms[tracker.name]
            tracker.update_state(weighted, sample_weight=ops.shape(x)[0])
            total += weighted
        return total

    def get_config(self):
        config = super().get_config()
        config.update(
            filters=self.filters,
            iterations=self.iterations,
            exposure=self.exposure,
            loss_weights=self.loss_weights,
            loss_form=self.loss_form,
        )
        return config


def dce_net(filters=32, iterations=8):
    """DCE-Net: seven 3 x 3 convolutions with symmetrical skips.

    Args:
        filters: Width of the first six layers.
        iterations: Number of curves.

    Returns:
        A `keras.Model` from images, `(batch, height, width, 3)`, to curve maps,
        `(batch, height, width, 3 * iterations)`, in [-1, 1].
    """

    def convolve(inputs, name):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(inputs)

    inputs = keras.Input((None, None, 3))
    conv1 = convolve(inputs, "conv1")
    conv2 = convolve(conv1, "conv2")
    conv3 = convolve(conv2, "conv3")
    conv4 = convolve(conv3, "conv4")
    conv5 = convolve(ops.concatenate([conv3, conv4], axis=-1), "conv5")
    conv6 = convolve(ops.concatenate([conv2, conv5], axis=-1), "conv6")
    last = ops.concatenate([conv1, conv6], axis=-1)
    curves = layers.Conv2D(3 * iterations, 3, padding="same", activation="tanh", dtype="float32", name="conv7")(last)
    return keras.Model(inputs, curves, name="dce_net")


def apply_curves(images, curves):
    """Apply quadratic curves one after the other: `x + a * (x ** 2 - x)`.

    Args:
        images: `(batch, height, width, 3)`, in [0, 1].
        curves: `(batch, height, width, 3 * iterations)`, in [-1, 1]; the first three maps are the first curve's.

    Returns:
        Images of the same shape; values stay in [0, 1].
    """
    for a in ops.split(curves, curves.shape[-1] // 3, axis=-1):
        images = images + a * (ops.square(images) - images)
    return images
