"""What a rule would make of an episode: eligibilities, and the learning signals that multiply them.

The equations are those of :mod:`lfcs.rules`, the rule's error and feedback those of the run's update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lfcs import rules
from lfcs.network import NetState
from lfcs.pictures.eligibility import Synapse
from lfcs.policy import Policy
from lfcs.trajectory import Trajectory
from lfcs.update import Update, View

SOME = 400  # synapses whose eligibility is followed for its histogram


class Signals(NamedTuple):
    """Eligibilities and learning signals of an episode of T steps, N neurons."""

    synapses: list[Synapse]  # those that the rule would change most, one by an input and one recurrent
    eligibility: np.ndarray  # [T, SOME] ē of synapses from all over the network
    signal: np.ndarray  # [T, N] L


@torch.no_grad()
def signals_of(episode: Mapping[str, np.ndarray], policy: Policy, update: Update, terminated: bool = True) -> Signals:
    """Return the signals of an episode from its beginning, recorded of ``policy``, as ``update`` would learn from it.

    The policy that acted is the reference: ratios are 1. Where the episode was not ``terminated`` but cut, what would
    follow is worth what its last step was.
    """
    network = policy.network
    traj = window_of(episode, policy, update, terminated)
    seen = policy.engine.run(traj.x, traj.state, traj.reset)
    resets = update.by_tick(traj.reset)
    credit = update.credit(traj, View(traj.value, traj.bootstrap, torch.ones_like(traj.value)))
    sample = update.sample(traj, slice(0, len(traj.x)), traj.params, credit)
    critic = update.rule.value * (credit.target - traj.value)
    policy_error = update.agent.error(sample) + update.entropy_bonus * sample.judged.entropy_score
    error = torch.cat((policy_error, critic[..., None]), dim=-1)
    feedback, none = update.feedback(network), torch.zeros_like(network.hidden[0])
    signal = rules.learning_signal(error, feedback)[:, 0]
    post = policy.engine.post(seen.states, resets, error, feedback, none)
    change = rules.grouped_gradient(seen.states.trace, post, len(network.neuron.decays))
    chosen = most_changed(change)
    source, target = (torch.tensor(column) for column in zip(*chosen, *spread(change, SOME), strict=True))
    last = slice(update.ticks - 1, None, update.ticks)
    trace, psi, ebar = followed(seen.states, policy, source, target)
    synapses = []
    for k, (j, i) in enumerate(chosen):
        xbar_k, psi_k, ebar_k = (part[last, k].numpy(force=True) for part in (trace, psi, ebar))
        name = name_of(j, i, network.input.in_features)
        synapses.append(Synapse(name, xbar_k, psi_k, ebar_k, signal[:, i].numpy(force=True)))
    return Signals(synapses, ebar[last, len(chosen) :].numpy(force=True), signal.numpy(force=True))


def window_of(episode: Mapping[str, np.ndarray], policy: Policy, update: Update, terminated: bool) -> Trajectory:
    """Return an episode as a window of one environment, which the policy that acted is the reference of."""
    like = policy.network.hidden

    def column(name: str) -> Tensor:
        return torch.from_numpy(np.asarray(episode[name])).to(like.device, like.dtype)[:, None]

    x, params, value, reward = (column(name) for name in ("input", "params", "value", "reward"))
    false = torch.zeros(len(x), 1, dtype=torch.bool, device=like.device)
    reset, ended, bootstrap = false.clone(), false.clone(), torch.zeros_like(value)
    reset[0], ended[-1], bootstrap[-1] = True, True, value[-1]
    action = policy.head.greedy(params)  # as the head counts them; the greedy episode's are these
    return Trajectory(
        x=x, action=action, params=params, logp_ref=policy.head.log_prob(params, action), value=value,
        bootstrap=bootstrap, reward=reward * update.reward_scale, terminated=ended if terminated else false,
        truncated=false if terminated else ended,
        reset=reset, final={len(x) - 1: x[-1]}, state=policy.network.initial_state(1),
    )  # fmt: skip


def most_changed(change: Tensor) -> list[tuple[int, int]]:
    """Return (source, target) of the input synapse and of the recurrent one that a gradient [D+1+N, N] changes most."""
    n = change.shape[1]
    inputs = len(change) - 1 - n
    size = change.abs()
    size[-n:].fill_diagonal_(0.0)  # no neuron has a synapse onto itself
    own = divmod(int(size[:inputs].argmax()), n)
    size[:, own[1]] = 0.0  # the other one shows another neuron
    recurrent = int(size[-n:].argmax())
    return [own, (inputs + 1 + recurrent // n, recurrent % n)]


def spread(change: Tensor, count: int) -> list[tuple[int, int]]:
    """Return (source, target) of ``count`` synapses from all over a matrix [D+1+N, N], fewer where it has fewer."""
    number = change.numel()
    step = max(1, number // count) | 1  # odd, so that it is not a multiple of the columns' number
    return [divmod(at, change.shape[1]) for at in range(0, number, step)][:count]


def followed(states: NetState, policy: Policy, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x̄_j, ψ_i and ē_ij by tick, [T, S] each, of S synapses; all state is of one environment."""
    network, neuron = policy.network, policy.network.neuron
    data = states.with_data(states.data.movedim(0, 1))  # one tick of T environments: nothing is carried between ticks
    once = torch.ones_like(data.spk)
    psi = neuron.post(once, data.of_neurons(), once[..., 0] > 1)[0][:, target]
    trace = states.trace[:, 0, target % len(neuron.decays) * len(network.hidden) + source]
    slow = neuron.slow or (0.0, 0.0)
    eps = ebar = trace.new_zeros(len(source), 1, 1)  # each synapse as an environment of its own
    out = []
    for psi_t, xbar_t in zip(psi[..., None], trace[..., None], strict=True):
        before, eps = eps, rules.slow_eligibility(eps, psi_t, xbar_t, *slow)
        ebar = rules.filtered_eligibility(ebar, eps - slow[1] * before, network.config.kappa)
        out.append(ebar[:, 0, 0])
    return trace, psi, torch.stack(out)


def name_of(source: int, target: int, inputs: int) -> str:
    """Return what a synapse is called."""
    origin = f"input {source}" if source < inputs else "bias" if source == inputs else f"neuron {source - inputs - 1}"
    return f"{origin} → neuron {target}"
