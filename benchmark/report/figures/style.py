"""How every figure looks, and how it becomes files.

Made for print at the width of a column (3.25 in) or of a page (6.75 in) in 8 pt, and for readers
who see no colours: the palette is that of Okabe and Ito (2008,
https://jfly.uni-koeln.de/color/), and whatever a colour tells a marker or a line style tells, too.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import require
from ...storage import atomic

COLUMN, PAGE = 3.25, 6.75  # inches
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
# in the order in which they are told apart best, on paper as well; yellow is too pale for a line
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
METRICS = {"si_sdr_improvement": "SI-SDRi", "wer": "WER", "pesq": "PESQ"}  # as papers call them

SETTINGS = {
    "font.family": "sans-serif",
    # it comes with matplotlib, so a figure has the same letters on every machine
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#D9D9D9",
    "axes.axisbelow": True,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "errorbar.capsize": 1.5,
    "legend.frameon": False,
    "figure.dpi": 300,
    "savefig.dpi": 300,
    "figure.constrained_layout.use": True,
    # letters as outlines: an SVG looks the same where the font is not installed. What they say is
    # in the CSV beside it.
    "svg.fonttype": "path",
    "svg.hashsalt": "earlyexit-superb",  # ids of an SVG are random without it
}


def heading(metric: str, unit: str, higher_is_better: bool) -> str:
    """A metric as an axis names it, with where better is."""
    shown = f" ({unit})" if unit in ("%", "dB") else ""
    return f"{METRICS.get(metric, metric)}{shown} {'↑' if higher_is_better else '↓'}"


@contextlib.contextmanager
def styled() -> Iterator[Any]:
    """matplotlib's `figure` module, with this style while the block lasts.

    No window system is asked: a `Figure` that pyplot does not know draws itself into a file.

    Raises: MachineError where matplotlib cannot be imported.
    """
    matplotlib = require("matplotlib", "figure", "figures")
    figure = require("matplotlib.figure", "figure", "figures")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(SETTINGS)
        yield figure


def save(figure: Any, path: Path) -> Path:
    """Write a matplotlib figure; the suffix says as what. The same figure gives the same bytes.

    Args:
        path: ends in .png or .svg.
    """
    kind = path.suffix.removeprefix(".")
    # neither the date nor the version of matplotlib
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    # half of the style is read only now: the dots an inch, the ids of an SVG
    with styled(), atomic(path) as beside:
        figure.savefig(beside, format=kind, metadata=metadata)
    return path
