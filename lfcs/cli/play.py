"""``lfcs play``: see the newest policy of a run act, in a window or as a video."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError


def add(command: Command) -> None:
    """Add the command."""
    parser = command("play", play, "see the newest policy of a run act, in a window or as a video")
    parser.add_argument("run", type=Path)
    parser.add_argument("--video", type=Path, help="write a video, .mp4 or .gif (default without a display: play.mp4)")
    parser.add_argument("--episodes", type=whole, default=1, help="episodes (default 1)")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the first episode (default 0)")
    parser.add_argument("--sampled", action="store_true", help="draw actions, not the most probable ones")
    parser.add_argument("--spikes", action="store_true", help="a video with the spikes beside it")


def play(args: argparse.Namespace) -> None:
    """Play, show, and print the returns."""
    if args.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {args.episodes}")
    if args.seed < 0:
        raise UserError(f"--seed must be at least 0, got {args.seed}")
    from lfcs.envs import drawing

    film = args.video or (args.run / "play.mp4" if args.spikes or not drawing.has_display() else None)
    if film is not None:
        from lfcs.pictures.film import check_writable

        check_writable(film)
        for key in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # what draws with SDL needs neither a screen nor sound
            os.environ.setdefault(key, "dummy")
    from lfcs import watching

    asked = {"episodes": args.episodes, "seed": args.seed, "greedy": not args.sampled}
    if film is None:
        recording = watching.in_window(args.run, **asked)
    else:
        recording = watching.on_film(args.run, film, args.spikes, **asked)
    for number, (episode, total) in enumerate(zip(recording, recording.returns, strict=True)):
        print(f"episode {number}, seed {args.seed + number}: return {total:.6g} in {len(episode['reward']):,} steps")
    if film is not None:
        print(f"video: {film}")
    print(f"next:  lfcs plot {args.run} --raster" if args.spikes else f"next:  lfcs play {args.run} --spikes")
