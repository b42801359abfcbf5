"""Low-light image enhancement in Keras 3."""

import importlib

from lle.enhance import enhance, load, networks

__all__ = ["enhance", "load", "networks"]
__version__ = "0.1.0"
SUBMODULES = (
    "batches", "data", "degrade", "download", "files", "losses", "machine", "metrics", "mixture", "models",
    "optimizers", "paths", "pictures", "plots", "raw", "reproduce", "results", "training", "writing",
)  # fmt: skip


def __getattr__(name):
    """Import a submodule when it is first used, such as `lle.files`: most bring large libraries along."""
    if name in SUBMODULES:
        return importlib.import_module(f"lle.{name}")
    raise AttributeError(f"module 'lle' has no attribute {name!r}")


def __dir__():
    """What completion offers."""
    return sorted({*globals(), *SUBMODULES} - {"importlib", "SUBMODULES"})
