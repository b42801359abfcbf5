"""A well-lit photograph made dark by a camera model.

The light that a camera meets is linear, a photograph is not: `darken` undoes the sRGB curve, takes light away, adds the
noise that a sensor has at that light, rounds as its converter does and applies the curve again. `light_in_part`
makes a scene that is dark in places only. `raw_pair` goes back to what the sensor itself records.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from lle.pictures import GREY, to_float

# What `random_darken` draws from. In LOL v1 the linear mean of the dark picture over that of its reference has a median
# of 0.022, and the middle half of its red and blue gains lies within 0.8 to 1.1. Noise takes the lower end of
# the range in arXiv 1811.11127 (to 0.012): flat parts of LOL's pictures deviate by 1 to 2 levels, these by 2 to 3.
EXPOSURES = (0.01, 0.06)
GAINS = (0.8, 1.25)
SHOT_NOISE = (1e-4, 5e-4)
# What `light_in_part` draws from.
LIT_SHARES = (0.1, 0.7)  # of the picture
SOFTNESS = (0.05, 1.0)  # of the edge of the light, standard deviations of the field that it follows
PATCHES = (2, 5)  # values of that field along each side

# Linear sRGB to CIE XYZ, D65 (IEC 61966-2-1).
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


class Camera(NamedTuple):
    """What `raw_pair` knows of a camera; levels are steps of its converter.

    The noise is calibrated at several gains `k`, in levels per electron: the standard deviation of read and of row
    noise is `exp(slope * log(k) + offset + Normal(0, deviation))` levels.
    """

    name: str
    black: int
    white: int
    xyz_to_camera: tuple  # 3 x 3, by rows
    gains: tuple  # smallest and largest `k`
    read_noise: tuple  # slope, offset, deviation
    row_noise: tuple


# Noise: the calibration that Wei et al. publish with "A Physics-based Noise Formation Model for Extreme Low-light Raw
# Denoising" (arXiv 2003.12751; github.com/Vandermode/ELD, camera_params/release). Matrix: Adobe's, as dcraw lists it
# for the ILCE-7S and 7SM2. Black and white: SID's, which was taken with this camera.
SONY_A7S2 = Camera(
    name="Sony A7S II",
    black=512,
    white=16383,
    xyz_to_camera=((0.5838, -0.1430, -0.0246), (-0.3497, 1.1477, 0.2297), (-0.0748, 0.1885, 0.5778)),
    gains=(0.0939, 6.0106),
    read_noise=(0.5407, 1.2182, 0.2675),
    row_noise=(0.5275, -0.5917, 0.2943),
)
MOSAIC = ((0, 0, 0), (0, 1, 1), (1, 1, 2), (1, 0, 1))  # row, column, colour of each plane: clockwise, as SID packs them
RED_GAINS, BLUE_GAINS = (1.9, 2.4), (1.5, 1.9)  # white balance of real cameras, arXiv 1811.11127


def srgb_to_linear(values):
    """Undo the sRGB curve (IEC 61966-2-1).

    Linear below 0.04045 (`v / 12.92`), `((v + 0.055) / 1.055) ** 2.4` above.

    Args:
        values: Array of any shape: sRGB as float in [0, 1], or uint8, where 255 stands for 1.

    Returns:
        Linear light, same shape, 1 at white; float32 for uint8, else in the given precision.
    """
    values = np.asarray(values)
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / 255
    power = ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(values <= 0.04045, values / 12.92, power)


def linear_to_srgb(values):
    """Apply the sRGB curve (IEC 61966-2-1), the inverse of `srgb_to_linear`.

    Linear below 0.0031308 (`12.92 * v`), `1.055 * v ** (1 / 2.4) - 0.055` above.

    Args:
        values: Array of any shape: linear light as float, 1 at white.

    Returns:
        sRGB, same shape and precision.
    """
    values = np.asarray(values)
    power = 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, 12.92 * values, power)


def darken(image, exposure, white_balance=(1.0, 1.0, 1.0), shot=2e-4, read=None, bits=14, seed=None):
    """Simulate the photograph that a camera takes of the same scene in less light.

    In linear light, full scale 1, and with `x` the light that reaches a pixel:

        x = exposure * white_balance * srgb_to_linear(image)
        y = shot * Poisson(x / shot) + Normal(0, read)              # mean x, variance shot * x + read
        output = linear_to_srgb(round(clip(y, 0, 1) * (2**bits - 1)) / (2**bits - 1))

    The noise is the Poisson-Gaussian model of Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data" (IEEE Transactions on Image Processing 17, 2008). Its levels are those of Brooks et al.,
    "Unprocessing images for learned raw denoising" (arXiv 1811.11127): `shot` from 0.0001 to 0.012, and
    `log(read) = 2.18 * log(shot) + 1.20` on average. The colour filter array is left out: each channel is measured at
    each pixel, so that neighbouring pixels have independent noise.

    Args:
        image: Well-lit sRGB photograph, `(height, width, 3)`, uint8 or float in [0, 1].
        exposure: Share of the light that is left, in (0, 1]: 0.05 is a twentieth. `2 ** -n` is `n` stops less.
        white_balance: Gain of red, green and blue, positive; divided by that of green, so that only the colour changes.
        shot: Variance of the shot noise at full scale, the inverse of the electrons that fill a pixel; 1e-9 to 1, or 0
            for none.
        read: Variance of the read noise, full scale squared, 0 to 1; by default what `shot` has on average (above).
        bits: Bits of the analogue-to-digital converter, 1 to 16.
        seed: Integer or `numpy.random.Generator` for the noise; other noise on each call by default.

    Returns:
        The dark photograph, sRGB, float32, `(height, width, 3)`, in [0, 1]. It is not rounded to 8 bit.

    Raises:
        ValueError: If the image has another shape, type or range, or an argument is out of its range.
    """
    linear = srgb_to_linear(_checked_image(image))
    gains = np.asarray(white_balance, np.float64)
    if gains.shape != (3,) or not (np.isfinite(gains).all() and (gains > 0).all()):
        raise ValueError(f"white_balance must be three positive numbers, got {white_balance!r}")
    if not 0 < exposure <= 1:
        raise ValueError(f"exposure must be above 0 and at most 1, got {exposure!r}")
    if shot != 0 and not 1e-9 <= shot <= 1:
        raise ValueError(f"shot must be 0 or from 1e-9 to 1, got {shot!r}")
    read = _typical_read_noise(shot) if read is None else read
    if not 0 <= read <= 1:
        raise ValueError(f"read must be from 0 to 1, got {read!r}")
    if bits not in range(1, 17):
        raise ValueError(f"bits must be an integer from 1 to 16, got {bits!r}")
    light = _expose(linear * (exposure * gains / gains[1]), shot, read, np.random.default_rng(seed))
    levels = 2**bits - 1
    return linear_to_srgb(np.round(np.clip(light, 0, 1) * levels) / levels).astype(np.float32)


def random_darken(image, seed):
    """Darken a photograph about as much as those of LOL v1 are, by a camera drawn at random.

    Drawn log-uniformly: `exposure` from 0.01 to 0.06, the gains of red and blue from 0.8 to 1.25, `shot` from 0.0001 to
    0.0005. `log(read)` is normal around the line that `darken` gives, with a deviation of 0.26 (arXiv 1811.11127).

    Args:
        image: Well-lit sRGB photograph, `(height, width, 3)`, uint8 or float in [0, 1].
        seed: Integer or `numpy.random.Generator`; decides the camera and its noise.

    Returns:
        The dark photograph, sRGB, float32, `(height, width, 3)`, in [0, 1].

    Raises:
        ValueError: If the image has another shape, type or range.
    """
    generator = np.random.default_rng(seed)
    exposure, red, blue, shot = (
        math.exp(generator.uniform(math.log(low), math.log(high)))
        for low, high in (EXPOSURES, GAINS, GAINS, SHOT_NOISE)
    )
    read = _typical_read_noise(shot) * math.exp(generator.normal(0, 0.26))
    return darken(image, exposure, (red, 1.0, blue), shot, read, seed=generator)


def light_in_part(low, high, seed=None):
    """Mix a dark and a well-lit photograph of one scene: what a lamp or a window lights is well lit, the rest dark.

        output = low + light * (high - low),    light = 1 / (1 + exp((edge - field) / softness))

    `field` is a smooth random one (2x2 to 5x5 normal values, interpolated bicubically, standardised) plus, since light
    makes bright, up to twice the grey values of `high`, averaged over a twentieth of its shorter side and standardised.
    The edge is drawn so that it leaves 10 to 70 % of the picture lit, the softness from 0.05 to 1, log-uniformly.
    Mixed are sRGB values; the noise stays where it is dark.

    Args:
        low: The dark photograph, `(height, width, 3)`, uint8 or float in [0, 1].
        high: The well-lit one, of the same size.
        seed: Integer or `numpy.random.Generator`; light elsewhere on each call by default.

    Returns:
        The photograph that is lit in part, sRGB, float32, `(height, width, 3)`, in [0, 1].

    Raises:
        ValueError: If a photograph has another shape, type or range, or the two differ in size.
    """
    low, high = (to_float(_checked_image(image)) for image in (low, high))
    if low.shape != high.shape:
        raise ValueError(f"low and high must have one size, got {low.shape} and {high.shape}")
    random = np.random.default_rng(seed)
    patches = random.normal(size=(random.integers(PATCHES[0], PATCHES[1] + 1),) * 2)
    field = _standardised(cv2.resize(patches, low.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    nearby = max(1, min(low.shape[:2]) // 20)
    field += random.uniform(0, 2) * _standardised(cv2.blur(high @ GREY, (nearby, nearby)))
    edge = np.quantile(field, 1 - random.uniform(*LIT_SHARES))
    steepness = math.exp(-random.uniform(*np.log(SOFTNESS)))
    light = 0.5 + 0.5 * np.tanh((field - edge) * steepness / 2)  # the logistic function, which cannot overflow so
    return np.clip(low + light[..., None] * (high - low), 0, 1).astype(np.float32)


def raw_pair(image, ratio, gain=None, white_balance=None, camera=SONY_A7S2, seed=None):
    """Simulate the short raw exposure of a scene of which a well-lit photograph is the long one.

    The photograph is developed backwards, after Brooks et al., "Unprocessing images for learned raw denoising" (arXiv
    1811.11127): inverse tone curve (that of `3x^2 - 2x^3`) and sRGB curve, colour matrix of the camera, white balance
    divided out (less so in highlights, which would turn grey), mosaic. That is the long exposure, of which the short
    one gets the share `1 / ratio`. With `x` its levels above black and `k` the gain, in levels per electron, it records

        y = k * Poisson(x / k) + Normal(0, read) + Normal(0, row), the same for a row of the sensor
        frame = clip(round(y), 0, white - black) / (white - black)

    which is the noise model of Wei et al. (arXiv 2003.12751) with Gaussian read noise. `read` and `row` are drawn
    around the camera's calibration for `k`. That of `SONY_A7S2` is what they publish (github.com/Vandermode/ELD,
    camera_params/release); its colour matrix is Adobe's, as dcraw lists it, its black and white levels are SID's.

    Args:
        image: Well-lit sRGB photograph, `(height, width, 3)`, uint8 or float in [0, 1].
        ratio: Long over short exposure, at least 1; 100 to 300 in SID (arXiv 1805.01934).
        gain: `k`, levels per electron; by default drawn log-uniformly from the range that the camera was calibrated in.
        white_balance: Gains of red and blue that make the sensor's white neutral; by default drawn from those of real
            cameras.
        camera: A `Camera`.
        seed: Integer or `numpy.random.Generator`; another camera setting and other noise on each call by default.

    Returns:
        `(frame, reference)`: the short exposure, packed, float32, `(height // 2, width // 2, 4)`, in the order R, G, B,
        G of a mosaic that begins with R, black level removed, white 1, not amplified; and the photograph, float32,
        sRGB, `(height, width, 3)` without a last odd row and column. `frame * ratio` is as bright as the long exposure.

    Raises:
        ValueError: If the image has another shape, type or range, or an argument is out of its range.
    """
    image = _checked_image(image)
    if min(image.shape[:2]) < 2:
        raise ValueError(f"image must have at least 2x2 pixels, got {image.shape}")
    if not 1 <= ratio < math.inf:
        raise ValueError(f"ratio must be at least 1, got {ratio!r}")
    if gain is not None and not 0 < gain < math.inf:
        raise ValueError(f"gain must be above 0, got {gain!r}")
    generator = np.random.default_rng(seed)
    if white_balance is None:
        white_balance = generator.uniform(*RED_GAINS), generator.uniform(*BLUE_GAINS)
    gains = _checked_gains(white_balance)
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    reference = to_float(image)
    long = _mosaic(_undevelop(reference, *gains, camera))
    gain = gain or math.exp(generator.uniform(*np.log(camera.gains)))
    levels = camera.white - camera.black
    short = _record(long * (levels / ratio), gain, camera, generator)
    return (np.clip(np.rint(short), 0, levels) / levels).astype(np.float32), reference


def develop_frame(frame, white_balance, camera=SONY_A7S2):
    """Develop a packed frame of `raw_pair` the conventional way, which is what a network has to beat.

    Each step that `raw_pair` takes back: demosaicing (bilinear, OpenCV), white balance, colour matrix, sRGB and tone
    curve. Nothing removes noise.

    Args:
        frame: `(height, width, 4)`, at least 2 x 2, float in [0, 1], amplified; R, G, B, G, the mosaic begins with R.
        white_balance: Gains of red and blue, positive, that make the sensor's white neutral.
        camera: A `Camera`.

    Returns:
        sRGB photograph, float32, `(2 * height, 2 * width, 3)`, in [0, 1].

    Raises:
        ValueError: If the frame has another shape or range, or the gains are not two positive numbers.
    """
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[2] != 4 or min(frame.shape[:2]) < 2:
        raise ValueError(f"frame must have the shape (height, width, 4), at least 2 x 2, got {frame.shape}")
    if not (frame.min() >= 0 and frame.max() <= 1):  # a NaN fails both
        raise ValueError(f"frame must lie in [0, 1], got values from {frame.min()} to {frame.max()}")
    mosaic = np.empty((2 * frame.shape[0], 2 * frame.shape[1]), np.uint16)
    for plane, (row, column, _) in enumerate(MOSAIC):
        mosaic[row::2, column::2] = np.rint(frame[..., plane] * 65535)
    colors = cv2.demosaicing(mosaic, cv2.COLOR_BayerRGGB2RGB).astype(np.float64) / 65535
    red, blue = _checked_gains(white_balance)
    colors = np.clip(colors * (red, 1.0, blue), 0, 1)
    linear = np.clip(colors @ np.linalg.inv(_color_matrix(camera)).T, 0, 1)
    curved = linear_to_srgb(linear)
    return (curved**2 * (3 - 2 * curved)).astype(np.float32)


def _undevelop(photograph, red, blue, camera):
    """Linear colours of the camera, white at 1, of an sRGB photograph."""
    curved = 0.5 - np.sin(np.arcsin(1 - 2 * photograph.astype(np.float64)) / 3)  # undoes 3x^2 - 2x^3
    linear = srgb_to_linear(np.clip(curved, 0, 1))
    colors = np.clip(linear @ _color_matrix(camera).T, 0, 1)
    gains = 1 / np.array([red, 1.0, blue])
    bright = np.clip((colors.mean(axis=-1, keepdims=True) - 0.9) / 0.1, 0, 1) ** 2
    return colors * np.maximum(bright + (1 - bright) * gains, gains)


def _color_matrix(camera):
    """From linear sRGB to the camera's colours, so that grey stays grey."""
    matrix = np.array(camera.xyz_to_camera) @ SRGB_TO_XYZ
    return matrix / matrix.sum(axis=1, keepdims=True)


def _mosaic(colors):
    """(height, width, 3), both even -> (height / 2, width / 2, 4)."""
    return np.stack([colors[row::2, column::2, color] for row, column, color in MOSAIC], axis=-1)


def _record(light, gain, camera, generator):
    """What the converter reads, in levels above black, not rounded yet."""
    read, row = (
        math.exp(slope * math.log(gain) + offset + generator.normal(0, deviation))
        for slope, offset, deviation in (camera.read_noise, camera.row_noise)
    )
    rows = generator.normal(0, row, (len(light), 2))  # a packed row holds two of the sensor's
    levels = gain * generator.poisson(light / gain) + generator.normal(0, read, light.shape)
    return levels + rows[:, None, [0, 0, 1, 1]]


def _checked_gains(white_balance):
    gains = np.asarray(white_balance, np.float64)
    if gains.shape != (2,) or not (np.isfinite(gains).all() and (gains > 0).all()):
        raise ValueError(f"white_balance must be two positive numbers, got {white_balance!r}")
    return gains


def _checked_image(image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must have the shape (height, width, 3), got {image.shape}")
    if image.dtype != np.uint8:
        if image.dtype.kind != "f":
            raise ValueError(f"image must be uint8 or float, got {image.dtype}")
        if not (image.min() >= 0 and image.max() <= 1):  # a NaN fails both
            raise ValueError(f"image must lie in [0, 1], got values from {image.min()} to {image.max()}")
    return image


def _standardised(field):
    return (field - field.mean()) / max(field.std(), 1e-3)


def _typical_read_noise(shot):
    return math.exp(1.20) * shot**2.18


def _expose(light, shot, read, generator):
    if shot > 0:
        light = shot * generator.poisson(light / shot)
    if read > 0:
        light = light + generator.normal(0, math.sqrt(read), light.shape)
    return light
