"""How `fit` gets its batches from TensorFlow."""

import functools

import keras


def leave_autotuning_out():
    """Let `fit` read arrays and `keras.utils.PyDataset` without tf.data's autotuning, for the rest of the process.

    There is nothing to tune in reading from memory. But TensorFlow 2.21 often does not wake the thread that tunes when
    the iterator of an epoch is deleted: `fit` then idles until that thread looks again by itself. Neither the
    environment nor `fit` has a switch for it; Keras itself leaves autotuning out for a `PyDataset` with more than one
    worker.

    Does nothing with another backend, or where it was called before.
    """
    if keras.backend.backend() != "tensorflow":
        return
    try:
        from keras.src.trainers.data_adapters import array_data_adapter, py_dataset_adapter  # no public names
    except ImportError:  # another Keras: the same training, with the waits
        return
    for adapter in (array_data_adapter.ArrayDataAdapter, py_dataset_adapter.PyDatasetAdapter):
        if not hasattr(adapter.get_tf_dataset, "__wrapped__"):
            adapter.get_tf_dataset = _without_autotuning(adapter.get_tf_dataset)


def _without_autotuning(get_tf_dataset):
    import tensorflow as tf

    @functools.wraps(get_tf_dataset)
    def wrapped(adapter):
        options = tf.data.Options()
        options.autotune.enabled = False
        return get_tf_dataset(adapter).with_options(options)

    return wrapped
