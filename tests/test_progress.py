import IPython
import keras
import numpy as np
import pytest

from lle import progress
from lle.training import resumable


class Line:
    def __init__(self):
        self.texts = []

    def update(self, data, raw):
        assert raw
        self.texts.append(data["text/plain"])


def train(folder, epochs):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callbacks = resumable(folder, {}, monitor="loss")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=epochs, callbacks=callbacks, verbose=0)


def test_a_line_that_is_empty_again_at_the_end(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(progress, "new_line", lambda: lines.append(Line()) or lines[-1])
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    train(tmp_path, 2)
    train(tmp_path, 3)  # goes on
    first, second = lines
    assert [text.split(",")[0] for text in first.texts] == ["epoch 1 of 2", "epoch 2 of 2", ""]
    assert [text.split(",")[0] for text in second.texts] == ["epoch 3 of 3", ""]
    assert " s each, loss " in first.texts[0]


def test_short_epochs_do_not_keep_the_browser_busy(tmp_path, monkeypatch):
    line = Line()
    monkeypatch.setattr(progress, "new_line", lambda: line)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 5.0)
    train(tmp_path, 4)
    assert len(line.texts) == 2 and line.texts[0].startswith("epoch 1 of 4")


@pytest.mark.parametrize("in_notebook", [False, True])
def test_where_there_is_a_line(monkeypatch, in_notebook):
    assert progress.new_line() is None  # no IPython runs
    shell = type("Shell", (), {"kernel": None} if in_notebook else {})()
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", lambda *given, **named: shown.append(named) or Line())
    assert (progress.new_line() is not None) == in_notebook
    assert shown == [{"raw": True, "display_id": True}] * in_notebook
