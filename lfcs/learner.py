"""The new policy learns: R passes over a window of experience, an update every tau_f steps.

A pass runs the new policy forward in time over the stored observations, from the state stored at the window's start,
and updates it chunk by chunk from local eligibilities. No gradient flows through time, except where an agent brings an
engine of its own that does so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent, Sample
from lfcs.config import RuleConfig
from lfcs.engines.base import Engine, Steps
from lfcs.engines.past import Past
from lfcs.heads import Head
from lfcs.network import NetState, SpikingNetwork
from lfcs.optimiser import Adam
from lfcs.replay import Replay, after
from lfcs.rollout import Trajectory


class View(NamedTuple):
    """What a policy thinks of a window, all [T, B]."""

    value: Tensor
    bootstrap: Tensor  # V of the next observation where an episode or the window ends, else 0
    rho: Tensor


class Credit(NamedTuple):
    """What follows from a view of a window."""

    advantage: Tensor  # [T, B], normalised if the rule says so
    raw: Tensor  # [T, B]
    target: Tensor  # [T, B] of the critic
    scale: Tensor  # one unit of ``advantage`` in units of ``raw``


def next_values(value: Tensor, bootstrap: Tensor, terminated: Tensor, ends: Tensor) -> Tensor:
    """V(s_{t+1}) [T, B]: 0 after a termination, ``bootstrap`` where an episode or the window ends, else V_{t+1}."""
    following = torch.cat((value[1:], bootstrap[-1:]))
    return torch.where(terminated, torch.zeros_like(value), torch.where(ends, bootstrap, following))


def kl_estimate(rho: Tensor) -> Tensor:
    """Estimate KL(reference || new) as the mean of (ρ - 1) - log ρ over the reference's actions.

    Source: Schulman, Approximating KL divergence (2020), estimator k3.
    """
    return (rho - 1.0 - rho.log()).mean()


class Learner:
    """Owns the new policy, its optimiser and the neurons' rate estimates."""

    def __init__(
        self,
        rule: RuleConfig,
        agent: Agent,
        policy: SpikingNetwork,
        head: Head,
        engine: Engine,
        generator: torch.Generator,
        replay: Replay | None = None,
        burn_in: int = 0,
    ) -> None:
        self.rule, self.agent, self.policy, self.head, self.engine = rule, agent, policy, head, engine
        self.replay, self.burn_in = replay, burn_in
        self.ticks = policy.config.ticks
        self.optimiser, self.rates = Adam([policy.hidden, policy.readout]), (rule.lr_hidden, rule.lr_readout)
        like, neurons = policy.hidden, policy.config.neurons
        self.rate = torch.full((neurons,), rule.target_rate, dtype=like.dtype, device=like.device)
        feedback = torch.empty(head.size + 1, neurons, dtype=like.dtype)
        self.random_feedback = feedback.normal_(0.0, neurons**-0.5, generator=generator).to(like.device)
        self.shares = torch.ones(head.size + 1, 1, dtype=like.dtype, device=like.device)
        self.shares[head.outputs :] = rule.critic_share
        self.entropy_bonus = rule.entropy
        self.past: Past | None = None

    def _credit(self, traj: Trajectory, view: View) -> Credit:
        """Return advantages and the critic's targets."""
        ends = traj.terminated | traj.truncated
        v_next = next_values(view.value, view.bootstrap, traj.terminated, ends)
        raw, target = self.agent.credit(traj.reward, view.value, v_next, ends, view.rho)
        if not self.rule.normalise:
            return Credit(raw, raw, target, torch.ones_like(raw[0, 0]))
        scale = raw.std(correction=0) + 1e-8
        return Credit((raw - raw.mean()) / scale, raw, target, scale)

    def _fall(self, left: float) -> None:
        """Set learning rates and entropy bonus for the share of the run still to come."""
        rule = self.rule
        fall = rule.lr_final + (1.0 - rule.lr_final) * left
        self.rates = rule.lr_hidden * fall, rule.lr_readout * fall
        self.entropy_bonus = rule.entropy * (rule.entropy_final + (1.0 - rule.entropy_final) * left)

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> dict[str, float]:
        """Replay experience R times; return the metrics of the last pass.

        Learning rates and entropy bonus are multiplied by final + (1 - final) · left, where ``left`` is the share of
        the run still to come. The first pass is over ``traj``, the others too or, where the replay keeps windows, each
        over one that it draws.
        """
        self._fall(left)
        window, largest = traj, torch.zeros_like(traj.value[0, 0])
        view = View(traj.value, traj.bootstrap, torch.ones_like(traj.value))
        if self.agent.looks:
            view = self._look(traj)
        if self.replay is not None:
            self.replay.add(traj)
        for number in range(self.rule.replays):
            if number and self.replay is not None:
                window = self._burnt_in(self.replay.draw(), traj)
                view = self._look(window)
            credit = self._credit(window, view)
            record = self._pass(window, credit)
            view = View(record["value"], record["bootstrap"], record["rho"])
            largest = torch.maximum(largest, kl_estimate(record["rho"]))
        return self._metrics(record, credit.target, largest)

    def _burnt_in(self, window: Trajectory, current: Trajectory) -> Trajectory:
        """Return a drawn window; the first steps of an older one only bring the neurons' state up to date."""
        if window is current or not self.burn_in:
            return window
        first = slice(0, self.burn_in)
        states = self.engine.run(window.x[first], window.state, window.reset[first]).states
        return after(window, self.burn_in, states.at(-1))

    def _recent(self, state: NetState) -> Past:
        """Return the buffer of recent states, beginning with ``state``."""
        if self.past is None or self.past.buffer.shape[1] != state.data.shape[0]:
            self.past = Past(state, self.rule.tail, self.rule.tau_f * self.ticks)
        self.past.begin(state)
        return self.past

    def _chunks(self, traj: Trajectory) -> Iterator[tuple[slice, Steps, Tensor]]:
        """Run the new policy over a window chunk by chunk: yields its steps, what they gave, V after each."""
        past, no_reset = self._recent(traj.state), torch.zeros_like(traj.reset[:1])
        for start in range(0, len(traj.action), self.rule.tau_f):
            chunk = slice(start, min(start + self.rule.tau_f, len(traj.action)))
            seen = past.extended(self.engine, traj.x[chunk], traj.reset[chunk], (chunk.stop - start) * self.ticks)
            bootstrap = torch.zeros_like(seen.value)
            for t in range(chunk.start, chunk.stop):
                if t in traj.final:
                    state = seen.states.at((t - chunk.stop + 1) * self.ticks - 1)
                    bootstrap[t - start] = self.engine.run(traj.final[t][None], state, no_reset).value[0]
            yield chunk, seen, bootstrap

    def _look(self, traj: Trajectory) -> View:
        """Return the new policy's view of a window, without learning."""
        parts = [
            (seen.value, bootstrap, self.head.log_prob(seen.params, traj.action[chunk]))
            for chunk, seen, bootstrap in self._chunks(traj)
        ]
        value, bootstrap, logp = (torch.cat(part) for part in zip(*parts, strict=True))
        return View(value, bootstrap, rules.ratio(logp, traj.logp_ref))

    def _pass(self, traj: Trajectory, credit: Credit) -> dict[str, Any]:
        """One pass in order of time; returns what it saw, by step."""
        readout_before, reset = self.policy.readout.clone(), self._by_tick(traj.reset)
        record: dict[str, list[Tensor]] = {k: [] for k in ("value", "bootstrap", "rho", "entropy", "rate", "norm")}
        for chunk, seen, bootstrap in self._chunks(traj):
            since = chunk.stop * self.ticks - len(seen.states.data)
            saw = self._learn_chunk(traj, chunk, seen, reset[since : chunk.stop * self.ticks], credit)
            for name, item in (saw | {"bootstrap": bootstrap}).items():
                record[name].append(item)
        joined = {k: torch.cat(record[k]) for k in ("value", "bootstrap", "rho", "entropy")}
        joined |= {k: torch.stack(record[k]) for k in ("rate", "norm")}
        return joined | {"change": (self.policy.readout - readout_before).norm()}

    def _learn_chunk(
        self, traj: Trajectory, chunk: slice, seen: Steps, reset: Tensor, credit: Credit
    ) -> dict[str, Tensor]:
        """Update the new policy from the steps of a chunk; returns what it saw.

        The states of ``seen`` and ``reset`` are by tick and begin up to ``rule.tail`` ticks before the chunk.
        """
        states, params, value = seen
        rate = self._update_rate(states.spk[-len(value) * self.ticks :])
        sample = self._sample(traj, chunk, params, credit)
        gradients = self._gradients(states, reset, sample, credit.target[chunk] - value)
        norm = self.optimiser.step(gradients, self.rates, self.rule.max_grad_norm)
        return {"value": value, "rho": sample.rho, "entropy": sample.judged.entropy, "rate": rate, "norm": norm}

    def _sample(self, traj: Trajectory, chunk: slice, params: Tensor, credit: Credit) -> Sample:
        """Return a chunk as the new policy sees it."""
        action = traj.action[chunk]
        judged = self.head.judge(params, action)
        rho = rules.ratio(judged.log_prob, traj.logp_ref[chunk])
        advantage, raw = credit.advantage[chunk], credit.raw[chunk]
        return Sample(params, traj.params[chunk], action, judged, rho, advantage, raw, credit.scale)

    def _by_tick(self, reset: Tensor) -> Tensor:
        """Return resets [T, B] by tick: before the first tick of a step."""
        out = reset.new_zeros(len(reset) * self.ticks, reset.shape[1])
        out[:: self.ticks] = reset
        return out

    def _feedback(self) -> Tensor:
        """Return the feedback weights [K + 1, N], the critic's share applied."""
        weights = self.random_feedback if self.rule.feedback == "random" else self.policy.readout[:, :-1]
        return weights * self.shares

    def _gradients(self, states: NetState, reset: Tensor, sample: Sample, value_error: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients, as means over the steps, of the agent's objective, entropy bonus and critic."""
        policy_error = self.agent.error(sample) + self.entropy_bonus * sample.judged.entropy_score
        mean = 1.0 / value_error.numel()
        error = torch.cat((policy_error, self.rule.value * value_error[..., None]), dim=-1).mul_(mean)
        drive = rules.homeostasis(self.rate, self.rule.target_rate, mean * self.rule.homeostasis)
        return self.engine.gradients(states, reset, error, self._feedback(), drive)

    def _update_rate(self, spikes: Tensor) -> Tensor:
        """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z; returns the chunk's own rate [N]."""
        rate = spikes.mean((0, 1))
        decay = (1.0 - 1.0 / self.rule.rate_memory) ** len(spikes)
        self.rate = torch.lerp(rate, self.rate, decay)
        return rate

    def _metrics(self, record: dict[str, Any], target: Tensor, largest: Tensor) -> dict[str, float]:
        """Return means over the last pass.

        ``approx_kl`` estimates KL(reference || new), ``approx_kl_max`` is its ``largest`` over the passes; ``ess`` is
        the effective sample size (Σρ)² / (n Σρ²); ``update_norm`` is the norm of the whole pass's change of the
        readout weights, ``grad_norm`` the mean norm of a gradient before clipping.
        """
        rho, error = record["rho"], target - record["value"]
        quantiles = torch.quantile(rho.flatten(), torch.tensor([0.05, 0.95], dtype=rho.dtype, device=rho.device))
        rate = record["rate"].mean(0)
        out = {
            "train/approx_kl": kl_estimate(rho),
            "train/approx_kl_max": largest,
            "train/ess": rho.sum().square() / (rho.numel() * rho.square().sum()),
            "train/ratio_max": rho.max(),
            "train/weight_norm": torch.stack([self.policy.hidden.norm(), self.policy.readout.norm()]).norm(),
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
            "replay": None if self.replay is None else self.replay.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the learner."""
        self.policy.load_state_dict(saved["policy"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.rate, self.random_feedback = saved["rate"], saved["random_feedback"]
        if self.replay is not None:
            self.replay.load_state_dict(saved["replay"])
