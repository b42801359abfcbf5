"""Figures: curves over epochs, pictures side by side, a crop magnified, a measure per image.

Every function returns a matplotlib `Figure` that pyplot knows nothing of: no display is needed, no window opens, and a
notebook shows it once, where it is the last line of a cell. `figure.savefig(path)` writes it to a file.
"""

from lle.plots.charts import curves, per_image, read_log
from lle.plots.pictures import compare, enhanced, magnify
from lle.plots.style import COLORS

__all__ = ["COLORS", "compare", "curves", "enhanced", "magnify", "per_image", "read_log"]
