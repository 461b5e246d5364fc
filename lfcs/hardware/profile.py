"""What a policy computes while it acts, counted tick by tick, under NeuroBench's names and by its formulae.

A sample of NeuroBench is an environment step here, and every tick of it a forward pass: each connection is presented
with what enters it. Source: Yik et al., The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems, Nature Communications 16:1545 (2025), and its package, version 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from lfcs.config import Config
from lfcs.errors import UserError
from lfcs.evaluation import evaluate
from lfcs.hardware import costs
from lfcs.network import NetState, SpikingNetwork
from lfcs.playing import Given, environments, fits, title_of
from lfcs.policy import Policy, State
from lfcs.rollout import steps_told
from lfcs.run import load_config, newest_policy
from lfcs.trainer import stream_seed

LAYERS = ("input", "recurrent", "readout")  # that acting needs: the critic is for learning


@dataclass
class Counts:
    """Whole numbers, over all steps and ticks; by layer where it is a dictionary."""

    steps: int = 0
    ticks: int = 0
    spikes: int = 0
    input_spikes: int = 0  # of inputs that were 0, 1 or -1 at a tick, all of them
    membrane_updates: int = 0
    dense: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(LAYERS, 0))
    macs: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(LAYERS, 0))
    acs: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(LAYERS, 0))


class Counter:
    """A policy that counts while it acts; each environment's first episode since ``state`` was None is counted."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.counts = policy, Counts()
        self.over = np.zeros(0, bool)
        weights = weights_of(policy.network)
        self.fan_out = {name: (weight != 0).sum(axis=0) for name, weight in weights.items()}
        self.synapses = {name: weight.size for name, weight in weights.items()}

    @torch.no_grad()
    def predict(
        self,
        obs: np.ndarray,
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, State]:
        """See :meth:`lfcs.policy.Policy.predict`."""
        policy, network = self.policy, self.policy.network
        starts = np.zeros(len(obs), bool) if episode_start is None else np.array(episode_start, bool)
        self.over = np.zeros(len(obs), bool) if state is None else self.over | starts
        before = network.initial_state(len(obs)) if state is None else network.state_of(state[0])
        reset = torch.from_numpy(starts)
        x = policy.encode(obs)
        seen = policy.engine.run(x[None], before, reset[None])
        cleared = network.resets(reset[None])[0].numpy()
        self._count(x.numpy(), before, cleared, seen.states, ~self.over)
        params = seen.params[0]
        action = policy.head.greedy(params) if deterministic else policy.head.sample(params, policy.generator)
        return policy.head.to_env(action), (seen.states.at(-1).data.numpy(),)

    def _count(self, x: np.ndarray, before: NetState, cleared: np.ndarray, states: NetState, rows: np.ndarray) -> None:
        """Count a step of the environments ``rows`` [B]: inputs [B, D], the state before, where it was cleared."""
        counts, (spk, mem) = self.counts, (states.spk.numpy(), states.mem.numpy())
        last_spk = np.where(cleared[:, None], 0.0, before.spk.numpy())
        last_mem = before.mem.numpy()
        for t in range(len(spk)):
            self._enter("input", x[rows])
            self._enter("recurrent", last_spk[rows])
            fresh = cleared[rows, None] if t == 0 else False
            counts.membrane_updates += int(((mem[t] != last_mem)[rows] | fresh).sum())
            counts.spikes += int(spk[t][rows].sum())
            last_spk, last_mem = spk[t], mem[t]
        self._enter("readout", states.at(-1).readout.numpy()[rows])
        counts.steps += int(rows.sum())
        counts.ticks += len(spk) * int(rows.sum())

    def _enter(self, layer: str, entering: np.ndarray) -> None:
        """Count what enters a layer at a tick [rows, sources]: accumulations where all of it is 0, 1 or -1."""
        counts, spiking = self.counts, np.isin(entering, (-1.0, 0.0, 1.0)).all(axis=1)
        active = entering != 0
        operations = active.astype(np.int64) @ self.fan_out[layer]
        counts.dense[layer] += self.synapses[layer] * len(entering)
        counts.acs[layer] += int(operations[spiking].sum())
        counts.macs[layer] += int(operations[~spiking].sum())
        if layer == "input":
            counts.input_spikes += int(active[spiking].sum())


def weights_of(network: SpikingNetwork) -> dict[str, np.ndarray]:
    """Return the weights [targets, sources] of the layers that acting needs."""
    parts = network.input.weight, network.recurrent, network.policy_readout.weight
    return {name: part.detach().cpu().numpy() for name, part in zip(LAYERS, parts, strict=True)}


@dataclass(frozen=True)
class Profile:
    """What :func:`profile` found: ``counts`` are whole numbers, everything in ``metrics`` follows from them."""

    name: str
    returns: np.ndarray  # [episodes]
    lengths: np.ndarray  # [episodes]
    counts: Counts
    metrics: dict[str, Any]
    learning: dict[str, costs.Update]  # where the settings of learning are known, else empty
    peers: list[costs.Peer]
    energy: costs.Energy | None = None

    def __repr__(self) -> str:
        ops = self.metrics["synaptic_operations"]
        kinds = f"{ops['effective_macs']:,.0f} MACs and {ops['effective_acs']:,.0f} ACs a step"
        return f"<Profile of {self.name}: return {self.returns.mean():.2f}, {kinds}>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``profile.json`` holds them."""
        updates = {name: update._asdict() | {"operations": update.operations} for name, update in self.learning.items()}
        energy = self.energy and self.energy._asdict() | {
            "pJ_per_step": energy_per_step(self.metrics["synaptic_operations"], self.energy),
            "what": "operations x energy per operation, not a measurement",
        }
        return {
            "name": self.name,
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "metrics": self.metrics,
            "counts": dataclasses.asdict(self.counts),
            "learning": updates,
            "peers": [peer._asdict() for peer in self.peers],
            "energy": energy,
        }


def energy_per_step(operations: Mapping[str, float], energy: costs.Energy) -> float:
    """Return operations times energy per operation, in pJ, for an environment step."""
    return operations["effective_macs"] * energy.mac + operations["effective_acs"] * energy.ac


def profile(
    policy: Policy,
    env: Given,
    episodes: int = 20,
    seed: int = 0,
    greedy: bool = True,
    energy: str | None = None,
) -> Profile:
    """Return a :class:`Profile` of a policy over evaluation episodes, which leaves the policy as it is.

    ``env`` is as in :meth:`lfcs.Policy.record`. Episode i is that of seed ``seed`` + i, with the most probable actions
    where ``greedy``, else with drawn ones. ``energy`` names stated energies per operation, which operations are
    multiplied by: float32, int32 or int8 (:data:`lfcs.hardware.costs.ENERGIES`). Raises UserError on a bad number, an
    unknown name, or where the environment does not fit the policy.
    """
    _check(episodes, seed)
    return _profile(policy, (env,), title_of(env), episodes, seed, greedy, energy)


def of_run(run_dir: Path, episodes: int = 20, seed: int = 0, greedy: bool = True, energy: str | None = None) -> Profile:
    """Return the profile of a run's newest policy in its task, on the episodes of ``lfcs eval``; see :func:`profile`.

    The cost of learning is that of the run's settings. Raises UserError where there is no run.
    """
    _check(episodes, seed)
    config = load_config(run_dir)
    policy, steps, _ = newest_policy(run_dir, torch.device("cpu"), config.engine)
    given = (config.env, config.env_kwargs)
    name, start = f"{config.agent} on {config.env}", stream_seed(seed, "evaluation")
    found = _profile(policy, given, name, episodes, start, greedy, energy, steps // config.train.num_envs)
    return dataclasses.replace(found, learning=learning_of(policy.network, config))


def _check(episodes: int, seed: int) -> None:
    if episodes < 1 or seed < 0:
        raise UserError(f"profile wants at least one episode and a seed of at least 0, got {episodes} and {seed}")


def _profile(
    policy: Policy,
    env: tuple[Any, ...],
    name: str,
    episodes: int,
    seed: int,
    greedy: bool,
    energy: str | None,
    taken: int = 0,
) -> Profile:
    """See :func:`profile`; a world that changes is as it is after ``taken`` steps."""
    stated = None if energy is None else costs.energy_of(energy)
    vec, ours = environments(policy, *env)
    with closing(vec) if ours else nullcontext():
        fits(policy, vec)
        if episodes % vec.num_envs:
            raise UserError(f"{vec.num_envs} environments play as many episodes at a time: {episodes} are not whole")
        counter = Counter(policy.seeded(seed))
        told = steps_told(vec, taken, frozen=True)
        returns, lengths = evaluate(counter, vec, episodes, seed, greedy, options=told)
        metrics = metrics_of(counter, returns, seconds_of(vec))
    others = costs.peers(policy.observation_space, policy.action_space)
    return Profile(name, returns, lengths, counter.counts, metrics, {}, others, stated)


def seconds_of(vec: gymnasium.vector.VectorEnv) -> float | None:
    """Return what time a step takes in an environment's world, by its ``dt`` or ``tau``; None where it has none."""
    inner: Any = getattr(vec, "envs", [None])[0]
    for name in ("dt", "tau"):
        found = getattr(getattr(inner, "unwrapped", None), name, None)
        if isinstance(found, float) and found > 0.0:
            return found
    return None


def metrics_of(counter: Counter, returns: np.ndarray, seconds: float | None) -> dict[str, Any]:
    """Return NeuroBench's metrics and those that go with them; operations and updates are by environment step.

    Activation sparsity is 1 - spikes/(N · ticks); connection sparsity the share of weights that are 0, the diagonal of
    the recurrent ones among them, over input, recurrent and policy readout. Parameters are weights and biases of these,
    buffers the state that a step hands on to the next. The execution rate is in ticks a second of the environment's
    world, None where it does not tell its time step.
    """
    counts, network = counter.counts, counter.policy.network
    n, size = network.config.neurons, network.hidden.element_size()
    dense, macs, acs = (sum(part.values()) for part in (counts.dense, counts.macs, counts.acs))
    synapses = sum(counter.synapses.values())
    zeros = synapses - sum(int(out.sum()) for out in counter.fan_out.values())
    parameters = synapses + n + network.policy_readout.out_features
    parameter_bytes, buffer_bytes = parameters * size, (len(network.neuron.fields) + 1) * n * size
    return {
        "activation_sparsity": 1.0 - counts.spikes / (n * counts.ticks),
        "connection_sparsity": zeros / synapses,
        "synaptic_operations": {
            "dense": dense / counts.steps,
            "effective_macs": macs / counts.steps,
            "effective_acs": acs / counts.steps,
        },
        "membrane_updates": counts.membrane_updates / counts.steps,
        "parameter_count": parameters,
        "parameter_bytes": parameter_bytes,
        "buffer_bytes": buffer_bytes,
        "footprint": parameter_bytes + buffer_bytes,
        "execution_rate": None if seconds is None else network.config.ticks / seconds,
        "spikes": counts.spikes / counts.steps,
        "input_spikes": counts.input_spikes / counts.steps,
        "return_per_million_synops": 1e6 * float(returns.sum()) / max(macs + acs, 1),
    }


def learning_of(network: SpikingNetwork, config: Config) -> dict[str, costs.Update]:
    """Return what an update of the weights costs by eligibilities, as the settings ask for it, and by BPTT.

    BPTT is over the same chunk, behind which it gives no credit, and over the whole window.
    """
    rule, outputs = config.rule, network.policy_readout.out_features
    sizes = costs.Sizes(
        network.input.in_features, network.config.neurons, outputs, len(network.neuron.fields),
        len(network.neuron.decays), network.config.critic_path, network.config.ticks, config.train.num_envs,
    )  # fmt: skip
    return {
        "local": costs.local_update(sizes, rule.tau_f, rule.tail),
        "bptt_chunk": costs.bptt_update(sizes, rule.tau_f),
        "bptt_window": costs.bptt_update(sizes, rule.window),
    }
