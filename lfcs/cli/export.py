"""``lfcs export`` and ``lfcs check``: a policy for other simulators and for chips."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError


def add(command: Command) -> None:
    """Add the commands."""
    exported = command("export", export, "write the newest policy of a run for other simulators: the extra 'nir'")
    exported.add_argument("run", type=Path, help="run directory, or a saved policy")
    exported.add_argument("--nir", type=Path, required=True, metavar="FILE", help="the file, in NIR's format")
    exported.add_argument(
        "--form",
        default="lif",
        help="neurons as lif, for readers that solve the membrane exactly (default), or as cubalif, for forward Euler",
    )
    exported.add_argument("--dt", type=float, default=1e-3, help="seconds of a tick (default 0.001; Sinabs counts 1)")
    exported.add_argument("--target", help="write it only if this chip would take it: xylo, loihi2 or generic")
    checked = command(
        "check", check, "say what a chip would refuse of a run's policy, or how a simulator agrees with it"
    )
    checked.add_argument("run", type=Path, help="run directory, or a saved policy")
    what = checked.add_mutually_exclusive_group(required=True)
    what.add_argument("--target", help="the chip: xylo, loihi2 or generic")
    what.add_argument("--reader", help="the simulator: rockpool, norse, sinabs or nirtorch")
    checked.add_argument("--fit", type=Path, metavar="FILE", help="with --target xylo: write the policy in its numbers")
    checked.add_argument("--env", help="with --reader: the environment to act in (default: the run's)")
    checked.add_argument("--ticks", type=whole, default=1000, help="with --reader: ticks to compare (default 1000)")
    checked.add_argument("--episodes", type=whole, default=20, help="with --reader: episodes to act in (default 20)")


def export(args: argparse.Namespace) -> None:
    """Write the file, and say what a reader may do differently."""
    from lfcs.hardware import graph

    policy = _policy(args.run)
    if args.target is not None:
        _judge(policy, args.target)
    for note in graph.export(policy, args.nir, args.form, args.dt):
        print(f"note: {note}")
    print(f"NIR file: {args.nir}")
    print(f"next: lfcs check {args.run} --reader norse, or lfcs train ENV --from-nir {args.nir}")


def check(args: argparse.Namespace) -> None:
    """Say what a chip would refuse, or how another simulator agrees."""
    policy = _policy(args.run)
    if args.target is not None:
        run = args.run
        if args.fit is not None:
            policy = _fitted(policy, args.target)
            run = policy.save(args.fit)
            print(f"policy: {run}")
        _judge(policy, args.target)
        print(f"next: lfcs export {run} --nir policy.nir --target {args.target}")
        return
    if args.fit is not None:
        raise UserError("--fit is for a chip: --target xylo")
    for name, low in (("ticks", 1), ("episodes", 0)):
        if getattr(args, name) < low:
            raise UserError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    _compare(policy, args)


def _policy(path: Path) -> Any:
    from lfcs import load

    return load(path)


def _fitted(policy: Any, target: str) -> Any:
    """Return the policy in a chip's numbers. Raises UserError where there is none of that kind."""
    from lfcs.hardware import xylo

    if target != "xylo":
        raise UserError(f"--fit is for xylo, whose numbers are known: for {target} there is lfcs quantise")
    return xylo.fitted(policy)


def _judge(policy: Any, target: str) -> None:
    """Print a chip's limits. Raises UserError where it would refuse the policy."""
    from lfcs.hardware import targets

    refused = targets.report(policy, target, print)
    if refused:
        raise UserError(f"{target} would refuse this policy: {refused} of its limits, marked REFUSED above")
    print(f"{target} would take this policy")


def _compare(policy: Any, args: argparse.Namespace) -> None:
    """Print how a simulator's spikes and actions agree with ours."""
    from lfcs import run
    from lfcs.hardware import agreement, readers

    reader = readers.open_policy(policy, args.reader)
    found = agreement.spikes(policy, reader, args.ticks)
    where = "nowhere" if found.first is None else f"from tick {found.first} on"
    print(f"spikes: {found.differing:,} differ of {found.spikes:,} in {found.ticks:,} ticks, {where}")
    if args.episodes:
        config = None if args.env else run.load_config(args.run)
        env, kwargs = (args.env, {}) if config is None else (config.env, config.env_kwargs)
        acted = agreement.actions(policy, reader, env, args.episodes, env_kwargs=kwargs)
        print(f"actions: {acted.differing:,} differ of {acted.actions:,} in {args.episodes} greedy episodes of {env}")
        print(f"return: {acted.returns.mean():.2f} with {args.reader} in the loop, {acted.ours.mean():.2f} here")
