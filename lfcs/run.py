"""A run: settings -> trainer -> run directory, and back to a policy or to a run that goes on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from lfcs import checkpoint, envs, experiments, lock, stopping
from lfcs.agent import Agent
from lfcs.callbacks import Callback, Checkpoints, Summary
from lfcs.compiled.evaluation import evaluate as play
from lfcs.config import Config, EncoderConfig
from lfcs.configure import build_config, find_agent, flattened
from lfcs.engines import make_engine
from lfcs.envs.making import make_sync
from lfcs.errors import Interrupted, UserError
from lfcs.evaluation import MAX_BATCH, Heard
from lfcs.heads import named_head
from lfcs.monitor import Monitor, read_metrics
from lfcs.names import name_of
from lfcs.notes import NOTES, notes_of
from lfcs.policy import Policy, network_of, unpack_space
from lfcs.progress import Progress
from lfcs.rollout import steps_told
from lfcs.spaces import flat_space
from lfcs.trainer import Trainer, set_device, stream_seed
from lfcs.verdict import Verdict
from lfcs.watch import Watch

MakeEnv = Callable[[], gymnasium.Env]


def make_trainer(
    config: Config,
    agent: type[Agent] | None = None,
    make_env: MakeEnv | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: Path | None = None,
) -> Trainer:
    """Return the trainer of a run, with environments, encoder and agent by name unless they are given.

    Raises UserError on bad settings.
    """
    device = config.device if config.train.env_kind == "device" or envs.encodes_tensors(config.encoder) else "cpu"
    given = config.train.env_workers, config.train.env_kind, device, envs.Previous.of(config.encoder), config.env_kwargs
    return Trainer(
        config,
        make_vec=lambda count: envs.make_vec(make_env or config.env, count, *given),
        make_encoder=lambda space: envs.make_encoder(space, config.encoder),
        make_agent=agent or find_agent(config.agent),
        callbacks=callbacks,
        run_dir=run_dir,
    )


def new_run_dir(config: Config) -> Path:
    """Make a new directory below ``runs/`` that no other run has, whoever starts at the same moment; return it."""
    env = "".join(c if c.isalnum() or c in "-_." else "-" for c in config.env)
    agent = config.agent.replace(":", "-")
    first = Path("runs") / f"{env}_{agent}_seed{config.seed}_{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


def standing(
    config: Config,
    run_dir: Path,
    callbacks: Sequence[Callback],
    progress: bool,
    make_env: MakeEnv | None = None,
) -> list[Callback]:
    """Return the callbacks of a run in a directory, the user's among them. Raises UserError on a bad tracker."""
    shown = None
    if config.train.watch != "none" and config.train.tracker != "none":
        previous = envs.Previous.of(config.encoder)
        shown = Watch(
            config.train.watch, config.train.tracker, run_dir,
            make=lambda: make_sync(make_env or config.env, 1, previous, config.env_kwargs, render=True),
        )  # fmt: skip
    kept = Monitor(run_dir, shown), Progress(progress), Summary(run_dir), Checkpoints(run_dir)
    return [Verdict(config.steps), *callbacks, *kept]


def begin(
    config: Config,
    run_dir: Path | None = None,
    agent: type[Agent] | None = None,
    make_env: MakeEnv | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    held: lock.Lock | None = None,
) -> Trainer:
    """Return the trainer of a new run, its directory made, its first checkpoint and its settings written.

    ``run_dir`` is by default a new one below ``runs/``; ``held`` is its lock where the caller has it already. What
    cannot begin, or is interrupted, leaves nothing. Raises UserError if the directory already holds a run, or another
    process trains in it.
    """
    claimed = run_dir is None
    run_dir = run_dir or new_run_dir(config)
    held = held or lock.hold(run_dir)
    with stopping.undone(lambda: _unmake(run_dir, held, claimed)):
        if (run_dir / "config.json").exists():  # before anything slow
            raise UserError(f"{run_dir} already holds a run: resume it or choose another directory")
        trainer = make_trainer(
            config, agent, make_env, standing(config, run_dir, callbacks, progress, make_env), run_dir
        )
        trainer.lock = held
        with closed_on_error(trainer):
            trainer.rollout.refresh(stream_seed(config.seed, "environments"))
            Checkpoints(run_dir).save(trainer)  # before the settings, so that what has settings can be resumed
            checkpoint.write_json(run_dir / "config.json", config.to_dict() | notes_of(trainer))
    return trainer


def _unmake(run_dir: Path, held: lock.Lock, claimed: bool) -> None:
    """Take away what a run has left that has not begun, and its directory where it was made for it."""
    if not (run_dir / "config.json").exists():
        checkpoint.sweep(run_dir)
        Checkpoints(run_dir).remove()
    held.release()
    if claimed:
        with suppress(OSError):  # it holds something of others
            run_dir.rmdir()


@contextmanager
def closed_on_error(trainer: Trainer) -> Iterator[None]:
    """Close a trainer where what is done with it fails."""
    try:
        yield
    except BaseException:
        trainer.close()
        raise


def proceed(
    run_dir: Path,
    agent: type[Agent] | None = None,
    make_env: MakeEnv | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    steps: int | None = None,
    held: lock.Lock | None = None,
) -> Trainer:
    """Return the trainer of a run, restored from its newest checkpoint, to go on to ``steps`` where they are given.

    ``held`` is the directory's lock where the caller has it already. Raises UserError if there is no checkpoint, where
    the run has taken so many steps already, or where another process goes on with it.
    """
    load_config(run_dir, agent)  # what is no run is not locked
    held = held or lock.hold(run_dir)
    with stopping.undone(held.release):
        return _restored(run_dir, agent, make_env, callbacks, progress, steps, held)


def _restored(
    run_dir: Path,
    agent: type[Agent] | None,
    make_env: MakeEnv | None,
    callbacks: Sequence[Callback],
    progress: bool,
    steps: int | None,
    held: lock.Lock,
) -> Trainer:
    """See :func:`proceed`; nobody else writes there now."""
    config = load_config(run_dir, agent)
    checkpoint.sweep(run_dir)
    newest = checkpoint.latest(run_dir / "checkpoints")
    if steps is not None:
        taken = checkpoint.steps_of(newest)
        if steps <= taken:
            raise UserError(f"{run_dir} has taken {taken:,} steps: going on wants more of them, got {steps:,}")
        config = dataclasses.replace(config, steps=steps)
    trainer = make_trainer(config, agent, make_env, standing(config, run_dir, callbacks, progress, make_env), run_dir)
    trainer.lock = held
    with closed_on_error(trainer):
        trainer.load_state_dict(checkpoint.load(newest, trainer.device))
        if steps is not None:
            trainer.stopped = None
            _lengthen(run_dir, steps)
    return trainer


def _lengthen(run_dir: Path, steps: int) -> None:
    """Put a run's new number of steps into its settings, its summary aside; whatever happens, it can be resumed."""
    summary, path = run_dir / "summary.json", run_dir / "config.json"
    data = json.loads(path.read_text())
    if summary.exists():
        os.replace(summary, summary.with_name(f"summary_{read_summary(run_dir)['env_steps']}.json"))
    checkpoint.write_json(path, data | {"steps": steps, "steps_before": [*data.get("steps_before", []), data["steps"]]})


def complete(trainer: Trainer) -> dict[str, Any]:
    """Run a trainer in its directory to its end; write and return the summary. Raises as :meth:`Trainer.train`."""
    run_dir = trainer.run_dir
    assert run_dir is not None
    try:
        return trainer.train()
    except Interrupted as stop:
        raise Interrupted(f"{stop}; continue with: lfcs resume {run_dir}") from None


def load_config(run_dir: Path, agent: type[Agent] | None = None) -> Config:
    """Read the settings of a run, whose rule is ``agent`` where it cannot be found by name.

    Raises UserError if the directory holds none.
    """
    try:
        data = json.loads((run_dir / "config.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{run_dir} holds no run: config.json is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{run_dir / 'config.json'} is damaged") from None
    try:
        rule = agent or find_agent(data["agent"])
        asked = {key: value for key, value in data.items() if key not in NOTES}
        return Config.from_dict(asked, rule.Options)
    except (AttributeError, TypeError, KeyError):
        raise UserError(f"{run_dir / 'config.json'} is not the settings of a run") from None


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read the summary of a finished run. Raises UserError on a damaged one."""
    try:
        return dict(json.loads((run_dir / "summary.json").read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValueError):
        raise UserError(f"{run_dir / 'summary.json'} is damaged: remove it, and resuming writes it again") from None


@dataclass
class Run:
    """A finished run: where it is, its settings and its summary; its metrics and its policy are read when asked for."""

    path: Path
    config: Config
    summary: dict[str, Any]

    @cached_property
    def policy(self) -> Policy:
        """The final policy, ready to act."""
        return load(self.path)

    @property
    def metrics(self) -> Any:
        """metrics.csv, a row per window: a pandas DataFrame where pandas is installed, else a list of dictionaries."""
        rows = read_metrics(self.path)
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def plot(self, divergence: bool = False) -> Any:
        """Return a matplotlib figure of the run's learning curves, or of how far its policies were apart.

        Raises UserError where matplotlib is missing.
        """
        from lfcs.study.curves import draw

        return draw([self.path], divergence)

    def __repr__(self) -> str:
        got = f"greedy {self.summary['mean_return']:.2f}, sampled {self.summary['mean_return_sampled']:.2f}"
        return f"<Run of {self.config.agent} on {self.config.env}: return {got}; {self.path}>"


def train(
    env: str | MakeEnv | type[gymnasium.Env],
    *,
    agent: str | type[Agent] | None = None,
    steps: int | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | Path | None = None,
    device: str = "cpu",
    engine: str = "fused",
    tuned: bool = True,
    progress: bool = False,
    env_kwargs: dict[str, Any] | None = None,
    watch: str | None = None,
    **sections: dict[str, Any],
) -> Run:
    """Train a policy and return the finished :class:`Run`.

    ``env`` is a gymnasium id, ``package.module:Id``, a class of environments or a function that makes one; ``agent`` a
    learning rule by name, as ``package.module:Class``, or a subclass of :class:`lfcs.Agent`. ``settings`` are those of
    ``lfcs train --set``, ``{"rule.replays": 8}``, or by section as keywords, ``rule={"replays": 8}``. Where there is an
    experiment for ``env``, its tuned settings are used unless ``tuned`` is false. Environments run in this process
    unless ``train.env_workers`` asks for workers. ``env_kwargs`` are arguments that ``env`` is made with.
    ``watch`` is the setting ``train.watch``. Raises UserError, one line, on anything that the user can mend.
    """
    if not isinstance(env, str) and (isinstance(env, gymnasium.Env) or not callable(env)):
        raise UserError(f"env wants an id, a class or a function that makes an environment, got {env!r}")
    flat = _given(settings, callbacks) | flattened(sections) | ({"train.watch": watch} if watch else {})
    name = env if isinstance(env, str) else name_of(env, {})
    experiment = experiments.find(env) if isinstance(env, str) and tuned else None
    name = experiment["env"] if experiment else name
    config = build_config(name, agent, steps, seed, device, engine, flat, experiment, env_kwargs)
    rule = agent if isinstance(agent, type) else None
    made = None if isinstance(env, str) else env
    trainer = begin(config, Path(run_dir) if run_dir else None, rule, made, callbacks, progress)
    return _finished(trainer)


def resume(
    path: str | Path,
    *,
    agent: type[Agent] | None = None,
    env: MakeEnv | type[gymnasium.Env] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    steps: int | None = None,
) -> Run:
    """Continue a run from its newest checkpoint; return it finished, bit for bit as if it had not been cut.

    With ``steps`` it goes on to that number of environment steps, a finished run too: what falls with the run's steps,
    learning rates and the entropy bonus, is from there on what it is in a run of that many. Callbacks, and an agent or
    environment that was given as an object, are given again. Raises UserError where there is no run, or where they
    differ.
    """
    path = Path(path)
    _given(None, callbacks)
    if steps is None and (path / "summary.json").exists():
        return Run(path, load_config(path, agent), read_summary(path))
    return _finished(proceed(path, agent, env, callbacks, progress, steps))


def evaluate(
    run_dir: Path, episodes: int, seed: int, tell: Callable[[str], Heard | None] = lambda name: None
) -> tuple[dict[str, np.ndarray], int]:
    """Return the returns [episodes] of a run's newest policy, sampled and greedy, and its environment steps.

    ``tell`` gives what hears of each while it goes on.
    """
    if seed < 0:
        raise UserError(f"--seed must be at least 0, got {seed}")
    config = load_config(run_dir)
    device = set_device(config.device, config.train.threads)
    saved = checkpoint.load(checkpoint.latest(run_dir / "checkpoints"), device)
    policy, seeded = revive(saved["policy"], device, config.engine), stream_seed(seed, "evaluation")
    steps = int(saved["rollout"]["env_steps"])
    kind = "compiled" if config.train.env_kind == "device" else config.train.env_kind  # the host plays
    previous = envs.Previous.of(config.encoder)
    made = envs.make_vec(config.env, MAX_BATCH, kind=kind, previous=previous, kwargs=config.env_kwargs)
    with closing(made) as vec:
        now = steps_told(vec, steps // config.train.num_envs, frozen=True)
        found = {
            name: play(policy, vec, episodes, seeded, greedy, options=now, heard=tell(name))[0]
            for name, greedy in (("sampled", False), ("greedy", True))
        }
    return found, steps


def _finished(trainer: Trainer) -> Run:
    summary = complete(trainer)
    assert trainer.run_dir is not None
    return Run(trainer.run_dir, trainer.config, summary)


def _given(settings: Any, callbacks: Any) -> dict[str, Any]:
    """Return settings. Raises UserError unless they are a dictionary and callbacks are a list of callbacks."""
    if settings is not None and not isinstance(settings, Mapping):
        raise UserError(f"settings wants a dictionary, got {settings!r}")
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise UserError(f"callbacks wants a list of lfcs.Callback, each made, got {callbacks!r}")
    return dict(settings or {})


def load(path: str | Path, device: str = "cpu", engine: str = "fused") -> Policy:
    """Return the policy of a run directory, at its newest checkpoint, or of a file written by ``Policy.save``.

    It acts without its environment being installed. Raises UserError if there is none, or it is damaged.
    """
    path, on = Path(path), set_device(device, torch.get_num_threads())
    if not path.exists():
        raise UserError(f"no run and no policy at {path}")
    saved = checkpoint.load(checkpoint.latest(path / "checkpoints") if path.is_dir() else path, on)
    if "policy" not in saved:
        raise UserError(f"{path} holds no policy")
    return revive(saved["policy"], on, engine)


def revive(saved: dict[str, Any], device: torch.device, engine: str) -> Policy:
    """Return the policy whose ``state_dict`` is ``saved``."""
    observations: Any = unpack_space(saved["observation_space"])
    actions = unpack_space(saved["action_space"])
    head = named_head(saved["head"], actions)
    encoder = envs.make_encoder(flat_space(observations), EncoderConfig(**saved["encoder"]))
    encoder.load_state_dict(saved["statistics"])
    network = network_of(saved, head.size, encoder.size).to(device)
    generator = torch.Generator(device).manual_seed(0)
    return Policy(network, make_engine(engine, network), head, encoder, observations, actions, generator)
