"""Measures: Keras metrics for training, and the protocols that the final figures are computed with.

A protocol says in which size and arithmetic a network's output is compared with the reference. `standard` is what the
field means by PSNR on LOL v1; the protocols named after a report recompute what it printed, faults included, and are
labelled `as_printed`.
"""

from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from keras import ops
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm.auto import tqdm

from lle import losses
from lle.data import read_image
from lle.enhance import as_network, run
from lle.pictures import first_line, to_float, to_uint8

PROTOCOLS = ("standard", "gt_mean", "report_1", "report_3", "report_5")
REPORT_1_SIZE = (128, 128)  # pixels
REPORT_3_SIZE = (150, 150)


def evaluate(model, pairs, protocol="standard", max_megapixels=None):
    """Measure a network on image pairs.

    - `standard`: native size, RGB; the output is clipped to [0, 1] and rounded to 8 bit; PSNR and SSIM as `psnr` and
      `ssim` below and the mean CIEDE2000, per image.
    - `gt_mean`: the columns of `standard`, and beside them PSNR and SSIM after the output was scaled to the reference's
      mean brightness (`match_mean`), which tells the network what the right brightness is.
    - `report_1`: the columns of `standard`, and beside them report 1's MSE and PSNR (`mse_as_printed`,
      `psnr_as_printed`): both pictures resized to 128x128 before they enter, the output clipped but not rounded.
      Its PSNR in the row `mean` is that of the mean MSE, as if all pictures were one ("pooled"). The mean of the
      per-image PSNRs is never smaller (Jensen's inequality).
    - `report_3`: the columns of `standard`, and beside them report 3's PSNR (`psnr_as_printed`): both pictures resized
      to 150x150 with antialiasing before they enter, a size that the network has to take as it is; the output truncated
      to 8 bit without clipping, so that values outside [0, 1] wrap around.
    - `report_5`: the columns of `standard`, and beside them what reports 2 and 5 most likely print (`psnr_as_printed`):
      both images as uint8, the output truncated, the squared error taken in uint8 arithmetic, where it wraps around.

    Args:
        model: A Keras model, any function from a float32 batch in [0, 1] to such a batch, or a name or path as
            `lle.load` takes it.
        pairs: A list of `lle.data.Pair`.
        protocol: One of `PROTOCOLS`.
        max_megapixels: A larger picture is refused before it is decoded; by default above Pillow's limit, 179.

    Returns:
        A `pandas.DataFrame` with a row for each image, and the mean over the images as the row `mean`.

    Raises:
        ValueError: If the protocol is unknown, there is no list of pairs or an empty one, no network of this name or
            path, or a picture does not decode or is too small.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {PROTOCOLS}, got {protocol!r}")
    if isinstance(pairs, (str, Path)):
        raise ValueError(f"expected a list of pairs, such as lle.data.find_pairs makes, got the path {str(pairs)!r}")
    if not pairs:
        raise ValueError("there is no pair to evaluate")
    _check_names([pair.name for pair in pairs])
    model = as_network(model)
    rows = []  # two folders may hold pictures of the same name
    for pair in tqdm(pairs, desc=protocol, unit="image", leave=False):
        reference = read_image(pair.high, max_megapixels)
        low = read_image(pair.low, max_megapixels)
        if min(reference.shape[:2]) < losses.SSIM_WINDOW:
            raise ValueError(f"{pair.high}: SSIM needs at least {losses.SSIM_WINDOW}x{losses.SSIM_WINDOW} pixels")
        rows.append(_measure(reference, run(model, to_float(low)), protocol))
        if protocol == "report_1":
            rows[-1].update(_measure_resized(model, low, reference))
        if protocol == "report_3":
            rows[-1]["psnr_as_printed"] = psnr_resized(model, low, reference)
    table = pd.DataFrame(rows, index=[pair.name for pair in pairs])
    table.loc["mean"] = table.mean()
    if protocol == "report_1":
        table.loc["mean", "psnr_as_printed"] = -10 * np.log10(table.loc["mean", "mse_as_printed"])
    return table


def evaluate_raw(model, frames, references, ratios, names=None):
    """Measure a network on camera raw, as SID and report 4 do: native size, `psnr` and `ssim` on 8 bit, per image.

    Args:
        model: A network on packed frames, or its name or path; or any function of a frame, as `frames` has it, and its
            ratio to a picture.
        frames: Packed frames, `(height / 2, width / 2, 4)`, uint16 or float in [0, 1]: a list or `lle.raw.Frames`.
        references: As many pictures, `(height, width, 3)`, uint8, uint16 or float in [0, 1].
        ratios: As many numbers, by which the frames are amplified (`lle.raw.amplify`).
        names: What the rows shall be called, such as the names of `lle.data.RawPair`; by default their places, from 0.

    Returns:
        A `pandas.DataFrame` with a row for each picture (PSNR in dB, SSIM), and their mean as the row `mean`.

    Raises:
        ValueError: If there is no frame, one is called "mean", or the four differ in number or a picture from its
            reference in size.
    """
    from lle.raw import amplify  # loads LibRaw, which photographs do without

    names = range(len(frames)) if names is None else names
    counts = len(frames), len(references), len(ratios), len(names)
    if 0 in counts or len(set(counts)) > 1:
        raise ValueError(f"frames, references, ratios and names must be equally many and at least one, got {counts}")
    _check_names(names)
    model, rows = as_network(model), []
    for frame, reference, ratio in zip(frames, references, ratios, strict=True):
        output = run(model, amplify(frame, ratio)) if hasattr(model, "predict_on_batch") else model(frame, ratio)
        reference = to_float(reference)
        rows.append({"psnr": psnr(reference, output), "ssim": ssim(reference, output)})
    table = pd.DataFrame(rows, index=list(map(str, names)))
    table.loc["mean"] = table.mean()
    return table


def _check_names(names):
    if "mean" in map(str, names):
        raise ValueError("no picture may be called 'mean', which is the name of the table's last row")


def psnr(reference, output):
    """Peak signal-to-noise ratio of one image, computed in float64 on 8-bit values.

    Args:
        reference: `(height, width, 3)`, uint8, or float in [0, 1], which is clipped and rounded to 8 bit.
        output: Likewise.

    Returns:
        dB; infinite for equal images.

    Raises:
        ValueError: If the two differ in shape, or one is not as above.
    """
    reference, output = _pair_as_uint8(reference, output)
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, output, data_range=255))


def ssim(reference, output):
    """Structural similarity of one image (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, mean of channels.

    Args:
        reference: `(height, width, 3)`, at least 11 x 11; uint8, or float in [0, 1], clipped and rounded to 8 bit.
        output: Likewise.

    Returns:
        A number up to 1.

    Raises:
        ValueError: If a side is shorter than the window, the two differ in shape, or one is not as above.
    """
    if min(reference.shape[:2]) < losses.SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least 11x11 pixels, the image is {reference.shape[1]}x{reference.shape[0]}")
    reference, output = _pair_as_uint8(reference, output)
    return float(
        structural_similarity(
            reference,
            output,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def match_mean(reference, output):
    """Scale an output to the mean brightness of its reference ("GT-mean"), as public evaluation codes do.

    The factor is the ratio of the means of the two grey images (BT.601 weights), taken after the output was rounded to
    8 bit. A network measured that way is told the right brightness, so such a figure stands beside the plain one, never
    alone.

    Args:
        reference: `(height, width, 3)`, uint8, or float in [0, 1].
        output: Likewise.

    Returns:
        float32, clipped to [0, 1].

    Raises:
        ValueError: If the two differ in shape or do not hold pictures.
    """
    reference, output = (image.astype("float32") / 255 for image in _pair_as_uint8(reference, output))
    means = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean(dtype="float64") for image in (reference, output)]
    return np.clip(output * np.float32(means[0] / max(means[1], 1e-8)), 0, 1)


def psnr_uint8(reference, output):
    """The PSNR of `np.mean((a - b) ** 2)` on uint8 arrays, where all of it wraps modulo 256.

    It is about 27.9 dB for any two pictures: the square of a residue modulo 256, itself taken modulo 256, is 105.5 on
    average over all residues, and 10 * log10(255 ** 2 / 105.5) = 27.9. Never a measure of anything; it is here to
    recompute what was printed. Reports 2 and 5 do not show how they measured; that it was so is inferred from their
    values, all of which lie between 27.3 and 28.6.

    Args:
        reference: `(height, width, 3)`, uint8.
        output: uint8, or float in [0, 1], which is truncated to 8 bit.

    Returns:
        A float, in what would be dB.

    Raises:
        ValueError: If the reference is not uint8, since nothing would wrap around then, or the two differ in shape.
    """
    _check_shapes(reference, output)
    if reference.dtype != np.uint8:
        raise ValueError(f"the reference must be uint8, got {reference.dtype}")
    if output.dtype != np.uint8:
        output = (np.clip(output, 0, 1) * 255).astype("uint8")
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255**2 / np.mean((reference - output) ** 2)))


def psnr_resized(model, low, reference):
    """The PSNR of report 3 for one pair: at 150x150, the output made 8-bit by a bare `astype(uint8)`.

    Args:
        model: What `lle.enhance.run` takes.
        low: `(height, width, 3)`, uint8.
        reference: Likewise.

    Returns:
        dB, which is right where the output lies within [0, 1], but for the truncation.

    Raises:
        ValueError: If the network does not take 150x150 pixels.
    """
    pictures = (Image.fromarray(image) for image in (low, reference))
    low, reference = (np.asarray(picture.resize(REPORT_3_SIZE, Image.Resampling.BILINEAR)) for picture in pictures)
    batch = low[None].astype("float32") / 255
    if hasattr(model, "predict_on_batch"):
        try:
            output = ops.convert_to_numpy(model.predict_on_batch(batch))[0]
        except Exception as error:  # what a backend raises where feature maps do not fit
            stride = getattr(model, "card", {}).get("stride", 1)
            reason = f"only multiples of {stride}" if REPORT_3_SIZE[0] % stride else first_line(error)
            raise ValueError(f"this network does not take 150x150, which report 3 needs ({reason})") from error
    else:
        output = np.asarray(model(batch))[0]
    output = (output * 255).astype("int32").astype("uint8")  # as x86 converts float to uint8, which C leaves undefined
    error = np.mean((output / 255 - reference / 255) ** 2)
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(error))


@keras.saving.register_keras_serializable(package="lle")
class PSNR(keras.metrics.MeanMetricWrapper):
    """Mean PSNR in dB of batches `(batch, height, width, channels)` in [0, 1], per image; the output is clipped."""

    def __init__(self, name="psnr", dtype="float32", **kwargs):
        super().__init__(_batch_psnr, name=name, dtype=dtype, **kwargs)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="lle")
class SSIM(keras.metrics.MeanMetricWrapper):
    """Mean SSIM of batches `(batch, height, width, channels)` in [0, 1], per image; the output is clipped.

    Gaussian window of 11 pixels and sigma 1.5, without the rounding to 8 bit of the function `ssim`.
    """

    def __init__(self, name="ssim", dtype="float32", **kwargs):
        super().__init__(_batch_ssim, name=name, dtype=dtype, **kwargs)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def _measure(reference, output, protocol):
    row = {
        "psnr": psnr(reference, output),
        "ssim": ssim(reference, output),
        "ciede2000": float(deltaE_ciede2000(rgb2lab(reference), rgb2lab(to_uint8(output))).mean()),
    }
    if protocol == "report_5":
        row["psnr_as_printed"] = psnr_uint8(reference, output)
    if protocol == "gt_mean":
        matched = match_mean(reference, output)
        row.update(psnr_gt_mean=psnr(reference, matched), ssim_gt_mean=ssim(reference, matched))
    return row


def _measure_resized(model, low, reference):
    """Report 1's figures: OpenCV's bilinear resizing of the 8-bit pictures, then the error in [0, 1]."""
    low, reference = (cv2.resize(image, REPORT_1_SIZE).astype("float32") / 255 for image in (low, reference))
    error = np.mean((run(model, low).astype("float64") - reference) ** 2)
    with np.errstate(divide="ignore"):
        return {"mse_as_printed": error, "psnr_as_printed": -10 * np.log10(error)}


def _batch_psnr(y_true, y_pred):
    error = ops.mean(ops.square(y_true - ops.clip(y_pred, 0, 1)), axis=(1, 2, 3))
    return -10 * ops.log10(ops.maximum(error, 1e-10))  # equal images count as 100 dB, not as infinity


def _batch_ssim(y_true, y_pred):
    return losses.ssim(y_true, ops.clip(y_pred, 0, 1))


def _check_shapes(reference, output):
    if np.shape(reference) != np.shape(output):
        raise ValueError(f"reference and output differ in shape: {np.shape(reference)} and {np.shape(output)}")


def _pair_as_uint8(reference, output):
    _check_shapes(reference, output)
    return to_uint8(reference), to_uint8(output)
