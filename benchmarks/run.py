"""Speed and memory: `make bench`, or `python benchmarks/run.py`. README.md beside this file explains the rows."""

import argparse
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ONNX = os.environ.get("LLE_ONNX")  # the path of somebody else's network, to be measured beside ours
OPTIONAL = {
    "tensorflow": "tensorflow is not installed",
    "torch": "torch is not installed",
    "onnxruntime": "onnxruntime is not installed",
    "LLE_ONNX": "LLE_ONNX names no file",
    "bfloat16": "this machine cannot compute in bfloat16",
}


class Settings(NamedTuple):
    files: int = 64  # the embedded samples, repeated
    batch: int = 16
    side: int = 256  # pixels, as are the others
    crop: int = 128
    small: tuple = (400, 600)
    large: tuple = (3000, 4000)
    repeats: int = 11
    repeats_large: int = 3


QUICK = Settings(files=4, batch=2, side=32, crop=32, small=(48, 64), large=(96, 128), repeats=1, repeats_large=1)


def data_resize(settings, later):
    text = f"data: low images, resized to {settings.side}x{settings.side}"
    size = (settings.side, settings.side)
    return _data_row(text, "images/s", _singles(settings), settings, later, size=size)


def data_crop(settings, later):
    text = f"data: pairs, random {settings.crop}x{settings.crop} crops, flips and turns"
    return _data_row(text, "pairs/s", _pairs(settings.files), settings, later, crop=settings.crop, augment=True)


def train(settings):
    import keras

    from lle.data import load_images
    from lle.models.zero_dce import ZeroDCE

    images = load_images(_singles(settings)[: settings.batch], (settings.side, settings.side))
    model = ZeroDCE()
    model.compile(keras.optimizers.Adam(1e-4))
    seconds = _median_seconds(lambda _: model.train_on_batch(images), settings.repeats)
    text = f"training step of ZeroDCE, {settings.side}x{settings.side}, batch {settings.batch}"
    return text, 1000 * seconds / len(images), "ms per image", settings.repeats


ROWS = {
    "data_resize_first": lambda settings: data_resize(settings, later=False),
    "data_resize_later": lambda settings: data_resize(settings, later=True),
    "data_crop_first": lambda settings: data_crop(settings, later=False),
    "data_crop_later": lambda settings: data_crop(settings, later=True),
    "train": train,
    "dawn_small": lambda settings: _inference_row(*_network("dawn"), settings.small, settings.repeats),
    "zero_dce_small": lambda settings: _inference_row(*_network("zero_dce"), settings.small, settings.repeats),
    "zero_dce_small_torch": lambda settings: _inference_row(*_torch_network(), settings.small, settings.repeats),
    "onnx_small": lambda settings: _inference_row(*_onnx_network(), settings.small, settings.repeats),
    "dawn_large": lambda settings: _inference_row(*_network("dawn"), settings.large, settings.repeats_large),
    "dawn_small_bfloat16": lambda settings: _inference_row(*_in_bfloat16(), settings.small, settings.repeats),
    "dawn_large_bfloat16": lambda settings: _inference_row(*_in_bfloat16(), settings.large, settings.repeats_large),
    "zero_dce_large": lambda settings: _inference_row(*_network("zero_dce"), settings.large, settings.repeats_large),
}


def main(arguments=None):
    """Measure the rows, each in a process of its own, print them as a table and write them as JSON."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not how fast it is")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"), help="the JSON file to write")
    options = parser.parse_args(arguments)
    report = {"date": date.today().isoformat(), "quick": options.quick, **_in_new_process(_machine), "rows": {}}
    for name in options.rows:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        report["rows"][name] = _in_new_process(_measure, name, QUICK if options.quick else Settings())
    report["data_over_training"] = _data_over_training(report["rows"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(_table(report))


def _in_new_process(function, *arguments):
    # This process stays small and imports neither Keras nor lle: Linux lets a child begin with its parent's peak.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _machine():
    from lle.data import samples
    from lle.machine import hardware, versions

    samples()  # written now, so that no row pays for it
    return {"hardware": hardware(), "versions": versions()}


def _measure(name, settings):
    try:
        text, value, unit, repeats = ROWS[name](settings)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        return {"skipped": OPTIONAL[error.name]}
    from lle.machine import peak_memory

    return {"what": text, "value": value, "unit": unit, "repeats": repeats, "peak_mib": round(peak_memory())}


def _median_seconds(work, repeats, prepare=lambda: None):
    seconds = []
    for _ in range(1 + repeats):
        prepared = prepare()
        start = time.perf_counter()
        work(prepared)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])  # the first warms up


def _data_row(text, unit, items, settings, later, **options):
    from lle.data import dataset

    def build():
        return dataset(items, settings.batch, shuffle=True, seed=0, **options)

    filled = build()  # in the warm-up, where it is used
    prepare = (lambda: filled) if later else build
    seconds = _median_seconds(lambda batches: sum(1 for _ in batches), settings.repeats, prepare)
    epoch = "later epochs (cache)" if later else "first epoch (decoding)"
    return f"{text}, batch {settings.batch}, {epoch}", len(items) / seconds, unit, settings.repeats


def _inference_row(text, model, shape, repeats):
    import numpy as np

    from lle.data import read_image
    from lle.enhance import run

    picture = read_image(_pairs(1)[0].low)
    tiles = [math.ceil(wanted / had) for wanted, had in zip(shape, picture.shape[:2], strict=True)]
    image = np.tile(picture, (*tiles, 1))[: shape[0], : shape[1]].astype("float32")
    image /= 255
    seconds = _median_seconds(lambda _: run(model, image), repeats)
    value, unit = (seconds, "s") if seconds >= 2 else (1000 * seconds, "ms")
    return f"{text}, {shape[1]}x{shape[0]}", value, unit, repeats


def _pairs(count):
    from lle.data import samples

    pairs = samples().train
    return (pairs * math.ceil(count / len(pairs)))[:count]


def _singles(settings):
    return [pair.low for pair in _pairs(settings.files)]


def _network(name):
    from lle.enhance import load

    return f"enhance.run, {name}", load(name)


def _in_bfloat16():
    from lle.enhance import can_compute, load

    if not can_compute("bfloat16"):
        raise ModuleNotFoundError(name="bfloat16")
    return "enhance.run, dawn in bfloat16", load("dawn", dtype="mixed_bfloat16")


def _onnx_network():
    """Somebody else's network, a file with a fixed or free size of its input, (batch, 3, height, width)."""
    import cv2
    import numpy as np
    import onnxruntime

    if not ONNX:
        raise ModuleNotFoundError(name="LLE_ONNX")
    session = onnxruntime.InferenceSession(ONNX, providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    fixed = [side if isinstance(side, int) else None for side in wanted.shape[2:]]

    def enhance(batch):
        height, width = (side or had for side, had in zip(fixed, batch.shape[1:3], strict=True))
        resized = cv2.resize(batch[0], (width, height)).transpose(2, 0, 1)[None]
        output = session.run(None, {wanted.name: np.ascontiguousarray(resized)})[0][0].transpose(1, 2, 0)
        return cv2.resize(output, batch.shape[2:0:-1])[None]

    return f"enhance.run, {Path(ONNX).stem} in ONNX Runtime", enhance


def _torch_network():
    import torch

    widths = [(3, 32), (32, 32), (32, 32), (32, 32), (64, 32), (64, 32), (64, 24)]
    conv1, conv2, conv3, conv4, conv5, conv6, conv7 = (torch.nn.Conv2d(*width, 3, padding=1) for width in widths)

    @torch.inference_mode()
    def enhance(batch):
        images = torch.from_numpy(batch).permute(0, 3, 1, 2)
        x1 = torch.relu(conv1(images))
        x2 = torch.relu(conv2(x1))
        x3 = torch.relu(conv3(x2))
        x4 = torch.relu(conv4(x3))
        x5 = torch.relu(conv5(torch.cat([x3, x4], 1)))
        x6 = torch.relu(conv6(torch.cat([x2, x5], 1)))
        for curve in torch.tanh(conv7(torch.cat([x1, x6], 1))).split(3, 1):
            images = images + curve * (images**2 - images)
        return images.permute(0, 2, 3, 1).numpy()

    return "enhance.run, DCE-Net in plain PyTorch, random weights", enhance


def _data_over_training(rows):
    step = rows.get("train", {}).get("value")
    rates = {epochs: rows.get(f"data_resize_{epochs}", {}).get("value") for epochs in ("first", "later")}
    return {epochs: rate * step / 1000 for epochs, rate in rates.items() if rate and step}


def _table(report):
    lines = ["| what | median | repeats | peak memory |", "|---|---|---|---|"]
    for name, row in report["rows"].items():
        if "skipped" in row:
            lines.append(f"| {name} | skipped: {row['skipped']} | | |")
        else:
            digits = 0 if row["value"] >= 100 else 1
            value = f"{row['value']:.{digits}f} {row['unit']}"
            lines.append(f"| {row['what']} | {value} | {row['repeats']} | {row['peak_mib']} MiB |")
    for epochs, ratio in report["data_over_training"].items():
        epochs = {"first": "first epoch", "later": "later epochs"}[epochs]
        verdict = "" if ratio > 1 else " (training waits for data)"
        lines.append(f"| data pipeline over training, resized images, {epochs} | {ratio:.1f} times{verdict} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
