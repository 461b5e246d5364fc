"""A run: settings -> trainer -> run directory, and back to a policy or to a run that goes on."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from lfcs import checkpoint, envs, experiments, lock, stopping
from lfcs.agent import Agent
from lfcs.callbacks import Callback, Checkpoints, Summary
from lfcs.compiled.evaluation import evaluate as play
from lfcs.config import Config, section
from lfcs.configure import build_config, find_agent, flattened
from lfcs.directory import NOTES, read_settings, read_summary
from lfcs.engines import Fixed, FixedEngine, make_engine
from lfcs.envs.making import make_sync
from lfcs.errors import EnvironmentFailed, Interrupted, UserError
from lfcs.evaluation import MAX_BATCH, Heard, cut_short
from lfcs.faults import kept, told
from lfcs.heads import named_head
from lfcs.monitor import Monitor, read_metrics
from lfcs.names import name_of
from lfcs.notes import notes_of
from lfcs.policy import Policy, network_of, unpack_space
from lfcs.progress import Progress
from lfcs.rollout import steps_told
from lfcs.spaces import flat_space
from lfcs.trainer import Trainer, set_device, stream_seed
from lfcs.verdict import Verdict
from lfcs.watch import Watch

MakeEnv = Callable[[], gymnasium.Env]
WIDE = 100  # episodes side by side where every step is a call


def make_trainer(
    config: Config,
    agent: type[Agent] | None = None,
    make_env: MakeEnv | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: Path | None = None,
    start: Callable[[Policy], None] | None = None,
) -> Trainer:
    """Return the trainer of a run, with environments, encoder and agent by name unless they are given.

    ``start`` may change the weights that it begins with. Raises UserError on bad settings.
    """
    device = config.device if config.train.env_kind == "device" or envs.encodes_tensors(config.encoder) else "cpu"
    given = config.train.env_workers, config.train.env_kind, device, envs.Previous.of(config.encoder)
    made: dict[str, Any] = {"kwargs": config.env_kwargs, "timeout": config.train.env_timeout}
    with kept(run_dir):
        return Trainer(
            config,
            make_vec=lambda count: envs.make_vec(make_env or config.env, count, *given, **made),
            make_encoder=lambda space: envs.make_encoder(space, config.encoder),
            make_agent=agent or find_agent(config.agent),
            callbacks=callbacks,
            run_dir=run_dir,
            start=start,
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
        checkpoint.sweep(run_dir)  # what was killed before it had begun
        stands = standing(config, run_dir, callbacks, progress, make_env)
        trainer = make_trainer(config, agent, make_env, stands, run_dir, starting(config))
        trainer.lock = held
        with closed_on_error(trainer):
            trainer.rollout.refresh(stream_seed(config.seed, "environments"))
            Checkpoints(run_dir).save(trainer)  # before the settings, so that what has settings can be resumed
            checkpoint.write_sealed(run_dir / "config.json", config.to_dict() | notes_of(trainer))
    return trainer


def _unmake(run_dir: Path, held: lock.Lock, claimed: bool) -> None:
    """Take away what a run has left that has not begun, and its directory where it was made for it."""
    if not (run_dir / "config.json").exists():
        checkpoint.sweep(run_dir)
        Checkpoints(run_dir).remove()
    held.release()
    if claimed:
        with suppress(OSError):  # it holds something of others, or the traceback of an environment
            run_dir.rmdir()


def starting(config: Config) -> Callable[[Policy], None] | None:
    """Return what gives a new policy the weights of the file that a run starts from, None where there is none."""
    path = config.train.from_nir
    if not path:
        return None
    from lfcs.hardware.reading import start

    return lambda policy: start(policy, path)


@contextmanager
def closed_on_error(trainer: Trainer) -> Iterator[None]:
    """Close a trainer where what is done with it fails. Raises EnvironmentFailed as :func:`lfcs.faults.kept`."""
    try:
        with kept(trainer.run_dir):
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
    if steps is not None:
        taken = checkpoint.steps_of(checkpoint.latest(run_dir / "checkpoints"))
        if steps <= taken:
            raise UserError(f"{run_dir} has taken {taken:,} steps: going on wants more of them, got {steps:,}")
        config = dataclasses.replace(config, steps=steps)
    trainer = make_trainer(config, agent, make_env, standing(config, run_dir, callbacks, progress, make_env), run_dir)
    trainer.lock = held
    with closed_on_error(trainer):
        trainer.load_state_dict(checkpoint.newest(run_dir / "checkpoints", trainer.device).state)
        if steps is not None:
            trainer.stopped = None
            _lengthen(run_dir, steps)
    return trainer


def _lengthen(run_dir: Path, steps: int) -> None:
    """Put a run's new number of steps into its settings, its summary aside; whatever happens, it can be resumed."""
    summary, path = run_dir / "summary.json", run_dir / "config.json"
    data = read_settings(run_dir)
    if summary.exists():
        os.replace(summary, summary.with_name(f"summary_{read_summary(run_dir)['env_steps']}.json"))
    checkpoint.write_sealed(
        path, data | {"steps": steps, "steps_before": [*data.get("steps_before", []), data["steps"]]}
    )


def complete(trainer: Trainer) -> dict[str, Any]:
    """Run a trainer in its directory to its end; write and return the summary. Raises as :meth:`Trainer.train`."""
    run_dir = trainer.run_dir
    assert run_dir is not None
    try:
        return trainer.train()
    except Interrupted as stop:
        raise Interrupted(f"{stop}; continue with: lfcs resume {run_dir}") from None
    except EnvironmentFailed as error:
        raise told(error, run_dir, trainer.env_steps) from error


def load_config(run_dir: Path, agent: type[Agent] | None = None) -> Config:
    """Read the settings of a run, whose rule is ``agent`` where it cannot be found by name.

    Raises UserError if the directory holds none, or one whose settings are not complete.
    """
    data = read_settings(run_dir)
    rule = agent or find_agent(data["agent"])
    asked = {key: value for key, value in data.items() if key not in NOTES}
    try:
        return Config.from_dict(asked, rule.Options)
    except UserError as error:
        raise UserError(f"{run_dir / 'config.json'} is not the settings of a run: {error}") from None


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


Tell = Callable[[str], Heard | None]


def evaluate(
    run_dir: Path, episodes: int, seed: int, tell: Tell = lambda name: None, engine: str | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """Return the returns [episodes] of a run's newest policy, sampled and greedy, and its environment steps.

    ``tell`` gives what hears of each while it goes on. ``engine`` is by default the run's.
    """
    config = load_config(run_dir)
    device = set_device(config.device, config.train.threads)
    policy, steps, _ = newest_policy(run_dir, device, engine or config.engine)
    with kept(run_dir):
        return score(policy, config, steps, episodes, seed, tell), steps


def score(
    policy: Policy,
    config: Config,
    steps: int,
    episodes: int,
    seed: int,
    tell: Tell = lambda name: None,
    ways: Sequence[str] = ("sampled", "greedy"),
) -> dict[str, np.ndarray]:
    """Return the returns [episodes] of a policy, sampled and greedy, in a run's task as it is after ``steps``.

    Raises UserError on a negative seed.
    """
    if seed < 0:
        raise UserError(f"--seed must be at least 0, got {seed}")
    seeded = stream_seed(seed, "evaluation")
    kind = "compiled" if config.train.env_kind == "device" else config.train.env_kind  # the host plays
    previous = envs.Previous.of(config.encoder)
    batch = min(episodes, WIDE) if isinstance(policy.engine, FixedEngine) else MAX_BATCH
    given: dict[str, Any] = {"kind": kind, "previous": previous, "kwargs": config.env_kwargs}
    limit, found = config.train.eval_max_steps, {}
    with closing(envs.make_vec(config.env, max(batch, 1), timeout=config.train.env_timeout, **given)) as vec:
        now = steps_told(vec, steps // config.train.num_envs, frozen=True)
        for name in ways:
            played = policy, vec, episodes, seeded, name == "greedy"
            found[name], lengths = play(*played, options=now, heard=tell(name), max_steps=limit)
            if text := cut_short(lengths, limit):
                print(f"warning: {name}: {text}", file=sys.stderr)
    return found


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


def load(path: str | Path, device: str = "cpu", engine: str | None = None) -> Policy:
    """Return the policy of a run directory, at its newest checkpoint, or of a file written by ``Policy.save``.

    ``engine`` is by default fixed for a quantised policy, else fused. It acts without its environment being installed.
    Raises UserError if there is none, or it is damaged.
    """
    path, on = Path(path), set_device(device, torch.get_num_threads())
    if not path.exists():
        raise UserError(f"no run and no policy at {path}")
    if path.is_dir():
        return newest_policy(path, on, engine).policy
    return _policy_in(checkpoint.Restored(path, checkpoint.load(path, on)), on, engine)


class Newest(NamedTuple):
    """The policy of a run's newest checkpoint, the environment steps there, and all that the checkpoint holds."""

    policy: Policy
    steps: int
    saved: dict[str, Any]


def newest_policy(run_dir: Path, device: torch.device, engine: str | None) -> Newest:
    """Return a run's newest policy; ``engine`` as in :func:`load`. Raises UserError if there is none."""
    found = checkpoint.newest(run_dir / "checkpoints", device)
    steps = found.state.get("rollout", {}).get("env_steps")
    if type(steps) is not int:
        raise UserError(f"{found.path} is not a checkpoint of a run")
    whole = (run_dir / "summary.json").exists() and found.path == checkpoint.latest(run_dir / "checkpoints")
    if whole and steps != (ended := read_summary(run_dir)["env_steps"]):
        print(f"warning: {run_dir} ended at step {ended:,}, this is its policy of step {steps:,}", file=sys.stderr)
    return Newest(_policy_in(found, device, engine), steps, found.state)


def _policy_in(found: checkpoint.Restored, device: torch.device, engine: str | None) -> Policy:
    """Return the policy of a checkpoint. Raises UserError where there is none that can act."""
    if "policy" not in found.state:
        raise UserError(f"{found.path} holds no policy")
    try:
        saved = found.state["policy"]
        return revive(saved, device, engine or ("fixed" if "fixed" in saved else "fused"))
    except (*checkpoint.DAMAGED, AssertionError) as error:  # gymnasium asserts what spaces are
        raise UserError(f"{found.path} holds no policy that can act: {' '.join(str(error).split())[:200]}") from None


def revive(saved: dict[str, Any], device: torch.device, engine: str) -> Policy:
    """Return the policy whose ``state_dict`` is ``saved``. Raises ValueError and others where it is not one."""
    observations: Any = unpack_space(saved["observation_space"])
    actions = unpack_space(saved["action_space"])
    head = named_head(saved["head"], actions)
    encoder = envs.make_encoder(flat_space(observations), section("encoder", saved["encoder"]))
    checkpoint.fit(encoder.state_dict(), saved["statistics"], "statistics")
    encoder.load_state_dict(saved["statistics"])
    network = network_of(saved, head.size, encoder.size).to(device)
    fixed = Fixed(**saved["fixed"]) if "fixed" in saved else None
    network = network.double() if engine == "fixed" else network
    generator = torch.Generator(device).manual_seed(0)
    made = make_engine(engine, network, fixed)
    return Policy(network, made, head, encoder, observations, actions, generator, fixed)
