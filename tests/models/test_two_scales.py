import keras
import numpy as np
import pytest

from lle import data, metrics, results
from lle.models import TwoScales, remembering, unet

PICTURE = 0.2 * np.random.default_rng(2).random((128, 160, 3), dtype="float32") + 0.1


def times(factor):
    return lambda batch: factor * batch


def ramp(batch):
    """Brighter from left to right, from 0.2 to 0.8, whatever it is shown."""
    return np.zeros_like(batch) + np.linspace(0.2, 0.8, batch.shape[2], dtype="float32")[:, None]


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_brightness_is_that_of_both_by_their_shares_and_the_detail_that_of_the_fine_one(share):
    output = TwoScales(times(3), times(2), size=64, share=share)(PICTURE[None])[0]
    expected = (3 * share + 2 * (1 - share)) * PICTURE
    assert output.shape == PICTURE.shape and output.dtype == np.float32
    assert abs(output.mean() - expected.mean()) < 0.01
    ratio = output / PICTURE
    assert ratio.std() < 0.05 * ratio.mean()


def test_each_place_gets_the_brightness_that_the_coarse_one_has_there():
    even = np.full((1, 90, 150, 3), 0.2, "float32")
    output = TwoScales(ramp, times(2), size=48, share=1)(even)[0]
    expected = ramp(even)[0]
    np.testing.assert_allclose(output[:, 10:-10], expected[:, 10:-10], atol=0.02)


def test_colours_follow_the_coarse_one():
    orange = np.float32([0.8, 0.4, 0.2])
    output = TwoScales(lambda batch: np.zeros_like(batch) + orange, times(2), size=16, share=1)(PICTURE[None])[0]
    np.testing.assert_allclose(output.mean(axis=(0, 1)), orange, atol=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (31, 33), (33, 200)])
def test_any_size(shape):
    output = TwoScales(times(2), times(2), size=20)(np.full((1, *shape, 3), 0.3, "float32"))
    np.testing.assert_allclose(output, 0.6, atol=1e-5)


def test_black_stays_black():
    output = TwoScales(lambda batch: batch + 1, times(2))(np.zeros((1, 40, 40, 3), "float32"))
    assert (output == 0).all()


def test_remembering_asks_once_for_each_picture():
    asked = []

    def brighten(batch):
        asked.append(batch.shape)
        return 2 * batch

    once, first, second = remembering(brighten), PICTURE[None], PICTURE[None, ::-1]
    for share in (0, 0.5, 1):
        output = TwoScales(times(2), once, size=64, share=share)(first)
        assert abs(output.mean() - 2 * first.mean()) < 0.01
    for batch in (first, second, first):
        np.testing.assert_allclose(once(batch), 2 * batch, rtol=1e-6)
    assert len(asked) == 2 and not once(first).flags.writeable


def test_can_be_measured_and_recorded(tmp_path):
    coarse, fine, pairs = unet(2, 1), unet(4, 1), data.samples().test[:1]
    both = TwoScales(coarse, fine, size=32, share=0.25)
    saved = results.save(tmp_path / "both.json", both, {"data": "samples"}, {"samples": metrics.evaluate(both, pairs)})
    parameters = coarse.count_params() + fine.count_params()
    assert saved["model"] == {"class": "TwoScales", "parameters": parameters, "arguments": {"size": 32, "share": 0.25}}
    expected = metrics.psnr(data.read_image(pairs[0].high), both(data.read_image(pairs[0].low)[None] / 255.0)[0])
    assert abs(saved["metrics"]["samples"]["mean"]["psnr"] - expected) < 0.05  # of 8 bit there


def test_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="between 0 and 1"):
        TwoScales(times(1), times(1), share=1.5)
    for size in (0, 16.5):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            TwoScales(times(1), times(1), size=size)
    two = np.zeros((2, 8, 8, 3), "float32")
    for function in (TwoScales(times(1), times(1)), remembering(times(1))):
        with pytest.raises(ValueError, match="one picture at a time"):
            function(two)


def test_takes_tensors():
    batch = keras.ops.convert_to_tensor(PICTURE[None])
    np.testing.assert_allclose(TwoScales(times(2), remembering(times(2)))(batch), 2 * PICTURE[None], rtol=0.05)
