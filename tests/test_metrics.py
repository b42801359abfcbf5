import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import mean_squared_error

import lle
from lle import metrics
from lle.data import Pair
from lle.enhance import run
from lle.models import unet_residual_attention

generator = np.random.default_rng(0)
REFERENCE = generator.integers(0, 256, (24, 32, 3), dtype="uint8")
OUTPUT = np.clip(REFERENCE / 255 + generator.normal(0, 0.1, REFERENCE.shape), 0, 1).astype("float32")


@pytest.fixture
def pairs(write):
    return [Pair(write(f"low/{i}.png", 24, 32, i), write(f"high/{i}.png", 24, 32, 10 + i)) for i in (1, 2)]


def test_psnr_by_hand():
    black, grey = np.zeros((2, 2, 3), "uint8"), np.full((2, 2, 3), 51, "uint8")
    assert metrics.psnr(black, grey) == pytest.approx(20 * np.log10(5))
    assert metrics.psnr(black, grey.astype("float32") / 255) == pytest.approx(20 * np.log10(5))
    assert metrics.psnr(grey, grey) == np.inf


def test_psnr_clips_and_rounds():
    reference = np.full((1, 1, 3), 255, "uint8")
    assert metrics.psnr(reference, np.full((1, 1, 3), 1.7)) == np.inf
    assert metrics.psnr(reference, np.full((1, 1, 3), 254.6 / 255)) == np.inf
    assert metrics.psnr(reference, np.full((1, 1, 3), 254.4 / 255)) == pytest.approx(20 * np.log10(255))


def test_ssim_is_that_of_wang_2004():
    expected = np.mean([
        structural_similarity(
            REFERENCE[..., i].astype(float), np.rint(OUTPUT[..., i] * 255.0), data_range=255,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for i in range(3)
    ])  # fmt: skip
    assert metrics.ssim(REFERENCE, OUTPUT) == pytest.approx(expected, abs=1e-6)
    assert metrics.ssim(REFERENCE, REFERENCE) == pytest.approx(1)
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(REFERENCE[:10], OUTPUT[:10])


def test_a_picture_too_small_for_ssim_is_named(write):
    pair = Pair(write("low/1.png", 10, 40, 1), write("high/1.png", 10, 40, 2))
    with pytest.raises(ValueError, match="high/1.png: SSIM needs at least 11x11"):
        metrics.evaluate(lambda batch: batch, [pair])


def test_match_mean_undoes_a_darkening():
    reference = np.full((8, 8, 3), (80, 120, 160), "uint8")
    dark = reference // 4
    assert metrics.psnr(reference, metrics.match_mean(reference, dark)) == np.inf
    assert metrics.match_mean(reference, np.zeros((8, 8, 3), "uint8")).max() == 0  # nothing to scale


def test_match_mean_takes_the_means_of_8_bit():
    output = np.float32([[[10.4] * 3, [0.4] * 3]]) / 255  # 10 and 0, a quarter as bright as the reference
    matched = metrics.match_mean(np.full((1, 2, 3), 20, "uint8"), output)
    np.testing.assert_allclose(matched[0] * 255, [[40] * 3, [0] * 3], rtol=1e-4)


def test_psnr_in_uint8_arithmetic_says_27_9_dB_of_anything():
    residues = np.arange(256, dtype="uint8")
    assert (residues**2).mean() == 105.5
    others = generator.integers(0, 256, (400, 600, 3), dtype="uint8")
    noise = generator.integers(0, 256, (400, 600, 3), dtype="uint8")
    assert metrics.psnr_uint8(others, noise) == pytest.approx(10 * np.log10(255**2 / 105.5), abs=0.02)
    assert metrics.psnr(others, noise) < 8


def test_psnr_in_uint8_arithmetic_truncates_the_output():
    reference = np.full((1, 1, 3), 10, "uint8")
    assert metrics.psnr_uint8(reference, np.full((1, 1, 3), 10.9 / 255)) == np.inf
    assert metrics.psnr_uint8(reference, np.full((1, 1, 3), 26, "uint8")) == np.inf  # 16 ** 2 is 0 modulo 256
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.psnr_uint8(reference, np.zeros((1, 2, 3), "uint8"))


@pytest.mark.parametrize("protocol, extra", [
    ("standard", []), ("gt_mean", ["psnr_gt_mean", "ssim_gt_mean"]), ("report_5", ["psnr_as_printed"]),
])  # fmt: skip
def test_evaluate(pairs, protocol, extra):
    table = metrics.evaluate(lambda batch: 1 - batch, pairs, protocol)
    assert list(table.index) == ["1", "2", "mean"]
    assert list(table.columns) == ["psnr", "ssim", "ciede2000", *extra]
    pd.testing.assert_series_equal(table.loc["mean"], table.iloc[:2].mean(), check_names=False)
    low, high = (metrics.read_image(path) for path in pairs[0])
    assert table.loc["1", "psnr"] == metrics.psnr(high, 255 - low)
    if extra == ["psnr_gt_mean", "ssim_gt_mean"]:
        matched = metrics.match_mean(high, 255 - low)
        assert table.loc["1", "psnr_gt_mean"] == metrics.psnr(high, matched)
        assert table.loc["1", "ssim_gt_mean"] == metrics.ssim(high, matched) != table.loc["1", "ssim"]


def test_report_1_pools_the_resized_pictures(pairs):
    def halve(batch):
        return batch * 0.5 + 0.3

    table = metrics.evaluate(halve, pairs, "report_1")
    assert list(table.columns) == ["psnr", "ssim", "ciede2000", "mse_as_printed", "psnr_as_printed"]
    small = [[cv2.resize(metrics.read_image(path), (128, 128)) / 255 for path in pair] for pair in pairs]
    errors = [np.mean((halve(low) - high) ** 2) for low, high in small]
    np.testing.assert_allclose(table["mse_as_printed"], [*errors, np.mean(errors)], rtol=1e-5)
    flat = [np.concatenate([image.ravel() for image in images]) for images in zip(*small, strict=True)]
    pooled = -10 * np.log10(mean_squared_error(flat[1], halve(flat[0])))  # the report's own arithmetic
    assert table.loc["mean", "psnr_as_printed"] == pytest.approx(pooled, abs=1e-4)
    assert pooled < table["psnr_as_printed"][:2].mean()


def test_report_3_truncates_and_wraps(pairs):
    def brighten(batch):
        return batch * 1.3

    table = metrics.evaluate(brighten, pairs, "report_3")
    assert list(table.columns) == ["psnr", "ssim", "ciede2000", "psnr_as_printed"]
    for pair in pairs:
        low, high = (np.asarray(Image.open(path).resize((150, 150), Image.BILINEAR)) for path in pair)
        output = np.floor(brighten(low.astype("float32") / 255) * 255) % 256
        assert output.max() <= 255 and (low.astype(float) * 1.3 > 256).any()
        expected = peak_signal_noise_ratio(high / 255, output / 255, data_range=1)
        assert table.loc[pair.name, "psnr_as_printed"] == pytest.approx(expected, abs=1e-3)
    assert table.loc["mean", "psnr_as_printed"] == pytest.approx(table["psnr_as_printed"][:2].mean())


def test_report_3_needs_a_network_that_takes_its_size(pairs):
    with pytest.raises(ValueError, match="does not take 150x150, which report 3 needs .only multiples of 4"):
        metrics.evaluate(unet_residual_attention((None, None, 3), filters=2, depth=3), pairs, "report_3")


def test_evaluate_of_the_references_themselves(pairs):
    table = metrics.evaluate(lambda batch: batch, [Pair(pair.high, pair.high) for pair in pairs])
    assert table.loc["mean", "ssim"] == pytest.approx(1) and table.loc["mean", "ciede2000"] == 0


def test_pictures_of_the_same_name_all_count(pairs):
    reversed_pairs = [Pair(pair.high, pair.low) for pair in pairs]  # called the same
    table = metrics.evaluate(lambda batch: batch / 2, [*pairs, *reversed_pairs])
    assert list(table.index) == ["1", "2", "1", "2", "mean"]
    parts = [metrics.evaluate(lambda batch: batch / 2, part).loc["mean", "psnr"] for part in (pairs, reversed_pairs)]
    assert table.loc["mean", "psnr"] == pytest.approx(np.mean(parts)) and parts[0] != parts[1]


def test_a_network_may_be_given_by_its_name(pairs):
    by_name, itself = (metrics.evaluate(model, pairs) for model in ("zero_dce", lle.load("zero_dce")))
    np.testing.assert_array_equal(by_name, itself)
    image = np.full((32, 32, 3), 0.1, "float32")
    np.testing.assert_array_equal(run("zero_dce", image), run(lle.load("zero_dce"), image))
    with pytest.raises(ValueError, match="no network is called 'zork'"):
        metrics.evaluate("zork", pairs)


def test_evaluate_refuses(pairs):
    with pytest.raises(ValueError, match="protocol must be one of"):
        metrics.evaluate(lambda batch: batch, pairs, "best")
    with pytest.raises(ValueError, match="expected a list of pairs, such as lle.data.find_pairs makes"):
        metrics.evaluate(lambda batch: batch, "PAIRS")
    with pytest.raises(ValueError, match="called 'mean'"):
        metrics.evaluate(lambda batch: batch, [Pair(pairs[0].low.with_name("mean.png"), pairs[0].high)])
    with pytest.raises(ValueError, match="no pair"):
        metrics.evaluate(lambda batch: batch, [])


def test_keras_metrics_average_over_images_not_batches():
    references = np.stack([REFERENCE, REFERENCE, REFERENCE]).astype("float32") / 255
    outputs = np.stack([OUTPUT, OUTPUT * 2 - 0.5, 1 - OUTPUT])  # the second is clipped
    for metric, single, tolerance in ((metrics.PSNR(), metrics.psnr, 0.05), (metrics.SSIM(), metrics.ssim, 0.003)):
        metric.update_state(references[:2], outputs[:2])
        metric.update_state(references[2:], outputs[2:])
        expected = np.mean([single(REFERENCE, output) for output in outputs])
        assert float(metric.result()) == pytest.approx(expected, abs=tolerance)


def test_equal_images_count_as_100_dB_in_the_keras_metric():
    images = np.stack([REFERENCE, REFERENCE]).astype("float32") / 255
    metric = metrics.PSNR()
    metric.update_state(images, images)
    assert float(metric.result()) == pytest.approx(100, abs=1e-3)


def test_keras_metrics_save_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", "mse", metrics=[metrics.PSNR(), metrics.SSIM()])
    images = generator.random((2, 16, 16, 3), dtype="float32")
    model.fit(images, images, verbose=0)
    expected = model.evaluate(images, images, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    found = again.evaluate(images, images, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-4) and set(found) == {"loss", "psnr", "ssim"}


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim, metrics.match_mean])
def test_what_is_no_pair_of_images_is_refused(measure):
    image = np.full((16, 16, 3), 0.5)
    for other in (image[:1], image[..., :1]):
        with pytest.raises(ValueError, match="differ in shape"):
            measure(image, other)
    for other in ((image * 255).astype("uint16"), (image * 255).astype(int), image * 255, image * np.nan):
        with pytest.raises(ValueError, match="a picture must be uint8 or float in"):
            measure(image, other)
