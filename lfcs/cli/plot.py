"""``lfcs plot``: pictures of runs, as PNG, SVG or PDF."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError

OF_ONE = {"raster": "spikes", "membrane": "membranes", "weights": "weights"}


def add(command: Command) -> None:
    """Add the command."""
    parser = command("plot", plot, "draw runs: learning curves, or what is asked for")
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or directories that hold some")
    parser.set_defaults(what="curves")
    what = parser.add_mutually_exclusive_group()
    for name, help_ in (
        ("divergence", "how far the new policy went from the reference: ratio, KL, clipped share, effective samples"),
        ("raster", "spikes of an episode of the newest policy, under what it observes and does; of one run"),
        ("membrane", "membranes and thresholds of a few neurons in such an episode; of one run"),
        ("weights", "distributions of weights, and receptive fields where the encoder has them; of one run"),
    ):
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=help_)
    parser.add_argument("--by", choices=("time", "weight"), default="time", help="order of a raster's neurons")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the episode (default 0)")
    parser.add_argument("--sampled", action="store_true", help="draw the episode's actions, not the most probable ones")
    parser.add_argument("--out", type=Path, help="picture: .png, .svg or .pdf (default: a .png in the first run)")


def plot(args: argparse.Namespace) -> None:
    """Draw, write the picture, and say where it is."""
    from lfcs.pictures import style

    style.check_installed()
    path = args.out or args.runs[0] / ("plot.png" if args.what == "curves" else f"{args.what}.png")
    style.ending_of(path)  # before anything slow
    figure = _of_one(args) if args.what in OF_ONE else _of_many(args)
    print(f"picture: {style.save(figure, path)}")
    print(f"next:    {_next(args)}")


def _of_many(args: argparse.Namespace) -> Any:
    from lfcs.study import curves

    return curves.draw(args.runs, args.what == "divergence")


def _of_one(args: argparse.Namespace) -> Any:
    """Return the figure of what is of one run."""
    from lfcs import load
    from lfcs.study import runs

    found = runs.find(args.runs)
    if len(found) > 1:
        raise UserError(f"--{args.what} is of one run, and there are {len(found)}: give one, as {found[0].path}")
    run = found[0].path
    if args.what == "weights":
        return _weights(load(run))
    return _episode(args, run)


def _episode(args: argparse.Namespace, run: Path) -> Any:
    """Return the figure of an episode of a run's newest policy."""
    from lfcs import load, playing
    from lfcs.pictures import membrane, raster, style, weights

    recording = playing.of_run(run, seed=args.seed, greedy=not args.sampled)
    print(recording.facts())
    if args.what == "membrane":
        figure = style.figure(*membrane.SIZE)
        membrane.draw_membrane(figure, recording[0])
        return figure
    figure = style.figure(*raster.SIZE)
    by = weights.action_weights(load(run)) if args.by == "weight" else None
    raster.draw_raster(figure, recording[0], by, recording.title)
    return figure


def _weights(policy: Any) -> Any:
    """Return the figure of a policy's weights, above its receptive fields where it has some."""
    from lfcs.pictures import style, weights

    fields = weights.fields_of(policy)
    (width, top), bottom = weights.SIZE, weights.FIELDS[1]
    if not fields:
        print(f"no receptive fields: encoder {policy.encoder.config.kind} has none")
        figure = style.figure(width, top)
        weights.draw_weights(figure, weights.weights_of(policy))
        return figure
    figure = style.figure(width, top + bottom)
    parts: Any = figure.subfigures(2, 1, height_ratios=(top, bottom))
    weights.draw_weights(parts[0], weights.weights_of(policy))
    weights.draw_fields(parts[1], fields)
    return figure


def _next(args: argparse.Namespace) -> str:
    """Return the command to go on with."""
    run = args.runs[0]
    if args.what == "curves":
        return f"lfcs plot {run} --divergence"
    return f"lfcs plot {run}" if args.what == "divergence" else f"lfcs play {run} --spikes"
