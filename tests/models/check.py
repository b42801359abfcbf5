"""What every network of the project must do."""

import keras
import numpy as np
from keras import ops


def check_model(model, parameters, path, image_shape=(32, 32, 3), idle=lambda path: False):
    """Shape and dtype of the output, parameter count, finite gradients everywhere, and saving.

    `idle` says of a weight's path whether the weight may have no gradient.
    """
    images = np.random.default_rng(0).random((2, *image_shape), dtype="float32")
    output = model.predict(images, verbose=0)
    assert output.shape == images.shape and output.dtype == np.float32
    assert np.isfinite(output).all()
    assert model.count_params() == parameters

    if None in getattr(model, "input_shape", (1, None))[1:3]:
        for more in (8, 16):  # after the first size TensorFlow builds a graph that is to serve any
            larger = np.zeros((1, image_shape[0] + more, *image_shape[1:]), "float32")
            assert model.predict_on_batch(larger).shape == larger.shape

    before = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=None if hasattr(model, "trackers") else "mse")
    history = model.fit(images, images[::-1], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for weight, old in zip(model.trainable_weights, before, strict=True):
        changed = not np.array_equal(ops.convert_to_numpy(weight), old)
        assert changed or idle(weight.path), f"{weight.path} gets no gradient"

    output = model.predict(images, verbose=0)
    model.save(path)
    again = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_allclose(again.predict(images, verbose=0), output, atol=1e-6)
    assert again.to_json() == model.to_json()
