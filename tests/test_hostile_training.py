"""Training that is killed, interrupted, out of its mind or out of disk: what was reached stays whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from lle import machine, results
from lle.batches import Batches
from lle.data import Pair
from lle.metrics import evaluate
from lle.plots import read_log
from lle.training import resumable

IMAGES = np.random.default_rng(0).random((6, 12, 12, 3), dtype="float32")
TESTS = Path(__file__).parent


def tiny():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("adam", "mse", run_eagerly=True)
    return model


def fit(folder, epochs, extra=(), images=IMAGES, names=None):
    model, batches = tiny(), Batches(images, images, batch_size=2, names=names)
    callbacks = [*resumable(folder, {"seed": 0}, monitor="loss", batches=batches), *extra]
    model.fit(batches, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed(tmp_path, tally):
    """Training runs killed (SIGKILL) at random moments, then resumed to the very weights of one left alone."""
    command = [sys.executable, TESTS / "killed_run.py", tmp_path, "10"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] == 10 and found["same"] and found["log"]
    assert found["epochs"] == sorted(found["epochs"]) and found["epochs"][-1] >= 5
    assert found["files"] == [
        "best.keras", "end.npz", "epoch_24.weights.h5", "hardware.json", "log.csv", "settings.json",
        "training_metadata.json",
    ]  # fmt: skip
    for _ in range(found["killed"]):
        tally.attempt(lambda: None)


def interrupt_within(step, action):
    """A callback that does something in the middle of the training, after so many steps of three in an epoch."""
    steps = iter(range(1000))
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: action() if next(steps) == step else None
    )


@pytest.mark.usefixtures("heeded")
def test_interrupted_from_the_keyboard(tmp_path, tally):
    """Training runs interrupted (SIGINT) in any epoch: the checkpoint loads, and the run goes on from it."""
    whole = fit(tmp_path / "whole", 4).get_weights()
    for step in (3, 4, 4):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "parts", 4, [interrupt_within(step, lambda: signal.raise_signal(signal.SIGINT))])
        model = tally.attempt(lambda: keras.saving.load_model(tmp_path / "parts" / "best.keras"))
        assert np.isfinite(model.get_weights()[0]).all()
    for one, other in zip(whole, fit(tmp_path / "parts", 4).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("broken", [[np.nan], [np.inf]])
def test_a_loss_that_is_no_number(tmp_path, broken):
    images = IMAGES.copy()
    images[4, 3, 3] = broken
    names = [f"{place}.png" for place in "abcdef"]
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) in batch [1-3] \((.*)\) of epoch 1: there is no"):
        fit(tmp_path / "new", 3, images=images, names=names)
    assert not (tmp_path / "new" / "best.keras").exists() and not list((tmp_path / "new").glob("backup/*.h5"))
    good = fit(tmp_path / "run", 2, names=names).get_weights()
    with pytest.raises(ValueError) as caught:
        fit(tmp_path / "run", 4, images=images, names=names)
    message = str(caught.value)
    assert "of epoch 3: the last good checkpoint is " in message and str(tmp_path / "run" / "best.keras") in message
    files = message.split("(")[1].split(")")[0].split(", ")
    assert "e.png" in files and len(files) == 2 and message.isprintable()
    kept = keras.saving.load_model(tmp_path / "run" / "best.keras")
    np.testing.assert_array_equal(kept.get_weights()[0], good[0])
    fit(tmp_path / "run", 4)  # with sound pictures it goes on


def test_the_files_of_a_batch_without_names_are_its_places(tmp_path):
    images = IMAGES.copy()
    images[4] = np.nan
    with pytest.raises(ValueError, match=r"in batch [1-3] \((4, \d|\d, 4)\) of epoch 1"):
        fit(tmp_path, 1, images=images)
    model = tiny()
    with pytest.raises(ValueError, match=r"the loss became nan in batch \d of epoch 1"):
        model.fit(images, images, 2, verbose=0, callbacks=resumable(tmp_path / "other", {}, monitor="loss"))


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    model = tiny()
    callbacks = resumable(tmp_path, {}, monitor="loss")
    spoil = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: model.weights[0].assign(model.weights[0] * np.nan) if step == 2 else None
    )
    with pytest.raises(
        ValueError, match="weights became nan or infinite by the end of epoch 1: there is no checkpoint"
    ):
        model.fit(IMAGES, IMAGES, 2, verbose=0, callbacks=[spoil, *callbacks])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.stat().st_size) == ["settings.json"]


@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch, method):
    fit(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".keras", ".h5", ".json")}
    real = getattr(keras.Model, method)

    def full_disk(self, path, *args, **kwargs):
        real(self, path, *args, **kwargs)
        Path(path).write_bytes(Path(path).read_bytes()[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, method, full_disk)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path, 4)
    monkeypatch.setattr(keras.Model, method, real)
    for path in tmp_path.rglob("*"):
        if path.name in before and not (method == "save_weights" and path.name == "best.keras"):
            assert path.read_bytes() == before[path.name]
    assert keras.saving.load_model(tmp_path / "best.keras").count_params() == 12
    fit(tmp_path, 4)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    kept = ["best.keras", "epoch_4.weights.h5", "hardware.json", "log.csv", "settings.json", "training_metadata.json"]
    assert names == kept


def test_a_run_from_before_goes_on(tmp_path):
    """Keras's own backup has one file of weights without the number of its epoch."""
    whole = fit(tmp_path / "whole", 4).get_weights()
    fit(tmp_path / "old", 2)
    backup = tmp_path / "old" / "backup"
    (backup / "epoch_2.weights.h5").rename(backup / "latest.weights.h5")
    (backup / "training_metadata.json").write_text('{"epoch": 2, "batch": 0}')
    np.testing.assert_array_equal(fit(tmp_path / "old", 4).get_weights()[0], whole[0])
    assert sorted(path.name for path in backup.iterdir()) == ["epoch_4.weights.h5", "training_metadata.json"]


@pytest.mark.parametrize("tail", [b"2,0.5,0.1\r\n", b"2,0.", b""])
def test_an_epoch_that_was_logged_but_not_backed_up_is_logged_once(tmp_path, tail):
    fit(tmp_path, 2)
    log = tmp_path / "log.csv"
    log.write_bytes(log.read_bytes() + tail)
    fit(tmp_path, 3)
    assert [line.split(b",")[0] for line in log.read_bytes().splitlines()] == [b"epoch", b"0", b"1", b"2"]


def test_a_folder_from_which_nothing_can_be_resumed(tmp_path, tally):
    """Run folders with a file missing, cut off or of something else: refused, and no run begins anew unasked."""
    fit(tmp_path / "whole", 2)
    weights, state, settings = "backup/epoch_2.weights.h5", "backup/training_metadata.json", "settings.json"
    faults = [(weights, None), (weights, b""), (weights, (tmp_path / "whole" / weights).read_bytes()[:2000])]
    faults += [(name, content) for name in (state, settings) for content in (b"", b'{"ep', b"[1]", b"3", b"\xff")]
    faults += [(state, None), (state, b"{}"), (state, b'{"epoch": "2"}'), (state, b'{"epoch": 2, "weights": 3}')]
    for number, (name, content) in enumerate(faults):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        tally.attempt(lambda folder=folder: fit(folder, 3), folder / name)
        assert (folder / "log.csv").read_bytes() == before[folder / "log.csv"]
        assert (folder / "best.keras").read_bytes() == before[folder / "best.keras"]
    assert tally.survived == 0


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_row_that_was_cut_off_does_not_run_into_the_next(tmp_path, epochs):
    fit(tmp_path, epochs)
    log = tmp_path / "log.csv"
    log.write_bytes(log.read_bytes().rstrip()[:-3])
    fit(tmp_path, 4)
    epochs_logged = read_log(log)["epoch"]
    assert list(epochs_logged) == [0, 1, 2, 3] and len(log.read_bytes().splitlines()) == 5
    assert {line.count(b",") for line in log.read_bytes().splitlines()} == {
        log.read_bytes().split(b"\n")[0].count(b",")
    }


def test_the_same_seed_gives_the_same_figures(tmp_path, write):
    """And the results file says what decides it."""
    pairs = [Pair(write(f"low/{i}.png", 16, 16, i), write(f"high/{i}.png", 16, 16, 9 + i)) for i in (1, 2)]
    found = []
    for name in ("one", "two"):
        model = fit(tmp_path / name, 2)
        tables = {"two pairs": evaluate(model, pairs)}
        found.append(results.save(tmp_path / f"{name}.json", model, {"seed": 0}, tables))
    assert found[0]["metrics"] == found[1]["metrics"]


def test_the_results_file_says_whether_it_was_deterministic(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a switch of TensorFlow")
    import tensorflow as tf
    from tensorflow.python.framework.config import disable_op_determinism

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    before = machine.repeatable()
    assert before["OMP_NUM_THREADS"] == "3" and "XLA_FLAGS" not in before
    tf.config.experimental.enable_op_determinism()
    try:
        assert machine.repeatable()["deterministic"] is True
    finally:
        if not before["deterministic"]:
            disable_op_determinism()
