"""The networks, one file each. Importing this package registers them all, so that any saved model loads."""

from lle.models.attention_unet import attention_unet
from lle.models.dawn import Dawn
from lle.models.deeper_unet import deeper_unet, unet
from lle.models.double_unet import double_unet
from lle.models.ensemble import ensemble, self_ensemble
from lle.models.mirnet import mirnet
from lle.models.mirnet_v2 import mirnet_v2
from lle.models.network import Network
from lle.models.sid_unet import sid_unet
from lle.models.two_scales import TwoScales, remembering
from lle.models.unet_gan import UNetGAN
from lle.models.unet_residual_attention import unet_residual_attention
from lle.models.unet_vae import UNetVAE
from lle.models.zero_dce import ZeroDCE

__all__ = [
    "Dawn",
    "Network",
    "TwoScales",
    "UNetGAN",
    "UNetVAE",
    "ZeroDCE",
    "attention_unet",
    "deeper_unet",
    "double_unet",
    "ensemble",
    "mirnet",
    "mirnet_v2",
    "remembering",
    "self_ensemble",
    "sid_unet",
    "unet",
    "unet_residual_attention",
]
