"""Several trained networks as one."""

import math

import keras
from keras import layers

from lle.models.network import Network


def ensemble(members):
    """Build the network whose output is the mean of the outputs of several networks.

    Report 3 trains five networks that differ by their seed, and keeps the best one. Averaging costs as many times the
    time, and removes what the members do not agree on. The result saves to a `.keras` file of its own.

    Args:
        members: Trained networks, at least one, from pictures `(batch, height, width, 3)` to such pictures, or all on
            packed camera raw (`channels` in their cards). Copies of them go in: training them further does not change
            the ensemble.

    Returns:
        A `keras.Model` from what the members take, in [0, 1], to float32 pictures of the shape that they give. Its
        `card` has the stride and halo that suit all members that have a card.

    Raises:
        ValueError: If there is no member, or one looks at the whole picture before its tiles (`Dawn`), which the
            ensemble could not hand to it.
    """
    if not members or any(hasattr(member, "prepare") for member in members):
        raise ValueError("an ensemble needs at least one network, each of which is shown tiles alone (Dawn is not)")
    cards = [member.card for member in members if hasattr(member, "card")]
    raw_keys = "channels", "scale", "white_balance"
    kind = {key: cards[0][key] for key in raw_keys if cards and key in cards[0]}
    inputs = keras.Input((None, None, kind.get("channels", 3)))
    outputs = []
    for number, member in enumerate(members, 1):
        copy = type(member).from_config({**member.get_config(), "name": f"member_{number}"})
        outputs.append(copy(inputs))
        copy.set_weights(member.get_weights())
    mean = layers.Average(dtype="float32")(outputs) if len(outputs) > 1 else outputs[0]
    model = Network(inputs, mean, name="ensemble")
    if cards:
        strides, halos = ([card[key] for card in cards] for key in ("stride", "halo"))
        model.card = {"stride": math.lcm(*strides), "halo": max(halos), **kind}
    return model
