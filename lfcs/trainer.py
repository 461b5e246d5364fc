"""THE loop: act, learn, sync, evaluate. All that looks on is a callback."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from lfcs import checkpoint, evaluation, footprint, rollout, update
from lfcs.agent import Agent
from lfcs.average import Average
from lfcs.callbacks import Callback
from lfcs.compiled.evaluation import evaluate
from lfcs.compiled.learner import CompiledLearner, loops_of
from lfcs.compiled.rollout import CompiledRollout, has_loops
from lfcs.config import Config
from lfcs.device_rollout import DeviceRollout
from lfcs.engines import CompiledEngine, Engine, make_engine
from lfcs.errors import Diverged, EnvironmentFailed, Interrupted, UserError
from lfcs.learner import Learner, Learns
from lfcs.lock import Lock
from lfcs.network import SpikingNetwork
from lfcs.online import OnlineLearner
from lfcs.policy import Encoder, Policy
from lfcs.rollout import Moment, Rollout
from lfcs.spaces import given_space
from lfcs.trajectory import Replay
from lfcs.update import Update

# every use of randomness has a stream of its own: adding one does not shift the others
STREAMS = ("weights", "feedback", "actions", "environments", "evaluation", "final evaluation", "replay", "encoder")
PATIENCE = 10.0  # seconds that an evaluation may go on when the run is asked to leave, so that nothing is lost
TIMES = "time/fps", "time/seconds"


def stream_seed(seed: int, stream: str, index: int = 0) -> int:
    """Return a seed derived from the run's seed, the stream's name and an index such as the step."""
    return int(np.random.SeedSequence([seed, STREAMS.index(stream), index]).generate_state(1)[0] >> 1)


def set_device(name: str, threads: int) -> torch.device:
    """Choose device and number of threads, once per process. Raises UserError where there is no such device."""
    torch.set_num_threads(threads)
    if name not in ("cpu", "cuda"):
        raise UserError(f"device must be cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: this machine has no usable CUDA device")
    return torch.device(name)


class Trainer:
    """One run. The caller supplies what the library does not know: environments, encoder, agent, callbacks.

    ``policy`` acts, with the frozen reference network ``reference``; ``learner`` has the network that learns. ``final``
    is what is evaluated and kept: the policy that acts or, with ``rule.average``, one with the mean of its weights.
    ``run_dir`` is where callbacks may write, None for nowhere, and ``lock`` what keeps others from writing there.
    ``start`` may change the weights that a run begins with.
    """

    def __init__(
        self,
        config: Config,
        make_vec: Callable[[int], gymnasium.vector.VectorEnv],
        make_encoder: Callable[[Any], Encoder],
        make_agent: Callable[[Any, Any], Agent],
        callbacks: Sequence[Callback] = (),
        run_dir: Path | None = None,
        start: Callable[[Policy], None] | None = None,
    ) -> None:
        self.config, self.callbacks, self.run_dir = config, list(callbacks), run_dir
        self.lock: Lock | None = None
        self.threads = torch.get_num_threads()  # to be given back
        self.device = set_device(config.device, config.train.threads)
        agent = make_agent(config.rule, config.options)
        with ExitStack() as made:  # whatever fails, no worker stays behind
            self.envs = make_vec(config.train.num_envs)
            made.callback(self.envs.close)
            self.on_device = hasattr(self.envs, "tensors")
            host: Any = getattr(self.envs, "on_host", make_vec)  # evaluations are the host's
            self.eval_envs: gymnasium.vector.VectorEnv = host(evaluation.MAX_BATCH)
            made.callback(self.eval_envs.close)
            self.policy = self._make_policy(agent, make_encoder(self.envs.single_observation_space), start)
            self.reference, self.engine, self.head = self.policy.network, self.policy.engine, self.policy.head
            span = config.rule.average
            self.average = Average(self.policy, self._engine, span) if span else None
            self.final = self.policy if self.average is None else self.average.policy
            self.learner = self._make_learner(agent)
            kind = DeviceRollout if self.on_device else CompiledRollout if self.compiled else Rollout
            self.rollout: Rollout = kind(self.envs, self.policy)
            made.pop_all()
        self.columns = [*rollout.METRICS, *evaluation.METRICS, *TIMES, *update.METRICS, *agent.metrics]
        self.columns += [key for callback in self.callbacks for key in callback.metrics]
        self.since_sync = self.before = 0
        self.seconds = self.evaluation_seconds = 0.0  # of training windows, and of evaluations
        self.interrupted = self.warned = False
        self.stopped: str | None = None  # why the run ended before its last step
        # what callbacks have in a checkpoint: nothing before they have begun, then what was restored or their own
        self.begun = False
        self.restored: list[Any] = [[type(c).__name__, None] for c in self.callbacks]

    def _generator(self, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(stream_seed(self.config.seed, stream))

    def _make_policy(self, agent: Agent, encoder: Encoder, start: Callable[[Policy], None] | None) -> Policy:
        """Return the policy that acts, with fresh weights or what ``start`` makes of them."""
        config, space = self.config, self.envs.single_action_space
        head, seeded = agent.head(space), getattr(encoder, "seeded", None)
        footprint.check(config, encoder.size, head.size)
        if seeded is not None:
            seeded(stream_seed(config.seed, "encoder"))
        given = encoder.size, head.size, config.network, self._generator("weights"), getattr(encoder, "drive", None)
        network = SpikingNetwork(*given).to(self.device)
        actions = self._generator("actions", self.device)
        seen = given_space(self.envs.single_observation_space)
        policy = Policy(network, self._engine(network), head, encoder, seen, space, actions)
        if start is not None:
            start(policy)
        return policy

    def _engine(self, network: SpikingNetwork) -> Engine:
        """Return the run's engine; beside environments on a device even a CPU goes the way of all devices."""
        fused = self.config.engine == "fused"
        return make_engine("tensor" if self.on_device and fused else self.config.engine, network)

    def _make_learner(self, agent: Agent) -> Learns:
        """Return what learns, from the weights of the policy that acts."""
        config, network = self.config, copy.deepcopy(self.reference)
        engine = agent.engine(network) if agent.engine else self._engine(network)
        shared = Update(config.rule, agent, network, self.head, engine, self._generator("feedback"))
        if self.on_device:
            shared.optimiser.use_tensors()
        self.compiled = False
        if config.rule.form == "online":
            return OnlineLearner(shared)
        kept = config.replay.capacity
        replay = Replay(kept, self._generator("replay")) if kept else None
        # acting judges actions as learning does, so that the ratio is exactly 1 where the two policies agree
        loops = loops_of(agent) if isinstance(engine, CompiledEngine) and has_loops(self.head) else None
        self.compiled = loops is not None and isinstance(self.engine, CompiledEngine)
        return (CompiledLearner if self.compiled else Learner)(shared, self.engine, replay, config.replay.burn_in)

    @property
    def env_steps(self) -> int:
        """Environment steps taken so far, over all environments."""
        return self.rollout.env_steps

    @property
    def done(self) -> bool:
        """Whether the last window has been learned from."""
        return self.env_steps >= self.config.steps or self.stopped is not None

    def crossed(self, every: int) -> bool:
        """Return whether the latest window passed a multiple of ``every`` environment steps."""
        return self.env_steps // every > self.before // every

    def stop(self, why: str) -> None:
        """End the run after this window; the policy that acts, as it was evaluated, is the final one."""
        self.stopped = why

    def interrupt(self) -> None:
        """Ask the loop to leave after this window, to be continued."""
        self.interrupted = True

    def warn(self, message: str) -> None:
        """Say something to the user at once."""
        self.tell("warning", message)

    def tell(self, event: str, *given: Any) -> None:
        """Call a method of every callback, in their order."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *given)

    def train(self) -> dict[str, Any]:
        """Run to the last step and return the summary.

        Raises Interrupted after :meth:`interrupt`, and Diverged on a gradient that is not finite.
        """
        try:
            self._begin()
            while not self.done:
                metrics = self._timed_window()
                if self.crossed(self.config.train.eval_every):
                    metrics |= self.evaluate("evaluation", self.config.train.eval_episodes)
                    self.tell("evaluation", metrics)
                if self.crossed(self.config.train.checkpoint_every):
                    self.refresh()
                self.tell("window", metrics)
                if self.interrupted and not self.done:
                    raise Interrupted(f"stopped at step {self.env_steps}")
            return self.finish()
        except Diverged:
            self.finish(Diverged.reason)
            raise
        finally:
            self.close()

    def _begin(self) -> None:
        """Tell callbacks of the begin, then give them the state that a checkpoint had of them."""
        self.tell("begin")
        for callback, (_, state) in zip(self.callbacks, self.restored, strict=True):
            if state is not None:
                callback.load_state_dict(state)
        self.begun = True

    def close(self) -> None:
        """Stop environments and their workers, close what callbacks hold open, give threads and directory back."""
        torch.set_num_threads(self.threads)
        with ExitStack() as stack:
            if self.lock is not None:
                stack.callback(self.lock.release)
            stack.callback(self.envs.close)
            stack.callback(self.eval_envs.close)
            for callback in self.callbacks:
                stack.callback(callback.close)

    def refresh(self) -> None:
        """Start all environments from a seed of this step, so that what a checkpoint must replay stays short.

        Does nothing where it need not replay.
        """
        if self.rollout.replays_actions:
            self.rollout.refresh(stream_seed(self.config.seed, "environments", self.env_steps))

    def window(self) -> dict[str, float]:
        """Act for a window, learn from it, and copy the new policy into the reference when tau_s has passed.

        The last window is cut to end at the run's number of steps, and ends with a copy. Returns its metrics.
        Raises Diverged on a gradient or a weight that is not finite.
        """
        rule = self.config.rule
        self.before = self.env_steps
        remaining = -(-(self.config.steps - self.env_steps) // self.rollout.batch)
        traj = self.rollout.collect(min(rule.window, remaining), self._look("training"))
        left = max(0.0, 1.0 - self.env_steps / self.config.steps)
        record = self.learner.learn(self.learner.update.scaled(traj), left)
        metrics = self.learner.update.metrics(record)
        self.learner.update.adapt(metrics)
        if not math.isfinite(metrics["train/grad_norm"]):
            raise Diverged(f"learning diverged: a gradient is not finite at environment step {self.env_steps}")
        if not math.isfinite(metrics["train/weight_norm"]):
            raise Diverged(f"learning diverged: a weight is not finite at environment step {self.env_steps}")
        self.since_sync += len(traj.reward)
        if self.since_sync >= rule.tau_s or self.env_steps >= self.config.steps:
            self.reference.take(self.learner.update.network)
            self.since_sync = 0
            if self.average is not None:
                self.average.follow()
        return metrics | self.rollout.metrics()

    def _timed_window(self) -> dict[str, float]:
        """Return a window's metrics with the time that it took; evaluations are not counted."""
        begun = time.perf_counter()
        metrics = self.window()
        elapsed = time.perf_counter() - begun
        self.seconds += elapsed
        self._warn_of_far()
        times = (self.env_steps - self.before) / elapsed, self.seconds
        return metrics | dict(zip(TIMES, times, strict=True))

    def _warn_of_far(self) -> None:
        """Say once where an observation was so far from all others that it is not followed."""
        far = getattr(self.policy.encoder, "far", None)
        if far is not None and not self.warned:
            self.warned = True
            self.warn(
                f"environment {far[0]} gave an observation more than 100 standard deviations from those before, at "
                f"environment step {far[1]:,}: it counts as 100 in what the encoder learns of their range"
            )

    def _look(self, where: str) -> Callable[[Moment], None] | None:
        """Return what shows acted steps to the callbacks that define ``acted``, or None where there is none."""
        watching = [c for c in self.callbacks if type(c).acted is not Callback.acted]
        if not watching:
            return None

        def look(moment: Moment) -> None:
            for callback in watching:
                callback.acted(self, where, moment)

        return look

    def _hear(self, episodes: int, greedy: bool) -> evaluation.Heard:
        """Return what tells the callbacks that define ``evaluating`` of an evaluation, and leaves it when asked to."""
        hearing = [c for c in self.callbacks if type(c).evaluating is not Callback.evaluating]
        where = "greedy" if greedy else "sampled"

        def tell(done: int, steps: int) -> None:
            for callback in hearing:
                callback.evaluating(self, where, done, episodes, steps)

        count, asked = evaluation.Count(episodes, tell) if hearing else None, 0.0

        def heard(ended: int, steps: int) -> None:
            nonlocal asked
            if count is not None:
                count(ended, steps)
            if self.interrupted:
                asked = asked or time.monotonic()
                if time.monotonic() - asked > PATIENCE:
                    raise Interrupted(f"stopped in an evaluation at step {self.env_steps}, back to the last checkpoint")

        return heard

    def evaluate(self, stream: str, episodes: int) -> dict[str, float]:
        """Evaluate the final policy as it is, frozen, greedily and with sampled actions, on the seeds of ``stream``."""
        out: list[float] = []
        begun = time.perf_counter()
        seed = stream_seed(self.config.seed, stream, self.env_steps)
        for greedy in (True, False):
            returns, _ = self.play(episodes, seed, greedy)
            out += float(returns.mean()), float(returns.std())
        self.evaluation_seconds += time.perf_counter() - begun
        return dict(zip(evaluation.METRICS, out, strict=True))

    def play(self, episodes: int, seed: int, greedy: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the returns and lengths [episodes] of the final policy as it is, frozen."""
        look, watch = self._look("greedy" if greedy else "sampled"), None
        if look is not None:

            def watch(obs: np.ndarray, state: Any, *rest: np.ndarray) -> None:
                look(Moment(obs, self.reference.state_of(state[0]), *rest))

        now = rollout.steps_told(self.eval_envs, self.env_steps // self.rollout.batch, frozen=True)
        limit, heard = self.config.train.eval_max_steps, self._hear(episodes, greedy)
        try:
            found = evaluate(self.final, self.eval_envs, episodes, seed, greedy, watch, now, heard, limit)
        except EnvironmentFailed as error:
            raise EnvironmentFailed(f"in an evaluation, {error}", error.trace) from error
        if text := evaluation.cut_short(found[1], limit):
            self.warn(f"evaluation at step {self.env_steps:,}: {text}")
        return found

    def finish(self, diverged: str | None = None) -> dict[str, Any]:
        """Evaluate for the last time and return the summary, which callbacks have seen and may have added to."""
        episodes = self.config.train.final_episodes
        final = self.evaluate("final evaluation", episodes)
        keys = "mean_return", "std_return", "mean_return_sampled", "std_return_sampled"
        summary = {"env": self.config.env, "agent": self.config.agent, "seed": self.config.seed}
        summary |= {key: final[name] for key, name in zip(keys, evaluation.METRICS, strict=True)}
        summary |= {
            "episodes": episodes,
            "env_steps": self.env_steps,
            "weight_updates": self.learner.update.optimiser.steps,
            "seconds": self.seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "stopped": self.stopped,
            "diverged": diverged,
        }
        self.tell("end", summary)
        return summary

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the run; ``policy`` is all that :func:`lfcs.load` needs."""
        return {
            "policy": self.final.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "learner": self.learner.state_dict(),
            "rollout": self.rollout.state_dict(),
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self.callbacks] if self.begun else self.restored,
            "stopped": self.stopped,
        } | self._counters()

    def _counters(self) -> dict[str, float]:
        names = "since_sync", "seconds", "evaluation_seconds"
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the run. Raises UserError if it belongs to other settings or callbacks."""
        try:
            wanted: list[str] = [name for name, _ in saved["callbacks"]]
            given: list[str] = [name for name, _ in self.restored]
            if wanted != given:
                missing = [name for name in wanted if name not in given] or wanted
                raise UserError(
                    f"the run has callbacks of yours, {', '.join(missing)}: "
                    "continue it with lfcs.resume(path, callbacks=[...]), the same in the same order"
                )
            self.final.load_state_dict(saved["policy"])
            checkpoint.fit(self._counters(), saved, "run")
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
            for part in ("learner", "rollout"):
                getattr(self, part).load_state_dict(saved[part])
            self.restored = saved["callbacks"]
            self.since_sync, self.seconds, self.stopped = (saved[k] for k in ("since_sync", "seconds", "stopped"))
            self.evaluation_seconds = saved.get("evaluation_seconds", 0.0)  # older checkpoints do not know them
        except (LookupError, TypeError, AttributeError, RuntimeError, ValueError, ArithmeticError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"the checkpoint does not fit the run's settings: {why}") from None
