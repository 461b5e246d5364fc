"""``lfcs quantise``: a run's policy in few bits, for whole-number arithmetic."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lfcs.cli.parsing import Command, whole
from lfcs.errors import UserError

if TYPE_CHECKING:
    from lfcs.hardware.low_bits import Returns, Trained
    from lfcs.policy import Policy


def add(command: Command) -> None:
    """Add the command."""
    parser = command("quantise", quantise, "write a run's newest policy in few bits, and say what return it keeps")
    parser.add_argument("run", type=Path)
    parser.add_argument("--bits", type=whole, default=8, help="bits of a weight, 2 to 8 (default 8)")
    parser.add_argument("--per-neuron", action="store_true", help="a scale for each neuron, not one for all")
    parser.add_argument("--decay-shift", action="store_true", help="decays 1 - 2^-k, the nearest to the trained ones")
    parser.add_argument("--input-bits", type=whole, default=8, help="bits of an input, 1 to 16 (default 8)")
    parser.add_argument("--state-bits", type=whole, default=24, help="bits of a membrane, 8 to 32 (default 24)")
    parser.add_argument("--curve", action="store_true", help="also try 2 to 8 bits, with a picture, bits.png")
    parser.add_argument("--episodes", type=whole, default=100, help="of each evaluation (default 100)")
    parser.add_argument("--seed", type=whole, default=1, help="of the evaluations (default 1)")
    parser.add_argument("--run-dir", type=Path, help="directory of the quantised run (default: beside the run)")


def quantise(args: argparse.Namespace) -> None:
    """Quantise, evaluate before and after, and write the run."""
    from lfcs.hardware import low_bits
    from lfcs.hardware.quantise import Format
    from lfcs.hardware.quantise import quantise as quantised
    from lfcs.pictures import style

    if args.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {args.episodes}")
    form = Format(args.bits, args.per_neuron, args.decay_shift, args.input_bits, args.state_bits)
    form.check()
    if args.curve:
        style.check_installed()
    trained = low_bits.Trained(args.run)
    out = args.run_dir or low_bits.beside(args.run.resolve(), form)  # it has a name, where it is "." too
    low_bits.check_free(out)
    policy = quantised(trained.policy, form)
    before, after = (_play(trained, each, args) for each in (trained.policy, policy))
    trained.write(out, policy, form, before, after)
    print(f"{form}, {form.input_bits}-bit inputs, {form.state_bits}-bit membranes")
    print(f"greedy and sampled return over {args.episodes} episodes")
    print(f"before:  {_told(before)}")
    print(f"after:   {_told(after)}")
    print(f"kept:    {_kept(before, after)} of the greedy return")
    if args.curve:
        curve = {}
        for bits, returns in low_bits.over_bits(trained, form, lambda each: _play(trained, each, args)):
            curve[bits] = returns
            print(f"{bits} bits:  {_told(returns)}, kept {_kept(before, returns)}", flush=True)
        figure = low_bits.draw(curve, before, f"{trained.config.env}, seed {trained.config.seed}")
        print(f"picture: {style.save(figure, out / 'bits.png')}")
    print(f"run directory: {out}")
    print(f"next: lfcs eval {out}, or lfcs play {out} --spikes")


def _play(trained: Trained, policy: Policy, args: argparse.Namespace) -> Returns:
    from lfcs.progress import Episodes

    shown = Episodes(args.episodes)
    try:
        return trained.score(policy, args.episodes, args.seed, tell=shown.hear)
    finally:
        shown.close()


def _told(returns: Returns) -> str:
    return ", ".join(f"{way} {returns[way].mean():.2f} ± {returns[way].std():.2f}" for way in ("greedy", "sampled"))


def _kept(before: Returns, after: Returns) -> str:
    from lfcs.hardware.low_bits import kept

    return f"{kept(before['greedy'].mean(), after['greedy'].mean()):.1%}"
