"""The new policy learns: R passes over a window of experience, an update every tau_f steps.

A pass runs the new policy forward in time over the stored observations, from the state stored at the window's start,
and updates it chunk by chunk from local eligibilities. No gradient flows through time and autograd is never used.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import torch
from torch import Tensor

from lfcs import rules
from lfcs.config import RuleConfig
from lfcs.engine import Engine, step
from lfcs.heads import Head
from lfcs.network import NetState, SpikingPolicy
from lfcs.rollout import Trajectory


class Agent(Protocol):
    """What differs between learning rules."""

    name: str
    fixed: dict[str, str | int]  # settings this rule stands for; a text names the setting whose value it takes

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return the factor of d log π_new(a_t) in the update, of the shape of ``rho``."""


def local_gradients(
    psi: Tensor, xbar: Tensor, readout: Tensor, error: Tensor, signal: Tensor, reset: Tensor, kappa: float
) -> tuple[Tensor, Tensor]:
    """Gradients of a chunk from quantities local to each synapse; weights must be constant over the chunk.

        dW_hid,ij = Σ_t L_i,t ē_ij,t = Σ_t L̂_i,t ψ_i,t x̄_j,t ,  dW_out,ki = Σ_t s_k,t y_i,t

    Args: ``psi`` [T', B, N] and ``xbar`` [T', B, D+1+N] by tick, where T' may begin before the chunk (the tail);
    ``readout`` y [K, B, N] and ``error`` s [K, B, A+1] (policy outputs, then the value) by step; ``signal`` L
    [T', B, N] by tick; ``reset`` [T', B] true where a state was cleared before a tick.
    Returns the gradients [D+1+N, N] and [N+1, A+1] of the policy's packed ``hidden`` and ``readout`` weights. Raises
    ValueError on shapes that do not fit. Source: Bellec et al. 2020, eq. (1) and Methods (reward-based e-prop).
    """
    hidden = rules.chunk_gradient(xbar, rules.filter_backwards(signal, kappa, reset).mul_(psi))
    hidden[-psi.shape[2] :].fill_diagonal_(0.0)  # no self-connections
    return hidden, torch.cat((rules.chunk_gradient(readout, error), error.sum((0, 1))[None]))


def at_last_tick(signal: Tensor, ticks: int, tail: int) -> Tensor:
    """Spread a signal by step [K, B, N] over ticks: non-zero at each step's last tick, after ``tail`` empty ticks."""
    steps, batch, neurons = signal.shape
    out = signal.new_zeros(tail + steps * ticks, batch, neurons)
    out[tail + ticks - 1 :: ticks] = signal
    return out


def next_values(value: Tensor, bootstrap: Tensor, terminated: Tensor, ends: Tensor) -> Tensor:
    """V(s_{t+1}) [T, B]: 0 after a termination, ``bootstrap`` where an episode or the window ends, else V_{t+1}."""
    following = torch.cat((value[1:], bootstrap[-1:]))
    return torch.where(terminated, torch.zeros_like(value), torch.where(ends, bootstrap, following))


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
        self.ticks, self.weights = policy.config.ticks, [policy.hidden, policy.readout]
        self.optimiser = torch.optim.Adam([{"params": [w], "lr": 0.0} for w in self.weights], maximize=True, fused=True)
        like, neurons = policy.hidden, policy.config.neurons
        self.rate = torch.full((neurons,), rule.target_rate, dtype=like.dtype, device=like.device)
        feedback = torch.empty(head.size + 1, neurons, dtype=like.dtype)
        self.random_feedback = feedback.normal_(0.0, neurons**-0.5, generator=generator).to(like.device)
        self.updates, self.entropy_bonus = 0, rule.entropy

    def _feedback(self) -> Tensor:
        """Return the feedback weights [A + 1, N] of the policy's outputs and the critic, the critic's share applied."""
        if self.rule.feedback == "random":
            feedback = self.random_feedback.clone()
        else:
            feedback = self.policy.readout[:-1].T.clone()
        feedback[-1] *= self.rule.critic_share
        return feedback

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

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> dict[str, float]:
        """Replay a window R times; return the metrics of the last pass. ``left`` is the share of the run still to come:

        learning rates and entropy bonus are multiplied by final + (1 - final) · left.
        """
        rule = self.rule
        for group, lr in zip(self.optimiser.param_groups, (rule.lr_hidden, rule.lr_readout), strict=True):
            group["lr"] = lr * (rule.lr_final + (1.0 - rule.lr_final) * left)
        self.entropy_bonus = rule.entropy * (rule.entropy_final + (1.0 - rule.entropy_final) * left)
        value, bootstrap = traj.value, traj.bootstrap
        for _ in range(self.rule.replays):
            advantage, target = self._advantages(traj, value, bootstrap)
            record = self._pass(traj, advantage, target)
            value, bootstrap = record["value"], record["bootstrap"]
        return self._metrics(record, target)

    def _pass(self, traj: Trajectory, advantage: Tensor, target: Tensor) -> dict[str, Any]:
        """One pass in order of time; returns what it saw, by step."""
        state, resets_at, readout_before = traj.state, traj.reset.any(1).tolist(), self.policy.readout.clone()
        # states and resets of the ticks before a chunk; none reach over the window's start
        tail: deque[tuple[NetState, Tensor]] = deque(maxlen=self.rule.tail)
        record: dict[str, list[Tensor]] = {k: [] for k in ("value", "rho", "params", "rate", "norm")}
        bootstrap, no_resets = torch.zeros_like(traj.bootstrap), [torch.zeros_like(traj.reset[0])] * (self.ticks - 1)
        for start in range(0, len(traj.action), self.rule.tau_f):
            chunk = slice(start, min(start + self.rule.tau_f, len(traj.action)))
            of_chunk: list[tuple[NetState, Tensor]] = []
            for t in range(chunk.start, chunk.stop):
                before = state.cleared(traj.reset[t]) if resets_at[t] else state
                states = step(self.engine, traj.x[t], before, self.ticks)
                of_chunk += zip(states, [traj.reset[t], *no_resets], strict=True)
                state = states[-1]
                if t in traj.final:
                    following = step(self.engine, traj.final[t], state, self.ticks)[-1]
                    bootstrap[t] = self.engine.read(following.readout)[1]
            seen = self._learn_chunk(traj, chunk, of_chunk, list(tail), advantage[chunk], target[chunk])
            for name, item in seen.items():
                record[name].append(item)
            tail.extend(of_chunk)
        joined = {k: torch.cat(record[k]) for k in ("value", "rho", "params")}
        joined |= {k: torch.stack(record[k]) for k in ("rate", "norm")}
        return joined | {"bootstrap": bootstrap, "change": (self.policy.readout - readout_before).norm()}

    def _learn_chunk(
        self,
        traj: Trajectory,
        chunk: slice,
        ticks: list[tuple[NetState, Tensor]],
        tail: list[tuple[NetState, Tensor]],
        advantage: Tensor,
        target: Tensor,
    ) -> dict[str, Tensor]:
        """Update the new policy from the steps of a chunk, given states and resets by tick; returns what it saw."""
        by_tick = [*tail, *ticks]
        psi = self.policy.surrogate(torch.stack([s.mem for s, _ in by_tick]))
        xbar = torch.stack([s.trace for s, _ in by_tick])
        reset = torch.stack([r for _, r in by_tick])
        readout = torch.stack([s.readout for s, _ in ticks[self.ticks - 1 :: self.ticks]])
        rate = self._update_rate(torch.stack([s.spk for s, _ in ticks]))
        params, value = self._read(readout)
        rho = rules.ratio(self.head.log_prob(params, traj.action[chunk]), traj.logp_ref[chunk])

        weight = self.agent.weight(rho, advantage)
        policy_error = weight[..., None] * self.head.score(params, traj.action[chunk])
        policy_error += self.entropy_bonus * self.head.entropy_score(params)
        value_error = self.rule.value * (target - value)
        error = torch.cat((policy_error, value_error[..., None]), dim=-1)
        signal = rules.learning_signal(error, self._feedback())
        signal += rules.homeostasis(self.rate, self.rule.target_rate, self.rule.homeostasis)
        signal = at_last_tick(signal, self.ticks, len(tail))
        gradients = local_gradients(psi, xbar, readout, error, signal, reset, self.policy.config.kappa)
        norm = self._update(gradients, scale=1.0 / value.numel())
        return {"value": value, "rho": rho, "params": params, "rate": rate, "norm": norm}

    def _read(self, readout: Tensor) -> tuple[Tensor, Tensor]:
        """Return head parameters [K, B, A] and values [K, B] of readout traces [K, B, N]."""
        params, value = self.engine.read(readout.flatten(0, 1))
        return params.unflatten(0, readout.shape[:2]), value.unflatten(0, readout.shape[:2])

    def _update_rate(self, spikes: Tensor) -> Tensor:
        """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z; returns the chunk's own rate [N]."""
        rate = spikes.mean((0, 1))
        decay = (1.0 - 1.0 / self.rule.rate_memory) ** len(spikes)
        self.rate = decay * self.rate + (1.0 - decay) * rate
        return rate

    def _update(self, gradients: tuple[Tensor, Tensor], scale: float) -> Tensor:
        """Clip to a global norm and ascend; returns the gradient's norm before clipping."""
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient.mul_(scale)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.rule.max_grad_norm)
        self.optimiser.step()
        self.updates += 1
        return norm

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
            "train/entropy": self.head.entropy(record["params"]).mean(),
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
        lr = float(self.optimiser.param_groups[1]["lr"])
        return out | {"train/weight_updates": float(self.updates), "train/learning_rate": lr}

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the learner."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rate": self.rate,
            "random_feedback": self.random_feedback,
            "updates": self.updates,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the learner."""
        self.policy.load_state_dict(saved["policy"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.rate, self.random_feedback, self.updates = saved["rate"], saved["random_feedback"], saved["updates"]
