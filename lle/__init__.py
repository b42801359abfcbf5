"""Low-light image enhancement in Keras 3."""

from lle.enhance import enhance, load

__all__ = ["enhance", "load"]
__version__ = "0.1.0"
