"""Four thousand mutated pictures: each is enhanced or refused, none crashes the process, hangs or leaves a file."""

import faulthandler
import io
import os
import sys
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from lle.enhance import enhance
from lle.files import enhance_file

COUNT, SECONDS = 4001, 30
GENTLE = 5  # of so many mutations, all but one keep the first bytes, by which a decoder is chosen


def same(batch):
    return batch


def originals():
    """Small pictures in every format that is read, by suffix."""
    smooth = np.add.outer(np.arange(13), np.arange(17)).astype("uint8") * 8
    noise = np.random.default_rng(0).integers(0, 99, (13, 17, 4), "uint8")
    picture = Image.fromarray(smooth[..., None] + noise[..., :3])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    options = [
        (".png", {}), (".png", {"exif": exif}), (".jpg", {"exif": exif}), (".jpg", {"progressive": True}),
        (".webp", {}), (".webp", {"lossless": True}), (".bmp", {}), (".tif", {}),
        (".tif", {"compression": "tiff_lzw", "exif": exif}), (".tif", {"compression": "jpeg"}),
        (".gif", {"save_all": True, "append_images": [picture.rotate(90)]}), (".jp2", {}),
    ]  # fmt: skip
    for suffix, keywords in options:
        memory = io.BytesIO()
        picture.save(memory, Image.registered_extensions()[suffix], **keywords)
        yield suffix, memory.getvalue()
    for mode in ("P", "LA", "CMYK", "I;16", "1"):
        memory = io.BytesIO()
        deep = Image.fromarray(smooth.astype("uint16") * 99)
        (deep if mode == "I;16" else picture.convert(mode)).save(memory, "TIFF" if mode == "CMYK" else "PNG")
        yield ".png", memory.getvalue()
    for suffix in (".png", ".tif"):
        yield suffix, cv2.imencode(suffix, noise.astype("uint16") * 600)[1].tobytes()


def mutated(content, random):
    """Change, insert, repeat, remove or exchange some bytes."""
    content, start = bytearray(content), 0 if random.integers(GENTLE) == 0 else 16
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(min(start, len(content) - 1), len(content)))
        length = int(random.integers(1, 9))
        kind = random.integers(6)
        if kind == 0:
            content[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            content[place : place + length] = random.bytes(length)
        elif kind == 2:
            content[place : place + length] = bytes([random.choice([0, 0x7F, 0x80, 0xFF])]) * length
        elif kind == 3:
            content[place:place] = content[place : place + 8 * length]
        elif kind == 4 and len(content) > 64:
            del content[place : place + length]
        else:
            other = int(random.integers(len(content)))
            content[place : place + length] = content[other : other + length]
    return bytes(content)


@pytest.fixture
def watchdog():
    """Ends the process if a single file takes too long, also in a decoder that never comes back."""
    yield lambda: faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
    faulthandler.cancel_dump_traceback_later()


def mutants(folder):
    """Write one mutated file after the other and yield its path."""
    random, sources = np.random.default_rng(10), list(originals())
    for number in range(COUNT):
        suffix, content = sources[number % len(sources)]
        source = folder / f"in{suffix}"
        source.write_bytes(mutated(content, random))
        yield source
        source.unlink()


@pytest.mark.filterwarnings("ignore")  # Pillow's, about broken metadata
def test_mutated_pictures(tmp_path, tally, watchdog):
    """Pictures in eight formats with random bytes changed, inserted, repeated or removed."""
    target = tmp_path / "out" / "out.png"
    opened = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for number, source in enumerate(mutants(tmp_path)):
        watchdog()
        if number % 2:  # as a file, with 16 bits if it has them
            tally.attempt(partial(enhance_file, source, target, same, max_megapixels=1), source)
            if target.exists():
                assert np.asarray(Image.open(target)).ndim >= 2
                target.unlink()
        elif result := tally.attempt(partial(enhance, source, same, max_megapixels=1), source):
            assert result.width * result.height <= 1e6
    left = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert left == [] and min(tally.refused, tally.survived) > 500
    if opened:
        assert len(os.listdir("/proc/self/fd")) <= opened + 2
