"""How fast it is: every figure a ratio of two things measured alternately in the same run.

    lfcs bench [--quick] [--out FILE]

Prints tables and writes JSON. A ratio is the median over the repeats, with the smallest and the largest beside it.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import snntorch
import torch
from torch import nn

from agents import AGENTS
from experiments import cartpole
from lfcs import cli
from lfcs.cli import build_config, make_trainer
from lfcs.config import NetworkConfig, RuleConfig
from lfcs.engine import make_engine
from lfcs.heads import CategoricalHead
from lfcs.learner import Learner
from lfcs.network import SpikingPolicy
from lfcs.rollout import Trajectory
from lfcs.rules import chunk_gradient, leaky_readout

INPUTS, ACTIONS = 80, 3
DRIVE = 0.45  # inputs uniform in [0, DRIVE] make an untrained network fire at about 0.1 spikes per tick


def seconds(call: Callable[[], Any], count: int = 1) -> float:
    """Return the seconds of one call, over ``count`` calls."""
    begun = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begun) / count


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, count: int = 1) -> dict[str, float]:
    """Time two calls alternately; return medians in seconds and the ratio theirs/ours with its spread."""
    seconds(ours, count), seconds(theirs, count)
    pairs = [(seconds(ours, count), seconds(theirs, count)) for _ in range(repeats)]
    ratios = [b / a for a, b in pairs]
    return {
        "ours_s": statistics.median(a for a, _ in pairs),
        "theirs_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def policy_of(neurons: int) -> SpikingPolicy:
    """Return a policy that fires at a rate near 0.1."""
    return SpikingPolicy(INPUTS, ACTIONS, NetworkConfig(neurons=neurons), torch.Generator().manual_seed(0))


def network_step(batch: int, neurons: int, repeats: int) -> dict[str, float]:
    """One step: the engine, traces included, against snntorch's own modules, without gradients."""
    policy = policy_of(neurons)
    engine, x = make_engine("fused", policy), DRIVE * torch.rand(batch, INPUTS)
    config = policy.config
    inputs, readout = nn.Linear(INPUTS, neurons), nn.Linear(neurons, ACTIONS + 1)
    cell = snntorch.RLeaky(config.beta, linear_features=neurons)
    filter_ = snntorch.Leaky(config.kappa, reset_mechanism="none")
    inputs.load_state_dict(policy.input.state_dict())
    cell.recurrent.weight.data.copy_(policy.recurrent.data)
    state = policy.initial_state(batch)
    by_step, no_reset = x[None], torch.zeros(1, batch, dtype=torch.bool)
    spk, mem, out = torch.zeros(batch, neurons), torch.zeros(batch, neurons), torch.zeros(batch, ACTIONS + 1)

    def ours() -> None:
        nonlocal state
        state = engine.run(by_step, state, no_reset).states.at(0)

    def theirs() -> None:
        nonlocal spk, mem, out
        spk, mem = cell(inputs(x), spk, mem)
        _, out = filter_(readout(spk), out)

    with torch.no_grad():
        return compare(ours, theirs, repeats, count=max(3, 20_000 // (batch * neurons)))


def window_of(policy: SpikingPolicy, steps: int, batch: int) -> Trajectory:
    """Return a random window of experience."""
    g = torch.Generator().manual_seed(1)
    flags = torch.zeros(steps, batch, dtype=torch.bool)
    x = DRIVE * torch.rand(steps, batch, INPUTS, generator=g)
    zeros = torch.zeros(steps, batch)
    return Trajectory(
        x=x,
        action=torch.randint(ACTIONS, (steps, batch), generator=g),
        logp_ref=torch.full((steps, batch), -float(np.log(ACTIONS))),
        value=zeros,
        bootstrap=zeros.clone(),
        reward=torch.randn(steps, batch, generator=g),
        terminated=flags,
        truncated=flags,
        reset=flags,
        final={steps - 1: x[-1]},
        state=policy.initial_state(batch),
    )


def learner_of(policy: SpikingPolicy, steps: int, **settings: Any) -> Learner:
    """Return a learner whose window is ``steps`` long and, unless told otherwise, makes one update of it."""
    rule = RuleConfig(**{"window": steps, "tau_f": steps, "tau_s": steps, "replays": 1} | settings)
    engine = make_engine("fused", policy)
    return Learner(rule, AGENTS["lf-cs"](rule), policy, CategoricalHead(ACTIONS), engine, torch.Generator())


def autograd_update(policy: SpikingPolicy, traj: Trajectory, detach: bool) -> Callable[[], None]:
    """Return one update of a window by autograd through snntorch: e-prop with recurrent spikes detached, or BPTT."""
    head, optimiser = CategoricalHead(ACTIONS), torch.optim.Adam(policy.parameters(), lr=1e-4, fused=True)

    def update() -> None:
        spk, mem, y = traj.state.spk, traj.state.mem, traj.state.readout
        outputs = []
        for x in traj.x:
            spk, mem = policy.rleaky(policy.input(x), spk.detach() if detach else spk, mem)
            y = leaky_readout(y, spk, policy.config.kappa)
            outputs.append((policy.policy_readout(y), policy.value_readout(y)[..., 0]))
        params, value = (torch.stack(column) for column in zip(*outputs, strict=True))
        rho = torch.exp(head.log_prob(params, traj.action) - traj.logp_ref)
        loss = -torch.minimum(rho * traj.reward, rho.clamp(0.8, 1.2) * traj.reward).mean()
        loss = loss + 0.5 * (traj.reward - value).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimiser.step()

    return update


def one_update(steps: int, neurons: int, batch: int, repeats: int, detach: bool) -> dict[str, float]:
    """One update of a window: ours against autograd through snntorch."""
    mine, other = policy_of(neurons), policy_of(neurons)
    traj, learner = window_of(mine, steps, batch), learner_of(mine, steps)
    return compare(lambda: learner.learn(traj, 1.0), autograd_update(other, traj, detach), repeats)


def high_water() -> int:
    """Return this process's peak memory in KiB. (getrusage would give a spawned process its parent's peak.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _peak_memory(kind: str, steps: int, neurons: int, batch: int) -> float:
    """Return the growth in MiB of this process's peak memory over one update; run it in a fresh process."""
    policy = policy_of(neurons)
    traj = window_of(policy, steps, batch)
    warm = window_of(policy, 2, batch)
    if kind == "lf-cs":
        learner_of(policy, 2).learn(warm, 1.0)
        learner = learner_of(policy, steps, tau_f=min(steps, 8))
        before = high_water()
        learner.learn(traj, 1.0)
    else:
        autograd_update(policy, warm, kind == "e-prop by autograd")()
        update = autograd_update(policy, traj, kind == "e-prop by autograd")
        before = high_water()
        update()
    return (high_water() - before) / 1024


def peak_memory(kind: str, steps: int, neurons: int, batch: int) -> float:
    """Return the growth in MiB of peak memory over one update, beyond the window itself."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (kind, steps, neurons, batch))


def whole_learning(env: str, windows: int, settings: dict[str, Any]) -> dict[str, float]:
    """Learn end to end; return environment steps per second, and the shares of environment, acting and learning."""
    spent = {"environment": 0.0, "collect": 0.0, "learning": 0.0}

    def timed(name: str, call: Callable) -> Callable:
        def wrapper(*args: Any) -> Any:
            begun = time.perf_counter()
            result = call(*args)
            spent[name] += time.perf_counter() - begun
            return result

        return wrapper

    with closing(make_trainer(build_config(env, steps=10**9, overrides=settings))) as trainer:
        trainer.rollout.refresh(0)
        trainer.rollout.collect(1), trainer.window()
        trainer.envs.step = timed("environment", trainer.envs.step)  # type: ignore[method-assign]
        trainer.rollout.collect = timed("collect", trainer.rollout.collect)  # type: ignore[method-assign]
        trainer.learner.learn = timed("learning", trainer.learner.learn)  # type: ignore[method-assign]
        before = trainer.env_steps
        total = seconds(lambda: [trainer.window() for _ in range(windows)])
        done = trainer.env_steps - before
    return {
        "steps_per_s": done / total,
        "environment": spent["environment"] / total,
        "acting": (spent["collect"] - spent["environment"]) / total,
        "learning": spent["learning"] / total,
        "environment_alone_steps_per_s": done / spent["environment"],
    }


def machine_limit(neurons: int, batch: int, steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Compare the chunk product with a large matrix product, and the optimiser's step with a large copy."""
    sources = INPUTS + 1 + neurons
    pre, post = torch.rand(steps, batch, sources), torch.rand(steps, batch, neurons)
    big = torch.rand(1024, 1024)
    product = compare(lambda: chunk_gradient(pre, post), lambda: big @ big, repeats, count=3)
    flops = 2 * steps * batch * sources * neurons / product["ours_s"], 2 * 1024**3 / product["theirs_s"]
    weights = torch.rand(4096, 1024)
    weights.grad = torch.rand_like(weights)
    optimiser = torch.optim.Adam([weights], fused=True)
    source, target = torch.rand(4096, 4096), torch.empty(4096, 4096)
    step = compare(optimiser.step, lambda: target.copy_(source), repeats)
    rates = 7 * weights.numel() * 4 / step["ours_s"], 2 * source.numel() * 4 / step["theirs_s"]
    return {
        "chunk product, GFLOP/s": {"ours": flops[0] / 1e9, "limit": flops[1] / 1e9, "share": flops[0] / flops[1]},
        "optimiser step, GB/s": {"ours": rates[0] / 1e9, "limit": rates[1] / 1e9, "share": rates[0] / rates[1]},
    }


def growth(repeats: int, quick: bool) -> dict[str, dict[str, Any]]:
    """Time one pass while one size doubles; fit the power over the upper half (1 is proportional)."""
    base = {"neurons": 256, "batch": 8, "steps": 32, "replays": 1}
    ranges = {
        "neurons": [128, 256, 512, 1024],
        "batch": [4, 8, 16, 32],
        "steps": [16, 32, 64, 128],
        "replays": [1, 2, 4, 8],
    }
    out = {}
    for name, sizes in ranges.items():
        times = []
        for size in sizes[:2] if quick else sizes:
            at = base | {name: size}
            policy = policy_of(at["neurons"])
            learner = learner_of(policy, at["steps"], tau_f=4, replays=at["replays"])
            traj = window_of(policy, at["steps"], at["batch"])
            learner.learn(traj, 1.0)
            times.append(statistics.median(seconds(lambda: learner.learn(traj, 1.0)) for _ in range(repeats)))  # noqa: B023
        sizes = sizes[: len(times)]
        power = float(np.polyfit(np.log(sizes[-2:]), np.log(times[-2:]), 1)[0])
        out[name] = {"sizes": sizes, "seconds": times, "power": power}
    return out


def online_cost(windows: int) -> dict[str, dict[str, float]]:
    """Return the cost of each agent on CartPole per environment step, with the experiment's settings."""
    out = {}
    for agent in AGENTS:
        config = build_config("CartPole-v1", agent, steps=10**9, experiment=cartpole.SETTINGS)
        with closing(make_trainer(config)) as trainer:
            trainer.rollout.refresh(0)
            trainer.window()
            before = trainer.env_steps, trainer.learner.optimiser.steps
            spent = seconds(lambda: [trainer.window() for _ in range(windows)])
            steps = trainer.env_steps - before[0]
            out[agent] = {
                "us_per_step": 1e6 * spent / steps,
                "updates_per_step": (trainer.learner.optimiser.steps - before[1]) / steps,
            }
    return out


def table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    """Return rows of figures as a Markdown table."""
    columns = list(next(iter(rows.values())))
    lines = [f"\n**{title}**\n", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


PONG = {
    "network.neurons": 500, "rule.window": 100, "rule.tau_s": 100, "rule.replays": 2, "encoder.cells": 20,
}  # fmt: skip


def run(quick: bool, threads: int, out: Path | None) -> dict[str, Any]:
    """Measure everything; print tables; write JSON to ``out``."""
    torch.set_num_threads(threads)
    repeats = 3 if quick else 7
    print(f"{threads} thread(s), {repeats} repeats, alternating")
    batches, sizes = ((1, 16), (128,)) if quick else ((1, 16, 64, 256), (128, 512, 2048))
    result: dict[str, Any] = {"threads": threads, "repeats": repeats}

    def show(name: str, rows: dict[str, dict[str, Any]]) -> None:
        result[name] = rows
        print(table(name, rows), flush=True)

    show(
        "Network step: snntorch's modules / engine",
        {f"B={b}, N={n}": network_step(b, n, repeats) for n in sizes for b in batches},
    )
    neurons, batch = (64, 4) if quick else (512, 16)
    updates = {}
    for steps in (20,) if quick else (100, 400):
        for name, detach in (("e-prop by autograd", True), ("BPTT", False)):
            updates[f"{name}, T={steps}"] = one_update(steps, neurons, batch, repeats, detach)
    show(f"One update of a window, N={neurons}, B={batch}: autograd through snntorch / ours", updates)
    if Path("/proc/self/status").exists():
        memory: dict[str, dict[str, Any]] = {
            kind: {f"T={t}": peak_memory(kind, t, neurons, batch) for t in ((10, 40) if quick else (100, 400))}
            for kind in ("lf-cs", "e-prop by autograd", "BPTT")
        }
        show("Growth of peak memory in one update beyond the window, MiB", memory)
    else:
        print("\npeak memory is measured on Linux only")
    windows = 1 if quick else 12
    small = {"network.neurons": 32 if quick else 128}
    learning = {"CartPole-v1, N=128": whole_learning("CartPole-v1", windows, small)}
    pong = PONG | {"train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10} if quick else PONG
    for tau_f in (1, 8):
        name = f"pong-100, N=500, R=2, tau_f={tau_f}"
        learning[name] = whole_learning("Pong100-v0", windows, pong | {"rule.tau_f": tau_f})
    show("Whole learning, environment steps per second and shares of the time", learning)
    grown = growth(repeats, quick)
    show("How one pass grows (tau_f=4)", {k: {"power": v["power"]} for k, v in grown.items()})
    result["growth"] = grown
    show("Against the machine's limit", machine_limit(128 if quick else 512, 16, 8 if quick else 100, repeats))
    show("Online cost on CartPole-v1", online_cost(windows))
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {out}")
    return result


if __name__ == "__main__":
    raise SystemExit(cli.main(["bench", *sys.argv[1:]]))
