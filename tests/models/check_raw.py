"""What every network on packed camera raw must do."""

import keras
import numpy as np
from keras import ops

from lle.training import resumable

SIZES = [(2, 8, 8), (1, 5, 7), (1, 6, 13)]  # pictures, rows, columns; halving does not come out even in the last two


def check_raw_network(model, parameters, path, sizes=SIZES):
    """Parameter count, shape and dtype for several sizes in a row, finite gradients everywhere, and saving."""
    generator = np.random.default_rng(0)
    assert model.count_params() == parameters
    for batch, height, width in sizes:  # after the first size TensorFlow builds a graph that is to serve any
        output = model.predict_on_batch(generator.random((batch, height, width, 4), dtype="float32"))
        assert output.shape == (batch, 2 * height, 2 * width, 3) and output.dtype == np.float32
        assert np.isfinite(output).all()

    frames = generator.random((2, *sizes[0][1:], 4), dtype="float32")
    pictures = generator.random((2, 2 * sizes[0][1], 2 * sizes[0][2], 3), dtype="float32")
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(1.0), "mae", run_eagerly=True)  # without waiting for a graph
    model.train_on_batch(frames, pictures)
    for weight, old in zip(model.weights, before, strict=True):
        new = ops.convert_to_numpy(weight)
        assert np.isfinite(new).all()
        assert np.array_equal(new, old) != weight.trainable, f"{weight.path}: gradient where none is due, or none"

    output = model.predict_on_batch(frames)
    model.save(path)
    again = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_allclose(ops.convert_to_numpy(again(frames)), output, atol=1e-6)
    assert again.to_json() == model.to_json()


def check_halo(model):
    """A part of the frame with as much of its surroundings as the card names gives the same pixels as the whole."""
    stride, halo = model.card["stride"], model.card["halo"]
    side = 2 * halo + 8 * stride
    begin, end = halo + stride, halo + 3 * stride
    frame = np.random.default_rng(0).random((1, side, side, 4), dtype="float32")
    whole = ops.convert_to_numpy(model(frame))[:, 2 * begin : 2 * end, 2 * begin : 2 * end]
    part = slice(begin - halo, end + halo)
    cut = ops.convert_to_numpy(model(frame[:, part, part]))[:, 2 * halo : -2 * halo, 2 * halo : -2 * halo]
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def raw_unet_parameters(filters, depth, inputs=4, outputs=12, joined=0, skips=True):
    """The parameters of the U-Net of "Learning to See in the Dark", added up by hand.

    `joined` says how often each level but the coarsest gets its own width in further channels.
    """

    def convolve_twice(inputs, outputs):
        return 9 * inputs * outputs + outputs + 9 * outputs**2 + outputs

    widths = [filters * 2**level for level in range(depth)]
    total = filters * outputs + outputs
    for level, width in enumerate(widths):
        further = joined * width if level < depth - 1 else 0
        total += convolve_twice((widths[level - 1] if level else inputs) + further, width)
    for width in widths[:-1]:
        total += 4 * 2 * width * width + convolve_twice(2 * width if skips else width, width)
    return total


def fit_resumable(model, frames, pictures, run_dir, epochs):
    """Train a compiled adversarial model in a run folder, up to this epoch; returns it."""
    model.fit(
        frames, pictures, batch_size=2, epochs=epochs, validation_data=(frames, pictures), shuffle=False, verbose=0,
        callbacks=resumable(run_dir, {"seed": 0}, monitor="val_l1"),
    )  # fmt: skip
    return model


def check_resuming(fit, folder):
    """A run of one epoch and two more ends with the weights of one of three; `fit` takes run folder and epochs."""
    whole = fit(folder / "whole", 3)
    fit(folder / "parts", 1)
    parts = fit(folder / "parts", 3)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    return whole, parts
