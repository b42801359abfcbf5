import json

import keras
import numpy as np
import pytest

import lle
from lle import machine, results
from lle.batches import Batches
from lle.data import Pair
from lle.metrics import PSNR, evaluate
from lle.models import deeper_unet
from lle.models.blocks import BatchNormalization
from lle.plots import read_log
from lle.training import refresh_statistics, resumable

IMAGES = np.random.default_rng(0).random((8, 16, 16, 3), dtype="float32")
SETTINGS = {"seed": 0, "learning_rate": 0.1}


def fit(run_dir, epochs, settings=SETTINGS, extra=()):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("adam", "mse", metrics=[PSNR()])
    model.fit(
        IMAGES, IMAGES, epochs=epochs, validation_data=(IMAGES, IMAGES), shuffle=False, verbose=0,
        callbacks=[*resumable(run_dir, {**settings, "epochs": epochs}, monitor="val_psnr", mode="max"), *extra],
    )  # fmt: skip
    return model


def test_a_run_in_two_parts_equals_one_in_one(tmp_path):
    whole = fit(tmp_path / "whole", 5)
    fit(tmp_path / "parts", 2)
    parts = fit(tmp_path / "parts", 5)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    assert list(logs[1]["epoch"]) == [0, 1, 2, 3, 4] and (logs[1]["seconds"] > 0).all()
    np.testing.assert_allclose(logs[1]["val_psnr"], logs[0]["val_psnr"], rtol=1e-6)


class Traced(keras.Model):
    """Counts how often its step is traced. Its layers are built when it is called, not by `build`."""

    traces = 0

    def __init__(self):
        super().__init__()
        self.convolution = keras.layers.Conv2D(3, 1)

    def call(self, inputs):
        return self.convolution(inputs)

    def train_step(self, *args):
        self.traces += 1
        return super().train_step(*args)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch traces nothing")
@pytest.mark.filterwarnings("ignore:`build")  # it says that it builds no layers
@pytest.mark.parametrize("built_by, most", [(Traced.__call__, 1), (lambda model, _: model.build((None, 16, 16, 3)), 2)])
def test_the_step_is_traced_once_where_all_layers_are_built(tmp_path, built_by, most):
    model = Traced()
    built_by(model, IMAGES)
    model.compile("adam", "mse")
    model.fit(IMAGES, IMAGES, batch_size=4, epochs=2, verbose=0, callbacks=resumable(tmp_path, SETTINGS, "loss"))
    assert 1 <= model.traces <= most


def test_the_next_run_of_a_resumed_model_begins_at_its_beginning(tmp_path):
    fit(tmp_path / "first", 3)
    model = fit(tmp_path / "first", 3)  # all done
    model.fit(
        IMAGES, IMAGES, epochs=4, validation_data=(IMAGES, IMAGES), verbose=0,
        callbacks=resumable(tmp_path / "second", SETTINGS, monitor="val_psnr", mode="max"),
    )  # fmt: skip
    assert list(read_log(tmp_path / "second" / "log.csv")["epoch"]) == [0, 1, 2, 3]


def test_a_resumed_model_trains_on_without_the_folder(tmp_path):
    fit(tmp_path, 3)
    model = fit(tmp_path, 3)
    assert model.fit(IMAGES, IMAGES, epochs=2, verbose=0).epoch == [0, 1]


def test_a_model_interrupted_after_it_was_resumed_trains_on_without_the_folder(tmp_path):
    def interrupt(batch, logs):
        raise KeyboardInterrupt

    fit(tmp_path, 3)
    interrupting = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, 5, extra=[interrupting])
    assert interrupting.model.fit(IMAGES, IMAGES, epochs=2, verbose=0).epoch == [0, 1]


def fit_validated_every_second(run_dir, epochs):
    """Values that are logged every second epoch alone, and a schedule that decides by them."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("adam", "mse", metrics=[PSNR()])
    schedule = [keras.callbacks.EarlyStopping("val_loss", patience=3), keras.callbacks.ReduceLROnPlateau("val_loss")]
    callbacks = resumable(run_dir, SETTINGS, monitor="loss", schedule=schedule)
    return model.fit(
        IMAGES, IMAGES, epochs=epochs, validation_data=(IMAGES, IMAGES), validation_freq=2, shuffle=False, verbose=0,
        callbacks=callbacks,
    ).epoch  # fmt: skip


def test_validated_every_second_epoch_a_run_resumes_with_its_columns_and_its_schedule(tmp_path):
    assert fit_validated_every_second(tmp_path / "whole", 6) == [0, 1, 2, 3, 4, 5]
    fit_validated_every_second(tmp_path / "parts", 3)
    assert fit_validated_every_second(tmp_path / "parts", 6) == [3, 4, 5]
    whole, parts = (read_log(tmp_path / name / "log.csv") for name in ("whole", "parts"))
    assert list(whole) == list(parts) and np.isnan(whole["val_loss"]).sum() == 3
    for name in ("val_loss", "val_psnr", "learning_rate"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6)


class Interrupt(keras.callbacks.Callback):
    """Ends a run in the middle of an epoch of four batches."""

    def __init__(self, epoch):
        super().__init__()
        self.step = 4 * epoch + 2

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            raise KeyboardInterrupt


def fit_scheduled(run_dir, patience=20, interrupted_at=None, hours=None, average=False):
    """A run with all that has a memory: batch normalisation, dropout, random crops, a falling rate, early stopping."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3), keras.layers.Conv2D(3, 3, padding="same"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(0.3, use_ema=average, ema_momentum=0.9), "mse")  # too high a rate: it must fall
    batches = Batches(IMAGES, 1 - IMAGES, batch_size=2, crop=12, augment=True, seed=3)
    schedule = [
        keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=1, min_lr=1e-9),
        keras.callbacks.EarlyStopping(patience=patience),
    ]
    callbacks = resumable(run_dir, SETTINGS, schedule=schedule, batches=batches, hours=hours, average=average)
    if interrupted_at is not None:
        callbacks.append(Interrupt(interrupted_at))
    model.fit(batches, epochs=9, validation_data=(IMAGES, 1 - IMAGES), callbacks=callbacks, verbose=0)
    return model


@pytest.mark.parametrize("patience, average", [(20, False), (3, False), (20, True)])
def test_interrupted_in_any_epoch_it_ends_as_if_it_had_not_been(tmp_path, patience, average):
    whole = fit_scheduled(tmp_path / "whole", patience, average=average)
    log = read_log(tmp_path / "whole/log.csv")
    epochs = len(log["epoch"])
    assert len(set(log["learning_rate"])) > 2 and (epochs == 9) == (patience == 20)  # it fell, and one stopped early
    for epoch in range(0, epochs, 4 if average else 1):
        with pytest.raises(KeyboardInterrupt):
            fit_scheduled(tmp_path / "parts", patience, interrupted_at=epoch, average=average)
    for _ in range(2):  # the second time there is nothing left to do
        parts = fit_scheduled(tmp_path / "parts", patience, average=average)
        for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        resumed = read_log(tmp_path / "parts/log.csv")
        for name in ("epoch", "loss", "val_loss", "learning_rate"):
            np.testing.assert_array_equal(resumed[name], log[name])
    best = keras.saving.load_model(tmp_path / "parts/best.keras")
    assert best.evaluate(IMAGES, 1 - IMAGES, verbose=0) == pytest.approx(min(log["val_loss"]), rel=1e-5)


def test_stops_when_the_time_is_over_and_goes_on_another_day(tmp_path):
    untrained = fit_scheduled(tmp_path, hours=0)
    on_average = fit_scheduled(tmp_path, hours=0, average=True)
    np.testing.assert_array_equal(on_average.get_weights()[0], untrained.get_weights()[0])
    assert not (tmp_path / "log.csv").read_text().strip()
    for epochs in (1, 2):
        trained = fit_scheduled(tmp_path, hours=1e-9)
        assert len(read_log(tmp_path / "log.csv")["epoch"]) == epochs
    same = fit_scheduled(tmp_path, hours=0)
    assert len(read_log(tmp_path / "log.csv")["epoch"]) == 2
    np.testing.assert_array_equal(same.get_weights()[0], trained.get_weights()[0])
    assert not np.array_equal(untrained.get_weights()[0], trained.get_weights()[0])


@pytest.mark.parametrize("kind", ["loss scaling", "several"])
def test_before_the_first_step_averages_are_the_weights_behind_any_optimizer(tmp_path, kind):
    optimizer = keras.optimizers.Adam(use_ema=True)
    if kind == "several":
        first = keras.optimizers.SGD(0.1)
        optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(optimizer, {"first/.*": first}))
    else:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    convolutions = [keras.layers.Conv2D(3, 1, name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((16, 16, 3)), *convolutions])
    model.compile(optimizer, "mse")
    before = model.get_weights()
    callbacks = resumable(tmp_path, SETTINGS, average=True, hours=0)
    model.fit(IMAGES, IMAGES, validation_data=(IMAGES, IMAGES), epochs=2, callbacks=callbacks, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_average_where_the_optimizer_keeps_none(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="average=True needs"):
        model.fit(IMAGES, IMAGES, callbacks=resumable(tmp_path, SETTINGS, "loss", average=True), verbose=0)
    assert not (tmp_path / "log.csv").exists() or not (tmp_path / "log.csv").read_text().strip()


def test_a_setting_that_is_no_number_is_the_same_the_next_time(tmp_path):
    for _ in range(2):
        resumable(tmp_path, {"rate": float("nan")})
    with pytest.raises(ValueError, match="other settings .rate"):
        resumable(tmp_path, {"rate": 0.1})


def test_of_several_steps_in_one_no_single_one_is_blamed(tmp_path):
    images = IMAGES.copy()
    images[:] = np.nan
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", "mse", steps_per_execution=2)
    batches = Batches(images, IMAGES, batch_size=2)
    with pytest.raises(ValueError, match="became nan in batch 2 or up to 1 before it of epoch 1"):
        model.fit(batches, callbacks=resumable(tmp_path, SETTINGS, "loss", batches=batches), verbose=0)


def test_what_is_not_logged_cannot_be_monitored(tmp_path):
    def fit(monitor):
        model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
        model.compile("adam", "mse")
        callbacks = resumable(tmp_path / "run", SETTINGS, monitor)
        return model.fit(IMAGES, IMAGES, epochs=2, callbacks=callbacks, verbose=0).epoch

    with pytest.raises(ValueError, match="'val_loss' is not logged, only .*'loss'.*: give `monitor`, or validation"):
        fit("val_loss")
    assert fit("loss") == [0, 1]
    assert fit("loss") == []


@pytest.mark.parametrize("kind", [BatchNormalization, keras.layers.BatchNormalization])
def test_refreshed_statistics_are_means_over_the_batches(kind):
    model = keras.Sequential([keras.Input((16, 16, 3)), kind()])
    batches = Batches(IMAGES, batch_size=3)
    batches.epoch = 7  # as after a training; the first epoch's batches count
    refresh_statistics(model, batches)
    each = [batches[index][0].reshape(-1, 3) for index in range(3)]
    layer = model.layers[0]
    for found, measure in ((layer.moving_mean, np.mean), (layer.moving_variance, np.var)):
        expected = np.mean([measure(batch, axis=0) for batch in each], axis=0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)
    assert batches.epoch == 0 and layer.momentum == 0.99


def test_statistics_inside_of_models_are_refreshed_too_and_missed_where_there_are_none():
    layer = keras.layers.BatchNormalization()
    inner = keras.Sequential([keras.Input((16, 16, 3)), layer])
    refresh_statistics(keras.Sequential([keras.Input((16, 16, 3)), inner]), Batches(IMAGES, batch_size=8))
    found = keras.ops.convert_to_numpy(layer.moving_mean)
    np.testing.assert_allclose(found, IMAGES.mean(axis=(0, 1, 2)), rtol=1e-4)
    with pytest.raises(ValueError, match="no batch normalisation"):
        refresh_statistics(keras.Sequential([keras.Input((16, 16, 3))]), Batches(IMAGES))


def test_a_mode_that_there_is_not(tmp_path):
    with pytest.raises(ValueError, match="mode must be"):
        resumable(tmp_path, SETTINGS, mode="auto")


def test_restoring_the_best_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="best.keras"):
        resumable(tmp_path, SETTINGS, schedule=[keras.callbacks.EarlyStopping(restore_best_weights=True)])


def test_a_lost_checkpoint_and_broken_notes_are_met_before_the_training(tmp_path):
    fit(tmp_path, 2)
    (tmp_path / "best.keras").rename(tmp_path / "elsewhere.keras")
    with pytest.raises(ValueError, match="best.keras: missing"):
        fit(tmp_path, 3)
    (tmp_path / "elsewhere.keras").rename(tmp_path / "best.keras")
    (tmp_path / "hardware.json").write_text("[{")
    with pytest.raises(ValueError, match="hardware.json: "):
        fit(tmp_path, 3)


def test_a_lost_log_is_missed(tmp_path):
    fit(tmp_path, 2)
    log = tmp_path / "log.csv"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(ValueError, match="without some of the 2 epochs"):
        fit(tmp_path, 3)
    log.unlink()
    with pytest.raises(ValueError, match="log.csv: missing"):
        fit(tmp_path, 3)


def test_callbacks_resume_beside_a_schedule_in_the_optimizer(tmp_path):
    def fit_with_schedule(epochs):
        model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 1)])
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9)), "mse")
        patience = keras.callbacks.EarlyStopping("loss", patience=9)
        callbacks = resumable(tmp_path, SETTINGS, "loss", schedule=[patience])
        model.fit(IMAGES, IMAGES, epochs=epochs, verbose=0, callbacks=callbacks)
        return patience.best

    fit_with_schedule(2)
    assert fit_with_schedule(3) == pytest.approx(min(read_log(tmp_path / "log.csv")["loss"]))
    assert list(read_log(tmp_path / "log.csv")["epoch"]) == [0, 1, 2]


def test_a_finished_run_trains_no_more(tmp_path):
    weights = fit(tmp_path, 2).get_weights()
    for one, other in zip(weights, fit(tmp_path, 2).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(read_log(tmp_path / "log.csv")["epoch"]) == 2


def test_resuming_keeps_a_better_model_from_before(tmp_path):
    fit(tmp_path, 2)
    log = (tmp_path / "log.csv").read_text().splitlines()
    column = log[0].split(",").index("val_psnr")
    log[1] = ",".join("99" if i == column else value for i, value in enumerate(log[1].split(",")))
    (tmp_path / "log.csv").write_text("\n".join(log) + "\n")
    best = (tmp_path / "best.keras").read_bytes()
    fit(tmp_path, 4)
    assert (tmp_path / "best.keras").read_bytes() == best


def test_other_settings_are_refused(tmp_path):
    fit(tmp_path, 1)
    with pytest.raises(ValueError, match="other settings .learning_rate, size."):
        fit(tmp_path, 1, {"seed": 0, "learning_rate": 0.2, "size": [1, 2]})


def test_result_file_and_table(tmp_path, write):
    model = fit(tmp_path / "run", 2)
    pairs = [Pair(write(f"low/{i}.png", 16, 16, i), write(f"high/{i}.png", 16, 16, 9 + i)) for i in (1, 2)]
    table = evaluate(model, pairs, "gt_mean")
    saved = results.save(
        tmp_path / "results" / "net.json", model, SETTINGS, {"eval15": table}, tmp_path / "run/log.csv"
    )
    assert saved["model"]["parameters"] == 12 and saved["epochs_finished"] == 2 and saved["settings"] == SETTINGS
    assert saved["metrics"]["eval15"]["1"]["psnr"] == pytest.approx(table.loc["1", "psnr"], abs=1e-5)
    assert saved["versions"]["keras"] == keras.__version__ and saved["hardware"]["cores"] >= 1
    backend = f"{keras.backend.backend()} {saved['versions'][keras.backend.backend()]}"
    assert saved["training_hardware"] == [{**machine.hardware(), "backend": backend}]
    assert saved["validation_psnr"] == pytest.approx(read_log(tmp_path / "run/log.csv")["val_psnr"], abs=1e-3)
    fit(tmp_path / "before", 3)
    logs = [tmp_path / "before/log.csv", tmp_path / "run/log.csv"]
    in_phases = results.save(tmp_path / "phases.json", model, SETTINGS, {}, logs)
    assert in_phases["epochs_finished"] == 5 and in_phases["validation_psnr"] == saved["validation_psnr"]
    ensemble = results.save(tmp_path / "ensemble.json", model, SETTINGS, {}, members=logs)
    assert all(ensemble[key] == in_phases[key] for key in ("training_hardware", "training_seconds"))
    assert "epochs_finished" not in ensemble and "validation_psnr" not in ensemble
    with pytest.raises(ValueError, match="not both"):
        results.save(tmp_path / "both.json", model, SETTINGS, {}, logs, members=logs)
    (tmp_path / "now_and_then.csv").write_text("epoch,seconds,val_psnr\n0,1,NA\n1,1,20.5\n")
    now_and_then = results.save(tmp_path / "n.json", model, SETTINGS, {}, tmp_path / "now_and_then.csv")
    assert now_and_then["validation_psnr"] == [None, 20.5]
    lines = results.table(tmp_path / "results").splitlines()
    assert lines[0].startswith("| result | parameters | epochs | test set | PSNR dB | SSIM | GT-mean PSNR |")
    assert lines[2].startswith(f"| net | 12 | 2 | eval15 (2 images) | {table.loc['mean', 'psnr']:.2f} |")


def test_a_table_with_two_pictures_of_one_name_is_not_written(tmp_path, write):
    model = fit(tmp_path / "run", 1)
    pairs = 2 * [Pair(write("low/1.png", 16, 16, 1), write("high/1.png", 16, 16, 9))]
    with pytest.raises(ValueError, match="two pictures are called 1"):
        results.save(tmp_path / "net.json", model, SETTINGS, {"eval15": evaluate(model, pairs)})


def test_what_became_of_a_published_network_gets_a_card_of_its_own(tmp_path):
    model = deeper_unet(2, 1)
    saved = results.save(tmp_path / "a.json", model, SETTINGS, {})
    first = results.publish(model, saved, tmp_path, "none")
    again = lle.load(tmp_path / "a.keras")
    again.card = first  # as that of a network that comes with the project
    again.set_weights([weight + 1 for weight in again.get_weights()])
    second = results.publish(again, {**saved, "name": "b"}, tmp_path, "none")
    assert (second["name"], second["file"]) == ("b", "b.keras") and second["sha256"] != first["sha256"]
    assert second["stride"] == first["stride"]


def test_a_run_lists_the_machines_that_trained_it(tmp_path, monkeypatch):
    fit(tmp_path, 2)
    backend = keras.backend.backend()
    here = {**machine.hardware(), "backend": f"{backend} {machine.versions()[backend]}"}
    monkeypatch.setattr(machine, "hardware", lambda: {**here, "gpu": "NVIDIA H100"})
    fit(tmp_path, 2)  # trains no more, so this one has no part in it
    assert machine.machines_of([tmp_path]) == [here]
    fit(tmp_path, 3)
    assert machine.machines_of([tmp_path, tmp_path, tmp_path / "none"]) == [here, {**here, "gpu": "NVIDIA H100"}]


def test_result_names_the_precision_of_the_training(tmp_path, write):
    model = fit(tmp_path / "run", 1)
    pairs = [Pair(write("low/1.png", 16, 16), write("high/1.png", 16, 16))]
    tables = {"eval15": evaluate(model, pairs)}
    for settings, policy in (({"precision": "mixed_bfloat16"}, "mixed_bfloat16"), ({}, "float32")):
        assert results.save(tmp_path / "net.json", model, settings, tables)["dtype_policy"] == policy


def write_result(folder, name, psnr, parameters=1200, **more):
    metrics = {"eval15": {"1": {}, "mean": {"psnr": psnr, "ssim": 0.5, **more}}}
    result = {"name": name, "model": {"parameters": parameters}, "metrics": metrics, "epochs_finished": 12}
    result["settings"] = {"data": {"pairs": 0.5, "darkened": 0.5} if name.startswith("other") else "LOL"}
    (folder / f"{name}.json").write_text(json.dumps(result))


def test_seeds_share_a_row(tmp_path):
    for seed, psnr in enumerate((10.2, 9.5, 9.9)):
        write_result(tmp_path, f"net_seed_{seed}", psnr, **({} if seed else {"psnr_gt_mean": 11.0}))
    write_result(tmp_path, "other_seed_0", 7.0)
    lines = results.table(tmp_path).splitlines()[2:]
    assert lines[0] == "| net (3 seeds) | 1,200 | LOL | 12 | eval15 (1 images) | 9.50 to 10.20 | 0.500 |"
    assert lines[1].startswith("| other_seed_0 | 1,200 | pairs, darkened | 12 | eval15 (1 images) | 7.00 |")
    assert results.table(tmp_path, ["net"]).splitlines()[2:] == lines[:1]
    with pytest.raises(ValueError, match="no result called net_seed_0 "):
        results.table(tmp_path, ["net", "net_seed_0"])


def test_the_table_of_reports(tmp_path):
    write_result(tmp_path, "mirnet_plain_report", 15.0, psnr_as_printed=27.9)
    write_result(tmp_path, "deeper_unet_member", 16.0, psnr_as_printed=18.0)
    member = json.loads((tmp_path / "deeper_unet_member.json").read_text())
    (tmp_path / "deeper_unet_member.json").write_text(json.dumps({**member, "psnr_as_printed": 19.5}))
    lines = results.reports_table(tmp_path).splitlines()[2:]
    assert "| 19.24 dB, pooled |  | not run in full yet |" in lines[0]
    assert "| 27.79 dB | 27.90 dB (eval15) | 15.00 dB / 0.500 (eval15) | 12 |" in lines[1]
    assert "| 19.50 dB (eval15) | 16.00 dB / 0.500 (eval15) | 12 |" in lines[2]  # the report's own quantity

    write_result(tmp_path, "zero_dce_report", 14.0)
    path = tmp_path / "zero_dce_report.json"  # as in quick mode, on another test set
    path.write_text(path.read_text().replace('"eval15"', '"samples"'))
    assert "| 28.21 dB |  | not run in full yet |" in results.reports_table(tmp_path).splitlines()[-1]


def test_table_names_what_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="no result file"):
        results.table(tmp_path)
    (tmp_path / "a.json").write_text('{"metrics": 3}')
    with pytest.raises(ValueError, match="a.json: not a result file"):
        results.table(tmp_path)
