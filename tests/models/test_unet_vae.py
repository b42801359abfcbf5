import keras
import numpy as np
import pytest
from check_raw import check_halo, check_raw_network, check_resuming, fit_resumable, raw_unet_parameters
from keras import ops

from lle.models import UNetVAE
from lle.models.unet_gan import unet_discriminator
from lle.models.unet_vae import LatentSample, unet_with_vae

generator = np.random.default_rng(0)
FRAMES = generator.random((3, 5, 6, 4), dtype="float32")
PICTURES = generator.random((3, 10, 12, 3), dtype="float32")


def count(filters, depth, latent):
    coarsest = filters * 2 ** (depth - 1)
    bottleneck = 2 * (coarsest * latent + latent) + latent * coarsest + coarsest
    return raw_unet_parameters(filters, depth) + raw_unet_parameters(filters, depth, skips=False) + bottleneck


def test_generator(tmp_path):
    keras.utils.set_random_seed(0)
    check_raw_network(unet_with_vae(2, 3, 4), count(2, 3, 4), tmp_path / "model.keras")
    assert count(32, 5, 64) == 14_836_120


def test_generator_sees_no_further_than_its_halo():
    keras.utils.set_random_seed(0)
    check_halo(unet_with_vae(2, 2, 4))


def test_latent_values_are_drawn_in_training_only():
    mean = generator.normal(0, 1, (50, 4, 5, 3)).astype("float32")
    log_variance = np.full_like(mean, np.log(0.04))
    layer = LatentSample(seed=1)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer([mean, log_variance])), mean)
    variance = np.exp(log_variance)
    divergence = (np.square(mean) + variance - 1 - np.log(variance)).mean() / 2
    assert float(layer.losses[0]) == pytest.approx(divergence, rel=1e-5)
    drawn = ops.convert_to_numpy(layer([mean, log_variance], training=True))
    assert (drawn - mean).mean() == pytest.approx(0, abs=0.02)
    assert (drawn - mean).std() == pytest.approx(0.2, rel=0.05)
    assert not np.array_equal(ops.convert_to_numpy(layer([mean, log_variance], training=True)), drawn)


def test_the_variance_begins_at_1_and_stays_finite():
    layer = LatentSample()
    for value in (-1e6, 1e6):
        layer([np.zeros((1, 2), "float32"), np.full((1, 2), value, "float32")])
        assert np.isfinite(float(layer.losses[-1]))
    weights = unet_with_vae(2, 2, 4).get_layer("vae_log_variance").get_weights()
    assert not any(weight.any() for weight in weights)


def fit(run_dir, epochs):
    keras.utils.set_random_seed(0)
    model = UNetVAE(unet_with_vae(2, 2, 4), unet_discriminator(2, 2))
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    return fit_resumable(model, FRAMES, PICTURES, run_dir, epochs)


def test_a_run_in_two_parts_equals_one_in_one(tmp_path):
    check_resuming(fit, tmp_path)


def test_trains_all_parts_reports_the_divergence_and_saves(tmp_path):
    keras.utils.set_random_seed(0)
    model = UNetVAE(unet_with_vae(2, 2, 4), unet_discriminator(2, 2), kl_weight=0.5)
    log_variance = model.generator.get_layer("vae_log_variance")
    log_variance.set_weights([weight + 1 for weight in log_variance.get_weights()])
    before = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    model.compile(keras.optimizers.SGD(1e-2), run_eagerly=True)
    found = model.train_on_batch(FRAMES, PICTURES, return_dict=True)
    assert set(found) == {"loss", *UNetVAE.terms} and found["kl"] > 0.1
    parts = {"l1": 1, "adversarial": 0.01, "kl": 0.5, "discriminator_image": 1, "discriminator_pixel": 1}
    assert found["loss"] == pytest.approx(sum(weight * found[name] for name, weight in parts.items()), rel=1e-5)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.array_equal(ops.convert_to_numpy(weight), old), f"{weight.path} gets no gradient"

    output = ops.convert_to_numpy(model(FRAMES))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(FRAMES)), output)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(ops.convert_to_numpy(again(FRAMES)), output, atol=1e-6)
    assert again.to_json() == model.to_json() and again.kl_weight == 0.5 and again.steps == 1
