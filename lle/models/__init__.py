"""The networks, one file each. Importing this package registers them all, so that any saved model loads."""

from lle.models.unet_residual_attention import unet_residual_attention
from lle.models.zero_dce import ZeroDCE

__all__ = ["ZeroDCE", "unet_residual_attention"]
