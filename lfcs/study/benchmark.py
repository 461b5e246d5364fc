"""How fast it is: every figure a ratio of two things measured alternately in the same run.

    lfcs bench [--quick] [--out FILE]

Prints tables and writes JSON and, with matplotlib, a picture. A ratio is the median over the repeats, with the smallest
and the largest beside it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lfcs import experiments
from lfcs.agents import AGENTS
from lfcs.configure import build_config
from lfcs.run import make_trainer
from lfcs.study import against_jax
from lfcs.study.measure import (
    PLAIN,
    growth,
    high_water,
    in_fresh_process,
    machine_limit,
    network_step,
    one_update,
    online_memory,
    seconds,
    timed,
    update_memory,
    update_parts,
)
from lfcs.study.peers import INSTALLED, make_peer
from lfcs.study.whole import cost_of_watching, share_of_work, whole_command

LINUX = Path("/proc/self/status").exists()
PONG = {
    "network.neurons": 500, "rule.window": 100, "rule.tau_s": 100, "rule.replays": 2, "encoder.cells": 20,
}  # fmt: skip
SHOWN = "network.neurons", "rule.replays", "rule.tau_f", "train.threads"
PPOS = "PPO", "RecurrentPPO"


def whole_learning(
    env: str, windows: int, settings: dict[str, Any], repeats: int, peers: Iterable[str] = ()
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Learn end to end, in stretches of ``windows`` windows, alternating with the peers.

    Returns environment steps per second and the shares of environment, acting and learning; and for each peer its own
    speed and how many times as fast ours was.
    """
    spent: dict[str, float] = {}
    models = {peer: make_peer(peer, env, seed=0) for peer in peers}
    with closing(make_trainer(build_config(env, steps=10**9, overrides=settings))) as trainer:
        trainer.rollout.refresh(0)
        trainer.rollout.collect(1), trainer.window()
        for model in models.values():
            model.learn(1)  # one window of its own
        trainer.envs.step = timed(spent, "environment", trainer.envs.step)  # type: ignore[method-assign]
        trainer.rollout.collect = timed(spent, "collect", trainer.rollout.collect)  # type: ignore[method-assign]
        trainer.learner.learn = timed(spent, "learning", trainer.learner.learn)  # type: ignore[method-assign]
        begun, total, ours = trainer.env_steps, 0.0, []
        theirs: dict[str, list[float]] = {peer: [] for peer in models}
        for _ in range(repeats):
            before = trainer.env_steps
            stretch = seconds(lambda: [trainer.window() for _ in range(windows)])
            ours.append((trainer.env_steps - before) / stretch)
            total += stretch
            for peer, model in models.items():
                before = model.num_timesteps
                stretch = seconds(lambda: model.learn(1, reset_num_timesteps=False))  # noqa: B023
                theirs[peer].append((model.num_timesteps - before) / stretch)
        if not spent["environment"]:  # stepped within the compiled call: by themselves, a call a step
            spent["environment"] = stepping(trainer.envs, (trainer.env_steps - begun) // trainer.envs.num_envs)
        alone = (trainer.env_steps - begun) / spent["environment"]
    shares = {
        "environment": spent["environment"] / total,
        "acting": (spent["collect"] - spent["environment"]) / total,
        "learning": spent["learning"] / total,
        "environment_alone_steps_per_s": alone,
    }
    compared = {
        f"{peer}, {env}": {"steps_per_s": statistics.median(found)}
        | spread("ratio", [a / b for a, b in zip(ours, found, strict=True)])
        for peer, found in theirs.items()
    }
    return spread("steps_per_s", ours) | shares, compared


def stepping(envs: Any, steps: int) -> float:
    """Return the seconds of so many steps of compiled environments by themselves."""
    alone = envs.like(envs.num_envs)
    alone.reset(seed=0)
    alone.action_space.seed(0)
    actions = [alone.action_space.sample() for _ in range(64)]
    return sum(seconds(lambda: [alone.step(action) for action in actions]) for _ in range(-(-steps // 64)))


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Return the median under ``name``, with the smallest and the largest value."""
    return {name: statistics.median(values), "low": min(values), "high": max(values)}


def agent_cost(agent: str, windows: int) -> tuple[float, float, float]:
    """Return microseconds and updates per environment step of an agent on CartPole, and the process's growth in MiB."""
    torch.set_num_threads(1)
    alone = {"train.env_workers": "0"}  # a process of a pool may have no children
    config = build_config(
        "CartPole-v1", agent, steps=10**9, overrides=alone, experiment=experiments.find("CartPole-v1")
    )
    before = high_water() if LINUX else math.nan
    with closing(make_trainer(config)) as trainer:
        trainer.rollout.refresh(0)
        trainer.window()
        steps, updates = trainer.env_steps, trainer.learner.update.optimiser.steps
        spent = seconds(lambda: [trainer.window() for _ in range(windows)])
        steps, updates = trainer.env_steps - steps, trainer.learner.update.optimiser.steps - updates
    return 1e6 * spent / steps, updates / steps, (high_water() if LINUX else math.nan) - before


def draw(grown: dict[str, dict[str, Any]], picture: Path) -> None:
    """Draw how the time of a pass grows, each size against the power expected of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(grown), figsize=(10, 2.8), layout="constrained", sharey=True)
    for axis, (name, found) in zip(axes, grown.items(), strict=True):
        sizes, times = np.array(found["sizes"]), np.array(found["seconds"])
        axis.loglog(sizes, 1e3 * times, "o-", label=f"measured, power {found['power']:.2f}")
        expected = times[-1] * (sizes / sizes[-1]) ** found["expected"]
        axis.loglog(sizes, 1e3 * expected, "k:", label=f"power {found['expected']}")
        axis.set(xlabel=name, ylabel="ms for a pass" if axis is axes[0] else None)
        axis.legend(frameon=False, fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)


def table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    """Return rows of figures as a Markdown table."""
    columns = list(next(iter(rows.values())))
    lines = [f"\n**{title}**\n", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


Rows = dict[str, dict[str, Any]]
Sections = Iterator[tuple[str, Rows]]


def of_networks(quick: bool, repeats: int) -> Sections:
    """Yield the figures of the network and of one update."""
    batches, sizes = ((1, 16), (128,)) if quick else ((1, 16, 64, 256), (128, 512, 2048))
    steps = {f"B={b}, N={n}": network_step(b, n, repeats) for n in sizes for b in batches}
    yield "Network step: snntorch's modules / engine", steps
    neurons, batch, longest = (64, 4, 20) if quick else (512, 16, 400)
    updates = {
        f"{name}, T={steps}": one_update(steps, neurons, batch, repeats, detach)
        for steps in sorted({longest, 20 if quick else 100})
        for name, detach in (("e-prop by autograd", True), ("BPTT", False))
    }
    yield f"One update of a window, N={neurons}, B={batch}: autograd through snntorch / ours", dict(updates)
    parts = update_parts(longest, neurons, batch, repeats)
    yield f"Where one update goes, N={neurons}, B={batch}, T={longest}", dict(parts)


def of_memory(quick: bool, isolated: Callable[..., Any]) -> Sections:
    """Yield the growth of memory in an update and in the online form."""
    neurons, batch = (64, 4) if quick else (512, 16)
    lengths = (10, 40) if quick else (100, 400)
    memory: Rows = {
        kind: {f"T={t}": isolated(update_memory, kind, t, neurons, batch) for t in lengths}
        for kind in ("lf-cs, tau_f=8", "e-prop by autograd", "BPTT")
    }
    yield "Growth of peak memory in one update beyond the window, MiB", memory
    lengths = (20, 40) if quick else (100, 10_000)
    isolated(online_memory, 4, neurons, batch)  # so that neither of the two compiles anything
    peaks = {f"T={t}": isolated(online_memory, t, neurons, batch) for t in lengths}
    yield "Peak memory of the process in the online form, MiB", {"lf-cs online": peaks}


def of_learning(quick: bool, repeats: int) -> Sections:
    """Yield the speed of whole learning, alone and beside the peers."""
    speeds: Rows = {}
    peers: Rows = {}
    pong = PONG | {"train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10} if quick else PONG
    tuned: dict[str, Any] = (experiments.find("Pong100-v0") or {})["settings"]
    some, both = ["PPO"] if quick else list(PPOS), [] if quick else list(PPOS)
    for env, windows, settings, of_peers in (
        ("CartPole-v1", 1 if quick else 8, PLAIN | {"network.neurons": 32 if quick else 128}, some),
        ("Pong100-v0", 1 if quick else 2, pong | {"rule.tau_f": 1}, both),
        ("Pong100-v0", 1 if quick else 2, pong | {"rule.tau_f": 8}, []),
        *([] if quick else [("Pong100-v0", 1, tuned | {"train.threads": n}, []) for n in (1, 2)]),
    ):
        row = ", ".join([env, *(f"{key.split('.')[1]}={value}" for key, value in settings.items() if key in SHOWN)])
        speeds[row], _ = whole_learning(env, windows, settings, repeats)
        if INSTALLED and of_peers:
            peers |= whole_learning(env, windows, settings, repeats, of_peers)[1]
    yield "Whole learning: environment steps per second, and shares of the time", speeds
    if INSTALLED:
        yield "Peers, alternating with ours: environment steps per second, and ours / theirs", peers
    else:
        print("\npeers are measured where the extra 'peers' is installed")


def of_commands(quick: bool, repeats: int) -> Sections:
    """Yield the seconds of a whole command, and the share of the necessary work in a step."""
    small = ("--steps", "1024", "--set", "network.neurons=16", "train.final_episodes=2") if quick else ()
    yield "lfcs train cartpole, caches warm: seconds", {"whole": whole_command(1 if quick else repeats, *small)}
    sizes: dict[str, Any] = PLAIN | {"network.neurons": 16 if quick else 128}
    rows = {f"CartPole-v1, N={sizes['network.neurons']}": share_of_work("CartPole-v1", sizes, False, repeats)}
    if not quick:
        rows["CartPole-v1, tuned"] = share_of_work("CartPole-v1", {}, True, repeats)
        rows["Pong100-v0, tuned (the emulator is in the measured time)"] = share_of_work(
            "Pong100-v0", {}, True, repeats
        )
    yield "Necessary work of an environment step, learning included", dict(rows)


def of_watching(quick: bool, repeats: int) -> Sections:
    """Yield what watching costs, drawing included."""
    if not importlib.util.find_spec("matplotlib"):
        print("\nwhat watching costs is measured where the extra 'plots' is installed")
        return
    small: dict[str, Any] = PLAIN | {"network.neurons": 16, "train.final_episodes": 2, "train.eval_every": 512}
    steps, settings = (1024, small) if quick else (20_000, {})
    found = cost_of_watching("CartPole-v1", steps, settings, 1 if quick else repeats)
    rows: Rows = {f"CartPole-v1, {steps} steps, {level}": dict(row) for level, row in found.items()}
    yield "What watching costs: a whole run / the same run that is not watched", rows


def of_costs(quick: bool, isolated: Callable[..., Any]) -> Sections:
    """Yield what each agent costs online."""
    columns = "us_per_step", "updates_per_step", "MiB beyond the libraries"
    costs = {name: isolated(agent_cost, name, 1 if quick else 12) for name in AGENTS}
    yield "Online cost on CartPole-v1", {n: dict(zip(columns, cost, strict=True)) for n, cost in costs.items()}


def run(quick: bool, threads: int, out: Path | None) -> dict[str, Any]:
    """Measure everything; print tables; write JSON to ``out``."""
    torch.set_num_threads(threads)
    repeats = 3 if quick else 7
    print(f"{threads} thread(s), {repeats} repeats, alternating")
    isolated: Callable[..., Any] = (lambda call, *given: call(*given)) if quick else in_fresh_process
    grown: dict[str, dict[str, Any]] = {}

    def sections() -> Sections:
        yield from of_networks(quick, repeats)
        if LINUX:
            yield from of_memory(quick, isolated)
        else:
            print("\npeak memory is measured on Linux only")
        yield from of_learning(quick, repeats)
        yield from of_commands(quick, repeats)
        yield from of_watching(quick, repeats)
        yield from against_jax.sections(quick, repeats)
        grown.update(growth(repeats, quick))
        powers = {name: {"power": found["power"], "expected": found["expected"]} for name, found in grown.items()}
        yield "How one pass grows (tau_f=4): power of the time in each size", powers
        yield (
            "Against the machine's limit",
            dict(machine_limit(128 if quick else 512, 16, 8 if quick else 100, repeats)),
        )
        yield from of_costs(quick, isolated)

    result: dict[str, Any] = {"threads": threads, "repeats": repeats}
    for title, rows in sections():
        result[title] = rows
        print(table(title, rows), flush=True)
    result["growth"] = grown
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {out}")
        if importlib.util.find_spec("matplotlib"):
            draw(grown, out.with_suffix(".png"))
    return result
