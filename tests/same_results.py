"""Hold a change that should be a mere move to the results of before: short runs of every agent, form and engine.

    python tests/same_results.py record FILE     before the change
    python tests/same_results.py check FILE      after it, on the same machine and with the same packages

A result is a hash of all final weights, and metrics.csv without times, compared bit by bit in the columns that both
have; a column that is gone is named. Not a test: rounding differs between machines.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import torch

from lfcs.agents import AGENTS
from lfcs.configure import build_config
from lfcs.run import begin, complete

SMALL = {
    "network.neurons": 24, "train.num_envs": 4, "rule.window": 16, "rule.tau_s": 32, "rule.lr_readout": 0.02,
    "train.eval_every": 500, "train.eval_episodes": 3, "train.final_episodes": 5, "train.checkpoint_every": 600,
    "train.env_workers": "0", "rule.lr_hidden": 2e-3,
}  # fmt: skip
ONLINE = {"rule.form": "online", "agent.mask": "two-sided", "rule.normalise": "false", "rule.replays": 1}
ONLINE |= {"rule.tau_f": SMALL["rule.window"]}
PONG = {"rule.window": 25, "rule.tau_s": 50, "encoder.cells": 8, "rule.tau_f": 5, "rule.replays": 2}


def cases():
    """Yield a name, the arguments of a run, and its settings."""
    for agent in AGENTS:
        for engine in ("fused", "snntorch"):
            yield f"cartpole {agent} {engine}", ("CartPole-v1", agent, 1200, engine), {}
        yield f"pong {agent} fused", ("Pong100-v0", agent, 800, "fused"), PONG
    for agent in ("lf-cs", "e-prop", "naive-replay", "importance"):
        for engine in ("fused", "snntorch"):
            yield f"cartpole online {agent} {engine}", ("CartPole-v1", agent, 1200, engine), ONLINE
    yield "pong online lf-cs fused", ("Pong100-v0", "lf-cs", 800, "fused"), PONG | ONLINE | {"rule.tau_f": 25}
    options = {
        "pulled": {"agent.mask": "two-sided", "agent.pull": 1.0},
        "random feedback": {"rule.feedback": "random", "agent.eps": 0.1},
        "two ticks": {"network.ticks": 2},
        "standardised": {"encoder.kind": "standardised", "rule.normalise": "false"},
        "every step": {"rule.tau_f": 1, "rule.tail": 2},
    }
    for name, settings in options.items():
        yield f"cartpole lf-cs {name}", ("CartPole-v1", "lf-cs", 1200, "fused"), settings


def result(arguments, settings, folder):
    """Train one run; return its hash and its metrics by column."""
    env, agent, steps, engine = arguments
    own = {k: v for k, v in (SMALL | settings).items() if k not in AGENTS[agent].fixed}
    own = {k: v for k, v in own.items() if k.split(".")[0] != "agent" or agent == "lf-cs"}
    trainer = begin(build_config(env, agent, steps, 3, "cpu", engine, own), folder, progress=False)
    complete(trainer)
    weights = hashlib.sha256()
    for policy in (trainer.reference, trainer.learner.update.network):
        weights.update(policy.hidden.numpy().tobytes() + policy.readout.numpy().tobytes())
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in rows[0] if not name.startswith("time/")}
    summary = json.loads((folder / "summary.json").read_text())
    columns["summary"] = [repr(summary[k]) for k in ("mean_return", "mean_return_sampled", "weight_updates")]
    return {"weights": weights.hexdigest(), "metrics": columns}


def main(command, path):
    """Record all results, or name every difference."""
    torch.set_num_threads(1)
    before = json.loads(path.read_text()) if command == "check" else {}
    found, differ, gone = {}, [], set()
    for name, arguments, settings in cases():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = now = result(arguments, settings, Path(folder) / "run")
        print(f"{now['weights'][:16]}  {name}", flush=True)
        if command == "check":
            then = before[name]
            gone |= then["metrics"].keys() - now["metrics"].keys()
            both = then["metrics"].keys() & now["metrics"].keys()
            bad = sorted(c for c in both if then["metrics"][c] != now["metrics"][c])
            bad += ["weights"] if then["weights"] != now["weights"] else []
            differ += [f"{name}: {', '.join(bad)}"] if bad else []
    if command == "record":
        path.write_text(json.dumps(found))
        return 0
    print(f"\n{len(found)} runs, {len(differ)} differ; columns gone: {', '.join(sorted(gone)) or 'none'}")
    print("\n".join(differ))
    return 1 if differ else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "check"):
        raise SystemExit(__doc__)
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2])))
