"""Files of networks with faults: refused in one line, and no code in them is run."""

import importlib
import json
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from lle.enhance import LARGEST_TEXT, enhance, load
from lle.models import ZeroDCE


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "whole.keras"
    ZeroDCE(filters=4).save(path)
    return path


def rewrite(source, target, change):
    """Copy a `.keras` file; `change(name, content)` returns the content of each of its entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def with_config(source, target, change):
    """Copy a `.keras` file with another configuration."""

    def changed(name, content):
        return json.dumps(change(json.loads(content))) if name == "config.json" else content

    return rewrite(source, target, changed)


def test_cut_off_and_empty(tmp_path, whole, tally):
    """Networks cut off at every twentieth of the file, empty ones, archives of something else."""
    content, path = whole.read_bytes(), tmp_path / "cut.keras"
    for length in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        tally.attempt(lambda: load(path), path)
    for entries in ({}, {"config.json": "{}"}, {"config.json": "[", "metadata.json": "{}", "model.weights.h5": ""}):
        with zipfile.ZipFile(path, "w") as zipped:
            for name, text in entries.items():
                zipped.writestr(name, text)
        tally.attempt(lambda: load(path), path)
    assert tally.survived == 0


def test_bytes_that_changed(tmp_path, whole, tally):
    """Networks of which some bytes changed: what loads is what was saved, as the checksums of the archive see to."""
    content, path, random = whole.read_bytes(), tmp_path / "changed.keras", np.random.default_rng(0)
    expected = load(whole).get_weights()
    for place in random.integers(0, len(content), 30):
        changed = bytearray(content)
        changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        if model := tally.attempt(lambda: load(path), path):
            for one, other in zip(model.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_code(tmp_path, whole, tally):
    """Networks that hold code: a lambda, a function or class by its name, a layer out of a module."""
    ran, inputs = tmp_path / "ran", keras.Input((None, None, 3))
    paths = [tmp_path / "lambda.keras"]
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(paths[0])
    command = {"args": f"touch {ran}", "command": f"touch {ran}", "shell": True}
    for module, name in (("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("keras.utils", "get_file")):
        for key in ("config", "inner_config"):
            code = {"module": module, "class_name": name, "registered_name": None, key: command}
            paths.append(with_config(whole, tmp_path / f"{name}_{key}.keras", lambda config, code=code: code))
    for path in paths:
        tally.attempt(lambda path=path: load(path), path)
    assert not ran.exists() and tally.survived == 0


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_of_another_network(tmp_path, whole, tally):
    """Networks with the weights of another, of an unknown class, of a later Keras, or for other pictures."""
    other = tmp_path / "other.keras"
    ZeroDCE(filters=8).save(other)
    with zipfile.ZipFile(other) as zipped:
        weights = zipped.read("model.weights.h5")
    swapped = rewrite(
        whole, tmp_path / "swapped.keras", lambda name, content: weights if name.endswith(".h5") else content
    )
    unknown = with_config(
        whole, tmp_path / "unknown.keras", lambda config: {**config, "class_name": "New", "registered_name": "lle>New"}
    )
    later = with_config(
        whole, tmp_path / "option.keras", lambda config: {**config, "config": {**config["config"], "later": 1}}
    )
    version = json.dumps({"keras_version": "99.1.0"})
    newer = rewrite(later, tmp_path / "newer.keras", lambda name, text: version if name == "metadata.json" else text)
    for path in (swapped, unknown, later, newer):
        tally.attempt(lambda path=path: load(path), path)
    with pytest.raises(ValueError, match=r"newer.keras: cannot be loaded \(made by Keras 99.1.0, this is "):
        load(newer)
    picture = Image.new("RGB", (40, 30))
    for build in (
        lambda inputs: keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(inputs)),  # a classifier
        lambda inputs: keras.layers.Conv2D(1, 1)(inputs),
        lambda inputs: keras.layers.Conv2D(3, 3)(inputs),  # its border is lost
        lambda inputs: keras.layers.Rescaling(np.inf)(inputs),
    ):
        inputs = keras.Input((None, None, 3))
        keras.Model(inputs, build(inputs)).save(other)
        tally.attempt(lambda: enhance(picture, load(other)), other)
    assert tally.survived == 0
    assert tally.attempt(lambda: enhance(picture, load(whole))).size == picture.size


def test_a_configuration_that_would_fill_the_memory(tmp_path, whole, tally):
    """Networks whose configuration inflates to more than the memory should hold."""
    for name in ("config.json", "metadata.json"):
        path = tmp_path / f"{name}.keras"
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.namelist():
                new.writestr(entry, " " * int(LARGEST_TEXT + 1) if entry == name else old.read(entry))
        assert path.stat().st_size < 1e6
        tally.attempt(lambda path=path: load(path), path)
    assert tally.survived == 0


def test_damaged_cards(tmp_path, monkeypatch, tally):
    """Cards of networks that are cut off, no dictionary, or without what a card has to say."""
    monkeypatch.setattr(importlib.import_module("lle.enhance"), "WEIGHTS", tmp_path)
    whole = {"file": "a.keras", "sha256": "0", "stride": 1, "halo": 1}
    broken = [{key: value for key, value in whole.items() if key != left_out} for left_out in whole]
    contents = ["", "{", "{}", "[]", "3", '{"sha256": 3}', json.dumps({**whole, "file": 3}), *map(json.dumps, broken)]
    for content in contents:
        (tmp_path / "a.json").write_text(content)
        tally.attempt(lambda: load("a"), tmp_path / "a.json")
    assert tally.survived == 0
