"""Acting with compiled loops: a call a window where the environments are compiled too, else a call a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lfcs.compiled import act
from lfcs.compiled.learner import stands_for
from lfcs.engines import CompiledEngine
from lfcs.heads import Head
from lfcs.network import NetState
from lfcs.policy import Encoder, Policy
from lfcs.rollout import Look, Moment, Rollout
from lfcs.trajectory import Trajectory

METHODS = "judge", "log_prob", "sample", "draw", "greedy", "to_env"  # of a head, that its loops stand for


def has_loops(head: Head) -> bool:
    """Return whether a head has compiled forms that stand for it."""
    given = getattr(head, "loops", None)
    return given is not None and ("loops" in vars(head) or stands_for(head, "loops", METHODS))


def mind_of(policy: Policy, greedy: bool = False) -> act.Mind:
    """Return what compiled loops need of a policy's network and head."""
    engine, loops = policy.engine, policy.head.loops
    assert isinstance(engine, CompiledEngine) and loops is not None
    choose, forgets = loops.greedy if greedy else loops.draw, not policy.network.config.memory
    return act.Mind(
        engine.kernels.advance, int(engine.tick.address), engine.fields, engine.constants, engine.decays,
        engine.update, engine.ticks, engine.hidden, engine.readout, policy.network.path.numpy(), forgets,
        loops.judge.address(), choose.address(), policy.head.numbers().constants,
    )  # fmt: skip


def senses_of(encoder: Encoder, learns: bool) -> act.Senses | None:
    """Return what compiled loops need of an encoder, None where it has no compiled form that stands for it."""
    if not hasattr(encoder, "loops") or not stands_for(encoder, "loops", ("observe", "encode")):
        return None
    loops = encoder.loops()
    return act.Senses(loops.encode.address(), loops.constants, loops.observed, loops.mean, loops.m2, learns)


def is_compiled(envs: Any) -> bool:
    """Return whether compiled loops may step environments: not those that something wraps, or overrides a step of."""
    return hasattr(type(envs), "tasks") and stands_for(envs, "tasks", ("reset", "step"))


def memory_for(policy: Policy, batch: int, learns: bool) -> act.Memory:
    """Return room for the states of ``batch`` environments, at rest."""
    engine = policy.engine
    assert isinstance(engine, CompiledEngine)
    (sources, n), kind, groups = engine.hidden.shape, engine.dtype, len(engine.decays)
    return act.Memory(
        np.zeros((engine.ticks, batch, (engine.fields + 1) * n), kind),
        np.zeros((batch, groups * sources) if learns else (0, 0), kind),
        np.empty((1, batch, len(engine.readout)), kind),
        np.ones((1, batch), bool),
        np.empty((2, batch, n), np.int32),
        np.empty((2, batch), np.int64),
        np.empty((4, max(2, len(engine.readout)))),
    )


class CompiledRollout(Rollout):
    """Acts as :class:`lfcs.rollout.Rollout` does, with the same numbers whatever the environments are."""

    memory: act.Memory | None = None

    @torch.no_grad()
    def collect(self, steps: int, look: Look | None = None) -> Trajectory:
        """See :meth:`lfcs.rollout.Rollout.collect`."""
        policy, first_state = self.policy, self.state
        self.memory = self.memory or memory_for(policy, self.batch, True)
        lived, uniform = self._room(steps), self._uniform(steps)
        width = self.memory.rows.shape[2]
        data = first_state.data.numpy()
        self.memory.rows[-1], self.memory.trace[:] = data[:, :width], data[:, width:]
        self.memory.reset[0] = self.begun
        senses = senses_of(policy.encoder, True)
        if senses is not None and look is None and is_compiled(self.envs):
            finals = self._whole(senses, uniform, lived)
        else:
            finals = self._by_steps(uniform, lived, look)
        self.state = self._state()
        return self._trajectory(lived, finals, first_state)

    def _state(self) -> NetState:
        assert self.memory is not None
        return self.state.with_data(torch.from_numpy(np.concatenate((self.memory.rows[-1], self.memory.trace), axis=1)))

    def _uniform(self, steps: int) -> np.ndarray:
        """Return the numbers that actions are drawn from, [T, B, U]."""
        noise, like = self.policy.head.numbers().noise, self.policy.network.hidden
        shape, generator = (steps, self.batch, noise), self.policy.generator
        return torch.rand(shape, generator=generator, dtype=like.dtype).double().numpy()

    def _given(self, rows: np.ndarray) -> Any:
        """Return actions as the environments take them, of rows [..., A] of the compiled loops."""
        head = self.policy.head
        return head.to_env(head.counted(torch.from_numpy(rows)))

    def _room(self, steps: int) -> act.Lived:
        width, kind = self.policy.head.numbers().width, self.policy.network.hidden.numpy().dtype
        by_step, inputs = (steps, self.batch), self.policy.encoder.size
        logp, value, bootstrap = np.empty((3, *by_step), kind)
        terminated, truncated, reset = np.empty((3, *by_step), bool)
        bootstrap[:] = 0.0
        return act.Lived(
            x=np.empty((*by_step, inputs), kind), action=np.empty((*by_step, width)),
            params=np.empty((*by_step, self.policy.head.size), kind), logp=logp, value=value, bootstrap=bootstrap,
            reward=np.empty(by_step), terminated=terminated, truncated=truncated, reset=reset,
            final=np.empty((*by_step, inputs), kind), final_at=np.full(steps, -1),
        )  # fmt: skip

    def _whole(self, senses: act.Senses, uniform: np.ndarray, lived: act.Lived) -> int:
        """Act for a window in one call."""
        envs: Any = self.envs
        envs.ready(len(uniform))
        mind, outward = mind_of(self.policy), self.policy.head.numbers().outward
        finals = act.act(outward, senses, mind, self.memory, envs.tasks(), uniform, lived)
        self.action_log += list(self._given(lived.action))
        self.obs, self.begun = envs.obs.copy(), self.memory.reset[0].copy()  # type: ignore[union-attr]
        self.env_steps += lived.reward.size
        over = act.count_episodes(lived, self.episode_return, self.episode_length)
        self.episodes.extend((total, int(length)) for total, length in over.tolist())
        return finals

    def _by_steps(self, uniform: np.ndarray, lived: act.Lived, look: Look | None) -> int:
        """Act step by step, showing each to ``look``; returns how many rows of ``lived.final`` are used."""
        mind, memory, encoder, finals = mind_of(self.policy), self.memory, self.policy.encoder, 0
        assert memory is not None
        for t in range(len(uniform)):
            obs, began = self.obs, self.begun
            encoder.observe(obs)
            lived.x[t], memory.reset[0], lived.reset[t] = encoder.encode(obs), began, began
            given = lived.action[t], lived.params[t], lived.logp[t], lived.value[t]
            act.decide(lived.x[t : t + 1], uniform[t], mind, memory, True, *given)
            action = self._given(lived.action[t])
            reward, lived.terminated[t], lived.truncated[t], following = self._step_envs(action)
            lived.reward[t] = reward
            if lived.truncated[t].any() or t == len(uniform) - 1:
                lived.final[finals], lived.final_at[t] = encoder.encode(following), finals
                for b in range(self.batch):
                    act.beyond(t, b, lived.final[finals, b], mind, memory, lived)
                finals += 1
            self._close_episodes(self.begun)
            if look is not None:
                look(Moment(obs, self._state(), action, reward, began, self.begun))
        return finals

    def _trajectory(self, lived: act.Lived, finals: int, first_state: NetState) -> Trajectory:
        t = torch.from_numpy
        steps, final = np.flatnonzero(lived.final_at >= 0), t(lived.final[:finals].copy())
        action = self.policy.head.counted(t(lived.action))
        return Trajectory(
            x=t(lived.x), action=action, params=t(lived.params), logp_ref=t(lived.logp),
            value=t(lived.value), bootstrap=t(lived.bootstrap), reward=t(lived.reward.astype(lived.value.dtype)),
            terminated=t(lived.terminated), truncated=t(lived.truncated), reset=t(lived.reset),
            final=dict(zip(map(int, steps), final, strict=True)), state=first_state,
        )  # fmt: skip
