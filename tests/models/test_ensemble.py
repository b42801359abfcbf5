import keras
import numpy as np
import pytest

from lle.enhance import run
from lle.models import Dawn, ZeroDCE, deeper_unet, ensemble, mirnet, self_ensemble, sid_unet, unet

IMAGE = np.random.default_rng(0).random((10, 13, 3), dtype="float32")


def test_is_the_mean_of_its_members_and_saves(tmp_path):
    members = []
    for seed, member in enumerate((deeper_unet(2, 1), unet(2, 1), ZeroDCE(filters=4))):
        keras.utils.set_random_seed(seed)
        member(np.zeros((1, 8, 8, 3), "float32"))
        member.set_weights([np.random.default_rng(seed).normal(0, 0.1, w.shape) ** 2 for w in member.get_weights()])
        members.append(member)
    model = ensemble(members)
    expected = np.mean([member.predict(IMAGE[None], verbose=0) for member in members], axis=0)
    np.testing.assert_allclose(model.predict(IMAGE[None], verbose=0), expected, atol=1e-6)
    assert model.card == {"stride": 2, "halo": 14} and run(model, IMAGE).shape == IMAGE.shape
    members[0].set_weights([0 * weight for weight in members[0].get_weights()])
    np.testing.assert_allclose(model.predict(IMAGE[None], verbose=0), expected, atol=1e-6)
    model.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(IMAGE[None], verbose=0), expected, atol=1e-6)


def built_for(*size):
    inputs = keras.Input((*size, 3))
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid")(inputs))


def test_of_networks_built_for_one_size():
    member = built_for(8, 8)
    member.card = {"stride": 1, "halo": 1, "tile": 99}
    image = np.random.default_rng(0).random((21, 34, 3), dtype="float32")
    model = ensemble([member, member, built_for(None, 8)])
    assert model.input_shape == (None, 8, 8, 3) and model.card == member.card
    np.testing.assert_allclose(run(ensemble([member, member]), image), run(member, image), atol=1e-6)
    assert run(self_ensemble(member), image).shape == image.shape
    member.card = {"stride": 3}  # the rest is what is assumed
    assert ensemble([member, model]).card == {"stride": 3, "halo": 32, "tile": 99}
    with pytest.raises(ValueError, match=r"got sides of \[8, 16\]"):
        ensemble([member, built_for(8, 16)])
    with pytest.raises(ValueError, match="pictures of 8x16 cannot be shown them turned"):
        self_ensemble(built_for(8, 16))


def test_refuses_networks_that_look_at_the_whole_first():
    with pytest.raises(ValueError, match="each of which is shown tiles alone"):
        ensemble([Dawn((4, 6), hints=3, exposure_width=4)])


@pytest.mark.parametrize("members", ["deeper_unet", ["deeper_unet"], [deeper_unet]])
def test_refuses_what_is_no_network(members):
    with pytest.raises(TypeError, match="members must be networks"):
        ensemble(members)


def test_takes_one_network_alone_or_any_iterable():
    member = deeper_unet(2, 1)
    dark = np.full((1, 8, 8, 3), 0.1, "float32")
    for members in (member, (each for each in [member, member])):
        assert np.allclose(ensemble(members)(dark), member(dark), atol=1e-6)


def test_cards():
    assert ensemble([mirnet(8, 1, 1, block="plain"), unet(2, 3)]).card == {"stride": 8, "halo": 56}
    raw = ensemble([sid_unet(2, 2), sid_unet(2, 2)])
    assert raw.card["channels"] == 4 and run(raw, np.zeros((8, 6, 4), "float32")).shape == (16, 12, 3)
    alone = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    assert not hasattr(ensemble([alone]), "card")
    with pytest.raises(ValueError, match="at least one"):
        ensemble([])


def test_self_ensemble_is_the_mean_over_flips_and_turns_and_saves(tmp_path):
    model = unet(2, 1)
    model.set_weights([np.random.default_rng(1).normal(0, 0.1, w.shape) ** 2 for w in model.get_weights()])
    views = [np.rot90(picture, turns) for picture in (IMAGE, IMAGE[:, ::-1]) for turns in range(4)]
    outputs = [model.predict(np.ascontiguousarray(view)[None], verbose=0)[0] for view in views]
    back = [np.rot90(output, -(number % 4)) for number, output in enumerate(outputs)]
    expected = np.mean([*back[:4], *(output[:, ::-1] for output in back[4:])], axis=0)
    turned = self_ensemble(model)
    np.testing.assert_allclose(turned.predict(IMAGE[None], verbose=0)[0], expected, atol=1e-6)
    assert turned.count_params() == model.count_params() and turned.card == model.card
    turned.save(tmp_path / "turned.keras")
    again = keras.saving.load_model(tmp_path / "turned.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(IMAGE[None], verbose=0)[0], expected, atol=1e-6)
    assert again.card == model.card


def test_self_ensemble_does_not_care_how_a_picture_is_turned():
    turned = self_ensemble(deeper_unet(2, 1, attention=True))
    output = turned.predict(IMAGE[None], verbose=0)[0]
    upright = turned.predict(np.ascontiguousarray(np.rot90(IMAGE))[None], verbose=0)[0]
    np.testing.assert_allclose(np.rot90(output), upright, atol=1e-5)


def test_self_ensemble_refuses_what_it_cannot_flip():
    with pytest.raises(ValueError, match="packed camera raw"):
        self_ensemble(sid_unet(2, 2))
    with pytest.raises(ValueError, match="shown tiles alone"):
        self_ensemble(Dawn((4, 6), hints=3, exposure_width=4))


def test_self_ensemble_keeps_dark_pictures_exact_under_a_mixed_policy():
    same = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Activation("linear", dtype="float32")])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        output = self_ensemble(same).predict(IMAGE[None] / 20, verbose=0)[0]
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(output, IMAGE / 20, atol=1e-7)
