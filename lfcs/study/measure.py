"""What the benchmark measures of the network and of one update; see benchmark.py."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import snntorch
import torch
from torch import nn

from lfcs.agents import AGENTS
from lfcs.compiled.learner import CompiledLearner
from lfcs.config import NetworkConfig, RuleConfig
from lfcs.engines import make_engine
from lfcs.heads import CategoricalHead
from lfcs.network import SpikingNetwork
from lfcs.online import OnlineLearner
from lfcs.optimiser import Adam
from lfcs.rules import leaky_readout
from lfcs.trajectory import Trajectory
from lfcs.update import Update

INPUTS, ACTIONS = 80, 3
# the rule without its levers, which is what the JAX program is, at the sizes of the published tables
PLAIN: dict[str, Any] = {
    "network.critic_path": False, "rule.clip": "together", "rule.average": 0, "rule.reward_scale": 1.0,
    "rule.tau_f": 4, "train.num_envs": 16,
}  # fmt: skip
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


def policy_of(neurons: int) -> SpikingNetwork:
    """Return a policy that fires at a rate near 0.1."""
    return SpikingNetwork(INPUTS, ACTIONS, NetworkConfig(neurons=neurons), torch.Generator().manual_seed(0))


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


def window_of(policy: SpikingNetwork, steps: int, batch: int) -> Trajectory:
    """Return a random window of experience."""
    g = torch.Generator().manual_seed(1)
    flags = torch.zeros(steps, batch, dtype=torch.bool)
    x = DRIVE * torch.rand(steps, batch, INPUTS, generator=g)
    zeros = torch.zeros(steps, batch)
    return Trajectory(
        x=x,
        action=torch.randint(ACTIONS, (steps, batch), generator=g),
        params=torch.zeros(steps, batch, ACTIONS),
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


def learner_of(policy: SpikingNetwork, steps: int, **settings: Any) -> CompiledLearner:
    """Return a learner whose window is ``steps`` long and, unless told otherwise, makes one update of it."""
    rule = RuleConfig(**{"window": steps, "tau_f": steps, "tau_s": steps, "replays": 1} | settings)
    engine = make_engine("fused", policy)
    shared = Update(rule, AGENTS["lf-cs"](rule), policy, CategoricalHead(ACTIONS), engine, torch.Generator())
    return CompiledLearner(shared, engine)


def autograd_update(policy: SpikingNetwork, traj: Trajectory, detach: bool) -> Callable[[], None]:
    """Return one update of a window by autograd through snntorch: e-prop with recurrent spikes detached, or BPTT."""
    head, optimiser = CategoricalHead(ACTIONS), torch.optim.Adam(policy.parameters(), lr=1e-4, fused=True)

    def update() -> None:
        spk, mem, y = traj.state.spk, traj.state.mem, traj.state.readout
        outputs = []
        for x in traj.x:
            spk, mem = policy.cell(policy.input(x), spk.detach() if detach else spk, mem)
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


def timed(spent: dict[str, float], name: str, call: Callable) -> Callable:
    """Return the call, adding the seconds it takes to ``spent[name]``."""
    spent[name] = 0.0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        result = call(*args, **kwargs)
        spent[name] += time.perf_counter() - begun
        return result

    return wrapper


def update_parts(steps: int, neurons: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Return where one update of a window goes, in ms, beside its dense matrix products alone at the rate of a GEMM.

    The parts are called one after another on what the whole has left, with the arguments that it gives them.
    """
    policy = policy_of(neurons)
    traj, learner = window_of(policy, steps, batch), learner_of(policy, steps)
    learner.learn(traj, 1.0)
    parts = learner.by_part(traj)
    spent: dict[str, list[float]] = {name: [] for name in [*parts, "whole"]}
    for _ in range(repeats):
        spent["whole"].append(seconds(lambda: learner.learn(traj, 1.0)))
        for name, part in parts.items():
            spent[name].append(seconds(part))
    big = torch.rand(1024, 1024)
    rate = 2 * 1024**3 / statistics.median(seconds(lambda: big @ big) for _ in range(repeats))
    products = 2 * 2 * (INPUTS + 1 + neurons) * neurons * steps * batch  # forward and gradient
    out = {name: {"ms": 1e3 * statistics.median(values)} for name, values in spent.items()}
    return out | {"dense products alone, at the rate of a large GEMM": {"ms": 1e3 * products / rate}}


def high_water() -> float:
    """Return this process's peak memory in MiB. (getrusage would give a spawned process its parent's peak.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def in_fresh_process(call: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a call in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, args)


def update_memory(kind: str, steps: int, neurons: int, batch: int) -> float:
    """Return the growth in MiB of this process's peak memory over one update of a window, beyond the window itself."""
    policy = policy_of(neurons)
    traj = window_of(policy, steps, batch)
    warm = window_of(policy, 2, batch)
    if kind.startswith("lf-cs"):
        learner_of(policy, 2).learn(warm, 1.0)
        learner = learner_of(policy, steps, tau_f=min(steps, 8))
        before = high_water()
        learner.learn(traj, 1.0)
    else:
        autograd_update(policy, warm, kind == "e-prop by autograd")()
        update = autograd_update(policy, traj, kind == "e-prop by autograd")
        before = high_water()
        update()
    return high_water() - before


def online_memory(steps: int, neurons: int, batch: int) -> float:
    """Return this process's peak memory in MiB after ``steps`` steps of the online form, in chunks of 4."""
    policy, chunk = policy_of(neurons), 4
    settings: dict[str, Any] = {"window": chunk, "tau_f": chunk, "tau_s": chunk, "replays": 1, "form": "online"}
    rule, agent = RuleConfig(**settings, normalise=False), AGENTS["lf-cs"]
    engine, head = make_engine("fused", policy), CategoricalHead(ACTIONS)
    made = agent(rule, agent.Options(mask="two-sided"))
    learner = OnlineLearner(Update(rule, made, policy, head, engine, torch.Generator()))
    traj = window_of(policy, chunk, batch)
    for _ in range(steps // chunk):
        learner.learn(traj, 1.0)
    return high_water()


def machine_limit(neurons: int, batch: int, steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Compare a chunk's gradient with a large matrix product, and the optimiser's step with a large copy.

    The gradient counts the operations of the dense product of traces and signals that it stands for, most of which an
    engine that follows the spikes leaves out: its share can exceed 1. The step reads the gradient twice, for its norm
    and to use it, and reads and writes the weights and two moments.
    """
    policy, big = policy_of(neurons), torch.rand(1024, 1024)
    engine, traj = make_engine("fused", policy), window_of(policy, steps, batch)
    states = engine.run(traj.x, traj.state, traj.reset).states
    given = torch.randn(steps, batch, ACTIONS + 1), torch.randn(ACTIONS + 1, neurons), torch.zeros(neurons)
    product = compare(lambda: engine.gradients(states, traj.reset, *given), lambda: big @ big, repeats, count=3)
    flops = 2 * steps * batch * policy.hidden.shape[0] * neurons / product["ours_s"], 2 * 1024**3 / product["theirs_s"]
    weights = torch.rand(4096, 1024)
    gradient, optimiser = torch.rand_like(weights), Adam([weights])
    source, target = torch.rand(4096, 4096), torch.empty(4096, 4096)
    step = compare(lambda: optimiser.step((gradient,), (1e-4,), 0.5), lambda: target.copy_(source), repeats)
    rates = 8 * weights.numel() * 4 / step["ours_s"], 2 * source.numel() * 4 / step["theirs_s"]
    return {
        "gradient of a chunk, dense GFLOP/s": {
            "ours": flops[0] / 1e9,
            "limit": flops[1] / 1e9,
            "share": flops[0] / flops[1],
        },
        "optimiser step, GB/s": {"ours": rates[0] / 1e9, "limit": rates[1] / 1e9, "share": rates[0] / rates[1]},
    }


def growth(repeats: int, quick: bool) -> dict[str, dict[str, Any]]:
    """Time one pass while one size doubles; fit the power over the two largest, beside the one expected.

    A synapse costs something at every update, so the neurons' power is expected to be 2.
    """
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
        out[name] = {"sizes": sizes, "seconds": times, "power": power, "expected": 2 if name == "neurons" else 1}
    return out
