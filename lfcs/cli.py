"""The command line: train, eval, compare, resume, watch, bench. The one module here that imports upwards, lazily."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lfcs.config import settings
from lfcs.errors import Interrupted, UserError
from lfcs.run import build_config, load_config, make_trainer, new_run_dir, train
from lfcs.trainer import stream_seed


def report(summary: dict[str, Any], run_dir: Path) -> None:
    """Print the end of a run."""
    print(
        f"final return over {summary['episodes']} episodes: greedy {summary['mean_return']:.2f} "
        f"± {summary['std_return']:.2f}, sampled {summary['mean_return_sampled']:.2f} "
        f"± {summary['std_return_sampled']:.2f}"
    )
    print(f"run directory: {run_dir}")
    print(f"TensorBoard:   lfcs watch {run_dir}")


def _train(args: argparse.Namespace) -> None:
    from lfcs import experiments

    experiment = args.experiment or experiments.find(args.env)
    env = experiment["env"] if experiment else args.env
    flags = {"train.env_workers": args.env_workers, "train.threads": args.threads}
    overrides = {k: v for k, v in flags.items() if v is not None} | dict(_pair(text) for text in args.set)
    config = build_config(env, args.agent, args.steps, args.seed, args.device, args.engine, overrides, experiment)
    where = f"the tuned settings of experiments/{experiment['name']}.py" if experiment else "default settings"
    print(f"{config.agent} on {config.env}, {config.steps:,} steps, seed {config.seed}, with {where}")
    print(f"{config.engine} engine, device {config.device}, {config.train.threads} thread(s)")
    run_dir = args.run_dir or new_run_dir(config)
    report(train(config, run_dir), run_dir)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set wants section.key=value, got {text!r}")
    return key, value


def _eval(args: argparse.Namespace) -> None:
    if args.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {args.episodes}")
    results = {}
    with closing(make_trainer(load_config(args.run))) as trainer:
        env_steps = trainer.restore_policy(args.run)
        for greedy in (False, True):
            results[greedy], _ = trainer.play(args.episodes, stream_seed(args.seed, "evaluation"), greedy)
    for greedy in (False, True):
        name = "greedy" if greedy else "sampled"
        print(f"{name}: {results[greedy].mean():.2f} ± {results[greedy].std():.2f} over {args.episodes} episodes")
    print(
        json.dumps(
            {
                "mean_return": float(results[True].mean()),
                "std_return": float(results[True].std()),
                "episodes": args.episodes,
                "env_steps": env_steps,
            }
        )
    )


def _resume(args: argparse.Namespace) -> None:
    config = load_config(args.run)
    if (args.run / "summary.json").exists():
        print(f"{args.run} is already finished")
        report(json.loads((args.run / "summary.json").read_text()), args.run)
        return
    trainer = make_trainer(config)
    trainer.restore(args.run)
    print(f"continuing {config.agent} on {config.env} at step {trainer.env_steps:,} of {config.steps:,}")
    report(trainer.train(args.run), args.run)


def _bench(args: argparse.Namespace) -> None:
    from lfcs.study import benchmark

    benchmark.run(args.quick, args.threads, args.out)


def _compare(args: argparse.Namespace) -> None:
    from lfcs.study.compare import compare
    from lfcs.study.library import command_line, load

    wanted = ("agents", "replays", "seeds", "steps", "rates")
    flags = {key: value for key in wanted if (value := getattr(args, key)) is not None}
    if "seeds" in flags and len(args.seeds) == 1:
        flags["seeds"] = args.seeds[0]  # so many seeds
    plan = load(args.comparison, flags)
    if args.print_plan:
        print(json.dumps(plan.to_dict(), indent=2))
        return
    command = command_line(args.comparison, flags, args.peers)
    compare(plan, args.comparison, args.out, args.jobs, args.peers, command)


def _watch(args: argparse.Namespace) -> None:
    if not args.runs.is_dir():
        raise UserError(f"no directory {args.runs}: train something first")
    code = subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(args.runs)])
    if code:
        raise UserError(f"TensorBoard stopped with exit status {code}")


def _add_train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", help="learning rule (default: lf-cs)")
    parser.add_argument("--steps", type=int, help="environment steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-dir", type=Path, help="directory of the run (default: a new one below runs/)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--env-workers", help="processes that step environments: auto (default), 0 or a number")
    parser.add_argument("--threads", help="threads of tensor operations (default 1)")
    parser.add_argument("--engine", default="fused", help="fused, or snntorch, its slow witness")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="settings, see below"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "settings (default):\n" + "\n".join(
        f"  {key} ({field.default}): {field.metadata['doc']}"
        + (f"; one of {', '.join(field.metadata['choices'])}" if field.metadata["choices"] else "")
        for key, field in settings().items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lfcs", description="Recurrent spiking policies that learn with lf-cs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train_parser = commands.add_parser("train", help="train a policy on a gymnasium environment")
    train_parser.add_argument("env", help="gymnasium id, package.module:Id, or the name of an experiment")
    _add_train_flags(train_parser)
    train_parser.set_defaults(call=_train, experiment=None)
    eval_parser = commands.add_parser("eval", help="evaluate the newest policy of a run")
    eval_parser.add_argument("run", type=Path)
    eval_parser.add_argument("--episodes", type=int, default=100)
    eval_parser.add_argument("--seed", type=int, default=1)
    eval_parser.set_defaults(call=_eval)
    resume_parser = commands.add_parser("resume", help="continue a run from its newest checkpoint")
    resume_parser.add_argument("run", type=Path)
    resume_parser.set_defaults(call=_resume)
    compare_parser = commands.add_parser("compare", help="compare learning rules under replay")
    compare_parser.add_argument(
        "comparison", help="cartpole[-parts], pong[-one-rate, -parts], a JSON file, or the id of an environment"
    )
    compare_parser.add_argument("--agents", nargs="+", help="learning rules, also package.module:Class")
    compare_parser.add_argument("--replays", type=int, nargs="+", help="numbers of passes R over a window")
    compare_parser.add_argument("--seeds", type=int, nargs="+", help="one number: so many seeds; or the seeds")
    compare_parser.add_argument("--steps", type=int, help="environment steps of a run")
    compare_parser.add_argument(
        "--rates", type=float, nargs="+", help="learning rates of the readout to pick from (default: the agent's own)"
    )
    compare_parser.add_argument(
        "--print-plan", action="store_true", help="print the whole plan as JSON, and run nothing"
    )
    compare_parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    compare_parser.add_argument("--peers", action="store_true", help="add Stable-Baselines3's PPO and RecurrentPPO")
    compare_parser.add_argument("--out", type=Path, help="directory of runs and report (default: below runs/compare/)")
    compare_parser.set_defaults(call=_compare)
    bench_parser = commands.add_parser("bench", help="measure speed, as ratios taken in one run")
    bench_parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: a smoke run")
    bench_parser.add_argument("--threads", type=int, default=1, help="threads of tensor operations")
    bench_parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    bench_parser.set_defaults(call=_bench)
    watch_parser = commands.add_parser("watch", help="open runs in TensorBoard")
    watch_parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    watch_parser.set_defaults(call=_watch)
    return parser


def guarded(call: Any, *args: Any) -> int:
    """Call and return an exit status; what the user can mend becomes one line on standard error."""
    try:
        call(*args)
    except Interrupted as stop:
        print(f"lfcs: {stop}", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"lfcs: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lfcs: interrupted", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    return guarded(args.call, args)


def experiment_main(module_settings: dict[str, Any], argv: Sequence[str] | None = None) -> int:
    """Run an experiment script: its settings, with the flags of ``lfcs train``."""
    parser = argparse.ArgumentParser(description=f"Train on {module_settings['env']}.")
    _add_train_flags(parser)
    args = parser.parse_args(argv)
    args.env, args.experiment = module_settings["env"], module_settings
    return guarded(_train, args)
