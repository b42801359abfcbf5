"""Reading and writing 16 bits per sample with metadata, which neither Pillow nor OpenCV does alone."""

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import tifffile
from PIL import Image

from lle.paths import one_line
from lle.pictures import exif_texts

JPEG_ROOM = {"exif": 65533, "xmp": 65504}  # bytes; each has one segment, a colour profile as many as it needs


def read_deep(path, orientation):
    """Read a PNG or TIFF file of 16 bits per sample.

    Args:
        path: The file.
        orientation: The EXIF orientation, 1 to 8 or `None`, by which it is turned upright.

    Returns:
        uint16, `(height, width)` or `(height, width, channels)`: RGB or RGBA.

    Raises:
        ValueError: If it does not decode.
    """
    pixels = cv2.imdecode(np.fromfile(path, "uint8"), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{one_line(path)}: does not decode as 16 bit")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[-1] == 4 else cv2.COLOR_BGR2RGB)
    pixels = np.rot90(pixels, {3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}.get(orientation, 0))
    return pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels


def write_picture(path, form, result, metadata):
    """Write a picture; of an array, the formats that have no 16 bits get 8.

    Args:
        path: The file.
        form: Pillow's name of the format, such as `"JPEG"`.
        result: A `PIL.Image.Image`, or uint16 as `read_deep` returns it.
        metadata: A dictionary that may hold `icc_profile`, `exif`, `dpi` and `xmp`, as Pillow takes them; `xmp` is not
            written with 16 bits, and neither it nor `exif` into a JPEG file that has no room for it.

    Raises:
        OSError: If the file cannot be written.
    """
    if form == "JPEG":
        metadata = {key: value for key, value in metadata.items() if len(value) <= JPEG_ROOM.get(key, np.inf)}
    if isinstance(result, np.ndarray) and form == "PNG":
        path.write_bytes(_deep_png(result, metadata))
    elif isinstance(result, np.ndarray) and form == "TIFF":
        _write_deep_tiff(path, result, metadata)
    else:
        if isinstance(result, np.ndarray):
            result = Image.fromarray(np.rint(result / 257).astype("uint8"))
        memory = BytesIO()  # Pillow's own writing takes no notice of a disk that becomes full
        result.save(memory, form, **metadata, **({"quality": 95} if form in ("JPEG", "WEBP") else {}))
        path.write_bytes(memory.getbuffer())


def _deep_png(pixels, metadata):
    """A PNG file of 16 bits, as OpenCV makes it, with the chunks of the metadata after its header."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    chunks = b""
    if "icc_profile" in metadata:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata["icc_profile"]))
    if "dpi" in metadata:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(float(dpi) / 0.0254) for dpi in metadata["dpi"]), 1))
    if "exif" in metadata:
        chunks += _chunk(b"eXIf", metadata["exif"].removeprefix(b"Exif\0\0"))
    return data[:33] + chunks + data[33:]


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _write_deep_tiff(path, pixels, metadata):
    """OpenCV writes no profile into TIFF files, Pillow no 16 bits of colour."""
    exif = Image.Exif()
    exif.load(metadata.get("exif", b""))
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.shape[2:] == (4,) else None,
        compression="zlib",
        predictor=True,
        iccprofile=metadata.get("icc_profile"),
        resolution=tuple(map(float, metadata["dpi"])) if "dpi" in metadata else None,
        resolutionunit="INCH" if "dpi" in metadata else None,
        software=False,
        metadata=None,
        extratags=[(tag, "s", 0, text, True) for tag, text in exif_texts(exif).items()],
    )
