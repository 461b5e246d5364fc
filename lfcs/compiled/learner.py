"""The window form of the rule with every pass compiled, where neuron model, head and rule have compiled forms."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lfcs.agent import Agent, Loops
from lfcs.compiled import forms, learn
from lfcs.compiled.team import Share, shares, together
from lfcs.engines import CompiledEngine, Engine
from lfcs.learner import Learner, Pass
from lfcs.measured import Record
from lfcs.network import SpikingNetwork
from lfcs.trajectory import Replay, Trajectory
from lfcs.update import Update, View

BLOCK = 256  # environments x ticks of a gradient that are worked on at a time, to stay in the cache
SOME = 16  # ticks of what a slow eligibility is moved on by at a time
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

    room: forms.Room | None = None
    parts: forms.Parts | None = None
    pool: ThreadPoolExecutor | None = None
    threads = 0

    def __init__(self, update: Update, reference: Engine, replay: Replay | None = None, burn_in: int = 0) -> None:
        super().__init__(update, reference, replay, burn_in)
        self.teams: dict[int, list[Share]] = {}

    def _passes(self, traj: Trajectory, view: View, count: int) -> tuple[Record, View]:
        """See :meth:`lfcs.learner.Learner._passes`."""
        update = self.update
        seen = self._seen(traj, view, 0 if self.show is None else count)
        largest = self._run(count, True, traj, seen)
        if self.show is not None:
            for rho, advantage in zip(*map(torch.from_numpy, seen.passes), strict=True):
                self.show(Pass(rho, advantage, traj.stale))
        found = {name: torch.from_numpy(array) for name, array in seen._asdict().items()}
        saw = {name: found[name] for name in ("value", "rho", "entropy", "rate", "norm", "target")}
        change = learn.distance(update.network.readout.numpy(), seen.readout)
        once = torch.tensor((change, largest), dtype=traj.value.dtype)
        record = Record(**saw, change=once[0], largest=once[1])
        return record, View(found["value"], found["bootstrap"], found["rho"])

    def look(self, traj: Trajectory) -> View:
        """See :meth:`lfcs.learner.Learner.look`."""
        seen = self._seen(traj, View(traj.value, traj.bootstrap, torch.ones_like(traj.value)))
        self._run(1, False, traj, seen)
        return View(*map(torch.from_numpy, (seen.value, seen.bootstrap, seen.rho)))

    def by_part(self, traj: Trajectory) -> dict[str, Callable[[], None]]:
        """Return the parts of the first update of a window, each as a call, for a benchmark to time."""
        neurons, rule, learned = self._numbers()
        seen = self._seen(traj, View(traj.value, traj.bootstrap, torch.ones_like(traj.value)))
        window = experience(traj, self.update.network)
        room, end = self._room(window, neurons), min(self.rule.tau_f, len(traj.value))
        (share,) = shares(
            1, window.reward.shape[1], len(room.squares) - len(learned.firing_rate), len(learned.firing_rate)
        )
        parts = learn.parts_of(window, neurons, rule, learned, seen, room, share)
        room.trace[:], room.slow[:], room.scale[0] = traj.state.trace.numpy(), 0.0, 1.0
        return {
            "forward": lambda: learn.timed_look(parts, end, window, neurons, learned, seen, room, share),
            "head and rule": lambda: learn.timed_judge(parts, end, window, rule, learned, seen, room, share),
            "gradient": lambda: learn.timed_gradient(parts, end, window, neurons, rule, learned, seen, room, share),
            "clip and Adam": lambda: learn.timed_ascent(parts, neurons, rule, learned, room, share),
        }

    def _seen(self, traj: Trajectory, view: View, passes: int = 0) -> forms.Seen:
        """Return arrays for what a pass sees, which begin with a view of the window, and to keep of ``passes``."""
        value, bootstrap, rho = (part.numpy().copy() for part in view)
        kind, chunks, network = value.dtype, -(-len(value) // self.rule.tau_f), self.update.network
        entropy, advantage, raw, target = np.empty((4, *value.shape), kind)
        rate, norm = np.zeros((chunks, network.config.neurons), kind), np.zeros(chunks, kind)
        readout = np.empty(network.readout.shape, kind)
        kept = np.empty((2, passes, *value.shape), kind)
        return forms.Seen(value, bootstrap, rho, entropy, advantage, raw, target, rate, norm, readout, kept)

    def _run(self, passes: int, learns: bool, traj: Trajectory, seen: forms.Seen) -> float:
        neurons, rule, learned = self._numbers()
        start, window = traj.state.data.numpy(), experience(traj, self.update.network)
        given = window, neurons, rule, learned, seen, self._room(window, neurons)
        team = self._team(window)
        self.parts = self.parts or learn.parts_of(*given, team[0])

        def call(share: Share) -> float:
            return learn.learn(passes, learns, start, *given, self.parts, share)

        largest = together(call, team, self.pool)
        self.update.optimiser.steps = int(learned.steps[0])
        return largest

    def _team(self, window: forms.Experience) -> list[Share]:
        """Return the shares of as many threads as tensor operations had at first, with a pool for all but one.

        Other runs in this process may change that number later; a share without a thread would be waited for for ever.
        """
        batch, neurons = window.reward.shape[1], self.update.network.config.neurons
        if batch not in self.teams:
            inputs = len(self.update.network.hidden) - neurons
            self.threads = self.threads or torch.get_num_threads()
            self.teams[batch] = shares(self.threads, batch, inputs, neurons)
        if self.threads > 1 and self.pool is None:
            self.pool = ThreadPoolExecutor(self.threads - 1, "lfcs")
        return self.teams[batch]

    def _room(self, window: forms.Experience, neurons: forms.Neurons) -> forms.Room:
        """Return memory for passes over a window, kept from call to call."""
        batch, n, kind = window.reward.shape[1], len(self.update.firing_rate), window.x.dtype
        ticks = min(self.rule.tau_f, len(window.reward)) * neurons.ticks
        total = max(1, self.rule.tail) + 1 + max(ticks, min(KEPT * ticks, len(window.by_tick)))
        block = max(1, BLOCK // batch)
        if self.room is None or self.room.rows.shape[:2] != (total, batch):
            rows = np.empty((total, batch, (neurons.fields + 1) * n), kind)
            network, sources, groups = self.update.network, len(self.update.network.hidden), len(neurons.decays)
            out, error = np.empty((2, ticks // neurons.ticks, batch, len(network.readout)), kind)
            some = (SOME, batch) if len(neurons.slow) else (0, 0)
            self.room = forms.Room(
                rows=rows, fired=np.empty((total, batch, n), np.int32), counts=np.empty((total, batch), np.int64),
                credit=np.empty((block, batch, n), kind), hidden=np.empty(network.hidden.shape, kind),
                readout=np.empty(network.readout.shape, kind), path=np.empty(len(network.path), kind),
                out=out, error=error,
                trace=np.empty((batch, groups * sources), kind), carried=np.empty((3, batch, n), kind),
                slow=np.empty((batch, sources, n) if len(neurons.slow) else (0, 0, 0), kind),
                kept=np.empty((2, *some, n), kind), seen=np.empty((*some, groups * sources), kind),
                squares=np.empty(sources), scale=np.empty(1),
                scratch=np.empty((batch + 1, 7, max(4, out.shape[2]))),
            )  # fmt: skip
        return self.room

    def _numbers(self) -> tuple[forms.Neurons, forms.Rule, forms.Learned]:
        """Return what the compiled loops need of neurons, rule and weights; the arrays are those of the update."""
        update, rule, engine = self.update, self.rule, self.update.engine
        assert isinstance(engine, CompiledEngine)
        loops, optimiser = loops_of(self.agent), update.optimiser
        assert loops is not None and update.head.loops is not None
        neurons = forms.Neurons(
            int(engine.tick.address), int(engine.post_of.address), engine.fields, engine.constants, engine.decays,
            engine.decay, engine.slow, engine.kappa, engine.update, engine.ticks, not update.network.config.memory,
            engine.kernels, _present(update.network),
        )  # fmt: skip
        rho_bar, c_bar = loops.bars or (-1.0, -1.0)
        numbers = forms.Rule(
            judge=update.head.loops.judge.address(), head=update.head.numbers().constants,
            weight=loops.weight.address(), error=loops.error.address(),
            constants=np.array(loops.constants, np.float64), rho_bar=rho_bar, c_bar=c_bar, tau_f=rule.tau_f,
            tail=rule.tail, gamma=rule.gamma, lam=rule.lam, lam_critic=max(rule.lam, rule.lam_critic),
            normalise=rule.normalise, entropy=update.entropy_bonus, value=rule.value, homeostasis=rule.homeostasis,
            target_rate=rule.target_rate, rate_decay=1.0 - 1.0 / rule.rate_memory, max_norm=rule.max_grad_norm,
            apart=rule.clip == "apart", outputs=update.head.outputs,
        )  # fmt: skip
        (first_hidden, first_readout, first_path), (second_hidden, second_readout, second_path) = (
            [part.numpy() for part in moments] for moments in (optimiser.first, optimiser.second)
        )
        learned = forms.Learned(
            hidden=engine.hidden, readout=engine.readout, path=update.network.path.numpy(), first_hidden=first_hidden,
            first_readout=first_readout, first_path=first_path, second_hidden=second_hidden,
            second_readout=second_readout, second_path=second_path, firing_rate=update.firing_rate.numpy(),
            feedback=update.random_feedback.numpy()[: None if rule.feedback == "random" else 0],
            shares=update.shares[:, 0].numpy(), rates=np.array(update.learning_rates, np.float64),
            steps=np.array([optimiser.steps]),
        )  # fmt: skip
        return neurons, numbers, learned


def _present(network: SpikingNetwork) -> np.ndarray:
    """Return which recurrent synapses a network has [N, N], or [0, 0] for all."""
    return (network.hidden.new_zeros(0, 0) if network.present is None else network.present.contiguous()).numpy()


def experience(traj: Trajectory, network: SpikingNetwork) -> forms.Experience:
    """Return a window as the compiled loops of a network take it."""
    (steps, batch), ticks, reset = traj.reward.shape, network.config.ticks, _array(network.resets(traj.reset))
    by_tick = np.zeros((steps * ticks, batch), bool)
    by_tick[::ticks] = reset
    final, at = np.empty((len(traj.final), *traj.x.shape[1:]), traj.x.numpy().dtype), np.full(steps, -1)
    for i, (t, following) in enumerate(traj.final.items()):
        final[i], at[t] = following.numpy(), i
    x = traj.x.contiguous().numpy()
    return forms.Experience(
        x=x, columns=np.ascontiguousarray(x.reshape(steps * batch, -1).T),
        action=np.ascontiguousarray(traj.action.numpy().reshape(steps, batch, -1), np.float64),
        params=_array(traj.params), logp_ref=_array(traj.logp_ref), reward=_array(traj.reward),
        terminated=_array(traj.terminated), truncated=_array(traj.truncated), reset=reset, by_tick=by_tick,
        stale=np.empty((0, 0), x.dtype) if traj.stale is None else _array(traj.stale), final=final, final_at=at,
    )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()
