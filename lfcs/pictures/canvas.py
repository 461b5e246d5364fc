"""The figure that pictures are drawn into. Importing this imports matplotlib."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that belongs to no window and shows itself in a notebook, whatever matplotlib's backend is."""

    def _repr_png_(self) -> bytes:
        """Return the picture as PNG, as a notebook asks for it."""
        file = BytesIO()
        self.savefig(file, format="png", dpi=self.dpi)
        return file.getvalue()
