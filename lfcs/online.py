"""The online form of the rule: credit by eligibility traces, every step used once, memory independent of the horizon.

    E_t = γλ E_{t-1} + g_t ,  dW = η Σ_t δ_t E_t ,  g_t = m_t ρ_t d log π_new(a_t)/dW + c_V dV_t/dW

The new policy runs beside the reference, in a state of its own, and is updated after each chunk of tau_f steps. What is
carried over a chunk's border is E, one number for each synapse and environment. With constant weights it is the same
update as the forward form over the whole past (Capone & Muratore, arXiv:2402.10069; Sutton & Barto 2018, section 12.2).
"""

from __future__ import annotations

from typing import Any

import torch

from lfcs import rules
from lfcs.agent import Sample
from lfcs.engines.base import at_last_tick
from lfcs.engines.past import Past
from lfcs.learner import Learner, View, kl_estimate
from lfcs.network import NetState
from lfcs.rollout import Trajectory


class OnlineLearner(Learner):
    """Owns the new policy, its state, and the traces E_hidden [B, D+1+N, N] and E_readout [B, K + 1, N + 1]."""

    def _begin(self, traj: Trajectory) -> Past:
        """Start the new policy's state where the reference's is, with empty traces."""
        self.resets = traj.reset[:0]
        weights, batch = (self.policy.hidden, self.policy.readout), traj.reset.shape[1]
        self.traces = [w.new_zeros(batch, *w.shape) for w in weights]
        return Past(traj.state, self.rule.tail, self.rule.tau_f * self.ticks)

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> dict[str, float]:
        """Learn from a chunk once and add it to the traces; ``left`` as in :meth:`Learner.learn`."""
        self._fall(left)
        self.past = self.past or self._begin(traj)
        steps, readout_before = len(traj.action), self.policy.readout.clone()
        states, params, value = self.past.extended(self.engine, traj.x, traj.reset, steps * self.ticks)
        self.resets = torch.cat((self.resets, self._by_tick(traj.reset)))[-len(states.data) :]
        rate = self._update_rate(states.spk[-steps * self.ticks :])
        bootstrap = torch.zeros_like(value)
        for t, following in traj.final.items():
            state = states.at((t - steps + 1) * self.ticks - 1)
            bootstrap[t] = self.engine.run(following[None], state, torch.zeros_like(traj.reset[:1])).value[0]
        rho = rules.ratio(self.head.log_prob(params, traj.action), traj.logp_ref)
        credit = self._credit(traj, View(value, bootstrap, rho))
        sample = self._sample(traj, slice(0, steps), params, credit)
        gradients = self._gradients(states, self.resets, sample, credit.target - value)

        # γλ A_0 is the sum of the chunk's TD errors as the trace from before the chunk sees them
        decay = self.rule.gamma * self.rule.lam
        seen_by_past = decay * credit.raw[0] * ~traj.reset[0] / value.numel()
        for gradient, trace in zip(gradients, self.traces, strict=True):
            gradient += (seen_by_past @ trace.flatten(1)).view_as(gradient)
        norm = self.optimiser.step(gradients, self.rates, self.rule.max_grad_norm)
        self._extend_traces(traj, states, sample)
        record = {"value": value, "rho": rho, "entropy": sample.judged.entropy, "rate": rate[None], "norm": norm[None]}
        record["change"] = (self.policy.readout - readout_before).norm()
        return self._metrics(record, credit.target, kl_estimate(rho))

    def _extend_traces(self, traj: Trajectory, states: NetState, sample: Sample) -> None:
        """E ← (γλ)^K E + Σ_t (γλ)^{K-1-t} g_t, for each environment; nothing crosses the end of an episode."""
        decay, ends, rho = self.rule.gamma * self.rule.lam, traj.terminated | traj.truncated, sample.rho
        remains = torch.ones_like(rho)  # (γλ)^{K-1-t}, or 0 where an episode ends between t and the chunk's end
        for t in range(len(rho) - 2, -1, -1):
            remains[t] = decay * remains[t + 1] * ~ends[t]
        ones, zeros = (self.agent.error(sample._replace(advantage=a)) for a in (torch.ones_like(rho), rho * 0.0))
        policy_error = ones - zeros  # what the TD error multiplies; anything else an agent adds acts at once
        error = torch.cat((policy_error, torch.full_like(rho, self.rule.value)[..., None]), -1) * remains[..., None]
        signal = at_last_tick(rules.learning_signal(error, self._feedback()), self.ticks, len(states.data))
        post = rules.filter_backwards(signal, self.policy.config.kappa, self.resets) * rules.surrogate_derivative(
            states.mem - 1.0, self.policy.config.dampening
        )
        y = states.readout[-len(rho) * self.ticks :][self.ticks - 1 :: self.ticks]
        pre = torch.cat((y, y.new_ones(*y.shape[:2], 1)), dim=-1)
        kept = (decay * remains[0] * ~traj.reset[0])[:, None, None]
        factors = (states.trace, post), (error, pre)
        for trace, (rows, columns) in zip(self.traces, factors, strict=True):
            trace.mul_(kept).baddbmm_(rows.permute(1, 2, 0), columns.transpose(0, 1))
        self.traces[0][:, -post.shape[2] :].diagonal(dim1=1, dim2=2).zero_()  # no self-connections

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the learner."""
        saved = super().state_dict() | {"begun": self.past is not None}
        if self.past is None:
            return saved
        recent = self.past.buffer[max(0, self.past.filled - max(1, self.rule.tail)) : self.past.filled]
        return saved | {"traces": self.traces, "recent": recent, "resets": self.resets}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the learner."""
        super().load_state_dict(saved)
        if saved["begun"]:
            state = NetState(saved["recent"][0], self.policy.config.neurons)
            self.past = Past(state, self.rule.tail, self.rule.tau_f * self.ticks)
            self.past.filled = len(saved["recent"])
            self.past.buffer[: self.past.filled] = saved["recent"]
            self.traces, self.resets = saved["traces"], saved["resets"]
