"""What the training loops of the notebooks share: a run folder that can be stopped and resumed."""

import csv
import json
import os
import random
import time
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lle import machine
from lle.paths import naming, remove_leftovers, replacing
from lle.plots import read_log
from lle.progress import Progress

STATE = "training_metadata.json"  # in the backup folder, as Keras calls it


class EpochTime(keras.callbacks.Callback):
    """Adds the wall time of each epoch, validation included, to its logs as `seconds`."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self.start


def resumable(run_dir, settings, monitor="val_loss", mode="min", schedule=(), batches=None, hours=None, average=False):
    """Callbacks that log a run, keep its best model and let it resume after an interruption.

    In the run folder, `log.csv` holds a row for each epoch, `best.keras` the model of the epoch with the best monitored
    value, `hardware.json` the machines that trained it and `backup` the state to resume from. Meanwhile a notebook says
    below the cell which epoch is done. Calling `fit` again with the same folder goes on after the last finished epoch;
    a run that is complete, or that early stopping has ended, trains no more. However a run ends, no checkpoint is
    half-written. A loss that is no number ends it with a `ValueError`, which names the epoch, the pictures of the
    batch, if `batches` is given, and the last good checkpoint.

    A resumed run ends with the weights of one that was never interrupted, if it runs on the same machine, the model was
    built after `keras.utils.set_random_seed` with the same seed, and the order of the pictures depends on the epoch
    alone, as that of `lle.batches.Batches` does. Dropout and Python's `random` are reseeded at the beginning of each
    epoch for that purpose, the latter with the number of the epoch alone.

    Args:
        run_dir: A folder, made if missing.
        settings: A dictionary of what defines the run (it must survive JSON). A folder with other settings is refused,
            so that no run continues one it does not belong to. The number of epochs is left out of the comparison
            (key `epochs`): a run may be prolonged.
        monitor: The logged value that `best.keras` is chosen by; without validation data it is `"loss"`.
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
        ValueError: If the folder holds a run with other settings, or what it is to be resumed from is damaged or
            missing; or a callback is to restore the best weights, which an interruption would lose: load `best.keras`
            instead; or `mode` is neither of the two. From `fit`, if the monitored value is not logged, or the optimizer
            keeps no average and one is asked for.
    """
    if any(getattr(callback, "restore_best_weights", False) for callback in schedule):
        raise ValueError(f"leave restore_best_weights off: the best model is {Path(run_dir) / 'best.keras'}")
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    _check_settings(run_dir / "settings.json", settings)
    log, state = run_dir / "log.csv", run_dir / "backup" / STATE
    remove_leftovers([log, state, run_dir / "settings.json", run_dir / machine.HARDWARE])
    _mend_log(log, state)
    with naming(run_dir / machine.HARDWARE):
        machine.machines_of([run_dir])  # else the first epoch's end would meet it
    before = _best_before(log, monitor, mode)
    if before is not None and not (run_dir / "best.keras").is_file():
        raise ValueError(f"{run_dir / 'best.keras'}: missing, but {log} has its value: restore it or remove {run_dir}")
    checkpoint = _WholeCheckpoint(
        run_dir / "best.keras", monitor=monitor, mode=mode, save_best_only=True, initial_value_threshold=before
    )
    rows = _Log(log, append=True)
    return [
        _StopOnNaN(run_dir / "best.keras", batches, rows),
        EpochTime(),
        Progress(monitor),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: machine.note(run_dir)),
        *schedule,  # they add the learning rate to what is logged
        *(_on_average(checkpoint) if average else [checkpoint]),
        rows,
        _Resume(run_dir, schedule, batches, hours),
    ]


def refresh_statistics(model, batches):
    """Estimate the running means of the batch normalisation anew, as plain means over an epoch's batches.

    With Keras's momentum of 0.99 they begin with a variance of 1 and need hundreds of steps to forget it, more the
    smaller the true one is: after a short training, what was learnt well comes out wrong at inference. PyTorch has the
    same as `torch.optim.swa_utils.update_bn`.

    Args:
        model: A `keras.Model`, whose layers of batch normalisation, also those of models inside it, are changed.
        batches: The `lle.batches.Batches` that it was trained on, of which those of the first epoch are taken; their
            `epoch` is 0 afterwards.

    Raises:
        ValueError: If it has no batch normalisation.
    """
    layers = list(_batch_normalizations(model))
    if not layers:
        raise ValueError("the model has no batch normalisation whose statistics could be estimated")
    momenta = [layer.momentum for layer in layers]
    batches.epoch = 0  # the same batches whether or not the training was interrupted
    try:
        for number, (inputs, *_) in enumerate(batches):
            for layer in layers:
                layer.momentum = number / (number + 1)
            model(inputs, training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _batch_normalizations(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _batch_normalizations(layer)


def _on_average(checkpoint):
    """Let a callback see the averaged weights at the end of an epoch; the next epoch trains on from the others."""
    swap = keras.callbacks.SwapEMAWeights()  # by itself around validation only
    check = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: _check_average(swap.model.optimizer))
    before = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap.on_test_begin())
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap.on_test_end())
    return [check, swap, before, checkpoint, after]


def _check_average(optimizer):
    if not any(getattr(part, "use_ema", False) for part in _parts(optimizer)):
        raise ValueError("average=True needs an optimizer that keeps the average: give it use_ema=True")


def _parts(optimizer):
    """The optimizers behind one that scales the loss, or that divides the weights among several."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return getattr(optimizer, "optimizers", None) or [optimizer]


class _WholeCheckpoint(keras.callbacks.ModelCheckpoint):
    """Writes under a temporary name, so that the file is at any moment whole."""

    def __init__(self, path, **kwargs):
        self.target, self.temporary = path, path.with_name(f".{path.name}.part{path.suffix}")
        super().__init__(self.temporary, **kwargs)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.temporary.unlink(missing_ok=True)  # of a run that was killed

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in logs:  # Keras would warn and take each epoch for the best
            raise ValueError(f"{self.monitor!r} is not logged, only {sorted(logs)}: give `monitor`, or validation data")
        super().on_epoch_end(epoch, logs)
        if self.temporary.exists():
            os.replace(self.temporary, self.target)


class _Log(keras.callbacks.CSVLogger):
    """Goes on in the columns that the file has, also where the first epoch after an interruption has others."""

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if not self.append_header:
            with open(self.filename, newline="") as file:
                self.keys = next(csv.reader(file))[1:]  # after the epoch


class _StopOnNaN(keras.callbacks.TerminateOnNaN):
    """Ends a run whose loss or weights are no numbers any more, before anything of it is kept."""

    def __init__(self, best, batches, log):
        super().__init__(raise_error=True)
        self.best, self.batches, self.log = best, batches, log

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_batch_end(self, batch, logs=None):
        try:
            super().on_batch_end(batch, logs)
        except RuntimeError as error:
            steps = self.model.steps_per_execution  # of which Keras tells the last alone
            names = hasattr(self.batches, "names_of") and steps == 1
            where = f" ({', '.join(self.batches.names_of(batch))})" if names else ""
            where += f" or up to {steps - 1} before it" if steps > 1 else ""
            self._stop(f"the loss became {float(logs['loss'])} in batch {batch + 1}{where} of", error)

    def on_epoch_end(self, epoch, logs=None):
        floats = [weight for weight in self.model.weights if keras.backend.is_float_dtype(weight.dtype)]
        if not all(bool(ops.all(ops.isfinite(weight))) for weight in floats):
            self._stop("weights became nan or infinite by the end of")  # the next loss would have shown it

    def _stop(self, what, cause=None):
        good = f"the last good checkpoint is {self.best}" if self.best.exists() else "there is no checkpoint yet"
        advice = "a lower learning rate or clipped gradients (global_clipnorm) may help"
        self.log.on_train_end()  # which Keras does not come to, and the file would stay open
        raise ValueError(f"{what} epoch {self.epoch + 1}: {good}; {advice}") from cause


class _Resume(keras.callbacks.BackupAndRestore):
    """Restores, besides the weights, what else makes the next epoch the one that it would have been."""

    def __init__(self, run_dir, schedule, batches, hours):
        super().__init__(run_dir / "backup", delete_checkpoint=False)
        self.state = run_dir / "backup" / STATE
        self.is_resumed = self.state.exists()
        if self.is_resumed:  # else the name that Keras gave, as in runs from before there was one for each epoch
            weights = self.state.with_name(_read_state(self.state).get("weights", Path(self._weights_path).name))
            if not weights.is_file():
                raise ValueError(f"{weights}: missing, from which the run would go on: restore it or remove {run_dir}")
            self._weights_path = str(weights)
        self.log, self.schedule, self.batches = run_dir / "log.csv", schedule, batches
        self.seconds = np.inf if hours is None else 3600 * hours

    def on_train_begin(self, logs=None):
        self._build_optimizer()
        with naming(self._weights_path) if self.is_resumed else nullcontext():
            super().on_train_begin(logs)
        self.start = time.monotonic()
        if self.schedule and self.model._initial_epoch:
            self._show_again(self.model._initial_epoch)
        if self.model.stop_training or not self.seconds:
            self.model._initial_epoch = self.params["epochs"]
            self._fill_average()

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self.model._initial_epoch = None  # Keras keeps it, and another `fit` of this model would begin there

    def _build_optimizer(self):
        """Else the first step would, and TensorFlow would trace that step twice, which takes longer than short runs."""
        optimizer, layers = self.model.optimizer, self.model._flatten_layers()
        if optimizer and not optimizer.built and all(layer.built for layer in layers):  # and so has all its weights
            optimizer.build(self.model.trainable_variables)

    def _fill_average(self):
        """Keras ends with the average in place of the weights, and before the first step there is none."""
        optimizers = _parts(self.model.optimizer)
        if any(getattr(part, "use_ema", False) for part in optimizers) and not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)  # layers that were not built yet
        for optimizer in optimizers:
            if getattr(optimizer, "use_ema", False) and not ops.convert_to_numpy(optimizer.iterations):
                averages = optimizer._model_variables_moving_average
                for average, variable in zip(averages, optimizer._trainable_variables, strict=True):
                    average.assign(variable)

    def _save_model(self):
        """As Keras does, but never with half a file, or with the weights of one epoch and the number of another."""
        weights = self.state.with_name(f"epoch_{self._current_epoch}.weights.h5")
        with replacing(weights, ".weights.h5") as temporary:
            self.model.save_weights(temporary)
        state = {"epoch": self._current_epoch, "batch": self._last_batch_seen, "weights": weights.name}
        with replacing(self.state) as temporary:
            temporary.write_text(json.dumps(state))
        for old in set(self.state.parent.glob("*.weights.h5")) - {weights}:
            old.unlink()
        self._weights_path = str(weights)

    def _show_again(self, finished):
        log = read_log(self.log)
        rate = getattr(self.model.optimizer, "learning_rate", None)  # several optimizers have none together
        is_set = hasattr(rate, "assign")  # not with a schedule in the optimizer, which the callbacks cannot change
        if is_set:
            restored = ops.convert_to_numpy(rate)
            rate.assign(log.get("learning_rate", [restored])[0])
        for epoch in range(finished):
            for callback in self.schedule:
                logged = {name: values[epoch] for name, values in log.items()}
                callback.on_epoch_end(epoch, {name: value for name, value in logged.items() if not np.isnan(value)})
        if is_set:
            rate.assign(restored)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.model._initial_epoch = None  # read by now; an interruption would leave it
        random.seed(epoch)  # by which `fit` shuffles the order of the batches once more
        if self.batches is not None:
            self.batches.epoch = epoch
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):  # a seed and a count; checkpoints hold neither
                variable.assign([ops.convert_to_numpy(variable)[0], (epoch << 20) % 2**32])

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if time.monotonic() - self.start >= self.seconds:
            self.model.stop_training = True


def _check_settings(path, settings):
    compared = json.loads(json.dumps({key: value for key, value in settings.items() if key != "epochs"}))
    if path.exists():
        sides = _read_json(path), compared
        before, now = ({key: json.dumps(side[key], sort_keys=True) for key in side} for side in sides)  # nan is not nan
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            raise ValueError(
                f"{path.parent} holds a run with other settings ({', '.join(changed)}): "
                "choose another folder or remove it"
            )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(compared, indent=1))


def _read_json(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged, restore it or remove {path.parent} ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, restore it or remove {path.parent} (it holds no dictionary)")
    return content


def _read_state(path):
    """What a run resumes from: the number of finished epochs, and the name of the weights' file unless it is Keras's"""
    state = _read_json(path)
    if not isinstance(state.get("epoch"), int) or not isinstance(state.get("weights", ""), str):
        raise ValueError(f"{path}: damaged, restore it or remove {path.parent} (no epoch or no weights)")
    return state


def _mend_log(log, state):
    """Take the epoch out of the log that was logged but not backed up: the run was killed then, and it comes again.

    A last row that was cut off keeps its whole values and gets an end, so that the next epoch has a row of its own.
    """
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    if len(lines) > 2 and not state.exists():
        raise ValueError(f"{state}: missing, but {log} has finished epochs: restore it or remove {log.parent}")
    finished = _read_state(state)["epoch"] if state.exists() else 0
    if finished and len(lines) <= finished:
        raise ValueError(
            f"{log}: missing, or without some of the {finished} epochs that {state} has: restore it or "
            f"remove {log.parent}"
        )
    mended = lines
    if len(lines) == finished + 2 or (len(lines) == 1 and not finished):  # the heading alone may be cut off, too
        mended = lines[: finished + 1] if finished else []
    elif finished and len(lines) == finished + 1 and not lines[-1].endswith((b"\r", b"\n")):
        values = [str(finished - 1).encode(), *lines[-1].split(b",")[1:-1]]
        values += [b""] * (lines[0].count(b",") + 1 - len(values))
        mended = [*lines[:-1], b",".join(values) + b"\r\n"]
    if mended is not lines:
        with replacing(log) as temporary:
            temporary.write_bytes(b"".join(mended))


def _best_before(log, monitor, mode):
    """The best monitored value in the log, or `None` if there is none yet."""
    if not log.exists() or not log.stat().st_size:
        return None
    values = read_log(log).get(monitor, np.nan)
    return {"min": np.nanmin, "max": np.nanmax}[mode](values) if np.isfinite(values).any() else None
