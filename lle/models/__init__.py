"""The networks, one file each. Importing this package registers them all, so that any saved model loads."""

from lle.models.deeper_unet import deeper_unet, unet
from lle.models.ensemble import ensemble
from lle.models.mirnet import mirnet
from lle.models.mirnet_v2 import mirnet_v2
from lle.models.unet_residual_attention import unet_residual_attention
from lle.models.zero_dce import ZeroDCE

__all__ = ["ZeroDCE", "deeper_unet", "ensemble", "mirnet", "mirnet_v2", "unet", "unet_residual_attention"]
