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
    psi: Tensor,
    xbar: Tensor,
    readout: Tensor,
    policy_error: Tensor,
    value_error: Tensor,
    signal: Tensor,
    reset: Tensor,
    kappa: float,
) -> list[Tensor]:
    """Gradients of a chunk from quantities local to each synapse; weights must be constant over the chunk.

        dW_hid,ij = Σ_t L_i,t ē_ij,t = Σ_t L̂_i,t ψ_i,t x̄_j,t ,  dW_pi = Σ_t s_t y_tᵀ ,  dw_v = Σ_t s^v_t y_t

    Args: ``psi`` [T', B, N] and ``xbar`` [T', B, D+1+N] by tick, where T' may begin before the chunk (the tail);
    ``readout`` y [K, B, N], ``policy_error`` s [K, B, A], ``value_error`` s^v [K, B] and ``signal`` L [K, B, N] by
    step; ``reset`` [T', B] true where a state was cleared before a tick. The ticks of the K steps are the last ones.
    Returns the gradients in the order of ``hidden_parameters() + readout_parameters()``. Raises ValueError on shapes
    that do not fit. Source: Bellec et al. 2020, eq. (1) and Methods (reward-based e-prop).
    """
    neurons, inputs = psi.shape[2], xbar.shape[2] - psi.shape[2] - 1
    post = rules.filter_backwards(signal, kappa, reset) * psi
    hidden = rules.chunk_gradient(post, xbar)
    recurrent = hidden[:, inputs + 1 :].contiguous()
    recurrent.fill_diagonal_(0.0)  # no self-connections
    return [
        hidden[:, :inputs].contiguous(),
        hidden[:, inputs].contiguous(),
        recurrent,
        rules.chunk_gradient(policy_error, readout),
        policy_error.sum((0, 1)),
        rules.chunk_gradient(value_error[..., None], readout).reshape(1, neurons),
        value_error.sum().reshape(1),
    ]


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
        self, rule: RuleConfig, agent: Agent, policy: SpikingPolicy, head: Head, generator: torch.Generator
    ) -> None:
        self.rule, self.agent, self.policy, self.head = rule, agent, policy, head
        self.groups = [policy.hidden_parameters(), policy.readout_parameters()]
        self.optimiser = torch.optim.Adam([{"params": g, "lr": 0.0} for g in self.groups], maximize=True, fused=True)
        like = policy.policy_readout.weight
        self.rate = torch.full((policy.config.neurons,), rule.target_rate, dtype=like.dtype, device=like.device)
        scale = policy.config.neurons**-0.5
        self.random_feedback = torch.empty(head.size + 1, policy.config.neurons, dtype=like.dtype)
        self.random_feedback.normal_(0.0, scale, generator=generator)
        self.random_feedback = self.random_feedback.to(like.device)
        self.updates = 0

    def _feedback(self) -> tuple[Tensor, Tensor]:
        """Return the feedback weights of the policy [A, N] and of the critic [1, N]."""
        if self.rule.feedback == "random":
            return self.random_feedback[:-1], self.random_feedback[-1:]
        return self.policy.policy_readout.weight, self.policy.value_readout.weight

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
    def learn(self, traj: Trajectory, lr_scale: float) -> dict[str, float]:
        """Replay a window R times; return the metrics of the last pass. ``lr_scale`` multiplies both learning rates."""
        for group, lr in zip(self.optimiser.param_groups, (self.rule.lr_hidden, self.rule.lr_readout), strict=True):
            group["lr"] = lr * lr_scale
        value, bootstrap = traj.value, traj.bootstrap
        for _ in range(self.rule.replays):
            advantage, target = self._advantages(traj, value, bootstrap)
            record = self._pass(traj, advantage, target)
            value, bootstrap = record["value"], record["bootstrap"]
        return self._metrics(traj, record, target)

    def _pass(self, traj: Trajectory, advantage: Tensor, target: Tensor) -> dict[str, Any]:
        """One pass in order of time; returns what it saw, by step."""
        steps = len(traj.action)
        ticks = self.policy.config.ticks
        state = traj.state
        tail: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=self.rule.tail)  # (psi, xbar, reset) by tick
        record: dict[str, list[Any]] = {k: [] for k in ("value", "rho", "entropy", "rate", "norm", "step")}
        bootstrap = torch.zeros_like(traj.bootstrap)
        for start in range(0, steps, self.rule.tau_f):
            chunk = slice(start, min(start + self.rule.tau_f, steps))
            states: list[NetState] = []
            resets: list[Tensor] = []
            for t in range(chunk.start, chunk.stop):
                of_step = self.policy.step(traj.x[t], state.cleared(traj.reset[t]))
                states += of_step
                resets += [traj.reset[t]] + [torch.zeros_like(traj.reset[t])] * (ticks - 1)
                state = of_step[-1]
                if t in traj.final:
                    last = self.policy.step(traj.final[t], state)[-1]
                    bootstrap[t] = self.policy.read(last.readout)[1]
            ticks_of_chunk = [(self.policy.surrogate(s.mem), s.trace, r) for s, r in zip(states, resets, strict=True)]
            psi, xbar, reset = (torch.stack(column) for column in zip(*tail, *ticks_of_chunk, strict=True))
            readout = torch.stack([s.readout for s in states[ticks - 1 :: ticks]])
            spikes = torch.stack([s.spk for s in states])
            params, value = self.policy.read(readout)
            rho = rules.ratio(self.head.log_prob(params, traj.action[chunk]), traj.logp_ref[chunk])
            rate = self._update_rate(spikes)

            weight = self.agent.weight(rho, advantage[chunk])
            policy_error = weight[..., None] * self.head.score(params, traj.action[chunk])
            policy_error += self.rule.entropy * self.head.entropy_score(params)
            value_error = self.rule.value * (target[chunk] - value)
            to_policy, to_critic = self._feedback()
            signal = rules.learning_signal(policy_error, to_policy)
            signal += self.rule.critic_share * rules.learning_signal(value_error[..., None], to_critic)
            signal += rules.homeostasis(self.rate, self.rule.target_rate, self.rule.homeostasis)
            signal = at_last_tick(signal, ticks, len(tail))
            grads = local_gradients(
                psi, xbar, readout, policy_error, value_error, signal, reset, self.policy.config.kappa
            )
            norm = self._update(grads, scale=1.0 / value.numel())
            tail.extend(ticks_of_chunk)
            entropy = self.head.entropy(params)
            for name, item in zip(record, (value, rho, entropy, rate, norm[0], norm[1]), strict=True):
                record[name].append(item)
        joined = {k: torch.cat(record[k]) for k in ("value", "rho", "entropy")}
        return joined | {k: torch.stack(record[k]) for k in ("rate", "norm", "step")} | {"bootstrap": bootstrap}

    def _update_rate(self, spikes: Tensor) -> Tensor:
        """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z; returns the chunk's own rate [N]."""
        rate = spikes.mean((0, 1))
        decay = (1.0 - 1.0 / self.rule.rate_memory) ** len(spikes)
        self.rate = decay * self.rate + (1.0 - decay) * rate
        return rate

    def _update(self, grads: list[Tensor], scale: float) -> tuple[Tensor, Tensor]:
        """Clip to a global norm and ascend; returns the norms of the gradient and of the change of readouts."""
        parameters = self.groups[0] + self.groups[1]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.mul_(scale)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.rule.max_grad_norm)
        before = self.policy.policy_readout.weight.clone()
        self.optimiser.step()
        self.updates += 1
        return norm, (self.policy.policy_readout.weight - before).norm()

    def _metrics(self, traj: Trajectory, record: dict[str, Any], target: Tensor) -> dict[str, float]:
        """Means over the last pass. approx_kl is the mean of (ρ - 1) - log ρ (Schulman 2020, estimator k3)."""
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
            "train/update_norm": record["step"].mean(),
            "spikes/rate_mean": rate.mean(),
            "spikes/dead_fraction": (rate == 0).double().mean(),
        }
        return {k: float(v) for k, v in out.items()} | {"train/weight_updates": float(self.updates)}

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
