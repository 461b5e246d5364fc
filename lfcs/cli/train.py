"""``lfcs train``, ``resume`` and ``eval``: one run, or one for each seed."""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfcs import stopping
from lfcs.cli.parsing import Command, Settings, kwargs_of, pair, whole
from lfcs.errors import EnvironmentFailed, UserError

if TYPE_CHECKING:
    from lfcs.config import Config
    from lfcs.trainer import Trainer


def add(command: Command) -> None:
    """Add the commands."""
    trained = command("train", train, "train a policy on a gymnasium environment", add_help=False)
    trained.add_argument("env", help="gymnasium id, package.module:Id, or the name of an experiment")
    trained.set_defaults(experiment=None)
    add_flags(trained)
    evaluated = command("eval", evaluate, "evaluate the newest policy of a run")
    evaluated.add_argument("run", type=Path)
    evaluated.add_argument("--episodes", type=whole, default=100)
    evaluated.add_argument("--seed", type=whole, default=1)
    evaluated.add_argument("--debug", action="store_true", help="show the traceback of an environment that fails")
    evaluated.add_argument(
        "--engine", help="fused, tensor, snntorch, or fixed, of a quantised run (default: the run's)"
    )
    resumed = command("resume", resume, "continue a run from its newest checkpoint, or go on with a finished one")
    resumed.add_argument("run", type=Path)
    resumed.add_argument("--debug", action="store_true", help="show the traceback of an environment that fails")
    resumed.add_argument(
        "--steps",
        type=whole,
        help="go on to so many environment steps in all, beyond the end of a finished run: learning rates and the "
        "entropy bonus, which fall over a run's steps, are from here on what they are in a run of that many",
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``lfcs train``."""
    parser.add_argument("-h", "--help", action=Settings)
    parser.add_argument("--agent", help="learning rule, or your package.module:Class (default: lf-cs)")
    parser.add_argument("--steps", type=whole, help="environment steps")
    parser.add_argument("--seed", type=whole, help="seed of one run (default: 0)")
    parser.add_argument("--seeds", nargs="+", help="several runs side by side: 0..15, 0,3,7 or 0..3,8")
    parser.add_argument("--jobs", type=whole, help="runs side by side (default: as many as there are cores)")
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="directory of the run (default: a new one below runs/), or of all runs (default: below runs/seeds/)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--env-workers", help="processes that step environments: auto (default), 0 or a number")
    parser.add_argument(
        "--env-timeout",
        help="seconds that a call of an environment may last before the run ends (default 60; 0: for ever)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an environment that fails")
    parser.add_argument("--threads", help="threads of tensor operations (default 1)")
    parser.add_argument("--from-nir", metavar="FILE", help="start from the weights of a NIR file, with its network")
    parser.add_argument("--no-tuned", action="store_true", help="default settings, though there is an experiment")
    parser.add_argument(
        "--env-kwargs",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what the environment is made with, as gymnasium.make takes it: numbers, True, lists, or else text",
    )
    parser.add_argument(
        "--watch", help="what is shown: none, scalars, full, or auto, full as far as time allows (default)"
    )
    parser.add_argument("--engine", default="fused", help="fused, tensor, or snntorch, the slow witness")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="settings, see below"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def train(args: argparse.Namespace) -> None:
    """Train one run, or one for each of several seeds."""
    with uncollected():
        from lfcs import run  # noqa: F401

    if args.seeds is not None:
        _train_seeds(args)
        return
    if args.jobs is not None:
        raise UserError("--jobs is for several --seeds")
    config = _config(args, 0 if args.seed is None else args.seed, "auto")
    with debugged(args.debug):
        _train_one(args, config)


def _train_one(args: argparse.Namespace, config: Config) -> None:
    from lfcs import notes, run

    trainer = run.begin(config, args.run_dir)
    with interruptible(trainer):
        for name, text in notes.choices(trainer).items():
            print(f"{config.env if name == 'environments' else name}: {text}")
        for text in notes.warnings(trainer):
            print(f"warning: {text}", file=sys.stderr)
        introduce(config, f"seed {config.seed}", args.experiment)
        _run(trainer)


def _train_seeds(args: argparse.Namespace) -> None:
    from lfcs.study import many, values

    if args.seed is not None:
        raise UserError("--seed and --seeds cannot be given together")
    if args.debug:
        raise UserError("--debug is for one run: with --seeds, tracebacks are in the directories of the runs")
    seeds = values.seeds("--seeds", args.seeds)
    # the runs share the cores already; results do not depend on workers
    configs = [_config(args, seed, "0", {"train.watch": "scalars"}) for seed in seeds]
    name = args.experiment["name"] if args.experiment else values.file_name(configs[0].env)
    root = args.run_dir or many.ROOT / name
    runs = many.prepare(configs, root, args.jobs)
    introduce(configs[0], many.named([str(seed) for seed in seeds]), args.experiment)
    many.train(runs, root, args.jobs)


FLAGS = {  # that are settings
    name: f"train.{name}" for name in ("env_workers", "threads", "env_timeout", "watch", "from_nir")
}


def _config(args: argparse.Namespace, seed: int, workers: str, unless: Mapping[str, str] = {}) -> Config:
    """Return the settings of a run, ``unless`` others are given; ``args.experiment`` is found where there is one.

    Raises UserError where a flag and ``--set`` say the same setting.
    """
    from lfcs import configure, experiments

    found = args.experiment or experiments.find(args.env)
    env = found["env"] if found else args.env
    args.experiment = None if args.no_tuned else found
    given = {key: value for name, key in FLAGS.items() if (value := getattr(args, name)) is not None}
    set_ = dict(pair(text) for text in args.set)
    for name, key in FLAGS.items():
        if key in given and key in set_:
            raise UserError(f"--{name.replace('_', '-')} and --set {key} are the same setting: give one of them")
    overrides: dict[str, Any] = {"train.env_workers": workers, **unless, **given, **set_}
    asked = args.agent, args.steps, seed, args.device, args.engine
    return configure.build_config(env, *asked, overrides, args.experiment, kwargs_of(args.env_kwargs))


def introduce(config: Config, seeds: str, experiment: dict[str, Any] | None) -> None:
    """Say what is going to be trained."""
    where = f"the tuned settings of experiments/{experiment['name']}.py" if experiment else "default settings"
    print(f"{config.agent} on {config.env}, {config.steps:,} steps, {seeds}, with {where}")
    if experiment and "minutes" in experiment and config.agent == experiment["agent"]:
        minutes = experiment["minutes"] * config.steps / experiment["steps"]
        took = f"about {minutes:.0f} minute{'s' if round(minutes) > 1 else ''}" if minutes >= 1 else "under a minute"
        print(f"a run takes {took} on two cores, as measured with the settings of the script")


def _run(trainer: Trainer) -> None:
    from lfcs import run

    summary = run.complete(trainer)
    assert trainer.run_dir is not None
    report(summary, trainer.run_dir)


@contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM or SIGHUP end the run after its window, with a checkpoint; Ctrl-C pressed twice, at once.

    Another signal that is repeated, as schedulers and terminals do, changes nothing.
    """

    def on_signal(number: int) -> None:
        if not trainer.interrupted:
            trainer.interrupt()
        elif number == signal.SIGINT and callable(before[number]):
            before[number](number, None)

    with stopping.handled(on_signal) as before:
        yield


@contextmanager
def debugged(shown: bool) -> Iterator[None]:
    """Show the traceback of an environment that fails, where that is wanted."""
    try:
        yield
    except EnvironmentFailed as error:
        if shown and error.trace:
            print(error.trace, file=sys.stderr)
        raise


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without looking for garbage, which there is none of, and never look at what was imported again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def report(summary: dict[str, Any], run_dir: Path) -> None:
    """Print the end of a run."""
    print(
        f"final return over {summary['episodes']} episodes: greedy {summary['mean_return']:.2f} "
        f"± {summary['std_return']:.2f}, sampled {summary['mean_return_sampled']:.2f} "
        f"± {summary['std_return_sampled']:.2f}"
    )
    print(f"seconds: {summary['seconds']:.1f} of learning, {summary['evaluation_seconds']:.1f} of evaluation")
    if summary.get("stopped"):
        print(f"stopped early: {summary['stopped']}")
    print(f"run directory: {run_dir}")
    print(f"next: lfcs watch {run_dir}, lfcs plot {run_dir}, or lfcs report {run_dir}")


def evaluate(args: argparse.Namespace) -> None:
    """Play episodes with a run's newest policy. The last line of standard output is JSON."""
    from lfcs import run
    from lfcs.progress import Episodes

    if args.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {args.episodes}")
    shown = Episodes(args.episodes)
    try:
        with debugged(args.debug):
            results, env_steps = run.evaluate(args.run, args.episodes, args.seed, shown.hear, args.engine)
    finally:
        shown.close()
    for name, returns in results.items():
        print(f"{name}: {returns.mean():.2f} ± {returns.std():.2f} over {args.episodes} episodes")
    greedy = results["greedy"]
    found = {"mean_return": float(greedy.mean()), "std_return": float(greedy.std()), "episodes": args.episodes}
    print(json.dumps(found | {"env_steps": env_steps}), flush=True)
    quantised = run.load_config(args.run).engine == "fixed"  # which does not learn
    then = f"lfcs play {args.run} --spikes" if quantised else f"lfcs resume {args.run} --steps {2 * env_steps}"
    print(f"next: lfcs report {args.run}, or {then}", file=sys.stderr)


def resume(args: argparse.Namespace) -> None:
    """Go on with a run."""
    from lfcs import run

    config = run.load_config(args.run)
    if args.steps is None and (args.run / "summary.json").exists():
        print(f"{args.run} is already finished; --steps goes on beyond its {config.steps:,}")
        report(run.read_summary(args.run), args.run)
        return
    with debugged(args.debug):
        _go_on(args, config)


def _go_on(args: argparse.Namespace, config: Config) -> None:
    from lfcs import run

    trainer = run.proceed(args.run, steps=args.steps)
    total = trainer.config.steps
    with interruptible(trainer):
        print(f"continuing {config.agent} on {config.env} at step {trainer.env_steps:,} of {total:,}")
        if total != config.steps:
            print(f"what falls over a run's steps falls over {total:,} from here on, before over {config.steps:,}")
        _run(trainer)
