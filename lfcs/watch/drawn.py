"""Which pictures are drawn at an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lfcs.episodes import Episode
from lfcs.pictures import eligibility, membrane, passes, raster, style, weights
from lfcs.policy import Policy


def pictures(
    episode: Episode,
    policy: Policy,
    synapses: list[eligibility.Synapse],
    draw_passes: Callable[[Any], None],
) -> Iterator[tuple[str, Any]]:
    """Yield the pictures of an episode of a policy, and of the latest passes, each with its key.

    ``draw_passes`` draws the latter into a figure. Raises UserError where matplotlib is missing.
    """
    fields = weights.fields_of(policy)
    drawn: list[tuple[str, tuple[float, float], Callable[[Any], None]]] = [
        ("learning/fast_and_slow", passes.SIZE, draw_passes),
        ("episode/raster", raster.SIZE, lambda f: raster.draw_raster(f, episode, weights.action_weights(policy))),
        ("episode/membrane", membrane.SIZE, lambda f: membrane.draw_membrane(f, episode)),
        ("learning/eligibility", eligibility.SIZE, lambda f: eligibility.draw_eligibility(f, synapses)),
        *([("weights/receptive_fields", weights.FIELDS, lambda f: weights.draw_fields(f, fields))] if fields else []),
    ]
    for key, size, draw in drawn:
        figure = style.figure(*size)
        draw(figure)
        yield key, figure
