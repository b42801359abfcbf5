import keras
import numpy as np
import pytest
from check_raw import check_halo, check_raw_network, raw_unet_parameters

from lle.models import attention_unet, sid_unet
from lle.models.blocks import DepthToSpace

generator = np.random.default_rng(0)


def test_network(tmp_path):
    keras.utils.set_random_seed(0)
    check_raw_network(sid_unet(2, 3), raw_unet_parameters(2, 3), tmp_path / "model.keras")


def test_the_authors_size():
    assert sid_unet().count_params() == raw_unet_parameters(32, 5) == 7_760_268
    assert sid_unet(1, 6).count_params() == raw_unet_parameters(1, 6)
    assert raw_unet_parameters(32, 6) == 31_094_156
    assert sid_unet().card == {"stride": 16, "halo": 96, "channels": 4, "scale": 2}


def test_sees_no_further_than_its_halo():
    keras.utils.set_random_seed(0)
    check_halo(sid_unet(2, 3))


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1)])
def test_against_the_authors_formulas(size):
    keras.utils.set_random_seed(0)
    model = sid_unet(2, 2)
    model.set_weights([generator.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    frame = generator.random((*size, 4), dtype="float32")
    found = keras.ops.convert_to_numpy(model(frame[None]))[0]
    np.testing.assert_allclose(found, two_levels(frame, model), rtol=1e-4, atol=1e-5)


def two_levels(frame, model):
    """The network of train_Sony.py with two levels: what TensorFlow 1 does there, in NumPy."""

    def convolve(image, name):
        kernel, bias = model.get_layer(name).get_weights()
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, ((1, 1), (1, 1), (0, 0))), (3, 3), (0, 1))
        values = np.einsum("hwcij,ijco->hwo", windows, kernel) + bias
        return np.maximum(0.2 * values, values)

    def both(image, name):
        return convolve(convolve(image, f"{name}_first"), name)

    height, width, _ = frame.shape
    fine = both(frame, "encoder_0")
    even = np.pad(fine, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=-np.inf)
    pooled = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, -1).max((1, 3))
    (kernel,) = model.get_layer("transposed_0").get_weights()  # (2, 2, outputs, inputs)
    enlarged = np.einsum("hwc,ijoc->hiwjo", both(pooled, "encoder_1"), kernel).reshape(*even.shape[:2], -1)
    features = both(np.concatenate([enlarged[:height, :width], fine], -1), "decoder_0")
    kernel, bias = model.get_layer("packed_picture").get_weights()
    packed = (features @ kernel[0, 0] + bias).reshape(height, width, 2, 2, 3)
    return packed.transpose(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, 3)


def test_depth_to_space_puts_each_channel_in_its_place():
    packed = np.arange(2 * 3 * 12, dtype="float32").reshape(1, 2, 3, 12)
    picture = keras.ops.convert_to_numpy(DepthToSpace()(packed))
    assert picture.shape == (1, 4, 6, 3)
    for row, column, color in np.ndindex(4, 6, 3):
        channel = 6 * (row % 2) + 3 * (column % 2) + color
        assert picture[0, row, column, color] == packed[0, row // 2, column // 2, channel]


@pytest.mark.parametrize("build", [sid_unet, attention_unet])
def test_mixed_precision_trains_and_gives_float32(build):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(2, 2)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("encoder_0").compute_dtype == "bfloat16"
    frames = generator.random((2, 5, 6, 4), dtype="float32")
    pictures = generator.random((2, 10, 12, 3), dtype="float32")
    model.compile(keras.optimizers.Adam(1e-4), "mae", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(frames, pictures))
    assert keras.backend.standardize_dtype(model(frames).dtype) == "float32"


def test_refuses_no_level():
    with pytest.raises(ValueError, match="at least one level"):
        sid_unet(depth=0)
