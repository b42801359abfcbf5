"""A training run that is killed again and again: `python killed_run.py FOLDER KILLS`, on Linux and macOS.

Keras is imported once and each run is a forked process. Prints, as JSON, how many runs were killed while they trained
and after which epochs, and whether the weights are those of a run that was left alone.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ |= {"TF_DETERMINISTIC_OPS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras
import numpy as np

from lle.batches import Batches
from lle.plots import read_log
from lle.training import resumable

EPOCHS = 24
IMAGES = np.random.default_rng(0).random((4, 12, 12, 3), dtype="float32")


class Wait(keras.callbacks.Callback):
    """After two epochs waits for its end, so that this never comes too late, however busy the machine is."""

    def on_train_begin(self, logs=None):
        self.epochs = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs += 1
        if self.epochs > 2:
            time.sleep(600)


def train(folder, extra=()):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Dropout(0.2), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)  # nothing to trace in each of the runs
    batches = Batches(IMAGES, 1 - IMAGES, batch_size=2, crop=8, augment=True)
    callbacks = [*resumable(folder, {"seed": 0}, monitor="loss", batches=batches), *extra]
    model.fit(batches, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    np.savez(folder / "end.npz", *model.get_weights())


def start(folder, extra=()):
    process = os.fork()
    if not process:
        train(folder, extra)
        os._exit(0)
    return process


def kill_in_training(folder, moment):
    """Kill a run, once it has finished an epoch of its own, at a moment of the following ones."""
    log = folder / "log.csv"
    before, process = _size(log), start(folder, [Wait()])
    while _size(log) <= before and not (folder / "end.npz").exists():
        time.sleep(0.001)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status) and not (folder / "end.npz").exists()


def _size(path):
    return path.stat().st_size if path.exists() else 0


def main(folder, kills):
    moments, whole, parts = random.Random(0), folder / "whole", folder / "parts"
    os.waitpid(start(whole), 0)
    epoch = np.median(read_log(whole / "log.csv")["seconds"])
    killed, epochs = 0, []
    for _ in range(kills):
        killed += kill_in_training(parts, moments.uniform(0, epoch))
        epochs.append(len((parts / "log.csv").read_bytes().splitlines()) - 1)
    os.waitpid(start(parts), 0)
    ends = [np.load(path / "end.npz") for path in (whole, parts)]
    is_same = all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0].files)
    logged = [line.split(",")[:2] for line in (parts / "log.csv").read_text().splitlines()[1:]]
    expected = [line.split(",")[:2] for line in (whole / "log.csv").read_text().splitlines()[1:]]
    names = sorted(path.name for path in parts.rglob("*") if path.is_file())
    print(json.dumps({"killed": killed, "epochs": epochs, "same": is_same, "log": logged == expected, "files": names}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
