"""A functional model that takes its card along when it is saved."""

import keras


@keras.saving.register_keras_serializable(package="lle")
class Network(keras.Model):
    """A functional `keras.Model` whose attribute `card` goes into its `.keras` file.

    The card is a dictionary of what `lle.enhance` has to know of a network: `stride`, of which height and width must be
    multiples, and `halo`, how many pixels far a pixel of the output sees, so that tiles of a large picture show no
    seams; further entries are those of `lle.enhance.load`. What a plain `keras.Model` is given as an attribute is lost
    when it is saved.

    Args:
        inputs: As `keras.Model` takes them.
        outputs: Likewise.
        name: Likewise.
        **kwargs: Likewise.

    Example:

    ```python
    model = Network(inputs, outputs)
    model.card = {"stride": 4, "halo": 16}
    model.save("mine.keras")
    ```
    """

    def __init__(
        self, inputs, outputs, name=None, **kwargs
    ):  # the very arguments by which Keras knows it as functional
        super().__init__(inputs, outputs, name=name, **kwargs)

    def get_config(self):
        card = {"card": dict(self.card)} if hasattr(self, "card") else {}
        return {**super().get_config(), **card}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        card = config.get("card")
        model = super().from_config({key: value for key, value in config.items() if key != "card"}, custom_objects)
        if card:
            model.card = card
        return model
