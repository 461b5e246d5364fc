"""The new policy learns: R passes over a window of experience, an update every tau_f steps.

A pass runs the new policy forward in time over the stored observations, from the state stored at the window's start,
and updates it chunk by chunk from local eligibilities. No gradient flows through time and autograd is never used.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from lfcs import rules
from lfcs.config import RuleConfig
from lfcs.engine import Engine, Steps
from lfcs.heads import Head, Judgement
from lfcs.network import NetState, SpikingPolicy
from lfcs.optimiser import Adam
from lfcs.rollout import Trajectory


class Agent(Protocol):
    """What differs between learning rules."""

    name: str
    fixed: dict[str, str | int]  # settings this rule stands for; a text names the setting whose value it takes

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return the factor of d log π_new(a_t) in the update, of the shape of ``rho``."""


def next_values(value: Tensor, bootstrap: Tensor, terminated: Tensor, ends: Tensor) -> Tensor:
    """V(s_{t+1}) [T, B]: 0 after a termination, ``bootstrap`` where an episode or the window ends, else V_{t+1}."""
    following = torch.cat((value[1:], bootstrap[-1:]))
    return torch.where(terminated, torch.zeros_like(value), torch.where(ends, bootstrap, following))


class Past:
    """States by tick in one buffer, so that a chunk sees the ticks before it without copying them each time.

    Memory is for the ``tail`` and some chunks of at most ``chunk`` ticks, however long the window.
    """

    def __init__(self, state: NetState, tail: int, chunk: int) -> None:
        self.tail = tail
        self.buffer = state.data.new_empty(max(tail, 1) + max(chunk, 4 * tail), *state.data.shape)
        self.begin(state)

    def begin(self, state: NetState) -> None:
        """Forget everything but the state that comes before the next chunk."""
        self.start, self.filled = state, 0

    def extended(self, engine: Engine, x: Tensor, reset: Tensor, ticks: int) -> Steps:
        """Run a chunk of steps; return what it gave, with the states of up to ``tail`` ticks before it."""
        if self.filled + ticks > len(self.buffer):
            kept = min(self.filled, max(self.tail, 1))
            self.buffer[:kept] = self.buffer[self.filled - kept : self.filled].clone()
            self.filled = kept
        begin, self.filled = self.filled, self.filled + ticks
        state = NetState(self.buffer[begin - 1], self.start.neurons) if begin else self.start
        given = engine.run(x, state, reset, out=self.buffer[begin : self.filled])
        seen = self.buffer[max(0, begin - self.tail) : self.filled]
        return given._replace(states=NetState(seen, self.start.neurons))


class Learner:
    """Owns the new policy, its optimiser and the neurons' rate estimates."""

    def __init__(
        self,
        rule: RuleConfig,
        agent: Agent,
        policy: SpikingPolicy,
        head: Head,
        engine: Engine,
        generator: torch.Generator,
    ) -> None:
        self.rule, self.agent, self.policy, self.head, self.engine = rule, agent, policy, head, engine
        self.ticks = policy.config.ticks
        self.optimiser, self.rates = Adam([policy.hidden, policy.readout]), (rule.lr_hidden, rule.lr_readout)
        like, neurons = policy.hidden, policy.config.neurons
        self.rate = torch.full((neurons,), rule.target_rate, dtype=like.dtype, device=like.device)
        feedback = torch.empty(head.size + 1, neurons, dtype=like.dtype)
        self.random_feedback = feedback.normal_(0.0, neurons**-0.5, generator=generator).to(like.device)
        self.shares = torch.ones(head.size + 1, 1, dtype=like.dtype, device=like.device)
        self.shares[-1] = rule.critic_share
        self.entropy_bonus = rule.entropy
        self.past: Past | None = None

    def _advantages(self, traj: Trajectory, value: Tensor, bootstrap: Tensor) -> tuple[Tensor, Tensor]:
        """Return the advantages [T, B] that weigh the policy's update, and the critic's targets [T, B]."""
        ends = traj.terminated | traj.truncated
        v_next = next_values(value, bootstrap, traj.terminated, ends)
        delta = rules.td_error(traj.reward, value, v_next, self.rule.gamma)
        advantage = rules.advantages(delta, ends, self.rule.gamma, self.rule.lam)
        target = advantage + value
        if self.rule.normalise:
            advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        return advantage, target

    def _fall(self, left: float) -> None:
        """Set learning rates and entropy bonus for the share of the run still to come."""
        rule = self.rule
        fall = rule.lr_final + (1.0 - rule.lr_final) * left
        self.rates = rule.lr_hidden * fall, rule.lr_readout * fall
        self.entropy_bonus = rule.entropy * (rule.entropy_final + (1.0 - rule.entropy_final) * left)

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> dict[str, float]:
        """Replay a window R times; return the metrics of the last pass. ``left`` is the share of the run still to come:

        learning rates and entropy bonus are multiplied by final + (1 - final) · left.
        """
        self._fall(left)
        value, bootstrap = traj.value, traj.bootstrap
        for _ in range(self.rule.replays):
            advantage, target = self._advantages(traj, value, bootstrap)
            record = self._pass(traj, advantage, target)
            value, bootstrap = record["value"], record["bootstrap"]
        return self._metrics(record, target)

    def _pass(self, traj: Trajectory, advantage: Tensor, target: Tensor) -> dict[str, Any]:
        """One pass in order of time; returns what it saw, by step."""
        ticks, readout_before, reset = self.ticks, self.policy.readout.clone(), self._by_tick(traj.reset)
        if self.past is None or self.past.buffer.shape[1] != traj.reset.shape[1]:
            self.past = Past(traj.state, self.rule.tail, self.rule.tau_f * ticks)
        self.past.begin(traj.state)
        record: dict[str, list[Tensor]] = {k: [] for k in ("value", "rho", "entropy", "rate", "norm")}
        bootstrap, no_reset = torch.zeros_like(traj.bootstrap), torch.zeros_like(traj.reset[:1])
        for start in range(0, len(traj.action), self.rule.tau_f):
            chunk = slice(start, min(start + self.rule.tau_f, len(traj.action)))
            seen = self.past.extended(self.engine, traj.x[chunk], traj.reset[chunk], (chunk.stop - start) * ticks)
            for t in range(chunk.start, chunk.stop):
                if t in traj.final:
                    state = seen.states.at((t - chunk.stop + 1) * ticks - 1)
                    bootstrap[t] = self.engine.run(traj.final[t][None], state, no_reset).value[0]
            since = chunk.stop * ticks - len(seen.states.data)
            saw = self._learn_chunk(traj, chunk, seen, reset[since : chunk.stop * ticks], advantage, target)
            for name, item in saw.items():
                record[name].append(item)
        joined = {k: torch.cat(record[k]) for k in ("value", "rho", "entropy")}
        joined |= {k: torch.stack(record[k]) for k in ("rate", "norm")}
        return joined | {"bootstrap": bootstrap, "change": (self.policy.readout - readout_before).norm()}

    def _learn_chunk(
        self, traj: Trajectory, chunk: slice, seen: Steps, reset: Tensor, advantage: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Update the new policy from the steps of a chunk; returns what it saw.

        The states of ``seen`` and ``reset`` are by tick and begin up to ``rule.tail`` ticks before the chunk.
        """
        states, params, value = seen
        rate = self._update_rate(states.spk[-len(value) * self.ticks :])
        judged = self.head.judge(params, traj.action[chunk])
        rho = rules.ratio(judged.log_prob, traj.logp_ref[chunk])
        weight = self.agent.weight(rho, advantage[chunk])
        gradients = self._gradients(states, reset, judged, weight, target[chunk] - value)
        norm = self.optimiser.step(gradients, self.rates, self.rule.max_grad_norm)
        return {"value": value, "rho": rho, "entropy": judged.entropy, "rate": rate, "norm": norm}

    def _by_tick(self, reset: Tensor) -> Tensor:
        """Return resets [T, B] by tick: before the first tick of a step."""
        out = reset.new_zeros(len(reset) * self.ticks, reset.shape[1])
        out[:: self.ticks] = reset
        return out

    def _feedback(self) -> Tensor:
        """Return the feedback weights [K + 1, N], the critic's share applied."""
        weights = self.random_feedback if self.rule.feedback == "random" else self.policy.readout[:, :-1]
        return weights * self.shares

    def _gradients(
        self, states: NetState, reset: Tensor, judged: Judgement, weight: Tensor, value_error: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of the mean over the steps of weight · log π + entropy bonus - critic's error."""
        policy_error = weight[..., None] * judged.score + self.entropy_bonus * judged.entropy_score
        mean = 1.0 / weight.numel()
        error = torch.cat((policy_error, self.rule.value * value_error[..., None]), dim=-1).mul_(mean)
        drive = rules.homeostasis(self.rate, self.rule.target_rate, mean * self.rule.homeostasis)
        return self.engine.gradients(states, reset, error, self._feedback(), drive)

    def _update_rate(self, spikes: Tensor) -> Tensor:
        """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z; returns the chunk's own rate [N]."""
        rate = spikes.mean((0, 1))
        decay = (1.0 - 1.0 / self.rule.rate_memory) ** len(spikes)
        self.rate = torch.lerp(rate, self.rate, decay)
        return rate

    def _metrics(self, record: dict[str, Any], target: Tensor) -> dict[str, float]:
        """Return means over the last pass.

        ``approx_kl`` is the mean of (ρ - 1) - log ρ (Schulman 2020, estimator k3); ``update_norm`` is the norm of the
        whole pass's change of the readout weights, ``grad_norm`` the mean norm of a gradient before clipping.
        """
        rho, error = record["rho"], target - record["value"]
        quantiles = torch.quantile(rho.flatten(), torch.tensor([0.05, 0.95], dtype=rho.dtype, device=rho.device))
        rate = record["rate"].mean(0)
        out = {
            "train/approx_kl": (rho - 1.0 - rho.log()).mean(),
            "train/clip_fraction": ((rho - 1.0).abs() > self.rule.eps).double().mean(),
            "train/entropy": record["entropy"].mean(),
            "train/value_loss": error.square().mean(),
            "train/explained_variance": 1.0 - error.var(correction=0) / (target.var(correction=0) + 1e-12),
            "train/ratio_mean": rho.mean(),
            "train/ratio_std": rho.std(correction=0),
            "train/ratio_p05": quantiles[0],
            "train/ratio_p95": quantiles[1],
            "train/grad_norm": record["norm"].mean(),
            "train/update_norm": record["change"],
            "spikes/rate_mean": rate.mean(),
            "spikes/dead_fraction": (rate == 0).double().mean(),
        }
        out = {k: float(v) for k, v in out.items()}
        return out | {"train/weight_updates": float(self.optimiser.steps), "train/learning_rate": self.rates[1]}

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the learner."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rate": self.rate,
            "random_feedback": self.random_feedback,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the learner."""
        self.policy.load_state_dict(saved["policy"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.rate, self.random_feedback = saved["rate"], saved["random_feedback"]
