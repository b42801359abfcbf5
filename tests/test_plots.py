from io import BytesIO
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot
from matplotlib.colors import to_hex
from skimage import data as photographs

from lle import data, plots
from lle.data import Pair

PSNR = [10.0, 12.0, 15.0, 14.0]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def write_log(path, epochs, **logs):
    """Lets Keras write the log of a run, or of its resumption."""
    logger = keras.callbacks.CSVLogger(path, append=True)
    logger.on_train_begin()
    for index, epoch in enumerate(epochs):
        logger.on_epoch_end(epoch, {name: values[index] for name, values in logs.items()})
    logger.on_train_end()
    return path


def history(**logs):
    record = keras.callbacks.History()
    record.set_model(SimpleNamespace())
    record.on_train_begin()
    for epoch in range(len(next(iter(logs.values())))):
        record.on_epoch_end(epoch, {name: values[epoch] for name, values in logs.items()})
    return record


@pytest.fixture
def resumed(tmp_path):
    path = write_log(tmp_path / "log.csv", [0, 1, 2], loss=[3.0, 2.0, 9.0], val_psnr=[10.0, 12.0, 1.0])
    return write_log(path, [2, 3], loss=[1.5, 1.0], val_psnr=[15.0, 14.0])


def picture(value, height=24, width=36):
    return np.full((height, width, 3), value, "float32")


def test_read_log_lets_the_later_row_of_an_epoch_count(resumed):
    log = plots.read_log(resumed)
    assert list(log) == ["epoch", "loss", "val_psnr"]
    np.testing.assert_array_equal(log["epoch"], [0, 1, 2, 3])
    np.testing.assert_array_equal(log["loss"], [3.0, 2.0, 1.5, 1.0])
    np.testing.assert_array_equal(log["val_psnr"], PSNR)


def test_read_log_without_validation_has_no_validation_columns(tmp_path):
    assert list(plots.read_log(write_log(tmp_path / "log.csv", [0], loss=[np.nan]))) == ["epoch", "loss"]


def test_read_log_keeps_what_a_line_cut_short_still_holds(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,psnr\n0,1.0,10\n1,0.5")
    log = plots.read_log(tmp_path / "log.csv")
    np.testing.assert_array_equal(log["loss"], [1.0, 0.5])
    np.testing.assert_array_equal(log["psnr"], [10.0, np.nan])


@pytest.mark.parametrize("content", ["", "epoch,loss\n", "loss\n1.0\n"])
def test_read_log_names_a_file_without_epochs(tmp_path, content):
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ValueError, match="log.csv holds no epoch"):
        plots.read_log(tmp_path / "log.csv")


def test_curves_of_a_history():
    run = history(loss=[3.0, 2.0, 1.5, 1.0], psnr=PSNR, val_psnr=[9.0, 11.0, 13.25, 12.0])
    figure = plots.curves(run, ["loss", "psnr"])
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "PSNR (dB)")
    assert left.get_xlabel() == right.get_xlabel() == "epoch"
    (loss,) = left.lines
    np.testing.assert_array_equal(loss.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(loss.get_ydata(), [3.0, 2.0, 1.5, 1.0])
    training, validation, best = right.lines
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert training.get_color() == validation.get_color()
    np.testing.assert_array_equal(validation.get_ydata(), [9.0, 11.0, 13.25, 12.0])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (3, 13.25)
    assert [text.get_text() for text in right.texts] == ["13.25 dB"]
    assert legend(figure) == ["training", "validation", "best validation"]


def test_curves_of_several_runs(resumed):
    figure = plots.curves({"first": resumed, "second": str(resumed), "third": history(psnr=PSNR)}, "psnr")
    (axes,) = figure.axes
    curves = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert len({to_hex(line.get_color()) for line in curves}) == 3
    for line in curves:
        np.testing.assert_array_equal(line.get_ydata(), PSNR)
    named = [f"{name}, best 15.00 dB" for name in ("first", "second")]  # the third has no validation
    assert legend(figure) == [*named, "third", "training", "validation", "best validation"]
    assert not axes.texts  # several would overlap


def test_curves_scale_the_learning_rate_and_what_they_are_told_logarithmically():
    run = history(loss=[3.0, 1.0], mae=[1.0, 0.5], learning_rate=[1e-3, 1e-5])
    scales = [axes.get_yscale() for axes in plots.curves(run, ["loss", "learning_rate"]).axes]
    assert scales == ["linear", "log"]
    scales = [axes.get_yscale() for axes in plots.curves(run, ["loss", "mae"], log_scale=["mae"]).axes]
    assert scales == ["linear", "log"]


def test_curves_say_what_a_run_has(resumed):
    with pytest.raises(ValueError, match=r"second has no 'psnr'; it has \['loss'\]"):
        plots.curves({"first": resumed, "second": history(loss=[1.0])}, ["loss", "psnr"])
    with pytest.raises(TypeError, match="History or the path"):
        plots.curves({"loss": [3.0, 2.0]})


def test_curves_refuse_values_of_unknown_epochs():
    run = history(loss=[3.0, 2.0, 1.0, 0.5])
    run.history["val_loss"] = [2.5, 1.0]  # as validation_freq=2 leaves it
    with pytest.raises(ValueError, match="2 values of val_loss in 4 epochs"):
        plots.curves(run)


def test_enhanced_gives_rows_of_input_networks_and_reference(write):
    pair = Pair(write("low/1.png"), write("high/1.png", seed=1))
    rows = plots.enhanced({"itself": lambda batch: batch, "inverted": lambda batch: 1 - batch}, [pair, pair])
    assert [list(row) for row in rows] == [["input", "itself", "inverted", "reference"]] * 2
    dark, reference = data.read_pairs([pair])
    np.testing.assert_array_equal(rows[0]["input"], dark[0])
    np.testing.assert_array_equal(rows[1]["itself"], dark[0])
    np.testing.assert_array_equal(rows[1]["inverted"], 255 - dark[0])
    np.testing.assert_array_equal(rows[1]["reference"], reference[0])


def test_compare_measures_against_the_reference():
    output = (picture(0.4) * 255).round().astype("uint8")  # 102 against 128
    figure = plots.compare({"input": picture(128 / 255), "Zero-DCE": output, "reference": picture(128 / 255)})
    psnr = 20 * np.log10(255 / 26)
    ssim = (2 * 128 * 102 + 2.55**2) / (128**2 + 102**2 + 2.55**2)  # what is left of it without any variance
    expected = ["inf dB / 1.00", f"{psnr:.1f} dB / {ssim:.2f}", "PSNR / SSIM"]
    assert texts(figure) == ["input", "Zero-DCE", "reference", *expected]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert [array.dtype for array in shown] == ["uint8"] * 3
    np.testing.assert_array_equal(shown[0], np.full((24, 36, 3), 128))
    np.testing.assert_array_equal(shown[1], output)


def test_compare_rows_of_other_sizes_and_columns():
    rows = [
        {"input": picture(0.1), "ours": picture(0.5)},
        {"input": picture(0.2, 36, 24), "reference": picture(0.5, 36, 24)},
    ]
    figure = plots.compare(rows, names=["mine", 22])
    assert texts(figure) == ["input", "ours", "reference", "mine", "22", "10.4 dB / 0.69", "PSNR / SSIM"]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    ratios = [box.height / box.width for box in boxes]
    np.testing.assert_allclose(ratios, [24 / 36, 24 / 36, 36 / 24, 36 / 24], rtol=1e-6)
    assert boxes[0].x0 == pytest.approx(boxes[2].x0) and boxes[1].x1 < boxes[3].x0 and boxes[2].y1 < boxes[0].y0


def test_titles_break_at_spaces_and_underscores():
    picture = np.zeros((4, 6, 3))
    names = ["mirnet_v2_small", "the dark input", "deeper_unet", *"abcdef"]
    shown = texts(plots.compare([dict.fromkeys(names, picture)]))
    assert shown[:3] == ["mirnet_v2_\nsmall", "the dark\ninput", "deeper_unet"]


def test_compare_clips_what_a_network_overshoots():
    output = picture(0.5)
    output[0, 0] = -0.2, 1.1, 0.25
    (axes,) = plots.compare({"output": output}).axes
    assert axes.images[0].get_array()[0, 0].tolist() == [0, 255, 64]


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "0 rows"),
        ([{}], "one and the same size"),
        ({"low": picture(0.1), "high": picture(0.1, 36, 24)}, r"'low': \(24, 36\), 'high': \(36, 24\)"),
        ({"low": picture(25.0)}, "low: a picture must be uint8 or float in .* to 25.0"),
        ({"low": picture(np.nan)}, "low: a picture must be"),
        ({"low": picture(1).astype("int64")}, "got int64"),
        ({"low": picture(0.5)[None]}, r"got shape \(1, 24, 36, 3\)"),
    ],
)
def test_compare_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        plots.compare(rows)


def test_compare_refuses_names_that_do_not_match_the_rows():
    with pytest.raises(ValueError, match="1 rows of pictures and 2 names"):
        plots.compare({"low": picture(0.1)}, names=["1", "2"])


def test_magnify_marks_and_shows_the_crop():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8")
    figure = plots.magnify({"input": image, "ours": 255 - image}, (10, 20, 5, 15))
    assert texts(figure) == ["input", "ours"]
    for (whole, crop), expected in zip([figure.axes[:2], figure.axes[2:]], [image, 255 - image], strict=True):
        np.testing.assert_array_equal(whole.images[0].get_array(), expected)
        np.testing.assert_array_equal(crop.images[0].get_array(), expected[10:15, 20:35])
        assert crop.images[0].get_interpolation() == "nearest"
        assert whole.patches[0].get_bbox().extents.tolist() == [19.5, 9.5, 34.5, 14.5]


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 0, 5), (36, 0, 5, 5), (0, 56, 5, 5)])
def test_magnify_refuses_a_crop_outside(window):
    with pytest.raises(ValueError, match="not inside a picture of 40 x 60"):
        plots.magnify({"input": picture(0.5, 40, 60)}, window)


def test_large_pictures_are_drawn_from_fewer_pixels():
    figure = plots.magnify({"photograph": picture(0.5, 1200, 1800)})
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes][1] == (240, 360)
    figure = plots.magnify({"photograph": picture(0.5, 1200, 1800)}, (1000, 1700, 20, 30))
    whole, crop = (axes.images[0] for axes in figure.axes)
    assert whole.get_array().shape[1] < 900 and crop.get_array().shape == (20, 30, 3)
    assert whole.get_extent() == pytest.approx((-0.5, 1799.5, 1199.5, -0.5))  # where the mark's pixels are counted


def table(*values, mean):
    return pd.DataFrame({"psnr": [*values, mean]}, index=["2", "10", "11", "mean"])


def test_many_names_leave_the_curves_their_room():
    history = keras.callbacks.History()
    history.epoch, history.history = [0, 1], {"loss": [2.0, 1.0]}
    heights = []
    for count in (2, 8):
        figure = plots.curves({f"a name that takes half of the figure's width, {i}": history for i in range(count)})
        figure.savefig(BytesIO())  # which lays it out
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[1] == pytest.approx(heights[0], rel=0.05)


def test_pictures_of_one_name_have_a_dot_each():
    table = pd.DataFrame({"psnr": [20.0, 22.0, 21.0]}, index=["1", "1", "mean"])
    figure = plots.per_image(table)
    assert [list(line.get_ydata()) for line in figure.axes[0].lines][-1] == [20.0, 22.0]


def test_per_image_shows_each_image_and_the_mean_of_the_table():
    tables = {"input": table(7.0, 8.0, 9.0, mean=7.9), "ours": table(14.0, 15.0, 19.0, mean=16.0)}
    figure = plots.per_image(tables)
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "10", "11"]
    assert axes.get_ylabel() == "PSNR (dB)"
    assert [list(line.get_ydata()) for line in axes.lines] == [[7.9] * 2, [7, 8, 9], [16.0] * 2, [14, 15, 19]]
    assert legend(figure) == ["input, mean 7.90 dB", "ours, mean 16.00 dB"]
    assert legend(plots.per_image(tables["input"])) == ["mean 7.90 dB"]


def test_the_legend_of_many_methods_stays_in_the_figure():
    names = ["the dark input, untouched", "a network with a name of some length", "b", "c", "d", "e", "f"]
    figure = plots.per_image({name: table(7.0, 8.0, 9.0, mean=7.9) for name in names})
    figure.canvas.draw()
    extent = figure.legends[0].get_window_extent()
    assert len(legend(figure)) == 7 and 0 <= extent.x0 and extent.x1 <= figure.bbox.width


def test_per_image_refuses_what_cannot_be_compared():
    first = table(7.0, 8.0, 9.0, mean=8.0)
    with pytest.raises(ValueError, match=r"'ours' has no 'ssim'; it has \['psnr'\]"):
        plots.per_image({"ours": first}, "ssim")
    with pytest.raises(ValueError, match="'ours' is about"):
        plots.per_image({"input": first, "ours": first.drop("10")})


def test_a_notebook_shows_a_figure_once_and_small():
    backend = dict.__getitem__(pyplot.rcParams, "backend")
    reference = photographs.coffee()  # 600 x 400
    low = (reference * 0.1).round().astype("uint8")
    output = np.clip(low * 8.0 + np.random.default_rng(0).normal(0, 10, low.shape), 0, 255).astype("uint8")
    figure = plots.compare({"input": low, "ours": output, "reference": reference})
    formats, _ = DisplayFormatter().format(figure)
    assert set(formats) == {"text/plain", "image/png"}
    assert formats["image/png"].startswith(b"\x89PNG") and len(formats["image/png"]) < 400_000
    assert pyplot.get_fignums() == [] and dict.__getitem__(pyplot.rcParams, "backend") == backend


def test_nothing_to_draw():
    for call in (lambda: plots.curves({}), lambda: plots.per_image({})):
        with pytest.raises(ValueError, match="there (are 0|is no)"):
            call()
