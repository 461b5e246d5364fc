"""From training to a chip's numbers and back to learning, one stage after the other, told on one page.

Train a policy that a chip can take, count what it computes, put it into few bits, write it as a NIR graph, run that
graph in other simulators in the loop, then let it learn on when its world changes, from the graph.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lfcs
from lfcs.checkpoint import whole
from lfcs.compiled.evaluation import evaluate
from lfcs.envs import make_vec
from lfcs.envs.making import make_sync
from lfcs.errors import UserError, guarded
from lfcs.hardware import agreement, graph, readers, targets, xylo
from lfcs.hardware.profile import profile
from lfcs.hardware.quantise import Format, quantise
from lfcs.hardware.xylosim import OnXylo
from lfcs.policy import Policy

SEED = 1_000_000  # of evaluations: nothing was learned on these episodes


class Page:
    """Lines of text that are printed as they come and kept as a page."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        """Add a line."""
        print(line, flush=True)
        self.lines.append(line)

    def write(self, path: Path) -> None:
        """Write the page."""
        with whole(path) as file:
            file.write(("\n".join(self.lines) + "\n").encode())


def deploy(plan: dict[str, Any], out: Path, seed: int = 0, steps: int | None = None, episodes: int = 100) -> Path:
    """Go through all stages of a plan in a new directory; return the path of the page.

    ``steps`` and ``episodes`` make it shorter. Raises UserError where the directory holds something, or a stage cannot
    be had.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} holds something already: choose another directory")
    page = Page()
    page.say(f"# {plan['env']} from training to hardware, seed {seed}")
    policy = _trained(plan, out, seed, steps, episodes, page.say)
    _profiled(policy, plan["env"], min(episodes, 20), page.say)
    small = _quantised(policy, plan, episodes, page.say)
    page.say("\n## Exported")
    for note in graph.export(small, out / "policy.nir"):
        page.say(f"- {note}")
    _elsewhere(small, plan["env"], min(episodes, 20), page.say)
    _adapted(plan, out, seed, steps, min(episodes, 20), page.say)
    page.write(out / "page.md")
    print(f"page: {out / 'page.md'}")
    return out / "page.md"


def _played(policy: Policy, env: str, episodes: int, kwargs: dict[str, Any] | None = None) -> np.ndarray:
    """Return greedy returns [episodes] of a policy."""
    vec = make_vec(env, min(episodes, 20), kwargs=kwargs or {})
    try:
        return evaluate(policy, vec, episodes, SEED, True)[0]
    finally:
        vec.close()


def _trained(
    plan: dict[str, Any], out: Path, seed: int, steps: int | None, episodes: int, say: Callable[[str], None]
) -> Policy:
    """Train; return the policy."""
    given = {"settings": plan["settings"], "seed": seed, "run_dir": out / "trained", "watch": "scalars"}
    run = lfcs.train(plan["env"], steps=steps or plan["steps"], **given)
    returns = _played(run.policy, plan["env"], episodes)
    say(f"\n## Trained\n{run.config.agent}, {run.config.steps:,} steps")
    say(f"- greedy return {returns.mean():.2f}, least {returns.min():.0f}, over {episodes} episodes")
    return run.policy


def _profiled(policy: Policy, env: str, episodes: int, say: Callable[[str], None]) -> None:
    """Say what a step computes."""
    operations = profile(policy, env, episodes).metrics["synaptic_operations"]
    say("\n## Profiled")
    for name, number in operations.items():
        say(f"- {name.replace('_', ' ')} a step: {number:,.1f}")


def _quantised(policy: Policy, plan: dict[str, Any], episodes: int, say: Callable[[str], None]) -> Policy:
    """Say what few bits keep and what the chip would refuse; return the policy in the chip's numbers."""
    say("\n## Quantised")
    for bits in plan["bits"]:
        returns = _played(quantise(policy, Format(bits=bits, decay_shift=True)), plan["env"], episodes)
        say(f"- {bits} bits, all in whole numbers: return {returns.mean():.2f}")
    small = xylo.fitted(policy)
    returns = _played(small, plan["env"], episodes)
    say(f"- in Xylo's numbers: return {returns.mean():.2f}, least {returns.min():.0f}, over {episodes} episodes")
    say("\n## What Xylo says")
    refused = targets.report(small, "xylo", lambda line: say(f"- {line}"))
    say("Xylo would take it." if not refused else f"Xylo would refuse {refused} of these.")
    return small


def _elsewhere(policy: Policy, env: str, episodes: int, say: Callable[[str], None]) -> None:
    """Say how other simulators that are installed agree, and what XyloSim reaches."""
    say("\n## In other simulators, in the loop")
    for name in readers.READERS:
        try:
            reader = readers.open_policy(policy, name)
        except UserError as missing:
            say(f"- {name}: {missing}")
            continue
        spikes, acted = agreement.spikes(policy, reader, 1000), agreement.actions(policy, reader, env, episodes)
        say(
            f"- {name}: {spikes.differing:,} of {spikes.spikes:,} spikes differ in 1,000 ticks, {acted.differing:,} of "
            f"{acted.actions:,} actions in {episodes} episodes; return {acted.returns.mean():.2f}"
        )
    try:
        returns = on_xylo(policy, env, episodes)
        say(f"- xylosim, which computes as the chip does: return {returns.mean():.2f}, least {returns.min():.0f}")
    except UserError as missing:
        say(f"- xylosim: {missing}")


def on_xylo(policy: Policy, env: str, episodes: int, ticks: int | None = None) -> np.ndarray:
    """Return greedy returns [episodes] of a policy in XyloSim. Raises UserError as OnXylo does."""
    model, vec = OnXylo(policy, ticks), make_sync(env, 1)
    try:
        return agreement.played(model, vec, range(SEED, SEED + episodes))
    finally:
        vec.close()


def _adapted(
    plan: dict[str, Any], out: Path, seed: int, steps: int | None, episodes: int, say: Callable[[str], None]
) -> None:
    """Let the exported graph learn on in the changed world; say what it reaches there, frozen and learning."""
    change = plan["change"]
    frozen = _played(lfcs.load_nir(out / "policy.nir"), change["env"], episodes, change["after"])
    settings = plan["settings"] | change["settings"] | {"train.from_nir": str(out / "policy.nir")}
    run = lfcs.train(
        change["env"], steps=steps or change["steps"], seed=seed, settings=settings, run_dir=out / "adapted",
        watch="scalars", tuned=False, env_kwargs=change["world"],
    )  # fmt: skip
    learned = _played(run.policy, change["env"], episodes, change["after"])
    fitted = _played(xylo.fitted(run.policy), change["env"], episodes, change["after"])
    say(f"\n## When {change['what']}")
    say(f"- the graph as it was: return {frozen.mean():.2f}")
    say(f"- the graph, learning on for {run.config.steps:,} steps with {run.config.agent}: return {learned.mean():.2f}")
    say(f"- and that in Xylo's numbers again: return {fitted.mean():.2f}")


def main(plan: dict[str, Any], argv: Sequence[str] | None = None) -> int:
    """Run a plan from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/deploy"), help="a new directory (default runs/deploy)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="environment steps of each training (default: the plan's)")
    parser.add_argument("--episodes", type=int, default=100, help="of each evaluation (default 100)")
    args = parser.parse_args(argv)
    return guarded(deploy, plan, args.out, args.seed, args.steps, args.episodes)
