import cv2
import keras
import numpy as np
import pytest
from check import check_model

from lle.enhance import run
from lle.models import mirnet, mirnet_v2
from lle.models.blocks import Enlarge, selective_kernel_fusion
from lle.models.mirnet import up_sampling
from lle.models.mirnet_v2 import ContextualBlock

generator = np.random.default_rng(0)


def test_the_network_that_the_report_trained_is_that_of_its_summary():
    model = mirnet(block="plain")
    assert model.count_params() == 446_659
    found = [(type(layer).__name__, layer.count_params()) for layer in model.layers]
    convolution, group = ("Conv2D", 36_928), []
    for _ in range(3):
        group += [convolution] + 2 * [convolution, ("ReLU", 0), ("Add", 0)] + [convolution, ("Add", 0)]
    assert found == [("InputLayer", 0), ("Conv2D", 1_792), *group, ("Conv2D", 1_731), ("Add", 0)]


def test_plain(tmp_path):
    keras.utils.set_random_seed(0)
    check_model(mirnet(8, 1, 2, block="plain"), 224 + 4 * 584 + 219, tmp_path / "model.keras", (13, 7, 3))


def test_multi_scale(tmp_path):
    assert mirnet(64, 1, 1, softmax_over="channels").count_params() == count_multi_scale(64)
    keras.utils.set_random_seed(0)
    model = mirnet(64, 1, 1)  # in a narrow one all ReLUs of an attention may be dead
    check_model(model, count_multi_scale(64), tmp_path / "model.keras", (16, 24, 3), idle=lambda path: "bias" in path)
    assert run(model, np.zeros((9, 14, 3), "float32")).shape == (9, 14, 3)


def count_multi_scale(channels):
    """One group of one block, counted by hand from the paper's figures 2 to 5."""

    def convolution(inputs, outputs, size=3):
        return size**2 * inputs * outputs + outputs

    def attention(width):
        squeezed = width // 8
        channel = convolution(width, squeezed, 1) + convolution(squeezed, width, 1)
        return 2 * convolution(width, width) + channel + convolution(2, 1, 5) + convolution(2 * width, width, 1)

    def resample(inputs, outputs):
        return convolution(inputs, inputs, 1) + convolution(inputs, inputs) + 2 * convolution(inputs, outputs, 1)

    def fusion(width):
        squeezed = max(width // 8, 4)
        return convolution(width, squeezed, 1) + 3 * convolution(squeezed, width, 1)

    full, half, quarter = widths = [channels, 2 * channels, 4 * channels]
    down, down_again = resample(full, half), resample(half, quarter)
    up, up_again = resample(half, full), resample(quarter, half)
    exchange = (up + up + up_again) + (down + up_again) + (down + down_again + down_again)
    last = (up + up + up_again) + fusion(full)
    block = 2 * sum(map(attention, widths)) + down + down_again + exchange + sum(map(fusion, widths)) + last
    group = block + convolution(full, full) + 2 * convolution(full, full)
    return convolution(3, full) + group + convolution(full, 3)


def test_fusion_weighs_streams_or_channels():
    stream = generator.random((1, 2, 3, 8), dtype="float32")
    for over, same in (("streams", True), ("channels", False)):
        inputs = [keras.Input((None, None, 8)) for _ in range(3)]
        model = keras.Model(inputs, selective_kernel_fusion(inputs, softmax_over=over))
        output = model.predict([stream] * 3, verbose=0)  # the weights of three equal streams add up to 1, or do not
        assert np.allclose(output, stream, rtol=1e-5) == same
    shares = output / stream
    assert shares.sum(-1) == pytest.approx(3, rel=1e-4)  # here those of the 8 channels do, in each of 3 streams


@pytest.mark.parametrize("height, width", [(1, 1), (3, 4), (5, 2)])
def test_enlarge_is_bilinear(height, width):
    image = generator.random((1, height, width, 3), dtype="float32")
    expected = cv2.resize(image[0], (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(Enlarge()(image))[0], expected, atol=1e-6)


def test_up_sampling_gives_what_the_paper_s_order_gives():
    inputs = keras.Input((None, None, 8))
    model = keras.Model(inputs, up_sampling(inputs))
    model.set_weights([generator.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    image = generator.random((1, 5, 6, 8), dtype="float32")
    narrow, wide, *last = (layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    branches = wide(narrow(image)), image
    expected = sum(convolve(Enlarge()(branch)) for convolve, branch in zip(last, branches, strict=True))
    np.testing.assert_allclose(model(image), keras.ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-5)


def test_version_2(tmp_path):
    keras.utils.set_random_seed(0)
    model = mirnet_v2(8, 1, groups=(1, 2))
    check_model(model, 21_331, tmp_path / "model.keras", (16, 24, 3), idle=lambda path: "bias" in path)
    assert run(model, np.zeros((9, 14, 3), "float32")).shape == (9, 14, 3)


def test_version_2_with_gamma_and_colours(tmp_path):
    keras.utils.set_random_seed(0)
    model = mirnet_v2(8, 1, groups=(1,), gamma=2.2, color_residual=True)
    count = mirnet_v2(8, 1, groups=(1,)).count_params()
    check_model(model, count, tmp_path / "model.keras", (16, 24, 3), idle=lambda path: "bias" in path)
    # The picture itself is added where there are no colours to add: untrained, the last convolution silenced.
    model = mirnet_v2(8, 1, groups=(1,), gamma=2.2)
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
    image = np.full((1, 8, 8, 3), 51 / 255, "float32")
    np.testing.assert_allclose(model(image), 122 / 255, atol=1e-6)  # floor(255 * 0.2 ** (1 / 2.2))


def test_version_2_at_half_the_size(tmp_path):
    keras.utils.set_random_seed(0)
    model = mirnet_v2(8, 1, groups=(1,), gamma=2.2, color_residual=True, half_size=True)
    added = 8 * 3 * (6 * 6 - 3 * 3) + (8 * 3 * 3 + 1) * (12 - 3)  # in the first and in the last convolution
    count = mirnet_v2(8, 1, groups=(1,)).count_params() + added
    check_model(model, count, tmp_path / "model.keras", (16, 24, 3), idle=lambda path: "bias" in path)
    assert run(model, np.zeros((9, 14, 3), "float32")).shape == (9, 14, 3)


def test_version_2_has_the_published_size():
    assert mirnet_v2().count_params() == pytest.approx(5.9e6, rel=0.02)  # table 4 of the paper


def test_contextual_block_against_its_formula():
    inputs = generator.random((1, 4, 5, 4), dtype="float32")
    block = ContextualBlock(groups=2)
    block.build(inputs.shape)
    block.set_weights([generator.normal(0, 0.3, weight.shape) for weight in block.get_weights()])
    first, second = ([layer.get_weights()[0] for layer in part] for part in (block.first, block.second))
    mask, before, after = (layer.get_weights()[0][0, 0] for layer in (block.mask, *block.context))

    def leak(values):
        return np.where(values > 0, values, 0.2 * values)

    def convolve(image, kernels):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image[0], ((1, 1), (1, 1), (0, 0))), (3, 3), (0, 1))
        parts = np.split(windows, 2, axis=2)  # (height, width, channels, 3, 3)
        found = [np.einsum("hwcij,ijco->hwo", part, kernel) for part, kernel in zip(parts, kernels, strict=True)]
        return np.concatenate(found, axis=-1)[None]

    features = convolve(leak(convolve(inputs, first)), second)
    scores = np.exp(features @ mask)
    summary = (features * scores / scores.sum()).sum((1, 2), keepdims=True)
    expected = inputs + leak(features + leak(summary @ before) @ after)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(block(inputs)), expected, rtol=1e-4, atol=1e-5)


def test_contextual_block_sums_over_a_large_picture_in_float16():
    inputs = np.random.default_rng(0).random((1, 256, 256, 4), dtype="float32")
    exact, half = ContextualBlock(), ContextualBlock(dtype="mixed_float16")
    expected = keras.ops.convert_to_numpy(exact(inputs))
    half.build(inputs.shape)
    half.set_weights(exact.get_weights())
    found = keras.ops.convert_to_numpy(keras.ops.cast(half(inputs), "float32"))
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_refuses():
    with pytest.raises(ValueError, match="block must be one of"):
        mirnet(block="residual")
    with pytest.raises(ValueError, match="softmax_over"):
        mirnet(softmax_over="places")
    with pytest.raises(ValueError, match="num_rrg and num_mrb must be at least 1"):
        mirnet(num_rrg=0)
    for groups in ((), (0,), (2, -1)):
        with pytest.raises(ValueError, match="num_mrb, all groups and their number must be at least 1"):
            mirnet_v2(groups=groups)
    with pytest.raises(ValueError, match="do not all divide"):
        mirnet_v2(6, groups=(4,))
    with pytest.raises(ValueError, match="gamma must be above 0"):
        mirnet_v2(gamma=0)
