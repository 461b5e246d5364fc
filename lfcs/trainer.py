"""THE loop: act, learn, sync, evaluate, record, checkpoint."""

from __future__ import annotations

import copy
import math
import platform
import signal
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from lfcs import __version__, checkpoint
from lfcs.agent import Agent
from lfcs.config import Config
from lfcs.engines import make_engine
from lfcs.errors import Diverged, Interrupted, UserError
from lfcs.evaluation import MAX_BATCH, SpikingPlayer, evaluate
from lfcs.learner import Learner
from lfcs.monitor import Monitor
from lfcs.network import SpikingNetwork
from lfcs.online import OnlineLearner
from lfcs.replay import Replay
from lfcs.rollout import Encoder, Rollout
from lfcs.verdict import Verdict

# every use of randomness has a stream of its own: adding one does not shift the others
STREAMS = ("weights", "feedback", "actions", "environments", "evaluation", "final evaluation", "replay")
KEEP = 2  # checkpoints kept in a run directory


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
    """One run in one directory. The caller supplies what the library does not know: environments, encoder, agent."""

    def __init__(
        self,
        config: Config,
        make_vec: Callable[[int], gymnasium.vector.VectorEnv],
        make_encoder: Callable[[Any], Encoder],
        make_agent: Callable[[Any], Agent],
    ) -> None:
        self.config = config
        self.device = set_device(config.device, config.train.threads)
        self.eval_envs = make_vec(MAX_BATCH)
        self.envs = make_vec(config.train.num_envs)
        agent = make_agent(config.rule)
        if config.rule.form == "online" and not agent.online:
            raise UserError(f"agent {config.agent} has no online form: it needs rule.form=window")
        self.head = agent.head(self.envs.single_action_space)
        self.encoder = make_encoder(self.envs.single_observation_space)
        weights = torch.Generator().manual_seed(stream_seed(config.seed, "weights"))
        feedback = torch.Generator().manual_seed(stream_seed(config.seed, "feedback"))
        actions = torch.Generator(self.device).manual_seed(stream_seed(config.seed, "actions"))
        policy = SpikingNetwork(self.encoder.size, self.head.size, config.network, weights).to(self.device)
        self.reference = copy.deepcopy(policy)
        self.engine = make_engine(config.engine, self.reference)
        learning = agent.engine(policy) if agent.engine else make_engine(config.engine, policy)
        learner = OnlineLearner if config.rule.form == "online" else Learner
        draws = torch.Generator().manual_seed(stream_seed(config.seed, "replay"))
        replay = Replay(config.replay.capacity, draws) if config.replay.capacity else None
        self.learner = learner(config.rule, agent, policy, self.head, learning, feedback, replay, config.replay.burn_in)
        self.rollout = Rollout(self.envs, self.encoder, self.reference, self.engine, self.head, actions)
        self.verdict = Verdict(config.steps)
        self.since_sync = 0
        self.seconds = 0.0
        self._stop = False

    @property
    def env_steps(self) -> int:
        """Environment steps taken so far, over all environments."""
        return self.rollout.env_steps

    def start(self, run_dir: Path) -> None:
        """Create the run directory with its settings. Raises UserError if it already holds a run."""
        if (run_dir / "config.json").exists():
            raise UserError(f"{run_dir} already holds a run: resume it or choose another --run-dir")
        run_dir.mkdir(parents=True, exist_ok=True)
        names = ("torch", "snntorch", "gymnasium", "numpy")
        versions = {"lfcs": __version__, "python": platform.python_version()}
        versions |= {name: metadata.version(name) for name in names}
        self.rollout.refresh(stream_seed(self.config.seed, "environments"))
        self._checkpoint(run_dir)  # before the settings, so that what has settings can be resumed
        checkpoint.write_json(run_dir / "config.json", self.config.to_dict() | {"versions": versions})

    def restore(self, run_dir: Path) -> None:
        """Continue from the newest checkpoint of a run."""
        self.load_state_dict(checkpoint.load(checkpoint.latest(run_dir / "checkpoints"), self.device))

    def restore_policy(self, run_dir: Path) -> int:
        """Load only what acting needs, the reference policy and the encoder; return their environment step."""
        saved = checkpoint.load(checkpoint.latest(run_dir / "checkpoints"), self.device)
        self._load(saved, ("reference", "encoder"))
        return int(saved["rollout"]["env_steps"])

    def train(self, run_dir: Path, progress: bool = True) -> dict[str, Any]:
        """Run to the last step and return the summary. Raises Interrupted after Ctrl-C, with a checkpoint written."""
        config = self.config.train
        monitor = Monitor(run_dir, self.config.steps, self.env_steps, progress)
        previous = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            while self.env_steps < self.config.steps:
                before, started = self.env_steps, time.perf_counter()
                metrics = self.window()
                elapsed = time.perf_counter() - started
                self.seconds += elapsed
                metrics["time/fps"], metrics["time/seconds"] = (self.env_steps - before) / elapsed, self.seconds
                if self.verdict.update(self.env_steps, metrics):
                    monitor.warn(f"diverged at step {self.env_steps}: {self.verdict.reason}")
                metrics["train/diverged"] = float(self.verdict.reason is not None)
                if self.env_steps // config.eval_every > before // config.eval_every:
                    metrics |= self.evaluate("evaluation", config.eval_episodes)
                monitor.write(self.env_steps, metrics)
                if self.env_steps // config.checkpoint_every > before // config.checkpoint_every:
                    self.rollout.refresh(stream_seed(self.config.seed, "environments", self.env_steps))
                    self._checkpoint(run_dir)
                elif self._stop:
                    self._checkpoint(run_dir)
                if self._stop and self.env_steps < self.config.steps:
                    raise Interrupted(f"stopped at step {self.env_steps}; continue with: lfcs resume {run_dir}")
            self._checkpoint(run_dir)
            return self._finish(run_dir, monitor)
        except Diverged:
            self.verdict.reason = "a gradient was not finite"
            self._finish(run_dir, monitor)
            raise
        finally:
            signal.signal(signal.SIGINT, previous)
            monitor.close()
            self.close()

    def close(self) -> None:
        """Stop environments and their workers."""
        self.envs.close()
        self.eval_envs.close()

    def _on_interrupt(self, *_: Any) -> None:
        if self._stop:  # asked twice: do not wait for the window's end
            raise KeyboardInterrupt
        self._stop = True

    def window(self) -> dict[str, float]:
        """Act for a window, learn from it, and copy the new policy into the reference when tau_s has passed.

        The last window is cut to end at the run's number of steps, and always ends with a copy. Raises Diverged on a
        gradient that is not finite.
        """
        rule = self.config.rule
        remaining = -(-(self.config.steps - self.env_steps) // self.rollout.batch)
        traj = self.rollout.collect(min(rule.window, remaining))
        left = max(0.0, 1.0 - self.env_steps / self.config.steps)
        metrics = self.learner.learn(traj, left)
        if not math.isfinite(metrics["train/grad_norm"]):
            raise Diverged(f"learning diverged: a gradient is not finite at environment step {self.env_steps}")
        self.since_sync += len(traj.reward)
        if self.since_sync >= rule.tau_s or self.env_steps >= self.config.steps:
            self.reference.load_state_dict(self.learner.policy.state_dict())
            self.since_sync = 0
        episodes = self.rollout.episodes
        if episodes:
            metrics["rollout/ep_rew_mean"] = float(np.mean([e[0] for e in episodes]))
            metrics["rollout/ep_len_mean"] = float(np.mean([e[1] for e in episodes]))
        return metrics

    def evaluate(self, stream: str, episodes: int) -> dict[str, float]:
        """Evaluate the reference policy, frozen, with greedy and with sampled actions, on the seeds of ``stream``."""
        out = {}
        seed = stream_seed(self.config.seed, stream, self.env_steps)
        for greedy, suffix in ((True, ""), (False, "_sampled")):
            returns, _ = self.play(episodes, seed, greedy)
            out[f"eval/mean_reward{suffix}"] = float(returns.mean())
            out[f"eval/std_reward{suffix}"] = float(returns.std())
        return out

    def play(self, episodes: int, seed: int, greedy: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the returns and lengths [episodes] of the reference policy, frozen."""
        player = SpikingPlayer(self.reference, self.engine, self.head, self.encoder, greedy, seed)
        return evaluate(player, self.eval_envs, episodes, seed)

    def _checkpoint(self, run_dir: Path) -> None:
        folder = run_dir / "checkpoints"
        checkpoint.save(folder / f"step_{self.env_steps:012d}.npz", self.state_dict())
        for old in sorted(folder.glob("step_*.npz"))[:-KEEP]:
            old.unlink()

    def _finish(self, run_dir: Path, monitor: Monitor) -> dict[str, Any]:
        final = self.evaluate("final evaluation", self.config.train.final_episodes)
        summary = {
            "env": self.config.env,
            "agent": self.config.agent,
            "seed": self.config.seed,
            "mean_return": final["eval/mean_reward"],
            "std_return": final["eval/std_reward"],
            "mean_return_sampled": final["eval/mean_reward_sampled"],
            "std_return_sampled": final["eval/std_reward_sampled"],
            "episodes": self.config.train.final_episodes,
            "env_steps": self.env_steps,
            "weight_updates": self.learner.optimiser.steps,
            "seconds": self.seconds,
            "diverged": self.verdict.reason,
        }
        monitor.finish(self.config, summary)
        checkpoint.write_json(run_dir / "summary.json", summary)
        return summary

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the run."""
        return {
            "reference": self.reference.state_dict(),
            "learner": self.learner.state_dict(),
            "rollout": self.rollout.state_dict(),
            "encoder": self.encoder.state_dict(),
            "verdict": self.verdict.state_dict(),
            "since_sync": self.since_sync,
            "seconds": self.seconds,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore the complete state of the run. Raises UserError if it belongs to other settings."""
        self._load(saved, ("reference", "learner", "rollout", "encoder", "verdict"))
        self.since_sync, self.seconds = saved["since_sync"], saved["seconds"]

    def _load(self, saved: dict[str, Any], parts: tuple[str, ...]) -> None:
        try:
            for part in parts:
                getattr(self, part).load_state_dict(saved[part])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(f"the checkpoint does not fit the run's settings: {str(error).splitlines()[0]}") from None
