"""The window form: R passes of the new policy over a window of experience, an update every tau_f steps.

A pass runs the new policy forward in time over the stored observations, from the state stored at the window's start,
and updates it chunk by chunk from local eligibilities. No gradient flows through time, except where an agent brings an
engine of its own that does so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lfcs import rules
from lfcs.engines import Engine, Steps
from lfcs.engines.past import Past, slow_trace
from lfcs.measured import Record, kl_estimate
from lfcs.network import NetState
from lfcs.trajectory import Replay, Trajectory, after
from lfcs.update import Credit, Update, View


class Pass(NamedTuple):
    """What is shown of a pass over a window, all [T, B]."""

    rho: Tensor  # ratio to the reference of the actions taken, as the pass came to them
    advantage: Tensor  # that the pass learned from
    stale: Tensor | None  # see :class:`lfcs.trajectory.Trajectory`


Show = Callable[[Pass], None]


class Learns(Protocol):
    """What the trainer needs of a form of learning; ``show`` is given every pass where somebody looks on."""

    update: Update
    show: Show | None

    def learn(self, traj: Trajectory, left: float) -> Record:
        """Learn from a window; ``left`` is the share of the run still to come."""

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""


class Learner:
    """Goes over each window R times, and over older ones where ``replay`` keeps them.

    ``reference`` is the engine of the policy that acts.
    """

    def __init__(self, update: Update, reference: Engine, replay: Replay | None = None, burn_in: int = 0) -> None:
        self.update, self.reference, self.replay, self.burn_in = update, reference, replay, burn_in
        self.rule, self.agent, self.ticks = update.rule, update.agent, update.ticks
        self.past: Past | None = None
        self.show: Show | None = None

    @torch.no_grad()
    def learn(self, traj: Trajectory, left: float) -> Record:
        """Replay experience R times; return what the last pass saw.

        ``left`` is as in :meth:`Update.schedule`. The first pass is over ``traj``, the others too or, where the replay
        keeps windows, each over one that it draws.
        """
        self.update.schedule(left)
        view = View(traj.value, traj.bootstrap, torch.ones_like(traj.value))
        if self.agent.looks:
            view = self.look(traj)
        if self.replay is None:
            return self._passes(traj, view, self.rule.replays)[0]
        self.replay.add(traj)
        record, view = self._passes(traj, view, 1)
        largest = record.largest
        for _ in range(1, self.rule.replays):
            record, _ = self._passes(*self.drawn(self.replay.draw(), traj), 1)
            largest = torch.maximum(largest, record.largest)
        return record._replace(largest=largest)

    def drawn(self, window: Trajectory, current: Trajectory) -> tuple[Trajectory, View]:
        """Return a drawn window as it is learned from, and the new policy's view of it.

        The first ``burn_in`` steps of an older one only bring the neurons' state up to date. Where the agent decouples,
        the ratio of an older one is to the reference of now, and ``stale`` is what remains, π_ref/π_acting: then
        π_new/π_acting = ρ · stale. Values are the new policy's, of now.
        """
        if window is current:
            return window, self.look(window)
        old, window = window, self._burnt_in(window, self.update.engine)
        view = self.look(window)
        if not self.agent.decoupled:
            return window, view
        params, logp = self._reference(self._burnt_in(old, self.reference))
        stale = rules.ratio(logp, window.logp_ref)
        return dataclasses.replace(window, params=params, logp_ref=logp, stale=stale), view

    def _burnt_in(self, window: Trajectory, engine: Engine) -> Trajectory:
        """Return an older window without its first steps, from the state in which they leave an engine's network."""
        if not self.burn_in:
            return window
        first = slice(0, self.burn_in)
        return after(window, self.burn_in, engine.run(window.x[first], window.state, window.reset[first]).states.at(-1))

    def look(self, traj: Trajectory) -> View:
        """Return the new policy's view of a window, without learning."""
        parts = [
            (seen.value, self.update.bootstraps(traj, chunk, seen), self._log_prob(traj, chunk, seen))
            for chunk, seen in self._chunks(traj, self.update.engine)
        ]
        value, bootstrap, logp = (torch.cat(part) for part in zip(*parts, strict=True))
        return View(value, bootstrap, rules.ratio(logp, traj.logp_ref))

    def _reference(self, traj: Trajectory) -> tuple[Tensor, Tensor]:
        """Return the head's parameters [T, B, P] and log π(a) [T, B] of the reference of now on a stored window."""
        parts = [(seen.params, self._log_prob(traj, chunk, seen)) for chunk, seen in self._chunks(traj, self.reference)]
        params, logp = (torch.cat(part) for part in zip(*parts, strict=True))
        return params, logp

    def _log_prob(self, traj: Trajectory, chunk: slice, seen: Steps) -> Tensor:
        return self.update.head.log_prob(seen.params, traj.action[chunk])

    def _recent(self, state: NetState) -> Past:
        """Return the buffer of recent states, beginning with ``state``."""
        if self.past is None or self.past.buffer.shape[1] != state.data.shape[0]:
            self.past = Past(state, self.rule.tail, self.rule.tau_f * self.ticks)
        self.past.begin(state)
        return self.past

    def _chunks(self, traj: Trajectory, engine: Engine, differentiable: bool = False) -> Iterator[tuple[slice, Steps]]:
        """Run a network over a window chunk by chunk: yields its steps and what they gave."""
        past = self._recent(traj.state)
        for start in range(0, len(traj.action), self.rule.tau_f):
            chunk = slice(start, min(start + self.rule.tau_f, len(traj.action)))
            ticks = (chunk.stop - start) * self.ticks
            yield chunk, past.extended(engine, traj.x[chunk], traj.reset[chunk], ticks, differentiable)

    def _passes(self, traj: Trajectory, view: View, count: int) -> tuple[Record, View]:
        """Go over a window ``count`` times, at first with a view of it; return what the last pass saw, and its view."""
        largest = torch.zeros_like(traj.value[0, 0])
        for _ in range(count):
            credit = self.update.credit(traj, view)
            record, view = self._pass(traj, credit)
            if self.show is not None:
                self.show(Pass(record.rho, credit.advantage, traj.stale))
            largest = torch.maximum(largest, kl_estimate(record.rho))
        return record._replace(largest=largest), view

    def _pass(self, traj: Trajectory, credit: Credit) -> tuple[Record, View]:
        """One pass in order of time, an update from each chunk; returns what it saw and the view that it gave."""
        update = self.update
        before, reset = update.network.readout.clone(), update.by_tick(traj.reset)
        slow = slow_trace(update.engine, update.network, reset.shape[1], self.rule.tail)
        saw: dict[str, list[Tensor]] = {k: [] for k in ("value", "bootstrap", "rho", "entropy", "rate", "norm")}
        for chunk, seen in self._chunks(traj, update.engine, differentiable=True):
            saw["bootstrap"].append(update.bootstraps(traj, chunk, seen))
            resets = reset[chunk.stop * self.ticks - len(seen.states.data) : chunk.stop * self.ticks]
            own = seen.states.spk[-len(seen.value) * self.ticks :]
            saw["rate"].append(update.follow_rate(own))
            sample = update.sample(traj, chunk, seen.params, credit)
            missed = credit.target[chunk] - seen.value
            gradients = update.gradients(seen.states, resets, traj.x[chunk], sample, missed, slow)
            if slow is not None:
                slow.follow(seen.states, resets)
            saw["norm"].append(update.ascend(gradients))
            for name, item in (("value", seen.value), ("rho", sample.rho), ("entropy", sample.judged.entropy)):
                saw[name].append(item)
        value, bootstrap, rho, entropy = (torch.cat(saw[k]) for k in ("value", "bootstrap", "rho", "entropy"))
        rate, norm = torch.stack(saw["rate"]), torch.stack(saw["norm"])
        change = (update.network.readout - before).norm()
        record = Record(value, rho, entropy, rate, norm, change, credit.target, torch.zeros_like(change))
        return record, View(value, bootstrap, rho)

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state."""
        return {
            "update": self.update.state_dict(),
            "replay": None if self.replay is None else self.replay.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state."""
        self.update.load_state_dict(saved["update"])
        if self.replay is not None:
            self.replay.load_state_dict(saved["replay"])
