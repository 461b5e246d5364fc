"""One seed gives one result, interrupted or not; a run directory holds what it should."""

from __future__ import annotations

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lfcs import checkpoint, monitor
from lfcs import run as runs
from lfcs.callbacks import Checkpoints
from lfcs.cli.train import interruptible
from lfcs.configure import build_config
from lfcs.errors import Interrupted, UserError
from lfcs.rollout import final_observations
from lfcs.run import load_config

FAST = {
    "network.neurons": 12, "train.num_envs": 3, "rule.window": 8, "rule.tau_s": 16, "rule.replays": 2,
    "train.eval_every": 200, "train.checkpoint_every": 250, "train.eval_episodes": 3, "train.final_episodes": 5,
    "rule.lr_readout": 0.05, "train.env_workers": "0",
}  # fmt: skip


LEVERS = {
    "network.critic_path": True, "rule.average": 4, "rule.clip": "apart", "rule.distance": 0.02, "rule.lam_critic": 1.0,
}  # fmt: skip
ONLINE = {"rule.form": "online", "agent.mask": "two-sided", "rule.normalise": "false", "rule.replays": 1}
ONLINE |= {"rule.tau_f": FAST["rule.window"]}
SEEN = {"env": "toys:Lights-v0", "encoder.bounds": "seen", "encoder.previous_action": True}


def new_config(env="toys:Guess-v0", steps=1000, seed=0, **settings):
    return build_config(env, steps=steps, seed=seed, overrides=FAST | settings)


def new_trainer(*args, **kwargs):
    return runs.make_trainer(new_config(*args, **kwargs))


def begin(path, *args, callbacks=(), **kwargs):
    return runs.begin(new_config(*args, **kwargs), path, callbacks=callbacks, progress=False)


def proceed(path, callbacks=()):
    return runs.proceed(path, callbacks=callbacks, progress=False)


def run(path, **kwargs):
    trainer = begin(path, **kwargs)
    return trainer, runs.complete(trainer)


def without_times(path):
    with open(path / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def comparable(summary):
    return {k: v for k, v in summary.items() if "seconds" not in k}


def flat(tree, prefix=""):
    """Yield every leaf of a nested state with its path."""
    if isinstance(tree, dict):
        for k, v in tree.items():
            yield from flat(v, f"{prefix}/{k}")
    elif isinstance(tree, list | tuple):
        for i, v in enumerate(tree):
            yield from flat(v, f"{prefix}/{i}")
    else:
        yield prefix, np.asarray(tree)


def same_state(a, b):
    a, b = dict(flat(a)), dict(flat(b))
    differ = [k for k in a.keys() | b.keys() if "seconds" not in k and not np.array_equal(a[k], b[k])]
    return not differ, differ


def test_one_seed_gives_one_result(tmp_path):
    _, first = run(tmp_path / "a")
    _, again = run(tmp_path / "b")
    _, other = run(tmp_path / "c", seed=1)
    assert comparable(first) == comparable(again)
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b") != without_times(tmp_path / "c")
    assert other["weight_updates"] == first["weight_updates"]


@pytest.mark.parametrize("workers", ["1", "2", "3", "auto"])
def test_results_do_not_depend_on_the_number_of_workers(tmp_path, workers):
    _, alone = run(tmp_path / "a", **{"train.env_workers": "0"})
    _, other = run(tmp_path / "b", **{"train.env_workers": workers})
    assert comparable(alone) == comparable(other)
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")


def test_divergence_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    trainer = runs.begin(build_config("toys:Guess-v0", "wild:Wild", 1000, overrides=FAST), tmp_path, progress=False)
    with pytest.raises(UserError, match="learning diverged: a gradient is not finite at environment step"):
        runs.complete(trainer)
    assert json.loads((tmp_path / "summary.json").read_text())["diverged"] == "a gradient was not finite"
    saved = checkpoint.load(checkpoint.latest(tmp_path / "checkpoints"), torch.device("cpu"))
    assert torch.isfinite(saved["learner"]["update"]["network"]["policy_readout.weight"]).all()


def test_a_bad_number_stops_a_run_with_workers_too(tmp_path):
    trainer = begin(tmp_path, "toys:FaultyObservation-v0", **{"train.env_workers": "2"})
    with pytest.raises(UserError, match=r"environment 0, in step 40 after .*: number 0 of an observation is not"):
        runs.complete(trainer)


def test_a_run_directory_is_complete(tmp_path):
    _, summary = run(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} > {"config.json", "metrics.csv", "summary.json", "checkpoints"}
    assert any(p.name.startswith("events.out.tfevents") for p in tmp_path.iterdir())
    assert runs.read_summary(tmp_path) == summary
    assert summary["env_steps"] == 1002  # the first multiple of 3 environments past 1000
    rows = monitor.read_metrics(tmp_path)
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert all(np.isfinite(rows[-1][k]) for k in rows[-1] if not k.startswith("eval/"))
    assert any(np.isfinite(row["eval/mean_reward"]) for row in rows)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["versions"].keys() >= {"torch", "snntorch", "gymnasium", "numpy", "lfcs", "python"}
    assert load_config(tmp_path) == new_config()


@pytest.mark.parametrize("windows", [1, 7, 15, 21])
@pytest.mark.parametrize("form", [{}, ONLINE, SEEN, {"replay.capacity": 3, "replay.burn_in": 2}, LEVERS])
def test_ctrl_c_and_resume_end_as_if_nothing_had_happened(tmp_path, windows, form):
    whole, expected = run(tmp_path / "whole", **form)
    cut = begin(tmp_path / "cut", **form)
    inner, count = cut.window, 0

    def window():
        nonlocal count
        count += 1
        if count == windows:
            os.kill(os.getpid(), signal.SIGINT)
        return inner()

    cut.window = window
    with pytest.raises(Interrupted, match="lfcs resume"), interruptible(cut):
        runs.complete(cut)
    continued = proceed(tmp_path / "cut")
    assert continued.env_steps == windows * 24
    got = runs.complete(continued)
    assert comparable(got) == comparable(expected)
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert same_state(continued.state_dict(), whole.state_dict()) == (True, [])


def test_a_crash_continues_from_the_last_checkpoint(tmp_path):
    whole, expected = run(tmp_path / "whole")
    crashing = begin(tmp_path / "crash")
    inner = crashing.window

    def window():
        if crashing.env_steps > 600:
            raise RuntimeError("power cut")
        return inner()

    crashing.window = window
    with pytest.raises(RuntimeError):
        runs.complete(crashing)
    continued = proceed(tmp_path / "crash")
    assert continued.env_steps == 504  # the first window past 500
    got = runs.complete(continued)
    assert comparable(got) == comparable(expected)
    assert without_times(tmp_path / "crash") == without_times(tmp_path / "whole")
    assert same_state(continued.state_dict(), whole.state_dict()) == (True, [])


def test_environments_that_ignore_their_seed_cannot_resume_silently(tmp_path):
    # one of three lights in each of sixteen: no chance that all agree
    trainer = begin(tmp_path, "toys:Forgetful-v0", **{"train.num_envs": 16})
    trainer.window()
    Checkpoints(tmp_path).save(trainer)
    trainer.close()
    with pytest.raises(UserError, match="do not repeat themselves"):
        proceed(tmp_path)


def test_checkpoints_hold_nested_state_exactly(tmp_path):
    state = {
        "tensor": torch.randn(3, 2, dtype=torch.float64),
        "list": [1, 2.5, "x", None, True, {"deep": torch.arange(3)}],
        "array": np.array([[1, 2]]),
        7: "integer key",
        "empty": {},
    }
    checkpoint.save(tmp_path / "step_1.npz", state)
    loaded = checkpoint.load(tmp_path / "step_1.npz", torch.device("cpu"))
    assert same_state(loaded, state) == (True, [])
    assert loaded[7] == "integer key" and loaded["tensor"].dtype == torch.float64
    assert [p.name for p in tmp_path.iterdir()] == ["step_1.npz"]
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "step_2.npz", {"object": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["step_1.npz"]


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    run(tmp_path)
    path = checkpoint.latest(tmp_path / "checkpoints")
    for older in checkpoint.around(path.parent, checkpoint.steps_of(path) - 1)[0]:
        older.unlink()
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint", whole[:2000] + b"\0" * 50 + whole[2050:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or not an lfcs checkpoint"):
            proceed(tmp_path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="damaged or not an lfcs checkpoint"):
        proceed(tmp_path)
    path.write_bytes(whole)
    settings = tmp_path / "config.json"
    written = settings.read_text()
    settings.write_text(written.replace('"neurons": 12', '"neurons": 13'))
    with pytest.raises(UserError, match="was changed since it was written"):
        proceed(tmp_path)
    settings.write_text(written)
    other = checkpoint.read_sealed(settings)
    other["network"]["neurons"] = 13
    checkpoint.write_sealed(settings, other)
    with pytest.raises(UserError, match="does not fit the run's settings"):
        proceed(tmp_path)
    settings.write_text(written)
    proceed(tmp_path)


@pytest.mark.parametrize("what", ["Reward", "Observation"])
def test_a_bad_number_stops_the_run_and_keeps_the_checkpoint(tmp_path, what):
    trainer = begin(tmp_path, f"toys:Faulty{what}-v0")
    with pytest.raises(UserError, match=rf"environment 0, in step 40 after seed .*{what.lower()}.* not finite"):
        runs.complete(trainer)
    assert checkpoint.latest(tmp_path / "checkpoints").name == "step_000000000000.npz"


def test_a_run_cut_before_its_first_checkpoint_has_not_begun(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(checkpoint, "save", interrupted)
        begin(tmp_path)
    assert not (tmp_path / "config.json").exists()
    begin(tmp_path).close()
    proceed(tmp_path).close()


def test_evaluation_changes_nothing(tmp_path):
    trainer = begin(tmp_path)
    trainer.window()
    before = trainer.state_dict()
    before = {k: v.copy() for k, v in flat(before)}
    trainer.evaluate("evaluation", 4)
    after = dict(flat(trainer.state_dict()))
    assert all(np.array_equal(before[k], after[k]) for k in before if "evaluation_seconds" not in k)


def test_evaluation_plays_whole_episodes():
    trainer = new_trainer("toys:Clock-v0")
    for episodes in (1, 103):
        returns, lengths = trainer.play(episodes, 0, greedy=False)
        assert returns.tolist() == lengths.tolist() == [5.0] * episodes


def test_final_observations_are_the_true_ones():
    obs = np.zeros((3, 2))
    infos = {"final_obs": np.array([None, np.array([7.0, 8.0]), None], dtype=object)}
    out = final_observations(obs, np.array([False, True, False]), infos)
    assert out.tolist() == [[0, 0], [7, 8], [0, 0]] and not obs.any()


def test_truncation_bootstraps_and_termination_does_not():
    for env, ending in (("toys:Clock-v0", "terminated"), ("toys:EndlessClock-v0", "truncated")):
        trainer = new_trainer(env)
        trainer.rollout.refresh(0)
        traj = trainer.rollout.collect(60)
        ended = getattr(traj, ending)
        assert ended.any() and not (traj.terminated & traj.truncated).any()
        assert (traj.reset[1:] == ended[:-1]).all()
        inside = ended[:-1]
        assert bool((traj.bootstrap[:-1][inside] != 0).all()) == (ending == "truncated")
        state = trainer.reference.initial_state(3)
        for t in range(60):  # what was stored is what the policy computes, state resets included
            seen = trainer.engine.run(traj.x[t : t + 1], state, traj.reset[t : t + 1])
            state = seen.states.at(-1)
            assert torch.equal(seen.value[0], traj.value[t])
            assert torch.equal(seen.params[0], traj.params[t])
            assert_close(trainer.head.log_prob(seen.params[0], traj.action[t]), traj.logp_ref[t])


def test_the_defaults_learn_an_easy_task(tmp_path):
    trainer = runs.begin(build_config("toys:Guess-v0"), tmp_path, progress=False)
    assert runs.complete(trainer)["mean_return"] >= 9.0  # of 10; chance is 3.3
