"""Environments in worker processes, which end with their parent; one set of processes for training and evaluation."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.sharedctypes import RawArray
from multiprocessing.util import Finalize
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from lfcs.envs.checked import DOING, IDLE, LATE, MAKING, NUMBER, SERIAL, WIDTH, new_place, where
from lfcs.envs.hangs import TIMEOUT, Lookout
from lfcs.envs.making import NO_KWARGS, NOTHING, Env, PlainVectorEnv, load, make_checked, make_sync, short_name
from lfcs.envs.previous import Previous
from lfcs.errors import EnvironmentFailed, UserError
from lfcs.nested import mapped
from lfcs.spawn import main_not_run_again, serve_parent

STARTING = 60.0  # seconds that a worker may take to import what it needs, whatever environments may take
PATIENCE = 5.0  # seconds that workers have to end when they are told to
Memory = dict[str, tuple[Any, tuple[int, ...], np.dtype]]  # by name: shared bytes, shape and type of an environment's


@dataclass
class Slices:
    """Environments that are spread over workers: what is shared with each, and which are its own."""

    memory: Memory
    rows: list[slice] = field(default_factory=list)  # of each worker, those beyond have none


class WorkerVectorEnv(VectorEnv):
    """Environments in worker processes, a slice of them in each; observations travel through shared memory.

    One message a worker and step: gymnasium's AsyncVectorEnv sends one for every environment, which costs more than
    stepping a fast environment. Environment i gets seed + i, as in :class:`gymnasium.vector.SyncVectorEnv`. Workers
    start with the first reset.
    """

    def __init__(
        self,
        env: Env,
        num_envs: int,
        workers: int,
        previous: Previous = NOTHING,
        kwargs: Mapping[str, Any] = NO_KWARGS,
        timeout: float = TIMEOUT,
    ) -> None:
        like = make_sync(env, 1, previous, kwargs, timeout=timeout)
        try:
            spaces = like.single_observation_space, like.single_action_space
            team = Team(_portable(env, previous, kwargs, spaces), timeout)
        finally:
            like.close()
        self._take(num_envs, workers, spaces, like.metadata, team)

    def _take(self, num_envs: int, workers: int, spaces: tuple[Any, Any], metadata: dict[str, Any], team: Team) -> None:
        """Become ``num_envs`` environments of a team."""
        self.num_envs, self.asked, self.metadata, self.team = num_envs, workers, metadata, team
        count = min(workers, num_envs)
        self.kind = f"plain, in {count} worker{'s' if count > 1 else ''}"
        self.single_observation_space, self.single_action_space = space, actions = spaces
        self.observation_space, self.action_space = batch_space(space, num_envs), batch_space(actions, num_envs)
        self._shares_actions = actions.shape is not None  # else they have parts, and go with the message
        shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            "obs": (space.shape, space.dtype),
            "final": (space.shape, space.dtype),
            "reward": ((), np.dtype(np.float64)),
            "terminated": ((), np.dtype(bool)),
            "truncated": ((), np.dtype(bool)),
        }
        if self._shares_actions:
            shapes["action"] = actions.shape, actions.dtype
        memory = {
            name: (RawArray("b", num_envs * int(np.prod(shape)) * dtype.itemsize), shape, dtype)
            for name, (shape, dtype) in shapes.items()
        }
        self._shared = _views(memory, slice(None))
        parts = np.array_split(np.arange(num_envs), count)
        self.index = team.add(Slices(memory, [slice(int(part[0]), int(part[-1]) + 1) for part in parts]))

    def on_host(self, num_envs: int) -> WorkerVectorEnv:
        """Return more environments of the same kind, beside these in the same processes, to be closed as well.

        Raises UserError where these have been reset already.
        """
        beside = object.__new__(WorkerVectorEnv)
        spaces = self.single_observation_space, self.single_action_space
        beside._take(num_envs, self.asked, spaces, self.metadata, self.team)
        return beside

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset every environment; see gymnasium. Raises UserError as :meth:`Team.ask`."""
        self.team.ask(self.index, "reset", (seed, options))
        return self._shared["obs"].copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; see gymnasium. ``infos["final_obs"]`` holds rows for ended episodes alone.

        Raises UserError as :meth:`Team.ask`.
        """
        shared = self._shared
        if self._shares_actions:
            shared["action"][:] = actions
        self.team.ask(self.index, "step", None if self._shares_actions else actions)
        outcome = (shared[name].copy() for name in ("obs", "reward", "terminated", "truncated"))
        return *outcome, {"final_obs": shared["final"]}  # type: ignore[return-value]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments, and end the workers with the last of theirs. Raises UserError as Team.ask."""
        self.team.close(self.index)


class Team:
    """Worker processes and the environments that are spread over them, started when they are first asked.

    One that does not answer for ``timeout`` seconds is killed. What a worker is at stands in ``places``.
    """

    def __init__(self, portable: bytes, timeout: float) -> None:
        self.portable, self.timeout = portable, timeout
        self.sets: list[Slices] = []
        self.open: set[int] = set()
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        self.pending: set[int] = set()  # workers that have not answered
        self.serial, self.late, self.failed = 0, False, False
        self.lookout: Lookout | None = None

    def add(self, more: Slices) -> int:
        """Take more environments; return their number. Raises UserError where workers have started."""
        if self.processes:
            raise UserError("environment workers have started: more environments come before the first reset")
        self.sets.append(more)
        self.open.add(len(self.sets) - 1)
        return len(self.sets) - 1

    def start(self) -> None:
        """Start the workers."""
        number = max(len(slices.rows) for slices in self.sets)
        shared = RawArray("b", number * WIDTH * 8)
        self.places = np.frombuffer(shared, np.int64).reshape(number, WIDTH)
        self.places[:] = new_place()
        context = multiprocessing.get_context("spawn")
        with main_not_run_again():
            for k in range(number):
                self.places[k, DOING], self.places[k, NUMBER] = (
                    MAKING,
                    next(s.rows[k].start for s in self.sets if k < len(s.rows)),
                )
                own = [(s.memory, s.rows[k] if k < len(s.rows) else None) for s in self.sets]
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs, self.portable, own, shared, k), daemon=True)
                process.start()
                theirs.close()
                self.pipes.append(ours)
                self.processes.append(process)
        self.started = time.monotonic()
        self.lookout = Lookout(self.timeout, self._mark, self._at, self._give_up)
        # before multiprocessing waits, at the interpreter's end, for workers that nobody has closed
        Finalize(self, end, (self.pipes, self.processes, self.lookout), exitpriority=1)

    def ask(self, index: int, command: str, given: Any = None) -> None:
        """Let workers do something with their slices of environments, and wait for all.

        Raises EnvironmentFailed where an environment fails, with its worker or without, or does not return.
        """
        if not self.processes:
            self.start()
        asked = self.sets[index].rows
        self.pending = set(range(len(asked)))
        self.serial += 1
        for k, rows in enumerate(asked):
            own = given
            if command == "step" and given is not None:
                own = mapped(lambda part, rows=rows: part[rows], given)
            try:
                self.pipes[k].send((index, command, own))
            except OSError:
                raise self._gone(index, k) from None
        answers = []
        for k in range(len(asked)):
            try:
                answers.append(self.pipes[k].recv())
            except (EOFError, OSError):
                raise self._gone(index, k) from None
            self.pending.discard(k)
        for failure in filter(None, answers):
            self.failed = True
            raise failure

    def _gone(self, index: int, k: int) -> EnvironmentFailed:
        """Return what is said of a worker that is no longer there."""
        self.failed = True
        process, rows = self.processes[k], self.sets[index].rows[k]
        process.join(PATIENCE)
        code = process.exitcode
        if self.late:
            why = LATE
        elif code is not None and code < 0:
            why = f"the worker process was killed by {signal.Signals(-code).name}"
        else:
            why = f"the worker process ended with exit status {code}"
        return EnvironmentFailed(f"{where(self.places[k], f'environments {rows.start} to {rows.stop - 1}')}: {why}")

    def _mark(self) -> Any:
        """Return what changes as long as workers get on; their start is given STARTING seconds beside."""
        starting = any(self.places[k, SERIAL] == 0 for k in list(self.pending))
        if not self.pending or (starting and time.monotonic() - self.started < STARTING):
            return None
        return self.serial, self.places.tobytes()

    def _at(self) -> str:
        busy = [place for k, place in enumerate(self.places) if k in self.pending and place[DOING] != IDLE]
        return where(busy[0]) if busy else "environment workers"

    def _give_up(self, beyond: float) -> None:
        """Kill the workers that are waited for, the busy ones where there are any."""
        self.late, waited = True, list(self.pending)
        busy = [k for k in waited if self.places[k, DOING] != IDLE]
        for k in busy or waited:
            self.processes[k].kill()

    def close(self, index: int) -> None:
        """Close environments, and end the workers when no others are open."""
        if index not in self.open:
            return
        self.open.discard(index)
        try:
            if self.processes and not self.failed and not self.pending:
                self.ask(index, "close")
        finally:
            if not self.open and self.lookout is not None:
                end(self.pipes, self.processes, self.lookout, 0.0 if self.failed or self.pending else PATIENCE)


def end(pipes: list[Connection], processes: list[Any], lookout: Lookout, patience: float = 0.0) -> None:
    """End workers: one that has not left within ``patience`` seconds after its pipe was closed is killed."""
    lookout.stop()
    for pipe in pipes:
        pipe.close()
    alive = [process for process in processes if process.is_alive()]
    while patience and alive and wait_for([process.sentinel for process in alive], patience):
        alive = [process for process in alive if process.is_alive()]
    for process in alive:
        process.kill()
    for process in processes:
        process.join()


def _portable(env: Env, previous: Previous, kwargs: Mapping[str, Any], spaces: tuple[Any, Any]) -> bytes:
    """Return what :func:`make_checked` wants as bytes for a worker, with what this process has registered.

    Raises UserError where it cannot be sent.
    """
    spec = gymnasium.registry.get(short_name(env)) if isinstance(env, str) else None
    try:
        return cloudpickle.dumps((env, previous, kwargs, spaces, spec))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UserError(f"{env!r} cannot be sent to worker processes ({error}): use train.env_workers=0") from None


def _views(memory: Memory, rows: slice) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(raw, dtype=dtype).reshape(-1, *shape)[rows] for name, (raw, shape, dtype) in memory.items()
    }


class Served:
    """A worker's slice of some environments, made when they are first asked for."""

    def __init__(self, portable: bytes, memory: Memory, rows: slice, place: np.ndarray) -> None:
        self.portable, self.rows, self.place = portable, rows, place
        self.shared = _views(memory, rows)
        self.envs: PlainVectorEnv | None = None

    def make(self) -> PlainVectorEnv:
        """Return the environments, made where they are not yet."""
        if self.envs is None:
            env, previous, kwargs, spaces, spec = cloudpickle.loads(self.portable)
            if isinstance(env, str):
                load(env)  # it may register what else is taken from here
            if spec is not None:
                gymnasium.registry.setdefault(spec.id, spec)
            numbers = range(self.rows.start, self.rows.stop)
            self.envs = make_checked(env, numbers, previous, kwargs, self.place, spaces=spaces)
        return self.envs

    def do(self, command: str, given: Any) -> None:
        """Do what was asked for, and write what came of it into the shared memory."""
        shared = self.shared
        if command == "close":
            if self.envs is not None:
                self.envs.close()
            return
        envs = self.make()
        if command == "reset":
            seed, options = given
            seed = None if seed is None else seed + self.rows.start
            shared["obs"][:], _ = envs.reset(seed=seed, options=options)
            return
        obs, reward, terminated, truncated, infos = envs.step(shared["action"] if given is None else given)
        outcome = obs, reward, terminated, truncated
        for name, value in zip(("obs", "reward", "terminated", "truncated"), outcome, strict=True):
            shared[name][:] = value
        for b in np.flatnonzero(terminated | truncated):
            shared["final"][b] = infos["final_obs"][b]


def serve(pipe: Connection, portable: bytes, sets: list[tuple[Memory, slice | None]], places: Any, k: int) -> None:
    """Run a worker's slices of the environments until the pipe closes."""
    serve_parent()  # signals are the parent's to handle: it finishes its window first
    place = np.frombuffer(places, np.int64).reshape(-1, WIDTH)[k]
    place[SERIAL] = 1
    served = [rows and Served(portable, memory, rows, place) for memory, rows in sets]
    while True:
        try:
            index, command, given = pipe.recv()
        except (EOFError, OSError):
            return  # the parent has closed the pipe or is gone
        try:
            served[index].do(command, given)
            answer = None
        except UserError as error:
            answer = EnvironmentFailed(str(error), getattr(error, "trace", None))
        except BaseException as error:  # of what makes environments: theirs are caught
            last = traceback.format_exception_only(error)[-1].strip()
            answer = EnvironmentFailed(f"an environment worker failed: {last}", traceback.format_exc())
        place[DOING] = IDLE
        pipe.send(answer)
