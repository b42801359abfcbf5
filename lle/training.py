"""What the training loops of the notebooks share: a run folder that can be stopped and resumed."""

import json
import random
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lle.plots import read_log

# For `compile(jit_compile=...)`: on CPUs XLA's convolutions take longer than those that TensorFlow calls otherwise, and
# JAX is slow without it.
JIT = False if keras.backend.backend() == "tensorflow" else "auto"


class EpochTime(keras.callbacks.Callback):
    """Adds the wall time of each epoch, validation included, to its logs as `seconds`."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self.start


def resumable(run_dir, settings, monitor="val_loss", mode="min", schedule=(), batches=None, hours=None, average=False):
    """Callbacks that log a run, keep its best model and let it resume after an interruption.

    In the run folder, `log.csv` holds a row for each epoch, `best.keras` the model of the epoch with the best monitored
    value and `backup` the state to resume from. Calling `fit` again with the same folder goes on after the last
    finished epoch; a run that is complete, or that early stopping has ended, trains no more.

    A resumed run ends with the weights of one that was never interrupted, if it runs on the same machine, the model was
    built after `keras.utils.set_random_seed` with the same seed, and the order of the pictures depends on the epoch
    alone, as that of `lle.batches.Batches` does. Dropout is reseeded at the beginning of each epoch for that purpose.

    Args:
        run_dir: A folder, made if missing.
        settings: A dictionary of what defines the run (it must survive JSON). A folder with other settings is refused,
            so that no run continues one it does not belong to. The number of epochs is left out of the comparison
            (key `epochs`): a run may be prolonged.
        monitor: The logged value that `best.keras` is chosen by.
        mode: `"min"` or `"max"`.
        schedule: Callbacks that decide by the values of earlier epochs, `keras.callbacks.EarlyStopping` and
            `ReduceLROnPlateau`. On resuming they are shown the logged epochs again.
        batches: The `lle.batches.Batches` that `fit` trains on, if it does.
        hours: Stop at the end of the epoch in which this time is over, to go on another day; 0 trains no more at all.
        average: Validate, and choose `best.keras` from, the running average of the weights, which the optimizer must
            keep (`use_ema=True`).

    Returns:
        A list for the `callbacks` of `fit`.

    Raises:
        ValueError: If the folder holds a run with other settings, or a callback is to restore the best weights, which
            an interruption would lose: load `best.keras` instead.
    """
    if any(getattr(callback, "restore_best_weights", False) for callback in schedule):
        raise ValueError(f"leave restore_best_weights off: the best model is {Path(run_dir) / 'best.keras'}")
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    _check_settings(run_dir / "settings.json", settings)
    log = run_dir / "log.csv"
    best = {"min": np.nanmin, "max": np.nanmax}[mode]
    before = best(read_log(log)[monitor]) if log.exists() and log.stat().st_size else None
    checkpoint = keras.callbacks.ModelCheckpoint(
        run_dir / "best.keras", monitor=monitor, mode=mode, save_best_only=True, initial_value_threshold=before
    )
    return [
        EpochTime(),
        *schedule,  # they add the learning rate to what is logged
        *(_on_average(checkpoint) if average else [checkpoint]),
        keras.callbacks.CSVLogger(log, append=True),
        _Resume(run_dir, schedule, batches, hours),
    ]


def _on_average(checkpoint):
    """Let a callback see the averaged weights at the end of an epoch; the next epoch trains on from the others."""
    swap = keras.callbacks.SwapEMAWeights()  # by itself around validation only
    before = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap.on_test_begin())
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap.on_test_end())
    return [swap, before, checkpoint, after]


class _Resume(keras.callbacks.BackupAndRestore):
    """Restores, besides the weights, what else makes the next epoch the one that it would have been."""

    def __init__(self, run_dir, schedule, batches, hours):
        super().__init__(run_dir / "backup", delete_checkpoint=False)
        self.log, self.schedule, self.batches = run_dir / "log.csv", schedule, batches
        self.seconds = np.inf if hours is None else 3600 * hours

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.start = time.monotonic()
        if self.schedule and self.model._initial_epoch:
            self._show_again(self.model._initial_epoch)
        if self.model.stop_training or not self.seconds:
            self.model._initial_epoch = self.params["epochs"]

    def _show_again(self, finished):
        log = read_log(self.log)
        rate = self.model.optimizer.learning_rate
        restored = ops.convert_to_numpy(rate)
        rate.assign(log.get("learning_rate", [restored])[0])
        for epoch in range(finished):
            for callback in self.schedule:
                callback.on_epoch_end(epoch, {name: values[epoch] for name, values in log.items()})
        rate.assign(restored)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        random.seed(epoch)  # by which `fit` shuffles the order of the batches once more
        if self.batches is not None:
            self.batches.epoch = epoch
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):  # a seed and a count; checkpoints hold neither
                variable.assign([ops.convert_to_numpy(variable)[0], epoch << 20])

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if time.monotonic() - self.start >= self.seconds:
            self.model.stop_training = True


def _check_settings(path, settings):
    compared = json.loads(json.dumps({key: value for key, value in settings.items() if key != "epochs"}))
    if path.exists():
        before = json.loads(path.read_text())
        changed = sorted(key for key in before.keys() | compared.keys() if before.get(key) != compared.get(key))
        if changed:
            raise ValueError(
                f"{path.parent} holds a run with other settings ({', '.join(changed)}): "
                "choose another folder or remove it"
            )
    path.write_text(json.dumps(compared, indent=1))
