"""``lfcs profile``: what the policies of runs compute while they act, and what learning them costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lfcs.cli.parsing import Command, whole


def add(command: Command) -> None:
    """Add the command."""
    parser = command("profile", profile, "count what a run's newest policy computes, by NeuroBench's definitions")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, each counted for itself")
    parser.add_argument("--episodes", type=whole, default=20, help="episodes, those of lfcs eval (default 20)")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the episodes (default 0)")
    parser.add_argument("--sampled", action="store_true", help="draw actions, not the most probable ones")
    parser.add_argument(
        "--energy", metavar="NUMBERS", help="multiply operations by stated energies: float32, int32 or int8"
    )
    parser.add_argument("--out", type=Path, help="picture: .png, .svg or .pdf (default: profile.png in the first run)")


def profile(args: argparse.Namespace) -> None:
    """Print a table for each run, write profile.json into it, and draw returns against operations."""
    from lfcs.checkpoint import write_json
    from lfcs.hardware import table
    from lfcs.hardware.profile import of_run
    from lfcs.pictures import style

    style.check_installed()
    path = args.out or args.runs[0] / "profile.png"
    style.ending_of(path)  # before anything slow
    profiles = []
    for run in args.runs:
        found = of_run(run, args.episodes, args.seed, not args.sampled, args.energy)
        profiles.append(found)
        write_json(run / "profile.json", found.to_dict())
        print("\n".join(table.lines(found)))
        print(f"profile: {run / 'profile.json'}")
    print(f"picture: {style.save(_drawn(args.runs, profiles), path)}")
    print(f"next:    lfcs plot {args.runs[0]} --raster")


def _drawn(runs: list[Path], profiles: list[Any]) -> Any:
    """Return the picture of some profiles, and of the first one's peers at its return."""
    from lfcs.pictures import operations, style

    points = []
    for run, found in zip(runs, profiles, strict=True):
        ops, returns = found.metrics["synaptic_operations"], found.returns
        label = run.name if len(runs) > 1 else found.name
        done = ops["effective_macs"] + ops["effective_acs"]
        points.append(operations.Point(label, done, returns.mean(), returns.std()))
    at = points[0].score
    points += [operations.Point(peer.name, peer.macs, at, counted=False) for peer in profiles[0].peers]
    figure = style.figure(*operations.SIZE)
    operations.draw_operations(figure, points)
    return figure
