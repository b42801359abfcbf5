"""What is shipped under weights/: whole, small, documented, and what its card and its result file say."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import lle
from lle import data
from lle.enhance import DEFAULT, run

ROOT = Path(__file__).parent.parent
CARDS = sorted((ROOT / "weights").glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_network(path):
    card = json.loads(path.read_text(encoding="utf-8"))
    file = path.with_name(card["file"])
    assert hashlib.sha256(file.read_bytes()).hexdigest() == card["sha256"]
    assert file.stat().st_size < 10e6

    model = lle.load(path.stem)
    arguments = json.loads(json.dumps(model.get_config()))
    assert {key: arguments[key] for key in card.get("arguments", {})} == card.get("arguments", {})
    assert model.card == card and model.count_params() == card["parameters"]
    for weight in model.weights:
        values = np.abs(keras.ops.convert_to_numpy(weight))
        assert np.isfinite(values).all()
        assert not ((values > 0) & (values < np.finfo("float32").tiny)).any(), f"{weight.path} has subnormal values"

    result = json.loads((ROOT / "results" / path.name).read_text(encoding="utf-8"))
    assert result["settings"] == card["trained_on"]
    assert {name: rows["mean"] for name, rows in result["metrics"].items()} == card["results"]


def test_everything_shipped_has_a_card_and_the_default_is_there():
    assert DEFAULT in {path.stem for path in CARDS}
    assert {path.stem for path in (ROOT / "weights").glob("*.keras")} == {path.stem for path in CARDS}
    assert sum(file.stat().st_size for file in (ROOT / "weights").iterdir()) < 40e6


def test_report_3_s_network_takes_the_report_s_size():
    dark = np.full((1, 150, 150, 3), 0.1, "float32")
    assert lle.load("deeper_unet")(dark).shape == dark.shape


def test_the_default_network_brightens_a_dark_photograph():
    from lle import data, metrics

    pair = data.samples().test[0]
    dark, reference = data.read_image(pair.low), data.read_image(pair.high)
    assert metrics.psnr(reference, lle.enhance(dark)) > metrics.psnr(reference, dark) + 5


def test_the_default_network_leaves_a_bright_photograph_alone():
    from lle import data, metrics

    bright = data.read_image(data.samples().test[0].high)
    assert metrics.psnr(bright, lle.enhance(bright)) > 30


@pytest.mark.parametrize("together", [1, 2])
def test_tiles_of_the_default_network_show_no_seams(monkeypatch, together):
    monkeypatch.setattr("lle.tiles.together", lambda: together)
    dawn, noise = lle.load("dawn"), np.random.default_rng(0).random((400, 600, 3))
    pictures = [data.read_image(pair.low) / 255 for pair in data.samples().test[-2:]] + [noise, noise**4 / 5]
    for picture in map(np.float32, pictures):
        np.testing.assert_allclose(run(dawn, picture, tile=160), run(dawn, picture), rtol=0, atol=0.01 / 255)


def test_the_brightness_that_the_readme_speaks_of():
    dawn = lle.load("dawn")
    dark = {pair.low for part in data.samples() for pair in part}
    for asked, lowest, highest in ((0.4, 0.39, 0.40), (0.7, 0.66, 0.70), (0.9, 0.75, 0.88)):
        outputs = [lle.enhance(data.read_image(path), dawn, brightness=asked) for path in dark]
        means = [float((output / 255 @ [0.299, 0.587, 0.114]).mean()) for output in outputs]
        assert len(means) == 18 and min(means) == pytest.approx(lowest, abs=0.01)
        assert max(means) == pytest.approx(highest, abs=0.01)
    for value, mean, highest in ((0, 1, 13), (1, 110, 123)):
        output = lle.enhance(np.full((400, 600, 3), value, "uint8"), dawn)
        assert (output @ [0.299, 0.587, 0.114]).mean() == pytest.approx(mean, abs=0.5)
        assert output.max() == pytest.approx(highest, abs=1)
