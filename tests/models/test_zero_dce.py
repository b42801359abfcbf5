import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from check import check_model

from lle import losses
from lle.models.zero_dce import LOSS_WEIGHTS, ZeroDCE, apply_curves

IMAGES = np.random.default_rng(0).random((4, 32, 48, 3), dtype="float32") * 0.2


def test_network(tmp_path):
    check_model(ZeroDCE(), 79416, tmp_path / "model.keras")


def test_layers_have_the_shapes_of_the_published_weights():
    shapes = [ZeroDCE().dce_net.get_layer(f"conv{i}").kernel.shape for i in range(1, 8)]
    assert shapes == [(3, 3, inputs, outputs) for inputs, outputs in
                      [(3, 32), (32, 32), (32, 32), (32, 32), (64, 32), (64, 32), (64, 24)]]  # fmt: skip


def test_skips_are_concatenated_earlier_layer_first():
    net = ZeroDCE(filters=2).dce_net
    joins = [operation for operation in net.operations if "concat" in operation.name]
    order = [[tensor._keras_history.operation.name for tensor in join.input] for join in joins]
    assert order == [["conv3", "conv4"], ["conv2", "conv5"], ["conv1", "conv6"]]


def test_curves_are_applied_one_after_the_other():
    image = np.full((1, 1, 1, 3), 0.5, "float32")
    curves = np.concatenate([np.full((1, 1, 1, 3), a, "float32") for a in (-1.0, 0.5)], axis=-1)
    first = 0.5 + 1.0 * 0.25
    expected = first + 0.5 * (first**2 - first)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(apply_curves(image, curves)), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 64)])
def test_any_size(size):
    image = np.random.default_rng(0).random((1, *size, 3), dtype="float32")
    assert ZeroDCE(filters=2).predict(image, verbose=0).shape == image.shape


def test_training_reports_each_weighted_term_and_lowers_the_loss():
    keras.utils.set_random_seed(0)
    model = ZeroDCE(filters=4)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(IMAGES, batch_size=3, epochs=12, validation_data=IMAGES, verbose=0).history
    for prefix in ("", "val_"):
        total = np.sum([history[prefix + name] for name in LOSS_WEIGHTS], axis=0)
        np.testing.assert_allclose(total, history[prefix + "loss"], rtol=1e-4)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    enhanced = model.predict(IMAGES, verbose=0)
    expected = {
        "spatial": 1 * losses.spatial_consistency(IMAGES, enhanced),
        "exposure": 10 * losses.exposure_control(enhanced),
        "color": 5 * losses.color_constancy(enhanced),
        "illumination": 200 * losses.illumination_smoothness(model.dce_net(IMAGES)),
    }
    for name, value in expected.items():
        assert history[f"val_{name}"][-1] == pytest.approx(float(value), rel=1e-3)


def test_metrics_against_a_reference_can_be_compiled_in():
    model = ZeroDCE(filters=2)
    model.compile("adam", metrics=[keras.metrics.MeanSquaredError(name="mse")])
    history = model.fit(IMAGES, IMAGES, epochs=1, verbose=0).history
    assert {"mse", "loss", *LOSS_WEIGHTS} == set(history)


def test_loss_weights_and_forms():
    model = ZeroDCE(filters=2, loss_weights={"color": 0.5, "illumination": 20.0}, loss_form="keras_port")
    assert model.loss_weights == {**LOSS_WEIGHTS, "color": 0.5, "illumination": 20.0}
    with pytest.raises(ValueError, match="loss_weights"):
        ZeroDCE(loss_weights={"colour": 1.0})
    with pytest.raises(ValueError, match="loss_form"):
        ZeroDCE(loss_form="paper")


def test_mixed_precision_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = ZeroDCE(filters=2)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.dce_net.get_layer("conv2").compute_dtype == "bfloat16"
    black = np.zeros_like(IMAGES)
    assert model.predict(IMAGES, verbose=0).dtype == np.float32
    np.testing.assert_array_equal(model.predict(black, verbose=0), black)  # 0 is a fixed point of every curve


def test_loads_in_a_new_process(tmp_path):
    keras.utils.set_random_seed(1)
    model = ZeroDCE(filters=2, exposure=0.5)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import keras, numpy, lle.models; model = keras.saving.load_model('model.keras', safe_mode=True);"
        "numpy.save('output.npy', model.predict(numpy.load('images.npy'), verbose=0)); assert model.exposure == 0.5"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "output.npy"), model.predict(IMAGES, verbose=0), atol=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_trains_measures_saves_and_enhances_on_another_backend(backend, tmp_path, write):
    pytest.importorskip(backend)
    write("dark.png", 40, 48)
    code = """
import keras, numpy
from pathlib import Path
from lle.data import Pair
from lle.enhance import enhance, run
from lle.metrics import evaluate
from lle.models.zero_dce import ZeroDCE
images = numpy.load("images.npy")
model = ZeroDCE(filters=2)
model.compile("adam", metrics=["mse"])
losses = model.fit(images, images, batch_size=2, epochs=2, validation_data=(images, images), verbose=0).history
assert numpy.isfinite(losses["val_loss"]).all() and losses["loss"][1] < losses["loss"][0]
model.save("model.keras")
numpy.save("output.npy", run(model, images[0]))
assert enhance("dark.png", model).size == (48, 40)
assert evaluate(model, [Pair(Path("dark.png"), Path("dark.png"))]).loc["mean", "psnr"] > 10
"""
    np.save(tmp_path / "images.npy", IMAGES)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    # Its optimizer is a class of the other backend, whose import can crash a process that has TensorFlow (triton).
    here = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_allclose(np.load(tmp_path / "output.npy"), here.predict(IMAGES[:1], verbose=0)[0], atol=1e-5)
