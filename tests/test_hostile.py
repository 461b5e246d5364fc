"""Whatever an environment does wrong is one line and a status that is not zero; nobody hangs, nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import gymnasium
import hostile_envs
import numpy as np
import pytest
import torch
from hostile_envs import ENDS_PROCESS, HANGS, IN_ONE_PROCESS, KINDS
from test_orphans import until

import lfcs
from lfcs import envs, faults
from lfcs import run as runs
from lfcs import trainer as trainers
from lfcs.compiled.evaluation import evaluate
from lfcs.configure import build_config
from lfcs.errors import EnvironmentFailed, Interrupted, UserError

HERE = Path(__file__).parent
WHAT = {kind: kind.partition(": ")[2] for kind in KINDS}
HERE_TOO = [kind for kind in KINDS if WHAT[kind] not in ENDS_PROCESS | HANGS | {"KeyboardInterrupt"}]
DOUBLES = {  # of what others show too: not in processes of their own
    "space: MultiDiscrete of ones", "space: an empty Tuple", "init: raises what takes two", "init: StopIteration",
    "init: MemoryError", "init: sys.exit()", "init: spins", "init: warns, as an error", "init: GeneratorExit",
    "reset: recurses", "reset: StopIteration", "reset: MemoryError", "reset: GeneratorExit", "reset: sys.exit()",
    "reset: os._exit(3)", "reset: spins", "reset: warns, as an error", "reset: numpy raises", "reset: None",
    "reset: torch's default dtype", "reset: observation of another shape", "reset: observation NaN",
    "reset: raises what takes two", "reset: a list of three", "reset: KeyboardInterrupt", "step: StopIteration",
    "step: GeneratorExit", "step: sys.exit()", "step: os._exit(3)", "step: six values", "step: info text",
    "observation: of two dimensions", "observation: complex", "observation: infinite", "observation: a dictionary",
    "reward: an array of two", "reward: infinite", "reward: a list", "reward: complex", "reward: a fraction",
    "terminated: text", "terminated: an array", "terminated: two", "truncated: text", "truncated: an array",
    "truncated: two", "step: recurses", "step: MemoryError", "observation: ragged", "init: recurses",
}  # fmt: skip
IN_PROCESSES = [kind for kind in KINDS if kind not in DOUBLES]


@pytest.fixture
def as_before():
    """Put back what an environment in this process may change."""
    where, errors = os.getcwd(), np.geterr()
    hostile_envs.Hostile.made = 0
    yield
    os.chdir(where)
    np.seterr(**errors)
    torch.set_default_dtype(torch.float32)


def lived(kind, workers="0", steps=30, timeout=60.0):
    """Step environments of a kind, and close them."""
    vec = envs.make_vec("hostile_envs:Hostile-v0", 3, workers, kwargs={"kind": kind}, timeout=timeout)
    try:
        vec.reset(seed=5)
        vec.action_space.seed(0)
        for _ in range(steps):
            vec.step(vec.action_space.sample())
    finally:
        vec.close()
    return vec


def test_the_kinds_are_many():
    assert len(IN_PROCESSES) >= 60 and len(set(KINDS)) == len(KINDS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", HERE_TOO)
def test_what_an_environment_does_wrong_is_one_line(as_before, kind):
    with pytest.raises(UserError) as raised:
        lived(kind)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    where = kind.partition(": ")[0]
    if where not in ("space", "init") and kind not in hostile_envs.SPACES:
        assert isinstance(raised.value, EnvironmentFailed)
        doing = where if where in ("reset", "close") else "step"
        assert f", in {doing}" in str(raised.value) and "after seed" in str(raised.value)
    if WHAT[kind] == "raises":
        assert "wheel came off in two lines" in str(raised.value) and "Traceback" in raised.value.trace


def test_ctrl_c_in_an_environment_of_this_process_is_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        lived("step: KeyboardInterrupt")


def test_a_well_behaved_one_is_not_touched_and_the_random_state_of_others_is_not_ours():
    lived("none")
    lived("none", "2").close()


WORDS = {
    "step: raises": "environment 0, in step 7 after seed 5: RuntimeError: the wheel came off in two lines",
    "step: os._exit(0)": "environment 0, in step 7 after seed 5: the worker process ended with exit status 0",
    "step: segfault": "environment 0, in step 7 after seed 5: the worker process was killed by SIGSEGV",
    "step: KeyboardInterrupt": "environment 0, in step 7 after seed 5: KeyboardInterrupt",
    "reset: killed": "environment 0, in reset after seed 5: the worker process was killed by SIGKILL",
    "step: hangs and is deaf": "environment 0, in step 7 after seed 5: it did not return in time",
    "close: hangs": "environment 2, in close after seed 7: it did not return in time",
    "close: raises": "environment 0, in close after seed 5: RuntimeError: the wheel came off",
}


@pytest.mark.parametrize("kind", WORDS)
def test_what_happens_in_a_worker_is_told_apart(kind):
    with pytest.raises(EnvironmentFailed, match=WORDS[kind].replace("(", r"\(").replace(")", r"\)")):
        lived(kind, "1", timeout=1.0)


@pytest.mark.parametrize("kind", ["step: hangs", "step: spins", "init: hangs", "reset: hangs"])
def test_what_hangs_in_this_process_is_interrupted(kind, capsys):
    begun = time.monotonic()
    with pytest.raises(
        EnvironmentFailed,
        match=rf"environment 0, in {kind.partition(': ')[0].replace('init', '__init__')}.* did not return in time",
    ) as raised:
        lived(kind, timeout=0.6)
    assert time.monotonic() - begun < 10 and "hostile_envs.py" in raised.value.trace
    assert "still waiting for environment 0" in capsys.readouterr().err
    time.sleep(0.2)  # nobody interrupts us any more


def test_training_and_evaluation_share_their_workers(tmp_path):
    vec = envs.make_vec("hostile_envs:Hostile-v0", 3, "2", kwargs={"kind": "none"})
    beside = vec.on_host(5)
    alone = envs.make_vec("hostile_envs:Hostile-v0", 5, kwargs={"kind": "none"})
    for one in (vec, beside, alone):
        one.reset(seed=1)
    actions = np.zeros(5, int)
    for _ in range(25):
        vec.step(actions[:3])
        for mine, theirs in zip(beside.step(actions)[:4], alone.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert len(vec.team.processes) == 2 and beside.team is vec.team
    vec.close()
    beside.step(actions)
    beside.close()
    assert not any(process.is_alive() for process in vec.team.processes)
    with pytest.raises(UserError, match="before the first reset"):
        vec.on_host(2)


def test_workers_do_without_torch():
    code = (
        "import sys, lfcs.envs.workers\n"
        "print([name for name in ('torch', 'numba', 'snntorch', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


SMALL = {"network.neurons": 8, "train.num_envs": 4, "train.final_episodes": 2, "train.checkpoint_every": 40}


def test_a_run_keeps_the_traceback_and_can_be_resumed(tmp_path):
    with pytest.raises(EnvironmentFailed) as raised:
        lfcs.train(
            "hostile_envs:Hostile-v0", steps=400, settings=SMALL | {"rule.window": 2, "rule.tau_f": 2, "rule.tau_s": 2},
            run_dir=tmp_path / "run", env_kwargs={"kind": "step: raises"},
        )  # fmt: skip
    line, kept = str(raised.value), tmp_path / "run" / faults.FILE
    assert "\n" not in line and str(kept) in line and f"lfcs resume {tmp_path / 'run'}" in line
    assert "(environment step 24 of the run)" in line
    assert "RuntimeError: the wheel came off" in kept.read_text() and "hostile_envs.py" in kept.read_text()
    assert list((tmp_path / "run" / "checkpoints").glob("step_*.npz"))


def test_a_run_whose_environments_cannot_be_made_keeps_the_traceback_too(tmp_path):
    with pytest.raises(EnvironmentFailed, match="its traceback is in") as raised:
        lfcs.train("hostile_envs:Hostile-v0", steps=40, run_dir=tmp_path, env_kwargs={"kind": "init: raises"})
    assert "lfcs resume" not in str(raised.value) and "wheel came off" in (tmp_path / faults.FILE).read_text()


def with_tests():
    """Return the path of modules with that of the tests."""
    return os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


def family(session):
    """Return the processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def command(tmp_path, kind, workers, *more):
    """Return the process that trains on a kind of environment, in a session of its own."""
    given = [f"{key}={value}" for key, value in SMALL.items()]
    words = [
        sys.executable, "-m", "lfcs.cli", "train", "hostile_envs:Hostile-v0", "--env-kwargs", f"kind={kind}",
        "--steps", "160", "--env-workers", str(workers), "--run-dir", str(tmp_path / "run"), "--watch", "none", *more,
        "--set", *given,
    ]  # fmt: skip
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
        env=os.environ | {"PYTHONPATH": with_tests()},
    )  # fmt: skip


def ended(process, timeout=400):  # a run that ends well may be the first, and compile
    """Return status and standard error of a process, of whose family nobody may be left."""
    try:
        _, said = process.communicate(timeout=timeout)
        assert until(lambda: not family(process.pid), 10), "a process is left behind"
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
    return process.returncode, said


def check_run(tmp_path, kind, workers):
    """Train on a kind of environment, and check how it ends."""
    timeout = "60" if WHAT[kind] not in HANGS else "2"
    status, said = ended(command(tmp_path, kind, workers, "--env-timeout", timeout))
    if workers and WHAT[kind] in IN_ONE_PROCESS and not kind.startswith("init"):
        assert status == 0, said
        return
    assert "Traceback" not in said, said
    if not workers and WHAT[kind] in ENDS_PROCESS:  # nobody is left to say it
        return
    assert status != 0, said
    lines = [line for line in said.splitlines() if line.startswith(("lfcs: error", "lfcs: interrupted"))]
    assert len(lines) == 1, said


@pytest.mark.parametrize(("kind", "workers"), [("step: raises", 2), ("step: hangs", 0)])
def test_a_run_ends_in_one_line_and_leaves_nobody_behind(tmp_path, kind, workers):
    check_run(tmp_path, kind, workers)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", IN_PROCESSES)
def test_every_kind_as_a_run_of_its_own(tmp_path, kind, workers):
    check_run(tmp_path, kind, workers)


def test_ctrl_c_twice_ends_a_run_that_hangs_and_its_workers(tmp_path):
    process = command(tmp_path, "step: hangs and is deaf", 2)
    try:
        assert until((tmp_path / "run" / "config.json").exists)
        time.sleep(1.0)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.5)
        status, said = ended(process, 20)
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert status == 130 and "Traceback" not in said, said


def test_workers_that_hang_end_with_their_parent(tmp_path):
    code = (
        "from lfcs import envs\n"
        "vec = envs.make_vec('hostile_envs:Hostile-v0', 2, '2', kwargs={'kind': 'reset: hangs and is deaf'})\n"
        "print('made', flush=True)\n"
        "vec.reset(seed=1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"PYTHONPATH": with_tests()},
    )  # fmt: skip
    assert process.stdout.readline() == "made\n"
    assert until(lambda: len(family(process.pid)) >= 3)
    time.sleep(1.5)
    process.kill()
    ended(process, 20)


class Endless(gymnasium.Env):
    """Never ends."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}


class Hears(lfcs.Callback):
    """Keeps warnings."""

    def __init__(self):
        self.said = []

    def warning(self, trainer, message):
        self.said.append(message)


def test_an_evaluation_of_episodes_that_never_end_ends_and_says_so(tmp_path):
    hears, given = Hears(), SMALL | {"train.eval_max_steps": 50, "train.watch": "none"}
    run = lfcs.train(Endless, steps=256, settings=given, run_dir=tmp_path, callbacks=[hears])
    assert run.summary["mean_return"] == 50.0
    assert (
        hears.said
        == ["evaluation at step 256: 2 of 2 episodes reached 50 steps (train.eval_max_steps) and count as they stood"]
        * 2
    )


def test_the_limit_of_steps_is_the_same_in_compiled_loops():
    trainer = runs.make_trainer(
        build_config("MountainCar-v0", overrides=SMALL | {"train.eval_max_steps": 45, "train.env_kind": "compiled"})
    )
    with closing(trainer), closing(envs.make_vec("MountainCar-v0", 4, kind="plain")) as plain:
        compiled = trainer.play(4, 1, True)
        by_steps = evaluate(trainer.final, plain, 4, 1, True, max_steps=45)
    assert compiled[1].tolist() == by_steps[1].tolist() == [45] * 4
    np.testing.assert_array_equal(compiled[0], by_steps[0])


def test_ctrl_c_is_heard_in_an_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "PATIENCE", 0.2)
    trainer = runs.begin(
        build_config("Endless", overrides=SMALL | {"train.watch": "none"}, steps=256),
        tmp_path,
        make_env=Endless,
        progress=False,
    )
    threading.Timer(1.0, trainer.interrupt).start()
    monkeypatch.setattr(trainer, "window", lambda: pytest.fail("it evaluates first"))
    with closing(trainer), pytest.raises(Interrupted, match="stopped in an evaluation at step 0"):
        trainer.play(2, 1, True)
