"""One update of the new policy from a chunk of experience: what the window form and the online form share."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lfcs import checkpoint, measured, rules
from lfcs.agent import Agent, Sample
from lfcs.config import RuleConfig
from lfcs.engines import Engine, Steps
from lfcs.engines.past import SlowTrace
from lfcs.heads import Head
from lfcs.measured import Record
from lfcs.network import NetState, SpikingNetwork
from lfcs.optimiser import Adam, Block
from lfcs.trajectory import Cuts, Trajectory

METRICS = *measured.METRICS, "train/weight_updates", "train/learning_rate", "train/pace"


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


class Update:
    """Owns the new policy's network, its optimiser, the feedback weights and the neurons' rate estimates."""

    def __init__(
        self,
        rule: RuleConfig,
        agent: Agent,
        network: SpikingNetwork,
        head: Head,
        engine: Engine,
        generator: torch.Generator,
    ) -> None:
        self.rule, self.agent, self.network, self.head, self.engine = rule, agent, network, head, engine
        self.ticks = network.config.ticks
        self.weights = network.packed
        self.optimiser, self.pace = Adam(self.weights, self._blocks()), 1.0
        self.reward_scale, self.rewarded = rule.reward_scale or 1.0, (0.0, 0)  # Σ|r| and of how many steps
        like, neurons = network.hidden, network.config.neurons
        self.firing_rate = torch.full((neurons,), rule.target_rate, dtype=like.dtype, device=like.device)
        feedback = torch.empty(head.size + 1, neurons, dtype=like.dtype)
        self.random_feedback = feedback.normal_(0.0, neurons**-0.5, generator=generator).to(like.device)
        self.shares = torch.ones(head.size + 1, 1, dtype=like.dtype, device=like.device)
        self.shares[head.outputs :] = rule.critic_share
        self.schedule(1.0)

    def _blocks(self) -> list[Block]:
        """Return what is clipped together: the critic's path by itself, or with the critic's readout."""
        outputs, apart = self.head.outputs, self.rule.clip == "apart"
        policy, critic = Block(1, slice(0, outputs), int(apart)), Block(1, slice(outputs, None), 2 * apart)
        return [Block(0, slice(None), 0), policy, critic, Block(2, slice(None), 1 + apart)]

    def schedule(self, left: float) -> None:
        """Set learning rates and entropy bonus: each is multiplied by final + (1 - final) · left.

        ``left`` is the share of the run still to come.
        """
        rule = self.rule
        fall = rule.lr_final + (1.0 - rule.lr_final) * left
        self.learning_rates = rule.lr_hidden * fall * self.pace, rule.lr_readout * fall * self.pace, rule.lr_path * fall
        self.entropy_bonus = rule.entropy * (rule.entropy_final + (1.0 - rule.entropy_final) * left)

    def adapt(self, metrics: dict[str, float]) -> None:
        """Make the coming windows' steps larger or smaller, by the total variation E|ρ - 1| / 2 to the reference.

        The rates of hidden and readout weights are multiplied by a pace, at most 1, which falls by a tenth where the
        variation is above ``rule.distance`` and rises by as much where it is below half of it.
        Source: Queeney, Paschalidis & Cassandras, arXiv:2111.00072 (the adaptive learning rate of GePPO).
        """
        if self.rule.distance:
            far = metrics["train/total_variation"]
            if far > self.rule.distance:
                self.pace /= 1.1
            elif far < 0.5 * self.rule.distance:
                self.pace = min(1.0, self.pace * 1.1)

    def scaled(self, traj: Trajectory) -> Trajectory:
        """Return a window with the rewards that are learned from, c r.

        With ``rule.reward_scale`` = 0, c is the smallest so far of 1 and 10 (1 - γ)/mean|r|, the mean over the whole
        run, with which the value of a lasting reward of mean size is 10. It only falls.
        """
        if not self.rule.reward_scale:
            total, count = self.rewarded
            total, count = total + float(traj.reward.abs().sum()), count + traj.reward.numel()
            self.rewarded, horizon = (total, count), 1.0 / max(1.0 - self.rule.gamma, 1e-3)
            self.reward_scale = min(self.reward_scale, 10.0 / max(horizon * total / count, 1e-9))
        if self.reward_scale == 1.0:
            return traj
        return dataclasses.replace(traj, reward=traj.reward * self.reward_scale)

    def credit(self, traj: Trajectory, view: View) -> Credit:
        """Return advantages and the critic's targets."""
        ends = traj.terminated | traj.truncated
        v_next = next_values(view.value, view.bootstrap, traj.terminated, ends)
        raw, target = self.agent.credit(traj.reward, view.value, v_next, ends, view.rho)
        if not self.rule.normalise:
            return Credit(raw, raw, target, torch.ones_like(raw[0, 0]))
        scale = raw.std(correction=0) + 1e-8
        return Credit((raw - raw.mean()) / scale, raw, target, scale)

    def sample(self, traj: Trajectory, chunk: slice, params: Tensor, credit: Credit) -> Sample:
        """Return a chunk as the new policy sees it."""
        action = traj.action[chunk]
        judged = self.head.judge(params, action)
        rho = rules.ratio(judged.log_prob, traj.logp_ref[chunk])
        advantage, raw = credit.advantage[chunk], credit.raw[chunk]
        stale = None if traj.stale is None else traj.stale[chunk]
        return Sample(params, traj.params[chunk], action, judged, rho, advantage, raw, credit.scale, stale)

    def feedback(self, network: SpikingNetwork | None = None) -> Tensor:
        """Return the feedback weights [K + 1, N] of a network or of the new policy's, the critic's share applied."""
        readout = (network or self.network).readout
        weights = self.random_feedback if self.rule.feedback == "random" else readout[:, :-1]
        return weights * self.shares

    def gradients(
        self,
        states: NetState,
        reset: Tensor,
        x: Tensor,
        sample: Sample,
        value_error: Tensor,
        slow: SlowTrace | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the gradients, as means over the steps, of the agent's objective, entropy bonus and critic.

        ``states`` and ``reset`` [T', B] are by tick and may begin before the chunk, whose inputs are ``x`` [S, B, D];
        ``slow`` is the slow eligibility up to there.
        The critic's path learns by a delta rule, ds = Σ_t e_t x_t with e_t the critic's error (Widrow & Hoff 1960).
        """
        policy_error = self.agent.error(sample) + self.entropy_bonus * sample.judged.entropy_score
        mean = 1.0 / value_error.numel()
        error = torch.cat((policy_error, self.rule.value * value_error[..., None]), dim=-1).mul_(mean)
        drive = rules.homeostasis(self.firing_rate, self.rule.target_rate, mean * self.rule.homeostasis)
        eps = None if slow is None else slow.eps
        hidden, readout = self.engine.gradients(states, reset, error, self.feedback(), drive, eps)
        path = self.network.path
        if len(path):
            path = error[..., -1].flatten() @ x.flatten(0, 1)
        return hidden, readout, path

    def ascend(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Take one clipped step along the gradients; return their norm."""
        return self.optimiser.step(gradients, self.learning_rates, self.rule.max_grad_norm)

    def follow_rate(self, spikes: Tensor) -> Tensor:
        """Low-pass each neuron's firing rate, r̄ ← d r̄ + (1 - d) mean z; returns the chunk's own rate [N]."""
        rate = spikes.mean((0, 1))
        decay = (1.0 - 1.0 / self.rule.rate_memory) ** len(spikes)
        self.firing_rate = torch.lerp(rate, self.firing_rate, decay)
        return rate

    def by_tick(self, reset: Tensor) -> Tensor:
        """Return resets [T, B] by tick: before the first tick of a step."""
        out = reset.new_zeros(len(reset) * self.ticks, reset.shape[1])
        out[:: self.ticks] = reset
        return out

    def bootstraps(self, traj: Trajectory, chunk: slice, seen: Steps) -> Tensor:
        """Return V [S, B] of the true next observation where a chunk's step ended an episode or the window, else 0."""
        out, no_reset = torch.zeros_like(seen.value), torch.zeros_like(traj.reset[:1])
        for t in range(chunk.start, chunk.stop):
            if t in traj.final:
                state = seen.states.at((t - chunk.stop + 1) * self.ticks - 1)
                out[t - chunk.start] = self.engine.run(traj.final[t][None], state, no_reset).value[0]
        return out if traj.cuts is None else self._at_cuts(traj.cuts, chunk, seen, out)

    def _at_cuts(self, cuts: Cuts, chunk: slice, seen: Steps, out: Tensor) -> Tensor:
        """Return values [S, B] with V of the next observation at truncations: all environments, each at its own step.

        So the number of cuts, which only the device knows, does not matter.
        """
        steps, data = len(seen.value), seen.states.data
        for at, x in zip(cuts.at - chunk.start, cuts.x, strict=True):
            tick = len(data) - 1 + (at.clamp(0, steps - 1) - steps + 1) * self.ticks
            state = data.gather(0, tick[None, :, None].expand(1, *data.shape[1:]))[0]
            value = self.engine.run(x[None], seen.states.with_data(state), torch.zeros_like(at[None], dtype=torch.bool))
            here = at == torch.arange(steps, device=at.device)[:, None]
            out = torch.where(here, value.value[0], out)
        return out

    def metrics(self, record: Record) -> dict[str, float]:
        """Return what :func:`lfcs.measured.measured` tells of a pass, and how the update stands.

        With ``replay.capacity`` the pass is that over the window drawn last.
        """
        return measured.measured(record, self.weights, self.agent.measure) | {
            "train/weight_updates": float(self.optimiser.steps),
            "train/learning_rate": self.learning_rates[1],
            "train/pace": self.pace,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "firing_rate": self.firing_rate,
            "random_feedback": self.random_feedback,
            "pace": self.pace,
            "reward_scale": [self.reward_scale, *self.rewarded],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state. Raises ValueError where it is that of another network, or not finite."""
        checkpoint.fit(self.state_dict(), saved, "learner")
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.firing_rate, self.random_feedback = saved["firing_rate"].clone(), saved["random_feedback"]
        self.pace, (self.reward_scale, *rewarded) = saved["pace"], saved["reward_scale"]
        self.rewarded = rewarded[0], rewarded[1]
