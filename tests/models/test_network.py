"""The card of every network survives its file."""

import keras
import pytest

import lle
from lle.models import (
    Network,
    attention_unet,
    deeper_unet,
    double_unet,
    ensemble,
    mirnet,
    mirnet_v2,
    sid_unet,
    unet_residual_attention,
)
from lle.models.unet_vae import unet_with_vae

SMALL = {
    "attention_unet": lambda: attention_unet(2, 2),
    "deeper_unet": lambda: deeper_unet(2, 3),
    "double_unet": lambda: double_unet(filters=2, depth=2),
    "ensemble": lambda: ensemble([deeper_unet(2, 1), deeper_unet(2, 2)]),
    "mirnet": lambda: mirnet(8, 1, 1),
    "mirnet_v2": lambda: mirnet_v2(8, 1, groups=(1,)),
    "sid_unet": lambda: sid_unet(2, 2),
    "unet_residual_attention": lambda: unet_residual_attention((None, None, 3), 2, 5),
    "unet_with_vae": lambda: unet_with_vae(2, 2, 4),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_card_survives_the_file(name, tmp_path):
    model = SMALL[name]()
    model.save(tmp_path / "mine.keras")
    again = lle.load(tmp_path / "mine.keras")
    assert isinstance(again, Network) and again.name == model.name
    assert again.card == model.card and again.card["halo"] >= again.card["stride"]


def test_a_network_without_a_card(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = Network(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs))
    model.save(tmp_path / "mine.keras")
    assert lle.load(tmp_path / "mine.keras").card == {"stride": 32, "halo": 32}
    assert not hasattr(keras.saving.load_model(tmp_path / "mine.keras"), "card")
