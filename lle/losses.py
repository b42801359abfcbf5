"""Loss functions, one each, with its formula and its source.

All are written with `keras.ops` alone, so they run on every Keras backend. Images are batches of shape
`(batch, height, width, 3)` with values in [0, 1].

`mse_ssim` is that of report 1, `charbonnier` that of report 2, `charbonnier_ssim` and `charbonnier_full_ssim` are our
own. The four zero-reference losses train Zero-DCE (arXiv 2001.06826). The default is what its authors' code does
(github.com/Li-Chongyi/Zero-DCE). Report 5 copied the Keras port of it (keras.io, "Zero-DCE for low-light image
enhancement"), which differs in two of them; an argument selects it.
"""

import keras
from keras import ops

SSIM_WINDOW = 11  # pixels; Gaussian
SSIM_SIGMA = 1.5  # pixels
FORMS = ("authors", "keras_port")


def _check_form(form, forms=FORMS):
    if form not in forms:
        raise ValueError(f"form must be one of {forms}, got {form!r}")


def ssim(y_true, y_pred):
    """Structural similarity (Wang et al. 2004), with a Gaussian window of 11 pixels and sigma 1.5, where it fits.

    The values are those of `keras.ops.image.ssim`. On a CPU the window is applied as two products with banded matrices,
    which for crops is several times as fast as the depthwise convolutions there, and as fast at a megapixel
    (`benchmarks/README.md`). With a GPU or TPU at hand it is `keras.ops.image.ssim` itself: there TensorFlow and JAX
    may round the factors of products, and SSIM's variances, differences of nearly equal numbers, do not bear that.

    Args:
        y_true: References, `(batch, height, width, channels)`, in [0, 1], at least 11 x 11.
        y_pred: Outputs, likewise.

    Returns:
        The mean over pixels and channels of each image, `(batch,)`, float32 whatever the inputs are: with squares in
        half precision the variances would be lost.

    Raises:
        ValueError: If a side is shorter than the window.
    """
    _check_window(y_pred)
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    if _rounds_products():
        return ops.image.ssim(y_true, y_pred, max_val=1.0, filter_size=SSIM_WINDOW, filter_sigma=SSIM_SIGMA)
    a, b = (ops.transpose(images, (0, 3, 1, 2)) for images in (y_true, y_pred))
    down, across = (_window(ops.shape(a)[axis]) for axis in (2, 3))
    maps = ops.stack([a, b, a * a + b * b, a * b], axis=1)
    mean_a, mean_b, squares, product = ops.unstack(down @ maps @ ops.transpose(across), 4, axis=1)
    means, both = mean_a * mean_b, mean_a**2 + mean_b**2
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * means + c1) * (2 * (product - means) + c2) / ((both + c1) * (squares - both + c2))
    return ops.mean(similar, axis=(1, 2, 3))


def _rounds_products():
    """Whether products of float32 matrices may be rounded: on GPUs and TPUs, but by PyTorch only when asked to."""
    backend = keras.backend.backend()
    return backend in ("tensorflow", "jax") and not keras.distribution.list_devices()[0].startswith("cpu")


def _window(pixels):
    """The share of each pixel of an axis in each place of the window, `(pixels - 10, pixels)`."""
    places = ops.arange(pixels, dtype="float32")
    distance = places[None] - places[: pixels - SSIM_WINDOW + 1, None] - SSIM_WINDOW // 2
    weights = ops.exp(-0.5 * (distance / SSIM_SIGMA) ** 2)
    weights = ops.where(ops.abs(distance) <= SSIM_WINDOW // 2, weights, 0.0)
    return weights / ops.sum(weights, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="lle")
def mse_ssim(y_true, y_pred, weight=0.5):
    """Mean squared error plus a share of what SSIM lacks to 1: `mse + weight * (1 - ssim)`, the loss of report 1.

    SSIM is that of `ssim`, in float32 under any dtype policy.

    Args:
        y_true: References, `(batch, height, width, 3)`, in [0, 1], at least 11 x 11.
        y_pred: Outputs, likewise.
        weight: The share, 0.5 in the report.

    Returns:
        One value per image, `(batch,)`, of which Keras takes the mean.

    Raises:
        ValueError: If a side is shorter than the window.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    return ops.mean(ops.square(y_true - y_pred), axis=(1, 2, 3)) + weight * (1 - ssim(y_true, y_pred))


@keras.saving.register_keras_serializable(package="lle")
def charbonnier(y_true, y_pred, epsilon=1e-3):
    """Mean of `sqrt((y_true - y_pred) ** 2 + epsilon ** 2)`: an absolute error that is smooth at 0.

    The loss of MIRNet (arXiv 2003.06792), taken value by value as in the Keras port that report 2 copied.

    Args:
        y_true: References, `(batch, height, width, 3)`, in [0, 1].
        y_pred: Outputs, likewise.
        epsilon: Where the error turns from quadratic to absolute.

    Returns:
        One value per image, `(batch,)`, of which Keras takes the mean.
    """
    difference = ops.cast(y_true, "float32") - ops.cast(y_pred, "float32")
    return ops.mean(ops.sqrt(ops.square(difference) + epsilon**2), axis=(1, 2, 3))


@keras.saving.register_keras_serializable(package="lle")
def charbonnier_ssim(y_true, y_pred, weight=0.2):
    """`charbonnier` plus a share of what `ssim`, of both pictures at half their size, lacks to 1.

    Our own, for the exposure of `lle.models.Dawn`, and for pairs of one's own.

    Args:
        y_true: References, `(batch, height, width, 3)`, in [0, 1], at least 22 x 22.
        y_pred: Outputs, likewise.
        weight: The share.

    Returns:
        One value per image, `(batch,)`, of which Keras takes the mean.

    Raises:
        ValueError: If a side is shorter than twice the window of SSIM.
    """
    halves = [ops.average_pool(ops.cast(images, "float32"), 2, 2) for images in (y_true, y_pred)]
    return charbonnier(y_true, y_pred) + weight * (1 - ssim(*halves))


@keras.saving.register_keras_serializable(package="lle")
def charbonnier_full_ssim(y_true, y_pred, weight=0.2):
    """`charbonnier` plus a share of what `ssim` lacks to 1.

    Our own, for the detail of `lle.models.Dawn`, which had more SSIM after ten epochs of it than of
    `charbonnier_ssim`, one seed (`notebooks/09_one_network`).

    Args:
        y_true: References, `(batch, height, width, 3)`, in [0, 1], at least 11 x 11.
        y_pred: Outputs, likewise.
        weight: The share.

    Returns:
        One value per image, `(batch,)`, of which Keras takes the mean.

    Raises:
        ValueError: If a side is shorter than the window of SSIM.
    """
    return charbonnier(y_true, y_pred) + weight * (1 - ssim(y_true, y_pred))


def _check_window(images):
    if len(images.shape) != 4:
        raise ValueError(f"images must be (batch, height, width, channels), got {tuple(images.shape)}")
    height, width = images.shape[1:3]
    if any(side is not None and side < SSIM_WINDOW for side in (height, width)):
        raise ValueError(
            f"SSIM has a window of {SSIM_WINDOW}x{SSIM_WINDOW} pixels, the images are {height}x{width}: "
            "train on larger crops or leave SSIM out"
        )


def color_constancy(enhanced, form="authors"):
    """Distance between the mean red, green and blue of each image (grey-world assumption).

    With `d` the three differences of the channel means it is `sqrt(sum(d ** 4))`, as in the authors' code, in the
    Keras port and in report 5. The paper (equation 7) has `sum(d ** 2)`.

    Args:
        enhanced: Images, `(batch, height, width, 3)`, in [0, 1].
        form: `"authors"` or `"paper"`.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: If `form` is neither.
    """
    _check_form(form, ("authors", "paper"))
    means = ops.mean(ops.cast(enhanced, "float32"), axis=(1, 2))  # (batch, 3)
    squares = ops.square(means - ops.roll(means, 1, axis=1))  # (r - b, g - r, b - g) squared
    if form == "paper":
        return ops.mean(ops.sum(squares, axis=1))
    # The root has no gradient at zero (a grey image): stay off it by less than matters.
    return ops.mean(ops.sqrt(ops.sum(ops.square(squares), axis=1) + 1e-20))


def exposure_control(enhanced, target=0.6, patch=16):
    """Mean squared distance of the local brightness from a target.

    The brightness is the mean over the channels and over patches side by side; rows and columns that do not fill a
    patch are left out. The authors' code squares the distance, the paper (equation 6) takes its absolute value.

    Args:
        enhanced: Images, `(batch, height, width, 3)`, in [0, 1], at least one patch high and wide.
        target: The well-exposed level, in [0, 1].
        patch: Side of a patch in pixels.

    Returns:
        A scalar, the mean over patches and batch.

    Raises:
        ValueError: If a side is shorter than a patch.
    """
    height, width = enhanced.shape[1:3]
    if any(side is not None and side < patch for side in (height, width)):
        raise ValueError(f"the images are {height}x{width}, smaller than the patches of {patch}x{patch} pixels")
    brightness = ops.mean(enhanced, axis=-1, keepdims=True)
    return ops.mean(ops.square(ops.average_pool(brightness, patch, patch) - target))


def illumination_smoothness(curves, form="authors"):
    """Total variation of the curve maps: neighbouring pixels should get nearly the same curve.

    Twice the mean over pixels of the squared vertical difference plus that of the horizontal one, each summed over
    the maps (the authors' code; the paper, equation 8, has absolute values).

    Args:
        curves: Curve maps, `(batch, height, width, maps)`, in [-1, 1], at least 2 x 2.
        form: `"keras_port"` divides by counts of width and maps where height and width are meant, since its indices
            are still those of channels-first arrays. The term is then about 11 times stronger at 256 x 256 and
            21 times at 512 x 512.

    Returns:
        A scalar.

    Raises:
        ValueError: If `form` is not one of `FORMS`.
    """
    _check_form(form)
    vertical = ops.mean(ops.sum(ops.square(curves[:, 1:] - curves[:, :-1]), axis=-1))
    horizontal = ops.mean(ops.sum(ops.square(curves[:, :, 1:] - curves[:, :, :-1]), axis=-1))
    if form == "keras_port":
        height, width, maps = (ops.cast(n, curves.dtype) for n in ops.shape(curves)[1:])
        vertical *= (height - 1) * width / ((width - 1) * maps)
        horizontal *= height * (width - 1) / (width * (maps - 1))
    return 2 * (vertical + horizontal)


def spatial_consistency(image, enhanced, form="authors"):
    """Differences between neighbouring regions should survive the enhancement.

    Both images are reduced to the brightness of 4 x 4 regions. For each region, the difference to its left, right,
    upper and lower neighbour (zero outside the image, as the padding of the authors' convolutions has it) is taken
    in both; the squared changes of the four are summed (equation 5) and averaged over the regions.

    Args:
        image: The images given to the network, `(batch, height, width, 3)`, in [0, 1], at least 4 x 4.
        enhanced: Its output, likewise.
        form: `"keras_port"` reads 3 x 3 kernels as `(1, 3, 1, 3)` ones. Its "left" and "right" then compare each
            region with nothing, which punishes any brightening, "up" and "down" are horizontal, and nothing compares
            vertically.

    Returns:
        A scalar, the mean over regions and batch.

    Raises:
        ValueError: If `form` is not one of `FORMS`.
    """
    _check_form(form)
    # The differences are linear: taking them of the change equals comparing those of the two images.
    change = ops.average_pool(ops.mean(enhanced - image, axis=-1, keepdims=True), 4, 4)
    padded = ops.pad(change, ((0, 0), (1, 1), (1, 1), (0, 0)))
    left = ops.square(change - padded[:, 1:-1, :-2])
    right = ops.square(change - padded[:, 1:-1, 2:])
    if form == "keras_port":
        return ops.mean(4 * ops.square(change) + left + right) / 3  # its kernels give 3 channels
    up = ops.square(change - padded[:, :-2, 1:-1])
    down = ops.square(change - padded[:, 2:, 1:-1])
    return ops.mean(left + right + up + down)
