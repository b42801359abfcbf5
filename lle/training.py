"""What the training loops of the notebooks share: a run folder that can be stopped and resumed."""

import json
import time
from pathlib import Path

import keras
import numpy as np

from lle.plots import read_log


class EpochTime(keras.callbacks.Callback):
    """Adds the wall time of each epoch, validation included, to its logs as `seconds`."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.monotonic() - self.start


def resumable(run_dir, settings, monitor="val_loss", mode="min"):
    """Callbacks that log a run, keep its best model and let it resume after an interruption.

    In the run folder, `log.csv` holds a row for each epoch, `best.keras` the model of the epoch with the best monitored
    value and `backup` the state to resume from. Calling `fit` again with the same folder goes on after the last
    finished epoch; a run that is complete trains no more.

    Args:
        run_dir: A folder, made if missing.
        settings: A dictionary of what defines the run (it must survive JSON). A folder with other settings is refused,
            so that no run continues one it does not belong to. The number of epochs is left out of the comparison
            (key `epochs`): a run may be prolonged.
        monitor: The logged value that `best.keras` is chosen by.
        mode: `"min"` or `"max"`.

    Returns:
        A list for the `callbacks` of `fit`.

    Raises:
        ValueError: If the folder holds a run with other settings.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    _check_settings(run_dir / "settings.json", settings)
    log = run_dir / "log.csv"
    best = {"min": np.nanmin, "max": np.nanmax}[mode]
    before = best(read_log(log)[monitor]) if log.exists() and log.stat().st_size else None
    return [
        EpochTime(),
        keras.callbacks.CSVLogger(log, append=True),
        keras.callbacks.ModelCheckpoint(
            run_dir / "best.keras", monitor=monitor, mode=mode, save_best_only=True, initial_value_threshold=before
        ),
        keras.callbacks.BackupAndRestore(run_dir / "backup", delete_checkpoint=False),
    ]


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
