"""Muon for networks of convolutions."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="lle")
class ConvMuon(keras.optimizers.Muon):
    """Muon (Keller Jordan, 2024; arXiv 2502.16982), which also orthogonalises the updates of convolutions.

    Muon makes all singular values of a matrix's update nearly equal, so that rare directions are learnt as fast as
    common ones. `keras.optimizers.Muon` does so for matrices, the kernels of dense layers, and leaves those of
    convolutions, `(height, width, inputs, outputs)`, to Adam. Here they count as matrices of
    `height * width * inputs` rows, as in the author's own training of convolutions. Biases, scales and what has one
    output, or one input or output for each group, stay with Adam.

    The updates are as large as Adam's (`rms_rate`), but steadier, so rates of 1e-3 and more do where Adam has 1e-4 to
    1e-3. `notebooks/09_one_network` compares the two.

    Args:
        learning_rate: A float or a `keras.optimizers.schedules.LearningRateSchedule`.
        exclude_layers: Regular expressions; what has one in its path stays with Adam, as the last layer should.
        adam_lr_ratio: What is left to Adam learns at so many times the rate.
        weight_decay: Of the matrices, multiplied by the rate; `adam_weight_decay` is that of the others.
        **kwargs: Passed to `keras.optimizers.Muon`.

    Example:

    ```python
    model.compile(ConvMuon(2e-3, exclude_layers=["maps"], adam_lr_ratio=0.5), losses.charbonnier)
    ```
    """

    def _should_use_adamw(self, variable):
        *_, inputs, outputs = (1, 1, *variable.shape)
        is_convolution = len(variable.shape) == 4 and min(inputs, outputs) > 1
        return super()._should_use_adamw(_Flat(variable) if is_convolution else variable)

    def zeropower_via_newtonschulz5(self, x, steps):
        return ops.reshape(super().zeropower_via_newtonschulz5(_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


class _Flat:
    """A kernel of a convolution as Keras's Muon may see it: a matrix of the same name."""

    def __init__(self, variable):
        self.shape, self.path = (-1, variable.shape[-1]), variable.path
