"""TensorBoard: event files in the run's directory. Everything is written through its own protocol buffers."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from lfcs.trackers.base import FPS, Charts, counted, finite, gif, png

METRICS = "eval/mean_reward", "eval/mean_reward_sampled", "rollout/ep_rew_mean"
FIRST = "agent", "env", "final/", "rule."  # how the names of the columns begin that come first


class TensorBoard:
    """See :class:`lfcs.trackers.Tracker`."""

    def __init__(self, run_dir: Path, start: int) -> None:
        first = start + 1 if start else 0  # what a process that was cut has told from there on is not shown
        self.writer: Any = SummaryWriter(str(run_dir), purge_step=first)

    def _write(self, step: int, *values: Any) -> None:
        self.writer.file_writer.add_summary(Summary(value=values), step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`; they are one event, which is quicker than one each."""
        self._write(step, *(Summary.Value(tag=key, simple_value=value) for key, value in values.items()))

    def histogram(self, key: str, values: np.ndarray, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        (counts, bounds), flat = counted(values), finite(values)
        if not len(flat):
            return
        told = HistogramProto(
            min=flat.min(), max=flat.max(), num=len(flat), sum=flat.sum(dtype=float), sum_squares=flat @ flat,
            bucket_limit=[bounds[0], *bounds[1:]], bucket=[0, *counts],
        )  # fmt: skip
        self._write(step, Summary.Value(tag=key, histo=told))

    def image(self, key: str, picture: Any, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self._shown(key, png(picture), step)

    def _shown(self, key: str, file: bytes, step: int) -> None:
        from PIL import Image

        width, height = Image.open(BytesIO(file)).size
        shown = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=file)
        self._write(step, Summary.Value(tag=key, image=shown))

    def text(self, key: str, markdown: str, step: int) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.writer.add_text(key, markdown, step)

    def video(self, key: str, frames: np.ndarray, step: int, fps: int = FPS) -> None:
        """See :class:`lfcs.trackers.Tracker`; an image that moves, which stands among the images."""
        self._shown(key, gif(frames, fps), step)

    def hparams(self, settings: Mapping[str, str | int | float | bool], scores: Mapping[str, float]) -> None:
        """See :class:`lfcs.trackers.Tracker`.

        The scores are columns of the table of hyperparameters. TensorBoard's own "metrics" would be curves of one dot;
        those here are curves that there are. Of the columns it puts first those that are said to differ.
        """
        final = {f"final/{key}": score for key, score in scores.items()}
        experiment, *session = hparams({**final, **settings}, dict.fromkeys(METRICS, 0.0))
        plugin = experiment.value[0].metadata.plugin_data
        told = HParamsPluginData.FromString(plugin.content)
        for info in told.experiment.hparam_infos:
            info.differs = info.name.startswith(FIRST)
        plugin.content = told.SerializeToString()
        for part in (experiment, *session):
            self.writer.file_writer.add_summary(part)

    def layout(self, charts: Charts) -> None:
        """See :class:`lfcs.trackers.Tracker`; the page Custom Scalars."""
        pages = {
            page: {name: ["Multiline", [f"^{key}$" for key in keys]] for name, keys in shown.items()}
            for page, shown in charts.items()
        }
        self.writer.add_custom_scalars(pages)

    def flush(self) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.writer.flush()

    def close(self) -> None:
        """See :class:`lfcs.trackers.Tracker`."""
        self.writer.close()
