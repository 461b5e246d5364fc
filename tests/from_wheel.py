"""Use lfcs as a stranger who installed it from its wheel, in an empty folder with a foreign ``agents`` package.

    python tests/from_wheel.py LFCS     LFCS is the command, beside the Python that has the wheel

Not collected by pytest: ``make test-pythons`` runs it for every Python that is installed. Prints a line per check and
exits with status 1 at the first that fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SMALL = ["network.neurons=8", "train.num_envs=2", "rule.window=10", "rule.tau_s=10", "train.final_episodes=2"]
RULE = '''
from lfcs import Agent


class Rule(Agent):
    """Half of importance sampling."""

    def weight(self, rho, advantage):
        return 0.5 * rho * advantage
'''
SCRIPT = """
import agents, lfcs
from mine import Rule

assert agents.FOREIGN and not lfcs.__file__.startswith({source!r})
small = dict(pair.split("=") for pair in {small!r})
run = lfcs.train("CartPole-v1", steps=200, settings=small, agent=Rule, run_dir="mine")
print(lfcs.load(run.path).predict([0.0, 0.0, 0.0, 0.0])[0] in (0, 1), run.config.agent)
"""
PLAN = '{"env": "CartPole-v1", "steps": 60, "replays": [1, 2], "seeds": 2, "agents": ["lf-cs", "e-prop", "mine:Rule"],'
PLAN += ' "settings": {"network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10}}'


def main(lfcs: Path) -> int:
    """Run every check in a folder of its own."""
    python, source = lfcs.with_name("python"), str(Path(__file__).parent.parent / "lfcs")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agents").mkdir()
        (folder / "agents" / "__init__.py").write_text("FOREIGN = True\n")
        (folder / "mine.py").write_text(RULE)
        (folder / "script.py").write_text(SCRIPT.format(source=source, small=SMALL))
        (folder / "plan.json").write_text(PLAN)
        for command in (
            [python, "script.py"],
            [lfcs, "train", "CartPole-v1", "--steps", "200", "--run-dir", "a", "--set", *SMALL],
            [lfcs, "train", "Pong100-v0", "--steps", "40", "--run-dir", "b", "--set", *SMALL],
            [lfcs, "train", "CartPole-v1", "--agent", "mine:Rule", "--steps", "200", "--run-dir", "c", "--set", *SMALL],
            [lfcs, "eval", "a", "--episodes", "2"],
            [lfcs, "compare", "plan.json", "--out", "compared"],
            [lfcs, "experiments"],
        ):
            done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
            print("passed" if done.returncode == 0 else "FAILED", " ".join(map(str, command[1:])), flush=True)
            if done.returncode:
                print(done.stdout[-1000:], done.stderr[-3000:], sep="\n")
                return 1
        assert (folder / "compared" / "report.md").read_text().count("mine:Rule") >= 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).absolute()) if len(sys.argv) == 2 else __doc__)
