import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from lle.optimizers import ConvMuon


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4))
    features = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(inputs)
    features = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(features)
    return keras.Model(inputs, layers.Conv2D(4, 3, padding="same", name="last")(features))


def step(model, optimizer):
    """What one step changes, by the names of the variables."""
    images = np.random.default_rng(0).random((2, 8, 8, 4), dtype="float32")
    before = {variable.path: ops.convert_to_numpy(variable) for variable in model.trainable_variables}
    model.compile(optimizer, "mse")
    model.train_on_batch(images, images[..., ::-1])
    return {variable.path: ops.convert_to_numpy(variable) - before[variable.path] for variable in model.variables}


def test_updates_of_convolutions_are_nearly_orthogonal_and_a_fifth_of_the_rate():
    rate = 1e-3
    change = step(network(), ConvMuon(rate, weight_decay=0, adam_weight_decay=0))["first/kernel"]
    singular = np.linalg.svd(change.reshape(-1, 6), compute_uv=False)
    assert singular.max() / singular.min() < 2  # five steps of Newton and Schulz bring them to between 0.7 and 1.2
    assert np.sqrt(np.mean(change**2)) == pytest.approx(0.2 * rate, rel=0.3)
    assert np.linalg.cond(change.reshape(-1, 6)) < np.linalg.cond(
        step(network(), keras.optimizers.SGD(rate))["first/kernel"].reshape(-1, 6)
    )


def test_the_others_are_left_to_adam():
    muon = step(network(), ConvMuon(1e-3, exclude_layers=["last"], weight_decay=0, adam_weight_decay=0))
    adam = step(network(), keras.optimizers.Adam(1e-3))
    for path in adam.keys() - {"first/kernel"}:
        np.testing.assert_allclose(muon[path], adam[path], atol=1e-7, err_msg=path)
    assert np.abs(muon["first/kernel"] - adam["first/kernel"]).max() > 1e-4


def test_dense_layers_are_trained_as_by_keras():
    def dense(optimizer):
        keras.utils.set_random_seed(0)
        layers_of_it = [keras.Input((8, 8, 4)), layers.Dense(5, name="inner"), layers.Dense(4, name="last")]
        return step(keras.Sequential(layers_of_it, name="dense"), optimizer)

    ours, theirs = dense(ConvMuon(1e-3)), dense(keras.optimizers.Muon(1e-3))
    for path, change in theirs.items():
        np.testing.assert_allclose(ours[path], change, atol=1e-7, err_msg=path)


def test_weights_decay_at_their_own_rates():
    model = network()
    before = {variable.path: ops.convert_to_numpy(variable) for variable in model.trainable_variables}
    plain = step(model, ConvMuon(1e-2, weight_decay=0, adam_weight_decay=0))
    decayed = step(network(), ConvMuon(1e-2, weight_decay=0.5, adam_weight_decay=0))
    path = "first/kernel"
    np.testing.assert_allclose(decayed[path] - plain[path], -0.5 * 1e-2 * before[path], atol=1e-6)
    np.testing.assert_allclose(decayed["last/bias"], plain["last/bias"], atol=1e-7)


def test_a_saved_training_goes_on(tmp_path):
    model = network()
    step(model, ConvMuon(1e-3, exclude_layers=["last"]))
    model.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    assert isinstance(again.optimizer, ConvMuon) and again.optimizer.get_config() == model.optimizer.get_config()
    images = np.random.default_rng(1).random((2, 8, 8, 4), dtype="float32")
    for one in (model, again):
        one.train_on_batch(images, images)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_what_has_one_output_is_left_to_adam():
    def change(optimizer):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 4)), layers.Dense(1, name="dense"), layers.Conv2D(1, 3, name="one")]
        )
        images = np.random.default_rng(0).random((2, 8, 8, 4), dtype="float32")
        before = model.get_weights()
        model.compile(optimizer, "mse")
        model.train_on_batch(images, images[:, 1:-1, 1:-1, :1])
        return [after - weight for after, weight in zip(model.get_weights(), before, strict=True)]

    muon = change(ConvMuon(1e-3, weight_decay=0, adam_weight_decay=0))
    for one, other in zip(muon, change(keras.optimizers.Adam(1e-3)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_what_names_no_layers_is_refused():
    with pytest.raises(TypeError, match="list of regular expressions, got 'last'"):
        ConvMuon(1e-3, exclude_layers="last")
    with pytest.raises(re.error):
        ConvMuon(1e-3, exclude_layers=["("])
