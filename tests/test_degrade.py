import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lle.degrade import (
    SONY_A7S2,
    darken,
    develop_frame,
    light_in_part,
    linear_to_srgb,
    random_darken,
    raw_pair,
    srgb_to_linear,
)

GREY = np.full((200, 200, 3), linear_to_srgb(0.4))  # 0.4 in linear light


def ramp(height=4, width=256):
    values = np.linspace(0, 1, height * width * 3, dtype=np.float32)
    return values.reshape(height, width, 3)


def test_srgb_curve_known_values():
    srgb = np.array([0.0, 0.04045, 0.5, 188 / 255, 1.0])
    linear = np.array([0.0, 0.00313080, 0.21404114, 0.50288646, 1.0])
    np.testing.assert_allclose(srgb_to_linear(srgb), linear, atol=1e-7)
    np.testing.assert_allclose(linear_to_srgb(linear), srgb, atol=1e-6)
    np.testing.assert_allclose(srgb_to_linear(np.uint8([0, 188, 255])), linear[[0, 3, 4]], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_srgb_curve_round_trip(dtype):
    values = np.linspace(0, 1, 100_001, dtype=dtype)
    assert linear_to_srgb(values).dtype == dtype
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6)
    np.testing.assert_allclose(srgb_to_linear(linear_to_srgb(values)), values, atol=1e-6)


def test_without_noise_is_the_formula():
    image = ramp()
    dark = darken(image, 0.05, white_balance=(0.9, 0.75, 0.6), shot=0, bits=16)
    by_hand = srgb_to_linear(image) * 0.05 * np.array([1.2, 1.0, 0.8])
    np.testing.assert_allclose(srgb_to_linear(dark), by_hand, atol=0.5 / 65535 + 1e-7)


def test_full_exposure_without_noise_keeps_the_photograph():
    image = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    np.testing.assert_array_equal(np.round(darken(image, 1, shot=0, bits=16) * 255), image)


@pytest.mark.parametrize("shot, read", [(1e-3, 0), (0, 1e-4), (1e-3, 1e-4), (2e-3, None)])
def test_noise_has_the_mean_and_variance_of_the_model(shot, read):
    noisy = srgb_to_linear(darken(GREY, 0.5, shot=shot, read=read, bits=16, seed=1).astype(np.float64))
    read = math.exp(1.2) * shot**2.18 if read is None else read
    variance = shot * 0.2 + read
    assert abs(noisy.mean() - 0.2) < 5 * math.sqrt(variance / noisy.size)
    assert abs(noisy.var() / variance - 1) < 5 * math.sqrt(2 / noisy.size)  # standard error of a variance


def test_shot_noise_counts_electrons():
    dark = srgb_to_linear(darken(GREY, 0.1, shot=0.01, read=0, bits=16, seed=1))
    counts = dark / 0.01  # 4 electrons on average
    np.testing.assert_allclose(counts, np.round(counts), atol=0.01)
    empty = np.mean(counts < 0.5)
    assert abs(empty - math.exp(-4)) < 5 * math.sqrt(math.exp(-4) / counts.size)


def test_channels_have_independent_noise():
    noise = darken(GREY, 0.5, seed=1).reshape(-1, 3).T
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / math.sqrt(noise.shape[1])


def test_seed_decides_the_noise():
    image = ramp()
    for degrade in (random_darken, lambda image, seed: darken(image, 0.1, seed=seed)):
        first = degrade(image, 3)
        np.testing.assert_array_equal(first, degrade(image, 3))
        np.testing.assert_array_equal(first, degrade(image, np.random.default_rng(3)))
        assert (first != degrade(image, 4)).any()


def test_input_and_global_generator_are_left_alone():
    image = ramp()
    state = np.random.get_state()[1].copy()
    random_darken(image, 0)
    np.testing.assert_array_equal(image, ramp())
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_random_darken_is_as_dark_as_lol():
    grey = np.full((16, 16, 3), 0.46, np.float32)  # the median mean of LOL's references
    darks = np.stack([random_darken(grey, seed) for seed in range(200)])
    assert 0.04 < np.median(darks) < 0.08
    assert 0.005 < darks.mean(axis=(1, 2, 3)).min() and darks.mean(axis=(1, 2, 3)).max() < 0.15
    gains = srgb_to_linear(darks).mean(axis=(1, 2))
    assert np.all(np.abs(np.log(gains[:, 0] / gains[:, 1])) < math.log(1.25) + 0.1)
    assert np.std(gains[:, 0] / gains[:, 1]) > 0.05  # a colour cast that differs between photographs


def test_random_darken_has_the_noise_that_it_says():
    """The shot noise is measured where the picture is white, the read noise where it is black."""
    half = np.zeros((128, 256, 3))
    half[:, :128] = 1
    shots, reads = [], []
    for seed in range(80):
        white, black = np.split(srgb_to_linear(random_darken(half, seed).astype(np.float64)), 2, axis=1)
        shots.append((white.var((0, 1)) / white.mean((0, 1))).mean())
        reads.append(2 * (black**2).mean())  # what was negative is 0
    shots, deviations = np.array(shots), np.log(reads) - (2.18 * np.log(shots) + 1.20)
    assert 0.95e-4 < shots.min() < 1.2e-4 and 4.3e-4 < shots.max() < 5.3e-4
    assert abs(np.median(shots) / math.sqrt(1e-4 * 5e-4) - 1) < 0.25
    assert abs(deviations.mean()) < 0.15 and 0.19 < deviations.std() < 0.33  # 0.26 around the line


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    exposure=st.floats(1e-3, 1),
    factor=st.floats(0.01, 1),
    whole=st.booleans(),
)
def test_any_size_and_exposure(height, width, exposure, factor, whole):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image = image if whole else image.astype(np.float32) / 255
    noisy = darken(image, exposure, shot=0.01, seed=0)
    assert noisy.dtype == np.float32 and noisy.shape == image.shape
    assert noisy.min() >= 0 and noisy.max() <= 1
    brighter, darker = darken(image, exposure, shot=0), darken(image, exposure * factor, shot=0)
    assert (darker <= brighter).all()


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_converter_levels(bits):
    dark = darken(ramp(), 1, shot=0, bits=bits)
    levels = linear_to_srgb(np.arange(2**bits) / (2**bits - 1)).astype(np.float32)
    np.testing.assert_array_equal(np.unique(dark), levels)


@pytest.mark.parametrize(
    "image, arguments, message",
    [
        (np.zeros((4, 4)), {}, "shape"),
        (np.zeros((4, 4, 4)), {}, "shape"),
        (np.zeros((0, 4, 3)), {}, "shape"),
        (np.zeros((4, 4, 3), np.uint16), {}, "uint16"),
        (np.full((4, 4, 3), 255.0), {}, r"\[0, 1\]"),
        (np.full((4, 4, 3), -0.1), {}, r"\[0, 1\]"),
        (np.full((4, 4, 3), np.nan), {}, r"\[0, 1\]"),
        (ramp(), {"exposure": 0}, "exposure"),
        (ramp(), {"exposure": 1.5}, "exposure"),
        (ramp(), {"exposure": math.nan}, "exposure"),
        (ramp(), {"white_balance": (1, 1)}, "white_balance"),
        (ramp(), {"white_balance": (1, 0, 1)}, "white_balance"),
        (ramp(), {"white_balance": (1, 1, math.inf)}, "white_balance"),
        (ramp(), {"shot": -1}, "shot"),
        (ramp(), {"shot": math.nan}, "shot"),
        (ramp(), {"read": -1e-6}, "read"),
        (ramp(), {"read": math.inf}, "read"),
        (ramp(), {"bits": 0}, "bits"),
        (ramp(), {"bits": 17}, "bits"),
        (ramp(), {"bits": 7.5}, "bits"),
    ],
)
def test_errors(image, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        darken(image, **{"exposure": 0.1} | arguments)
    assert "\n" not in str(error.value)


# raw

LEVELS = SONY_A7S2.white - SONY_A7S2.black
QUIET = SONY_A7S2._replace(read_noise=(0, -30, 0), row_noise=(0, -30, 0))


def test_raw_pair_of_grey_by_hand():
    """Mid-grey is where the tone curve crosses itself, and the colour matrix leaves grey alone."""
    grey = np.full((128, 128, 3), 0.5)
    frame, reference = raw_pair(grey, ratio=2, gain=0.1, white_balance=(2.0, 1.6), camera=QUIET, seed=0)
    assert frame.shape == (64, 64, 4) and frame.dtype == reference.dtype == np.float32
    np.testing.assert_array_equal(reference, grey)
    light = 0.21404114 / np.array([2.0, 1.0, 1.6, 1.0]) / 2  # 0.5 in linear light
    np.testing.assert_allclose(frame.mean((0, 1)), light, rtol=2e-3)
    variance = 0.1 * light * LEVELS + 1 / 12  # shot noise and rounding, in levels
    np.testing.assert_allclose((frame * LEVELS).var((0, 1)), variance, rtol=0.1)
    np.testing.assert_allclose(frame * LEVELS, np.rint(frame * LEVELS), atol=2e-3)


def test_raw_pair_keeps_colours_and_places():
    """Without noise, amplified and balanced, the planes are the colours that the matrix makes of the photograph's."""
    image = np.zeros((2, 4, 3))
    image[:, 2:] = (0.6, 0.3, 0.1)
    frame, _ = raw_pair(image, ratio=1, gain=1e-6, white_balance=(1.0, 1.0), camera=QUIET)
    assert frame[0, 0].max() == 0
    curved = np.array([next(r.real for r in np.roots([-2, 3, 0, -v]) if 0 <= r.real <= 1) for v in (0.6, 0.3, 0.1)])
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    matrix = np.array(SONY_A7S2.xyz_to_camera) @ xyz
    red, green, blue = (matrix / matrix.sum(1, keepdims=True)) @ srgb_to_linear(curved)
    np.testing.assert_allclose(frame[0, 1], (red, green, blue, green), atol=1e-4)


def test_raw_pair_draws_gain_and_white_balance():
    """From what it records of grey: the variance over the mean is the gain in levels."""
    drawn = []
    for seed in range(160):
        levels = raw_pair(np.full((128, 128, 3), 0.5), ratio=2, camera=QUIET, seed=seed)[0].astype(float) * LEVELS
        red, green, blue, other = levels.mean((0, 1))
        drawn.append(((levels.var((0, 1)) / levels.mean((0, 1))).mean(), green / red, other / blue))
    gains, reds, blues = np.array(drawn).T
    assert 0.09 < gains.min() < 0.12 and 4.5 < gains.max() < 6.2
    assert 0.45 < np.median(gains) < 1.25  # log-uniform: around the geometric mean, 0.75
    np.testing.assert_allclose([reds.min(), reds.max(), blues.min(), blues.max()], [1.9, 2.4, 1.5, 1.9], atol=0.03)


def test_raw_pair_keeps_highlights_white():
    linear = np.array([0.9, 0.95, 1.0])
    curved = linear_to_srgb(linear)
    image = np.repeat(curved**2 * (3 - 2 * curved), 2)[None, :, None].repeat(2, 0).repeat(3, 2)
    frame, _ = raw_pair(image, ratio=1, gain=1e-6, white_balance=(2.0, 1.6), camera=QUIET, seed=0)
    whiteness = np.array([0, 0.25, 1])[:, None]  # the square of the way from 0.9 to 1
    expected = linear[:, None] * (whiteness + (1 - whiteness) / [2.0, 1.0, 1.6, 1.0])
    np.testing.assert_allclose(frame[0], expected, atol=2e-4)


@pytest.mark.parametrize("gain", [6, 100])
@pytest.mark.parametrize("kind, slope, offset, deviation", [
    ("read_noise", 0.5407, 1.2182, 0.2675), ("row_noise", 0.5275, -0.5917, 0.2943),
])  # fmt: skip
def test_raw_pair_has_the_noise_that_the_camera_was_measured_to_have(kind, slope, offset, deviation, gain):
    camera = QUIET._replace(**{kind: getattr(SONY_A7S2, kind)})
    black = np.zeros((1024, 8, 3))
    logs = []
    for seed in range(80):
        levels = raw_pair(black, ratio=1, gain=gain, camera=camera, seed=seed)[0].astype(float) * LEVELS
        logs.append(math.log(2 * (levels**2).mean()) / 2)  # what was negative is 0
    assert abs(np.mean(logs) - (slope * math.log(gain) + offset)) < 0.12
    assert abs(np.std(logs) - deviation) < 0.09


def test_raw_pair_has_row_noise():
    rows = SONY_A7S2._replace(read_noise=(0, -30, 0), row_noise=(0, math.log(20), 0))
    frame, _ = raw_pair(np.full((400, 400, 3), 0.5), ratio=4, gain=1e-3, camera=rows, seed=0)
    of_rows = (frame * LEVELS).mean(axis=1)  # (rows, planes)
    np.testing.assert_allclose(of_rows.std(axis=0), 20, rtol=0.2)
    same, other = np.corrcoef(of_rows.T)[0, [1, 2]]
    assert same > 0.99 and abs(other) < 0.3  # R and G share a row of the sensor, R and B do not


def test_raw_pair_is_as_dark_as_asked_and_seeded():
    image = ramp(33, 65)
    frame, reference = raw_pair(image, ratio=200, seed=3)
    assert frame.shape == (16, 32, 4) and reference.shape == (32, 64, 3)
    assert 0 <= frame.min() and frame.max() < 3 / 200
    np.testing.assert_array_equal(frame, raw_pair(image, ratio=200, seed=3)[0])
    assert not np.array_equal(frame, raw_pair(image, ratio=200, seed=4)[0])
    levels = np.uint8(image * 255)
    np.testing.assert_allclose(raw_pair(levels, 200)[1] * 255, levels[:32, :64], rtol=1e-6)


@pytest.mark.parametrize("arguments, message", [
    ({"ratio": 0.5}, "ratio"), ({"ratio": math.nan}, "ratio"), ({"ratio": 100, "gain": 0}, "gain"),
    ({"ratio": 100, "white_balance": (2, 0)}, "two positive"), ({"ratio": 100, "white_balance": np.ones(3)}, "two pos"),
    ({"ratio": 100, "image": np.zeros((1, 8, 3))}, "2x2"), ({"ratio": 100, "image": np.zeros((8, 8))}, "shape"),
])  # fmt: skip
def test_raw_pair_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        raw_pair(**{"image": ramp(), **arguments})


def test_developing_conventionally_takes_the_unprocessing_back():
    colors = np.random.default_rng(0).uniform(0.1, 0.8, (3, 4, 3))
    patches = np.kron(colors, np.ones((16, 16, 1))).astype(np.float32)
    frame, _ = raw_pair(patches, 1, gain=0.0939, white_balance=(2.1, 1.6), seed=0)
    developed = develop_frame(frame, (2.1, 1.6))
    assert developed.shape == patches.shape and developed.dtype == np.float32
    for row in range(3):
        for column in range(4):
            inner = developed[16 * row + 3 : 16 * row + 13, 16 * column + 3 : 16 * column + 13]
            np.testing.assert_allclose(inner.mean((0, 1)), colors[row, column], atol=0.01)


@pytest.mark.parametrize("frame", [np.zeros((4, 4, 3)), np.zeros((1, 4, 4)), np.full((4, 4, 4), np.nan)])
def test_what_is_no_packed_frame_is_refused(frame):
    with pytest.raises(ValueError, match="frame must"):
        develop_frame(frame, (2, 2))


@pytest.mark.parametrize("gains", [(np.nan, 1), (-1, 1), (2, 1, 2)])
def test_gains_that_cannot_be_are_refused(gains):
    with pytest.raises(ValueError, match="two positive"):
        develop_frame(np.zeros((4, 4, 4)), gains)


def test_light_in_part_is_well_lit_in_places_and_dark_elsewhere():
    low, high = np.full((80, 120, 3), 0.04, np.float32), np.full((80, 120, 3), 0.6, np.float32)
    lights = np.stack([(light_in_part(low, high, seed) - 0.04) / 0.56 for seed in range(60)])
    np.testing.assert_allclose(lights, lights[..., :1].repeat(3, -1), atol=1e-6)
    lights = lights[..., 0]
    assert lights.dtype == np.float32 and lights.min() >= 0 and lights.max() <= 1
    share = (lights > 0.5).mean(axis=(1, 2))
    assert 0.08 < share.min() < 0.25 and 0.55 < share.max() < 0.75
    assert np.median((lights < 0.1).mean(axis=(1, 2))) > 0.1 < np.median((lights > 0.9).mean(axis=(1, 2)))
    steps = np.abs(np.diff(lights, axis=2)).max(axis=(1, 2))
    assert steps.min() < 0.05 < 0.3 < steps.max()  # from a slow fall-off to an edge


def test_light_in_part_keeps_noise_and_hues():
    high = ramp()
    low = darken(high, 0.05, shot=1e-3, seed=0)
    lit = light_in_part(low, high, 0)
    assert (lit >= np.minimum(low, high) - 1e-6).all() and (lit <= np.maximum(low, high) + 1e-6).all()
    np.testing.assert_allclose(light_in_part(high, high, 0), high, atol=1e-6)
    np.testing.assert_array_equal(lit, light_in_part(low, high, 0))
    assert not np.array_equal(lit, light_in_part(low, high, 1))
    byte = np.rint(255 * high).astype("uint8")
    np.testing.assert_allclose(light_in_part(byte, byte, 0), byte / 255, atol=1e-6)


def test_light_in_part_falls_on_what_is_bright():
    high = np.full((80, 120, 3), 0.2, np.float32)
    high[:, 80:] = 0.9
    gained = np.stack([light_in_part(0 * high, high, seed)[..., 0] for seed in range(60)]) / high[..., 0]
    assert gained[:, :, 90:].mean() > gained[:, :, :70].mean() + 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_light_in_part_of_any_size(size):
    high = np.random.default_rng(0).random((*size, 3))
    assert light_in_part(high / 9, high, 0).shape == high.shape
    with pytest.raises(ValueError, match="must have one size"):
        light_in_part(high, np.zeros((9, 9, 3)), 0)
