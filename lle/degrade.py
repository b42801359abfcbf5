"""A well-lit photograph made dark by a camera model.

The light that a camera meets is linear, a photograph is not: `darken` undoes the sRGB curve, takes light away, adds the
noise that a sensor has at that light, rounds as its converter does and applies the curve again.
"""

import math

import numpy as np

# What `random_darken` draws from. In LOL v1 the linear mean of the dark picture over that of its reference has a median
# of 0.022, and the middle half of its red and blue gains lies within 0.8 to 1.1. Noise takes the lower end of
# the range in arXiv 1811.11127 (to 0.012): flat parts of LOL's pictures deviate by 1 to 2 levels, these by 2 to 3.
EXPOSURES = (0.01, 0.06)
GAINS = (0.8, 1.25)
SHOT_NOISE = (1e-4, 5e-4)


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


def _typical_read_noise(shot):
    return math.exp(1.20) * shot**2.18


def _expose(light, shot, read, generator):
    if shot > 0:
        light = shot * generator.poisson(light / shot)
    if read > 0:
        light = light + generator.normal(0, math.sqrt(read), light.shape)
    return light
