import random

import keras
import numpy as np
import pytest

from lle.feeding import leave_autotuning_out

leave_autotuning_out()

tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.data")


class Numbered(keras.utils.PyDataset):
    """Batches that hold `100 * epoch + index`."""

    epoch = 0

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return np.full((1, 1), 100 * self.epoch + index, "float32"), np.zeros((1, 1), "float32")


@tensorflow
@pytest.mark.parametrize("source", [Numbered(), np.zeros((4, 1), "float32")])
def test_fit_reads_without_autotuning(source):
    from keras.src.trainers.data_adapters import array_data_adapter, py_dataset_adapter

    is_array = isinstance(source, np.ndarray)
    adapter = (array_data_adapter.ArrayDataAdapter if is_array else py_dataset_adapter.PyDatasetAdapter)(source)
    assert adapter.get_tf_dataset().options().autotune.enabled is False
    once = type(adapter).get_tf_dataset
    leave_autotuning_out()
    assert type(adapter).get_tf_dataset is once


def test_a_run_that_begins_later_gets_the_batches_of_its_epochs():
    dataset, seen = Numbered(), []

    class Recorder(keras.Model):
        def call(self, inputs):
            return inputs

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            seen.append(int(keras.ops.convert_to_numpy(x)[0, 0]))
            return keras.ops.sum(0 * y)

    def begin(epoch, logs=None):
        dataset.epoch = epoch
        random.seed(epoch)

    model = Recorder()
    model.compile(metrics=["mae"], run_eagerly=True)
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_begin=begin)]
    model.fit(dataset, epochs=4, initial_epoch=2, callbacks=callbacks, verbose=0)
    assert [sorted(seen[:12]), sorted(seen[12:])] == [list(range(200, 212)), list(range(300, 312))]
