"""The command line: it parses and prints. All else is imported when a command needs it."""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lfcs import __version__
from lfcs.errors import UserError, guarded

if TYPE_CHECKING:
    from lfcs.config import Config
    from lfcs.trainer import Trainer


class Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Print the error and where the help is; exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\nsee {self.prog} --help\n")


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
    print(f"TensorBoard:   lfcs watch {run_dir}")


@contextmanager
def interruptible(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C end the run after its window, with a checkpoint; pressed twice, at once."""

    def on_interrupt(*_: Any) -> None:
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.interrupt()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without looking for garbage, which there is none of, and never look at what was imported again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def _run(trainer: Trainer) -> None:
    from lfcs import run

    with interruptible(trainer):
        summary = run.complete(trainer)
    assert trainer.run_dir is not None
    report(summary, trainer.run_dir)


def _train(args: argparse.Namespace) -> None:
    with uncollected():
        from lfcs import envs, run

    if args.seeds is not None:
        _train_seeds(args)
        return
    if args.jobs is not None:
        raise UserError("--jobs is for several --seeds")
    config = _config(args, 0 if args.seed is None else args.seed, args.env_workers or "auto")
    trainer = run.begin(config, args.run_dir)
    print(f"{config.env}: {envs.described(trainer.envs)}")
    if said := envs.flattening(trainer.envs):
        print(said)
    _introduce(config, f"seed {config.seed}", args.experiment)
    _run(trainer)


def _train_seeds(args: argparse.Namespace) -> None:
    from lfcs.study import many, values

    if args.seed is not None:
        raise UserError("--seed and --seeds cannot be given together")
    seeds = values.seeds("--seeds", args.seeds)
    # the runs share the cores already; results do not depend on workers
    configs = [_config(args, seed, args.env_workers or "0") for seed in seeds]
    name = args.experiment["name"] if args.experiment else values.file_name(configs[0].env)
    root = args.run_dir or many.ROOT / name
    runs = many.prepare(configs, root, args.jobs)
    _introduce(configs[0], many.named([str(seed) for seed in seeds]), args.experiment)
    many.train(runs, root, args.jobs)


def _config(args: argparse.Namespace, seed: int, workers: str) -> Config:
    """Return the settings of a run; ``args.experiment`` is found where there is one."""
    from lfcs import configure, experiments

    args.experiment = args.experiment or experiments.find(args.env)
    env = args.experiment["env"] if args.experiment else args.env
    overrides: dict[str, Any] = {"train.env_workers": workers}
    overrides |= {"train.threads": args.threads} if args.threads else {}
    overrides |= dict(_pair(text) for text in args.set)
    given = args.agent, args.steps, seed, args.device, args.engine
    return configure.build_config(env, *given, overrides, args.experiment)


def _introduce(config: Config, seeds: str, experiment: dict[str, Any] | None) -> None:
    """Say what is going to be trained."""
    where = f"the tuned settings of experiments/{experiment['name']}.py" if experiment else "default settings"
    print(f"{config.agent} on {config.env}, {config.steps:,} steps, {seeds}, with {where}")
    if experiment and "minutes" in experiment and config.agent == experiment["agent"]:
        minutes = experiment["minutes"] * config.steps / experiment["steps"]
        took = f"about {minutes:.0f} minute{'s' if round(minutes) > 1 else ''}" if minutes >= 1 else "under a minute"
        print(f"a run takes {took} on two cores, as measured with the settings of the script")
    print(f"{config.engine} engine, device {config.device}, {config.train.threads} thread(s)")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set wants section.key=value, got {text!r}")
    return key, value


def _eval(args: argparse.Namespace) -> None:
    from lfcs import run

    if args.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {args.episodes}")
    results, env_steps = run.evaluate(args.run, args.episodes, args.seed)
    for name, returns in results.items():
        print(f"{name}: {returns.mean():.2f} ± {returns.std():.2f} over {args.episodes} episodes")
    greedy = results["greedy"]
    found = {"mean_return": float(greedy.mean()), "std_return": float(greedy.std()), "episodes": args.episodes}
    print(json.dumps(found | {"env_steps": env_steps}))


def _resume(args: argparse.Namespace) -> None:
    from lfcs import run

    config = run.load_config(args.run)
    if (args.run / "summary.json").exists():
        print(f"{args.run} is already finished")
        report(run.read_summary(args.run), args.run)
        return
    trainer = run.proceed(args.run)
    print(f"continuing {config.agent} on {config.env} at step {trainer.env_steps:,} of {config.steps:,}")
    _run(trainer)


def _bench(args: argparse.Namespace) -> None:
    from lfcs.study import benchmark, device, threshold

    if args.threads < 1:
        raise UserError(f"--threads must be at least 1, got {args.threads}")
    if args.device and args.to_threshold:
        raise UserError("--device and --to-threshold cannot be given together")
    if args.device:
        device.run(args.device, args.quick, args.threads, args.out)
        return
    if args.to_threshold:
        if args.seeds < 1:
            raise UserError(f"--seeds must be at least 1, got {args.seeds}")
        threshold.run(args.seeds, args.threads, args.out)
        return
    benchmark.run(args.quick, args.threads, args.out)


def _compare(args: argparse.Namespace) -> None:
    from lfcs.study import values
    from lfcs.study.compare import compare
    from lfcs.study.sources import command_line, load

    wanted = ("agents", "replays", "capacities", "seeds", "steps", "rates")
    flags = {key: value for key in wanted if (value := getattr(args, key)) is not None}
    if "seeds" in flags:
        so_many = len(args.seeds) == 1 and args.seeds[0].isdecimal()
        flags["seeds"] = int(args.seeds[0]) if so_many else values.seeds("--seeds", args.seeds)
    plan = load(args.comparison, flags)
    if args.print_plan:
        print(json.dumps(plan.to_dict(), indent=2))
        return
    command = command_line(args.comparison, flags, args.peers)
    compare(plan, args.comparison, args.out, args.jobs, args.peers, command)


def _tune(args: argparse.Namespace) -> None:
    from lfcs.study import values
    from lfcs.study.search import Search
    from lfcs.study.tune import tune

    seeds = values.seeds("--seeds", args.seeds)
    given = dict(_pair(text) for text in args.set)
    search, left_out = Search.make(args.env, args.agent, args.steps, seeds, args.actions, given, args.ranges)
    if args.print_plan:
        print(search.to_json())
        return
    tune(search, left_out, args.trials, args.jobs, args.out, shlex.join(["lfcs", *args.argv]))


def _watch(args: argparse.Namespace) -> None:
    import subprocess

    if not args.runs.is_dir():
        raise UserError(f"no directory {args.runs}: train something first")
    code = subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(args.runs)])
    if code:
        raise UserError(f"TensorBoard stopped with exit status {code}")


def _list(args: argparse.Namespace) -> None:
    from lfcs import catalogue

    rows = catalogue.LISTS[args.what]()
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        print(f"{name:<{width}}  {line}")


class _Settings(argparse.Action):
    """``--help`` of a training command: its flags, and every setting with its default."""

    def __init__(self, option_strings: Sequence[str], dest: str = argparse.SUPPRESS, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="show this and all settings")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from lfcs import catalogue

        lines = [f"  {name}: {line}" for name, line in catalogue.settings()]
        parser.epilog = "settings (default):\n" + "\n".join(lines)
        parser.print_help()
        parser.exit()


def _add_train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action=_Settings)
    parser.add_argument("--agent", help="learning rule, or your package.module:Class (default: lf-cs)")
    parser.add_argument("--steps", type=int, help="environment steps")
    parser.add_argument("--seed", type=int, help="seed of one run (default: 0)")
    parser.add_argument("--seeds", nargs="+", help="several runs side by side: 0..15, 0,3,7 or 0..3,8")
    parser.add_argument("--jobs", type=int, help="runs side by side (default: as many as there are cores)")
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="directory of the run (default: a new one below runs/), or of all runs (default: below runs/seeds/)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--env-workers", help="processes that step environments: auto (default), 0 or a number")
    parser.add_argument("--threads", help="threads of tensor operations (default 1)")
    parser.add_argument("--engine", default="fused", help="fused, tensor, or snntorch, the slow witness")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="settings, see below"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _add_compare_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "comparison",
        help="cartpole[-parts, -stale, -levers], pong[-one-rate, -parts, -stale], a JSON file, or an environment",
    )
    parser.add_argument("--agents", nargs="+", help="learning rules, also package.module:Class")
    parser.add_argument("--replays", type=int, nargs="+", help="numbers of passes R over a window")
    parser.add_argument("--capacities", type=int, nargs="+", help="numbers of windows kept: older ones are replayed")
    parser.add_argument("--seeds", nargs="+", help="one number: so many seeds; or the seeds: 0..15, 0,3,7")
    parser.add_argument("--steps", type=int, help="environment steps of a run")
    parser.add_argument(
        "--rates", type=float, nargs="+", help="learning rates of the readout to pick from (default: the agent's own)"
    )
    parser.add_argument("--print-plan", action="store_true", help="print the whole plan as JSON, and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--peers", action="store_true", help="add Stable-Baselines3's PPO and RecurrentPPO")
    parser.add_argument("--out", type=Path, help="directory of runs and report (default: below runs/compare/)")


def _add_tune_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", help="gymnasium id, package.module:Id, or the name of an experiment")
    parser.add_argument("--agent", help="learning rule, or your package.module:Class (default: the experiment's)")
    parser.add_argument(
        "--ranges",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY[=RANGE]",
        help="settings to search: KEY=LOW..HIGH, KEY=LOW..HIGH:log, KEY=A,B,C, or KEY with its declared range; "
        "'default' is all declared ranges (the default)",
    )
    parser.add_argument("--trials", type=int, default=50, help="trials in all, those of other processes included")
    parser.add_argument("--steps", type=int, help="environment steps of a run (default: the experiment's)")
    parser.add_argument("--seeds", nargs="+", default=["500..502"], help="seeds of every trial (default: 500..502)")
    parser.add_argument("--jobs", type=int, default=2, help="trials side by side (default 2)")
    parser.add_argument(
        "--actions", choices=("greedy", "sampled"), default="greedy", help="of the returns that are scored"
    )
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="fixed settings")
    parser.add_argument("--print-plan", action="store_true", help="print what is searched as JSON, and run nothing")
    parser.add_argument("--out", type=Path, help="directory of trials, script and report (default: below runs/tune/)")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="lfcs", description="Recurrent spiking policies that learn with lf-cs.")
    parser.add_argument("--version", action="version", version=f"lfcs {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, call: Any, help_: str, **given: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_, description=help_, **given)
        made.set_defaults(call=call)
        return made

    train = command("train", _train, "train a policy on a gymnasium environment", add_help=False)
    train.add_argument("env", help="gymnasium id, package.module:Id, or the name of an experiment")
    train.set_defaults(experiment=None)
    _add_train_flags(train)
    evaluate = command("eval", _eval, "evaluate the newest policy of a run")
    evaluate.add_argument("run", type=Path)
    evaluate.add_argument("--episodes", type=int, default=100)
    evaluate.add_argument("--seed", type=int, default=1)
    command("resume", _resume, "continue a run from its newest checkpoint").add_argument("run", type=Path)
    _add_compare_flags(command("compare", _compare, "compare learning rules under replay"))
    _add_tune_flags(command("tune", _tune, "search for settings, with Optuna: the extra 'tune'"))
    bench = command("bench", _bench, "measure speed, as ratios taken in one run")
    bench.add_argument("--quick", action="store_true", help="small sizes and few repeats: a smoke run")
    bench.add_argument("--threads", type=int, default=1, help="threads of tensor operations")
    bench.add_argument("--out", type=Path, help="file for the figures, as JSON")
    bench.add_argument(
        "--to-threshold", action="store_true", help="instead: steps and seconds until CartPole is mastered; takes long"
    )
    bench.add_argument("--seeds", type=int, default=5, help="runs of each with --to-threshold (default 5)")
    bench.add_argument("--device", help="instead: how fast cuda, or cpu, learns with thousands of environments on it")
    watch = command("watch", _watch, "open runs in TensorBoard")
    watch.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    for what in ("experiments", "agents", "envs"):
        command(what, _list, f"list the {what} that there are, a line each").set_defaults(what=what)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)  # what a report says of how it was made
    if not hasattr(args, "call"):
        parser.print_help()
        return 0
    return guarded(args.call, args)


def console() -> NoReturn:
    """Run the command line and leave.

    By then everything is written and closed. What follows an interpreter's end, taking the libraries apart piece by
    piece, would take longer than a short run learns.
    """
    status = main()
    leave(status)


def leave(status: int) -> NoReturn:
    """End the process as the interpreter would, but leave its memory to the system."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # who read it is gone
            status = status or 1
    os._exit(status)


def experiment_main(module_settings: dict[str, Any], argv: Sequence[str] | None = None) -> int:
    """Run an experiment script: its settings, with the flags of ``lfcs train``."""
    parser = Parser(description=f"Train on {module_settings['env']}.", add_help=False)
    _add_train_flags(parser)
    args = parser.parse_args(argv)
    args.env, args.experiment = module_settings["env"], module_settings
    return guarded(_train, args)
