"""How far a training is, while it runs in a notebook."""

import time

import keras


class Progress(keras.callbacks.Callback):
    """Says below the cell which epoch is done, in one line that changes and is empty again at the end.

    `fit(verbose=0)` says nothing for hours, and anything else leaves a line for each epoch. Outside notebooks it says
    nothing either.

    Args:
        monitor: The logged value to show beside.
    """

    def __init__(self, monitor):
        super().__init__()
        self.monitor, self.line, self.shown = monitor, None, -1.0

    def on_train_begin(self, logs=None):
        self.line = new_line()

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        if self.line is None or now - self.shown < 1:  # short epochs would keep the browser busy
            return
        self.shown = now
        parts = [f"epoch {epoch + 1} of {self.params['epochs']}"]
        if "seconds" in logs:
            parts.append(f"{logs['seconds']:.1f} s each")
        if self.monitor in logs:
            parts.append(f"{self.monitor} {float(logs[self.monitor]):.4g}")
        self.line.update({"text/plain": ", ".join(parts)}, raw=True)

    def on_train_end(self, logs=None):
        if self.line is not None:
            self.line.update({"text/plain": ""}, raw=True)


def new_line():
    """A line below the running cell whose text can be updated, or `None` outside notebooks."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    if not hasattr(get_ipython(), "kernel"):
        return None
    return display({"text/plain": ""}, raw=True, display_id=True)
