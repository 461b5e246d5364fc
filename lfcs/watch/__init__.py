"""What is shown of a run while it goes: a callback that hands curves, histograms, pictures and a video to a tracker."""

from lfcs.watch.watch import Watch

__all__ = ["Watch"]
