"""What the figures of this package share: size, colours, the spelling of what they show."""

import io

from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WORDS = {"psnr": "PSNR", "ssim": "SSIM", "ciede2000": "CIEDE2000", "gt mean": "GT-mean"}
GREY = "0.4"
DPI = 100
WIDTH = 9  # inches; 900 pixels are the column of a notebook


class _NotebookFigure(Figure):
    """Jupyter shows a plain `Figure` as text until pyplot has set its backend up. This one is a picture everywhere."""

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width, height, layout=None):
    """An empty figure, its sides in inches."""
    return _NotebookFigure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)


def color_of(index):
    """The colour of a run or method by its place, over again after the last one."""
    return COLORS[index % len(COLORS)]


def label_of(key):
    """What an axis calls a logged value or a measure."""
    label = key.replace("_", " ")
    for word, spelled in WORDS.items():
        label = label.replace(word, spelled)
    return f"{label} (dB)" if "PSNR" in label else label


def value_text(key, value):
    """A value of it as text, PSNR in dB."""
    return f"{value:.2f} dB" if key.startswith("psnr") else f"{value:.3f}"


def tidy(axes):
    """Leave out what frames the axes, and draw lines to read values by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def as_it_is(text):
    """Options of a text for matplotlib, which takes dollar signs for formulas and no names that are not UTF-8."""
    return {"text": str(text).encode("utf-8", "backslashreplace").decode("utf-8"), "parse_math": False}


def add_legend(figure, handles):
    """A legend above the axes, in as many columns as find room: about 6 pixels a letter, 45 for mark and gap.

    The figure grows by what the lines after the first take.
    """
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, int(100 * WIDTH / (6 * longest + 45)))
    figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(handles) // columns) - 1))
    legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set(**as_it_is(text.get_text()))
