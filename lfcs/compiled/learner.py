"""The window form of the rule with every pass compiled, where neuron model, head and rule have compiled forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lfcs.agent import Agent, Loops
from lfcs.compiled import learn
from lfcs.engines import CompiledEngine
from lfcs.kernels import kernels_of
from lfcs.learner import Learner
from lfcs.trajectory import Trajectory
from lfcs.update import Record, View

BLOCK = 256  # environments x ticks of a gradient that are worked on at a time, to stay in the cache
KEPT = 8  # chunks of states for which there is room before the latest are moved to the front


def stands_for(owner: Any, declared: str, methods: tuple[str, ...]) -> bool:
    """Return whether no class overrides one of the methods below the class that declares their compiled forms."""
    order = type(owner).__mro__
    at = next((i for i, cls in enumerate(order) if declared in vars(cls)), len(order))
    return not any(method in vars(cls) for cls in order[:at] for method in methods)


def loops_of(agent: Agent) -> Loops | None:
    """Return the compiled forms of a rule, or None where it has none or brings an engine of its own."""
    if agent.engine is not None or not stands_for(agent, "loops", ("weight", "error", "credit")):
        return None
    return agent.loops()


class CompiledLearner(Learner):
    """Goes over windows as :class:`lfcs.learner.Learner` does, all passes over a window in one compiled call."""

    room: learn.Room | None = None
    parts: learn.Parts | None = None

    def _passes(self, traj: Trajectory, view: View, count: int) -> tuple[Record, View]:
        """See :meth:`lfcs.learner.Learner._passes`."""
        update = self.update
        seen = self._seen(traj, view)
        largest = self._run(count, True, traj, seen)
        found = {name: torch.from_numpy(array) for name, array in seen._asdict().items()}
        change = (update.network.readout - found["readout"]).norm()
        saw = *(found[name] for name in ("value", "rho", "entropy", "rate", "norm")), change, found["target"]
        return Record(*saw, change.new_tensor(largest)), View(found["value"], found["bootstrap"], found["rho"])

    def look(self, traj: Trajectory) -> View:
        """See :meth:`lfcs.learner.Learner.look`."""
        seen = self._seen(traj, View(traj.value, traj.bootstrap, torch.ones_like(traj.value)))
        self._run(1, False, traj, seen)
        return View(*map(torch.from_numpy, (seen.value, seen.bootstrap, seen.rho)))

    def _seen(self, traj: Trajectory, view: View) -> learn.Seen:
        """Return arrays for what a pass sees, which begin with a view of the window."""
        value, bootstrap, rho = (part.numpy().copy() for part in view)
        more = np.empty((4, *value.shape), value.dtype)
        chunks = -(-len(value) // self.rule.tau_f)
        rate = np.zeros((chunks, self.update.network.config.neurons), value.dtype)
        readout = np.empty(self.update.network.readout.shape, value.dtype)
        return learn.Seen(value, bootstrap, rho, *more, rate, np.zeros(chunks, value.dtype), readout)

    def _run(self, passes: int, learns: bool, traj: Trajectory, seen: learn.Seen) -> float:
        neurons, rule, learned = self._numbers()
        start, window = traj.state.data.numpy(), experience(traj, neurons.ticks)
        given = window, neurons, rule, learned, seen, self._room(window, neurons)
        self.parts = self.parts or learn.parts_of(*given)
        largest = learn.learn(passes, learns, start, *given, self.parts)
        self.update.optimiser.steps = int(learned.steps[0])
        return largest

    def _room(self, window: learn.Experience, neurons: learn.Neurons) -> learn.Room:
        """Return memory for passes over a window, kept from call to call."""
        batch, n, kind = window.reward.shape[1], len(self.update.firing_rate), window.x.dtype
        ticks = min(self.rule.tau_f, len(window.reward)) * neurons.ticks
        total = max(1, self.rule.tail) + 1 + max(ticks, min(KEPT * ticks, len(window.by_tick)))
        block = max(1, BLOCK // batch)
        if self.room is None or self.room.rows.shape[:2] != (total, batch):
            rows = np.empty((total, batch, (neurons.fields + 1) * n), kind)
            fired, counts = np.empty((total, batch, n), np.int32), np.empty((total, batch), np.int64)
            network = self.update.network
            gradients = np.empty(network.hidden.shape, kind), np.empty(network.readout.shape, kind)
            outputs = np.empty((2, ticks // neurons.ticks, batch, len(network.readout)), kind)
            self.room = learn.Room(rows, fired, counts, np.empty((block, batch, n), kind), *gradients, *outputs)
        return self.room

    def _numbers(self) -> tuple[learn.Neurons, learn.Rule, learn.Learned]:
        """Return what the compiled loops need of neurons, rule and weights; the arrays are those of the update."""
        update, rule, engine = self.update, self.rule, self.update.engine
        assert isinstance(engine, CompiledEngine)
        loops, optimiser = loops_of(self.agent), update.optimiser
        assert loops is not None and update.head.loops is not None
        neurons = learn.Neurons(
            int(engine.tick.address), int(engine.post_of.address), engine.fields, engine.constants, engine.decay, engine.kappa, engine.update,
            engine.ticks, kernels_of(engine.dtype),
        )  # fmt: skip
        bars = loops.bars or (-1.0, -1.0)
        numbers = learn.Rule(
            update.head.loops.judge.address(), loops.weight.address(), loops.error.address(), np.array(loops.constants, np.float64),
            *bars, rule.tau_f, rule.tail, rule.gamma, rule.lam, rule.normalise, update.entropy_bonus, rule.value,
            rule.homeostasis, rule.target_rate, 1.0 - 1.0 / rule.rate_memory, rule.max_grad_norm,
        )  # fmt: skip
        moments = *(m.numpy() for m in optimiser.first), *(v.numpy() for v in optimiser.second)
        fixed = update.random_feedback.numpy()[: None if rule.feedback == "random" else 0]
        learned = learn.Learned(
            engine.hidden, engine.readout, *moments, update.firing_rate.numpy(), fixed, update.shares[:, 0].numpy(),
            np.array(update.learning_rates, np.float64), np.array([optimiser.steps]),
        )  # fmt: skip
        return neurons, numbers, learned


def experience(traj: Trajectory, ticks: int) -> learn.Experience:
    """Return a window as the compiled loops take it."""
    steps, batch = traj.reward.shape
    by_tick = np.zeros((steps * ticks, batch), bool)
    by_tick[::ticks] = traj.reset.numpy()
    final, at = np.empty((len(traj.final), *traj.x.shape[1:]), traj.x.numpy().dtype), np.full(steps, -1)
    for i, (t, following) in enumerate(traj.final.items()):
        final[i], at[t] = following.numpy(), i
    x = traj.x.contiguous().numpy()
    like = np.empty((0, 0), x.dtype)
    return learn.Experience(
        x,
        np.ascontiguousarray(x.reshape(steps * batch, -1).T),
        np.ascontiguousarray(traj.action.numpy().reshape(steps, batch, -1), np.float64),
        *(part.contiguous().numpy() for part in (traj.params, traj.logp_ref, traj.reward)),
        *(part.contiguous().numpy() for part in (traj.terminated, traj.truncated, traj.reset)),
        by_tick,
        like if traj.stale is None else traj.stale.contiguous().numpy(),
        final,
        at,
    )
