"""CartPole from nothing in whole numbers (:mod:`lfcs.hardware.fixed_learning`), over seeds.

python -m lfcs.study.fixed_learning [--env CartPole-v1] [--seeds 1000..1004] [--steps 100000] [--nearest]
"""

from __future__ import annotations

import argparse
from contextlib import closing

import numpy as np

from lfcs.errors import UserError, guarded
from lfcs.hardware.fixed_learning import EPISODES, Learner
from lfcs.hardware.fixed_rule import Rates
from lfcs.study import values
from lfcs.study.stats import iqm


def main(args: argparse.Namespace) -> None:
    """Train one seed after the other and print what each got."""
    if args.steps < 1:
        raise UserError(f"--steps must be at least 1, got {args.steps}")
    found = []
    for seed in values.seeds("--seeds", args.seeds):
        learner = Learner(args.env, seed, Rates(stochastic=int(not args.nearest)))
        with closing(learner.vec):
            learner.train(args.steps)
        found.append(learner.evaluate())
        print(f"seed {seed}: greedy {found[-1]:.2f} over {EPISODES} episodes, {learner.steps:,} steps", flush=True)
    print(f"median {np.median(found):.2f}, interquartile mean {float(iqm(np.array(found))):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--seeds", nargs="+", default=["1000..1004"])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--nearest", action="store_true", help="round changes to the nearest, not by chance")
    raise SystemExit(guarded(main, parser.parse_args()))
