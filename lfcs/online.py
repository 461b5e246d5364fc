"""The online form of the rule: credit by eligibility traces, every step used once, memory independent of the horizon.

    E_t = γλ E_{t-1} + g_t ,  dW = η Σ_t δ_t E_t ,  g_t = m_t ρ_t d log π_new(a_t)/dW + c_V dV_t/dW

The new policy runs beside the reference, in a state of its own, and is updated after each chunk of tau_f steps. What is
carried over a chunk's border is E, one number for each synapse and environment. With constant weights it is the same
update as the forward form over the whole past (Capone & Muratore, arXiv:2402.10069; Sutton & Barto 2018, section 12.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lfcs import rules
from lfcs.agent import Sample
from lfcs.engines.base import where_connected
from lfcs.engines.past import Past, slow_trace
from lfcs.learner import Pass, Show
from lfcs.measured import Record, kl_estimate
from lfcs.network import NetState
from lfcs.trajectory import Trajectory
from lfcs.update import Credit, Update, View


class OnlineLearner:
    """Owns the new policy's state and the traces E_hidden [B, D+1+N, N], E_readout [B, K + 1, N + 1], E_path [B, D]."""

    def __init__(self, update: Update) -> None:
        self.update, self.rule = update, update.rule
        self.past: Past | None = None
        self.show: Show | None = None

    def _begin(self, state: NetState, reset: Tensor) -> Past:
        """Start the new policy's state where the reference's is, with empty traces."""
        self.resets = reset[:0]
        batch = reset.shape[1]
        self.traces = [w.new_zeros(batch, *w.shape) for w in self.update.weights]
        self.slow = slow_trace(self.update.engine, self.update.network, batch, self.rule.tail)
        return Past(state, self.rule.tail, self.rule.tau_f * self.update.ticks)

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> Record:
        """Learn from a chunk once and add it to the traces; ``left`` is as in :meth:`Update.schedule`."""
        update = self.update
        update.schedule(left)
        self.past = self.past or self._begin(traj.state, traj.reset)
        steps, before = len(traj.action), update.network.readout.clone()
        seen = self.past.extended(update.engine, traj.x, traj.reset, steps * update.ticks, differentiable=True)
        states, value = seen.states, seen.value
        self.resets = torch.cat((self.resets, update.by_tick(traj.reset)))[-len(states.data) :]
        rate = update.follow_rate(states.spk[-steps * update.ticks :])
        whole = slice(0, steps)
        unseen = torch.ones_like(value)  # no rule with an online form looks at a window's ratios before
        credit = update.credit(traj, View(value, update.bootstraps(traj, whole, seen), unseen))
        sample = update.sample(traj, whole, seen.params, credit)
        gradients = update.gradients(states, self.resets, traj.x, sample, credit.target - value, self.slow)
        norm = update.ascend(self._with_past(gradients, credit, traj))
        self._extend_traces(traj, states, sample)
        if self.slow is not None:
            self.slow.follow(states, self.resets)
        if self.show is not None:
            self.show(Pass(sample.rho, credit.advantage, None))
        return Record(
            value=value,
            rho=sample.rho,
            entropy=sample.judged.entropy,
            rate=rate[None],
            norm=norm[None],
            change=(update.network.readout - before).norm(),
            target=credit.target,
            largest=kl_estimate(sample.rho),
        )

    def _with_past(self, gradients: tuple[Tensor, ...], credit: Credit, traj: Trajectory) -> tuple[Tensor, ...]:
        """Add to the gradients, in place, what the traces from before the chunk make of its TD errors.

        γλ A_0 is their sum Σ_t (γλ)^{t+1} δ_t as that trace sees them.
        """
        seen_by_past = self.rule.gamma * self.rule.lam * credit.raw[0] * ~traj.reset[0] / credit.raw.numel()
        for gradient, trace in zip(gradients, self.traces, strict=True):
            gradient += (seen_by_past @ trace.flatten(1)).view_as(gradient)
        return gradients

    def _extend_traces(self, traj: Trajectory, states: NetState, sample: Sample) -> None:
        """E ← (γλ)^K E + Σ_t (γλ)^{K-1-t} g_t, for each environment; nothing crosses the end of an episode."""
        update, decay, rho = self.update, self.rule.gamma * self.rule.lam, sample.rho
        ends = traj.terminated | traj.truncated
        remains = torch.ones_like(rho)  # (γλ)^{K-1-t}, or 0 where an episode ends between t and the chunk's end
        for t in range(len(rho) - 2, -1, -1):
            remains[t] = decay * remains[t + 1] * ~ends[t]
        ones, zeros = (update.agent.error(sample._replace(advantage=a)) for a in (torch.ones_like(rho), rho * 0.0))
        policy_error = ones - zeros  # what the TD error multiplies; anything else an agent adds acts at once
        error = torch.cat((policy_error, torch.full_like(rho, self.rule.value)[..., None]), -1) * remains[..., None]
        no_drive = error.new_zeros(update.network.config.neurons)
        post = update.engine.post(states, self.resets, error, update.feedback(), no_drive)
        y = states.readout[-len(rho) * update.ticks :][update.ticks - 1 :: update.ticks]
        pre = torch.cat((y, y.new_ones(*y.shape[:2], 1)), dim=-1)
        kept = (decay * remains[0] * ~traj.reset[0])[:, None, None]
        hidden, readout, path = self.traces
        hidden.mul_(kept)
        readout.mul_(kept)
        readout.baddbmm_(error.permute(1, 2, 0), pre.transpose(0, 1))
        groups = len(update.network.neuron.decays)
        for g, xbar in enumerate(states.trace.chunk(groups, dim=2)):
            hidden[..., g::groups].baddbmm_(xbar.permute(1, 2, 0), post[..., g::groups].transpose(0, 1))
        if self.slow is not None and self.slow.neuron.slow is not None:
            hidden += self.slow.eps * rules.slow_factor(post, self.resets, *self.slow.neuron.slow)[:, None]
        if path.numel():
            path.mul_(kept[..., 0]).add_((error[..., -1:] * traj.x).sum(0))
        where_connected(self.traces[0], update.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        saved = {"update": self.update.state_dict(), "begun": self.past is not None}
        if self.past is None:
            return saved
        recent = self.past.buffer[max(0, self.past.filled - max(1, self.rule.tail)) : self.past.filled]
        return (
            saved
            | {"traces": self.traces, "recent": recent, "resets": self.resets}
            | ({} if self.slow is None else {"slow": self.slow.eps})
        )

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""
        self.update.load_state_dict(saved["update"])
        if saved["begun"]:
            recent = saved["recent"]
            state = self.update.network.initial_state(1).with_data(recent[0])
            self.past = Past(state, self.rule.tail, self.rule.tau_f * self.update.ticks)
            self.past.filled = len(recent)
            self.past.buffer[: self.past.filled] = recent
            self.traces, self.resets = saved["traces"], saved["resets"]
            self.slow = slow_trace(self.update.engine, self.update.network, recent.shape[1], self.rule.tail)
            if self.slow is not None:
                self.slow.eps = saved["slow"]
