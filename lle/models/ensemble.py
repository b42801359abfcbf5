"""Several trained networks as one, and one that sees a picture in several views."""

import math
from itertools import product

import keras
from keras import layers, ops

from lle.models.network import Network
from lle.tiles import CARD, fixed_shape


def ensemble(members):
    """Build the network whose output is the mean of the outputs of several networks.

    Report 3 trains five networks that differ by their seed, and keeps the best one. Averaging costs as many times the
    time, and removes what the members do not agree on. The result saves to a `.keras` file of its own.

    Args:
        members: Trained networks, or one alone, from pictures `(batch, height, width, 3)` to such pictures, or all on
            packed camera raw (`channels` in their cards). Copies of them go in: training them further does not change
            the ensemble.

    Returns:
        A `keras.Model` from what the members take, in [0, 1], to float32 pictures of the shape that they give. Its
        `card` has the stride, halo and tiles that suit all members that have a card.

    Raises:
        TypeError: If one is no `keras.Model`, such as the name of a network.
        ValueError: If there is no member, or one looks at the whole picture before its tiles (`Dawn`), which the
            ensemble could not hand to it, or they were built for pictures of several sizes.
    """
    members = [members] if isinstance(members, (str, keras.Model)) else list(members)
    for member in members:
        if not isinstance(member, keras.Model):
            raise TypeError(f"members must be networks, such as lle.load gives by name, got {member!r}")
    if not members or any(hasattr(member, "prepare") for member in members):
        raise ValueError("an ensemble needs at least one network, each of which is shown tiles alone (Dawn is not)")
    cards = [{**CARD, **member.card} for member in members if hasattr(member, "card")]
    raw_keys = "channels", "scale", "white_balance"
    kind = {key: cards[0][key] for key in raw_keys if cards and key in cards[0]}
    height, width = (_common_side([fixed_shape(member)[axis] for member in members]) for axis in (1, 2))
    inputs = keras.Input((height, width, kind.get("channels", 3)))
    outputs = []
    for number, member in enumerate(members, 1):
        copy = type(member).from_config({**member.get_config(), "name": f"member_{number}"})
        outputs.append(copy(inputs))
        copy.set_weights(member.get_weights())
    mean = layers.Average(dtype="float32")(outputs) if len(outputs) > 1 else outputs[0]
    model = Network(inputs, mean, name="ensemble")
    if cards:
        model.card = {**_common_card(cards), **kind}
    return model


def _common_card(cards):
    common = {"stride": math.lcm(*(card["stride"] for card in cards)), "halo": max(card["halo"] for card in cards)}
    tiles = [card["tile"] for card in cards if "tile" in card]
    if tiles:
        common["tile"] = min(tiles)
    if any(card.get("averages") for card in cards):
        common["averages"] = True
    return common


def _common_side(sides):
    found = set(sides) - {None}
    if len(found) > 1:
        raise ValueError(f"an ensemble needs networks for pictures of one size or of any, got sides of {sorted(found)}")
    return min(found, default=None)


def self_ensemble(model):
    """Build the network whose output is the mean over the eight views of a picture that flips and quarter turns give.

    Each view is enhanced and turned back ("geometric self-ensemble", Timofte et al., arXiv 1511.02228, and the "+" of
    EDSR, arXiv 1707.02921). It costs eight times the time and no training, and removes noise that the views do not
    have in common.

    Args:
        model: A trained network from pictures, `(batch, height, width, 3)`, to such pictures. A copy of it goes in.

    Returns:
        A `keras.Model` from such pictures, in [0, 1], both sides multiples of the network's stride, to float32 pictures
        of the same shape, with that network's card, if it has one, and as many parameters.

    Raises:
        ValueError: If the network is `Dawn`, as for `ensemble`, or takes packed camera raw, where a flip would exchange
            the colours of the sensor's cells, or was built for pictures that are not square, which have no quarter
            turns.
    """
    if getattr(model, "card", {}).get("channels", 3) != 3:
        raise ValueError("a network on packed camera raw cannot be shown its frames flipped")
    alone = ensemble([model])
    _, height, width = fixed_shape(alone)
    if height != width:
        raise ValueError(f"a network for pictures of {height}x{width} cannot be shown them turned")
    inputs = keras.Input((height, width, 3))
    outputs = []
    for axes, transposed in product(((), (1,), (2,), (1, 2)), (False, True)):
        seen = alone(View(axes, transposed, dtype="float32")(inputs))
        outputs.append(View(axes, transposed, back=True, dtype="float32")(seen))
    turned = Network(inputs, layers.Average(dtype="float32")(outputs), name="self_ensemble")
    if hasattr(alone, "card"):
        turned.card = alone.card
    return turned


@keras.saving.register_keras_serializable(package="lle")
class View(layers.Layer):
    """Flips pictures, `(batch, height, width, channels)`, and exchanges their rows and columns.

    Args:
        axes: Those to flip along first, of 1 and 2.
        transposed: Whether rows become columns then.
        back: Undo both, in the opposite order.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, axes=(), transposed=False, back=False, **kwargs):
        super().__init__(**kwargs)
        self.axes, self.transposed, self.back = tuple(axes), transposed, back

    def call(self, pictures):
        steps = [self._flip, self._transpose]
        for step in reversed(steps) if self.back else steps:
            pictures = step(pictures)
        return pictures

    def _flip(self, pictures):
        return ops.flip(pictures, self.axes) if self.axes else pictures

    def _transpose(self, pictures):
        return ops.transpose(pictures, (0, 2, 1, 3)) if self.transposed else pictures

    def get_config(self):
        return {**super().get_config(), "axes": self.axes, "transposed": self.transposed, "back": self.back}
