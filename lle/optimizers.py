"""Muon for networks of convolutions."""

import re
from types import SimpleNamespace

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="lle")
class ConvMuon(keras.optimizers.Muon):
    """Muon (Keller Jordan, github.com/KellerJordan/Muon), which also orthogonalises the updates of 2-D convolutions.

    Muon makes the singular values of a matrix's update nearly equal, all but the smallest, so that rare directions are
    learnt nearly as fast as common ones. `keras.optimizers.Muon` does so for matrices, the kernels of dense layers, and
    leaves those of convolutions to Adam. Here the kernel of a 2-D convolution, `(height, width, inputs, outputs)`,
    counts as a matrix of `height * width * inputs` rows, as in the author's own training of convolutions; that of a
    transposed one likewise, by the order of its axes. Left to Adam are what has one input or one output, depthwise
    kernels among it (those with a multiplier above 1 if their path says "depthwise", as Keras's own names do), biases
    and scales, and 1-D and 3-D convolutions. A grouped convolution cannot be told from another: it is one matrix.

    The root mean square of an update is `rms_rate`, 0.2, times the rate, as Liu et al. (arXiv 2502.16982) have it, so
    that rates like Adam's suit it; `rms_rate=None` leaves that out. `notebooks/09_one_network` trains with it, beside
    one short training by AdamW.

    Args:
        learning_rate: A float or a `keras.optimizers.schedules.LearningRateSchedule`.
        exclude_layers: Regular expressions; what has one in its path stays with Adam, as the last layer should.
        adam_lr_ratio: What is left to Adam learns at so many times the rate.
        weight_decay: Of the matrices, times the rate, in each step; `adam_weight_decay` is that of all others, biases
            included, times the same rate, whatever their ratio. Both are 0.004 unless given.
        **kwargs: Passed to `keras.optimizers.Muon`.

    Raises:
        TypeError: If `exclude_layers` is one string in place of a list.
        re.error: If one of them is no regular expression.

    A checkpoint that holds this optimizer needs `import lle.optimizers` before `keras.saving.load_model`; `lle.load`
    reads the network alone and does not.

    Example:

    ```python
    model.compile(ConvMuon(2e-3, exclude_layers=["maps"], adam_lr_ratio=0.5), losses.charbonnier)
    ```
    """

    def __init__(self, learning_rate=1e-3, *, exclude_layers=(), **kwargs):
        if isinstance(exclude_layers, str):
            raise TypeError(f"exclude_layers must be a list of regular expressions, got {exclude_layers!r}")
        exclude_layers = list(exclude_layers or ())
        for expression in exclude_layers:
            re.compile(expression)
        super().__init__(learning_rate, exclude_layers=exclude_layers, **kwargs)

    def _should_use_adamw(self, variable):
        is_matrix = len(variable.shape) in (2, 4) and min(variable.shape[-2:]) > 1
        if not is_matrix or "depthwise" in variable.path:
            return True
        as_matrix = SimpleNamespace(shape=(-1, variable.shape[-1]), path=variable.path)  # Keras asks for two axes
        return super()._should_use_adamw(as_matrix)

    def zeropower_via_newtonschulz5(self, x, steps):
        return ops.reshape(super().zeropower_via_newtonschulz5(_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))
