import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from check_raw import check_resuming, fit_resumable, raw_unet_parameters
from keras import ops

from lle.models import UNetGAN, attention_unet, sid_unet
from lle.models.unet_gan import cutmix_masks, two_optimizers, unet_discriminator
from lle.plots import read_log
from lle.training import resumable

generator = np.random.default_rng(0)
FRAMES = generator.random((3, 5, 6, 4), dtype="float32")
PICTURES = generator.random((3, 10, 12, 3), dtype="float32")


def build(model_class=UNetGAN, **arguments):
    keras.utils.set_random_seed(0)
    return model_class(sid_unet(2, 2), unet_discriminator(2, 2), **arguments)


def test_sizes_and_heads():
    model = build()
    judged = raw_unet_parameters(32, 5, inputs=3, outputs=1) + 512 + 1
    assert unet_discriminator().count_params() == judged == 7_760_130
    assert model.generator.count_params() == raw_unet_parameters(2, 2)
    for height, width in ((10, 12), (7, 5)):
        image, pixel = model.discriminator.predict_on_batch(np.zeros((2, height, width, 3), "float32"))
        assert image.shape == (2, 1) and pixel.shape == (2, height, width, 1)
    assert model.generator.card == {"stride": 2, "halo": 12, "channels": 4, "scale": 2}
    assert model.card == {**model.generator.card, "averages": False}  # as its discriminator does
    np.testing.assert_array_equal(ops.convert_to_numpy(model(FRAMES)), ops.convert_to_numpy(model.generator(FRAMES)))


def test_a_run_with_two_optimizers_goes_on_with_early_stopping(tmp_path):
    for epochs in (1, 3):
        model = build()
        model.compile(two_optimizers(keras.optimizers.Adam(), keras.optimizers.Adam()))
        stopping = keras.callbacks.EarlyStopping("l1", mode="min", patience=9)
        callbacks = resumable(tmp_path, {}, "l1", schedule=[stopping])
        model.fit(FRAMES, PICTURES, epochs=epochs, callbacks=callbacks, verbose=0)
    assert len(read_log(tmp_path / "log.csv")["epoch"]) == 3


class GeneratorAlone(UNetGAN):
    """The generator's loss, written once more, with nothing that holds back a gradient."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        image, pixel = self.discriminator(ops.clip(y_pred, 0, 1))
        adversarial = (entropy(ops.ones_like(image), image) + entropy(ops.ones_like(pixel), pixel)) / 2
        return ops.mean(ops.abs(y - y_pred)) + self.adversarial_weight * adversarial


class DiscriminatorAlone(UNetGAN):
    """The discriminator's loss likewise, with a quarter of CutMix, from calls of their own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        mask, y_pred = cutmix_masks(y, self.seed_generator), ops.clip(y_pred, 0, 1)
        (image_real, real), (image_fake, fake) = self.discriminator(y), self.discriminator(y_pred)
        image_mixed, mixed = self.discriminator(ops.where(mask > 0, y, y_pred))
        whole = entropy(ops.ones_like(real), real) + entropy(ops.zeros_like(fake), fake)
        whole += entropy(ops.ones_like(image_real), image_real) + entropy(ops.zeros_like(image_fake), image_fake)
        cutmix = entropy(ops.zeros_like(image_mixed), image_mixed) + entropy(mask, mixed)
        consistency = ops.mean(ops.square(mixed - ops.where(mask > 0, real, fake)))
        return 0.75 * whole / 2 + 0.25 * (cutmix + consistency)


def enlarge_weights(model):
    """With fresh weights some gradients are too small to show."""
    random = np.random.default_rng(1)
    for network in (model.generator, model.discriminator):
        network.set_weights([random.normal(0, 0.5, weight.shape) for weight in network.get_weights()])


def gradients(model_class):
    """What one step at a rate of 1 takes off the weights of the generator and of the discriminator."""
    model = build(model_class, warm_up=4, adversarial_weight=1.0)
    model.steps.assign(2)
    enlarge_weights(model)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    before = [network.get_weights() for network in (model.generator, model.discriminator)]
    model.train_on_batch(FRAMES, PICTURES)
    after = [network.get_weights() for network in (model.generator, model.discriminator)]
    return [[one - other for one, other in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]


def test_every_weight_gets_the_gradient_of_its_own_network_s_loss():
    both = gradients(UNetGAN)
    alone = gradients(GeneratorAlone)[0], gradients(DiscriminatorAlone)[1]
    for found, expected in zip(both, alone, strict=True):
        for one, other in zip(found, expected, strict=True):
            assert np.abs(other).max() > 0.01
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    reached = gradients(DiscriminatorAlone)[0]  # there is something to hold back
    assert all(np.abs(gradient).max() > 0.01 for gradient in reached)


def test_losses_of_a_discriminator_that_knows_nothing():
    model = build(warm_up=4)
    model.compile(run_eagerly=True)
    for name in ("discriminator_image", "discriminator_pixel"):
        layer = model.discriminator.get_layer(name)
        layer.set_weights([0 * weight for weight in layer.get_weights()])
    l1 = np.abs(ops.convert_to_numpy(model(FRAMES)) - PICTURES).mean()
    expected = {
        "l1": l1, "adversarial": np.log(2), "discriminator_image": np.log(2), "discriminator_pixel": np.log(2),
        "cutmix": 2 * np.log(2), "consistency": 0, "discriminator_accuracy": 0.5,
    }  # fmt: skip
    for steps, share in ((0, 0), (2, 0.25), (100, 0.5)):
        model.steps.assign(steps)
        found = model.evaluate(FRAMES, PICTURES, verbose=0, return_dict=True)
        loss = found.pop("loss")
        assert found == pytest.approx(expected, rel=1e-4)
        whole_or_mixed = (1 - share) * 2 * np.log(2) + share * 2 * np.log(2)
        assert loss == pytest.approx(l1 + 0.01 * np.log(2) + whole_or_mixed, rel=1e-4)
        assert model.steps == steps  # only training counts


def test_masks_are_rectangles_of_all_sizes():
    seed = keras.random.SeedGenerator(0)
    masks = ops.convert_to_numpy(cutmix_masks(np.zeros((200, 16, 24, 3), "float32"), seed))
    assert masks.shape == (200, 16, 24, 1) and set(np.unique(masks)) == {0, 1}
    for mask in masks[..., 0]:
        edges = np.abs(np.diff(mask, axis=0)).any(1).sum(), np.abs(np.diff(mask, axis=1)).any(0).sum()
        assert max(edges) <= 2 and min(np.linalg.matrix_rank(one) for one in (mask, 1 - mask)) <= 1
    shares = masks.mean((1, 2, 3))
    assert abs(shares.mean() - 0.5) < 0.1 and shares.min() < 0.1 and shares.max() > 0.9
    assert len({mask.tobytes() for mask in masks}) > 150


def test_two_rates():
    model = build()
    model.compile(two_optimizers(keras.optimizers.SGD(1.0), keras.optimizers.SGD(0.0)), run_eagerly=True)
    before = model.generator.get_weights(), model.discriminator.get_weights()
    model.train_on_batch(FRAMES, PICTURES)
    assert all(np.any(one != other) for one, other in zip(before[0], model.generator.get_weights(), strict=True))
    assert all(np.all(one == other) for one, other in zip(before[1], model.discriminator.get_weights(), strict=True))


def fit(run_dir, epochs):
    model = build(warm_up=6)
    falling = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.9)
    model.compile(two_optimizers(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(falling)), run_eagerly=True)
    return fit_resumable(model, FRAMES, PICTURES, run_dir, epochs)


def test_a_run_in_two_parts_equals_one_in_one(tmp_path):
    whole, parts = check_resuming(fit, tmp_path)
    assert whole.steps == parts.steps == 6
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    assert set(UNetGAN.terms) < set(logs[0]) and len(set(logs[0]["consistency"])) == 3
    for name in set(logs[0]) - {"seconds"}:
        np.testing.assert_array_equal(logs[1][name], logs[0][name])
        assert np.isfinite(logs[0][name]).all()

    best = keras.saving.load_model(tmp_path / "parts/best.keras", safe_mode=True)
    l1 = np.abs(ops.convert_to_numpy(best(FRAMES)) - PICTURES).mean()
    assert l1 == pytest.approx(min(logs[0]["val_l1"]), rel=1e-4)
    assert best.to_json() == parts.to_json() and best.warm_up == 6
    assert [len(optimizer.variables) for optimizer in best.optimizer.optimizers] == [
        len(optimizer.variables) for optimizer in parts.optimizer.optimizers
    ]


def test_mixed_precision_trains_and_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(keras.optimizers.Adam(1e-4), run_eagerly=True)
    found = model.train_on_batch(FRAMES, PICTURES, return_dict=True)
    assert np.isfinite(list(found.values())).all()
    outputs = [model(FRAMES), *model.discriminator(PICTURES)]
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {"float32"}
    assert model.discriminator.get_layer("discriminator_decoder_0").compute_dtype == "bfloat16"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_step_on_another_backend_gives_the_same_weights(backend, tmp_path):
    pytest.importorskip(backend)
    keras.utils.set_random_seed(0)
    model = UNetGAN(attention_unet(4, 2), unet_discriminator(2, 2))  # its first step is without the random masks
    enlarge_weights(model)
    model.save(tmp_path / "before.keras")
    np.savez(tmp_path / "data.npz", frames=FRAMES, pictures=PICTURES)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    model.train_on_batch(FRAMES, PICTURES)
    code = """
import keras, numpy
from lle.models import UNetVAE
from lle.models.unet_gan import two_optimizers, unet_discriminator
from lle.models.unet_vae import unet_with_vae
data = numpy.load("data.npz")
frames, pictures = data["frames"], data["pictures"]
model = keras.saving.load_model("before.keras", safe_mode=True)
model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
model.fit(frames, pictures, verbose=0)
model.save("after.keras")

model = UNetVAE(unet_with_vae(2, 2, 4), unet_discriminator(2, 2), warm_up=2)
model.compile(two_optimizers(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3)), run_eagerly=True)
history = model.fit(frames, pictures, epochs=2, verbose=0).history
assert set(history) == {"loss", *UNetVAE.terms} and numpy.isfinite(list(history.values())).all()
assert model.steps == 2 and [int(one.iterations) for one in model.optimizer.optimizers] == [2, 2]
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    # Without its optimizer, a class of the other backend: see test_zero_dce.
    there = keras.saving.load_model(tmp_path / "after.keras", safe_mode=True, compile=False)
    for one, other in zip(there.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
