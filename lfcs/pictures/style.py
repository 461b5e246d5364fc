"""How pictures look: colours that all can tell apart, sizes for print, and files by their ending."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfcs.checkpoint import whole
from lfcs.errors import UserError

if TYPE_CHECKING:
    from lfcs.pictures.canvas import Picture

ENDINGS = ("png", "svg", "pdf")
COLUMN = 3.4  # inches of a column in print
SMALL, LARGE = 7, 8  # points of ticks and legends, of labels and titles
# Okabe & Ito, "Color universal design" (2008), without yellow, which is hard to see on white; then grey, black, and
# the muted colours of Paul Tol, "Colour schemes" (2021)
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#999999", "#000000", "#882255",
    "#999933", "#44AA99", "#661100", "#AA4499", "#DDCC77", "#117733",
)  # fmt: skip
BLUE, RED, GREEN, PURPLE, ORANGE, SKY = PALETTE[:6]
GREY, BLACK = PALETTE[7:9]


def check_installed() -> None:
    """Raise UserError where matplotlib is missing: before hours of runs, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the figures need the extra 'plots': pip install 'lfcs[plots]', or make install")


def pyplot() -> Any:
    """Return matplotlib's pyplot, drawing to files only."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plot

    return plot


def colours_of(labels: Iterable[str], known: Sequence[str] = ()) -> dict[str, Any]:
    """Return the colour of each label, numbers (red, green, blue).

    ``known`` labels have the same one whatever stands beside them, others one that is free. Rules and peers are known
    in :func:`lfcs.study.figures.colours_of`.
    """
    labels, colours = list(labels), [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in PALETTE]
    taken = {known.index(label) for label in labels if label in known}
    # first what belongs to none, so that no label has the colour of a rule that is elsewhere
    free = [n for n in (*range(len(known), len(PALETTE)), *range(len(known))) if n not in taken]
    others = iter([label for label in labels if label not in known])
    number = {label: known.index(label) for label in labels if label in known}
    number |= {label: free[i % len(free)] for i, label in enumerate(others)}
    return {label: colours[number[label] % len(PALETTE)] for label in labels}


def figure(width: float = COLUMN, height: float = 2.4) -> Picture:
    """Return an empty figure of so many inches, whose parts make room for each other.

    Raises UserError where matplotlib is missing.
    """
    check_installed()
    from lfcs.pictures.canvas import Picture

    return Picture(figsize=(width, height), dpi=200, layout="constrained")


def dress(figure: Any) -> None:
    """Give all axes of a figure, once they are drawn, the sizes of print and plain frames."""
    for axis in figure.axes:
        axis.tick_params(labelsize=SMALL, width=0.6, length=2.5, pad=2)
        for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
            text.set_fontsize(LARGE)
        for part in (axis.xaxis, axis.yaxis):
            part.get_offset_text().set_fontsize(SMALL)
        for name, spine in axis.spines.items():
            spine.set_linewidth(0.6)
            if name in ("top", "right"):
                spine.set_visible(False)
        if axis.get_legend() is not None:
            for text in axis.get_legend().get_texts():
                text.set_fontsize(SMALL)


def ending_of(path: str | Path) -> str:
    """Return png, svg or pdf, by the ending of a file. Raises UserError for another."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in ENDINGS:
        raise UserError(f"{path}: a picture ends in .png, .svg or .pdf")
    return ending


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure as what its file's ending says, PNG at 300 dots per inch; return its path.

    Folders on the way are made. Raises UserError for an ending other than png, svg and pdf.
    """
    import matplotlib

    path, ending = Path(path), ending_of(path)
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}), whole(path) as file:  # text stays text
        figure.savefig(file, format=ending, dpi=300)
    return path
