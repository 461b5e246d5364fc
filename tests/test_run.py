"""The Python face: training from scripts, threads and notebooks; rules and environments of the user's own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading

import gymnasium
import numpy as np
import pytest
import torch
import toys
from torch import Tensor

import lfcs
from lfcs.agents.importance import Importance
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.monitor import read_metrics

SMALL = {
    "network.neurons": 8, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10, "train.final_episodes": 3,
    "train.eval_every": 100,
}  # fmt: skip


ONE = toys.Guess()


class Halved(Importance):
    """Importance sampling at half the weight."""

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        return 0.5 * super().weight(rho, advantage)


def train(tmp_path, env="toys:Guess-v0", name="run", **given):
    return lfcs.train(env, **{"steps": 200, "settings": SMALL, "run_dir": tmp_path / name} | given)


def test_training_gives_a_run(tmp_path):
    run = train(tmp_path, seed=3, agent="naive-replay", rule={"replays": 2}, encoder={"kind": "identity"})
    assert (run.config.seed, run.config.agent, run.config.rule.replays) == (3, "naive-replay", 2)
    assert run.config.encoder.kind == "identity" and run.config.train.env_workers == "0"
    assert run.summary["env_steps"] == 200 and run.path == tmp_path / "run"
    column = run.metrics["step"] if hasattr(run.metrics, "columns") else [row["step"] for row in run.metrics]
    assert list(column) == list(range(20, 201, 20))
    assert run.policy.predict(np.eye(3)[0])[0] in (5, 6, 7) and "naive-replay on toys:Guess-v0" in repr(run)


def test_an_environment_is_an_id_a_class_or_a_maker(tmp_path):
    runs = [train(tmp_path, env, str(i)) for i, env in enumerate(("toys:Guess-v0", toys.Guess, lambda: toys.Guess()))]
    scores = [[r.summary[k] for k in ("mean_return", "mean_return_sampled")] for r in runs]
    assert scores[0] == scores[1]  # gymnasium's own wrapper changes nothing
    assert scores[1] == scores[2]
    assert runs[1].config.env == "toys:Guess"


def test_a_rule_is_a_name_or_a_class(tmp_path):
    runs = [train(tmp_path, name=str(i), agent=a) for i, a in enumerate((Halved, "test_run:Halved", "importance"))]
    finals = [r.policy.network.readout for r in runs]
    assert finals[0].equal(finals[1]) and not finals[0].equal(finals[2])
    assert runs[0].config.agent == runs[1].config.agent == "test_run:Halved"


def test_what_is_wrong_is_one_line(tmp_path):
    for given, message in (
        ({"settings": {"rule.replay": 3}}, r"unknown setting 'rule.replay'; did you mean rule.replays"),
        ({"rules": {"replays": 3}}, "unknown argument 'rules'; sections of settings are network, rule, replay"),
        ({"rule": 3}, "unknown argument 'rule'"),
        ({"agent": "lfcs"}, "unknown agent 'lfcs'; did you mean lf-cs"),
        ({"agent": "nowhere:Rule"}, "cannot import 'nowhere' for agent"),
        ({"agent": "toys:Rule"}, "agent 'toys:Rule': module 'toys' has no 'Rule'"),
        ({"agent": "toys:Guess"}, "is not a subclass of lfcs.Agent"),
        ({"env": "Guess-v7"}, "unknown environment"),
        ({"agent": "e-prop", "settings": {"agent.pull": 1}}, "agent e-prop does not read agent.pull; .*: none"),
        ({"agent": "acer", "settings": {"agent.rho_bar": 1}}, "does not read agent.rho_bar; .*: agent.truncation"),
        ({"agent": "bptt-ppo", "settings": {"rule.tail": 3}}, "bptt-ppo stands for rule.tail=0; it cannot be 3"),
        ({"agent": {"eps": 0.1}}, "agent wants a name or a subclass of lfcs.Agent, got {'eps': 0.1}"),
        ({"agent": "toys:"}, "is not of the form package.module:Name"),
        ({"env": toys.Guess()}, "env wants an id, a class or a function that makes an environment, got"),
        ({"env": None}, "env wants an id, a class or a function"),
        ({"env": lambda: None}, "env made None, which is not a gymnasium environment"),
        ({"env": lambda: ONE}, "env returned the same environment twice"),
        ({"settings": [1]}, r"settings wants a dictionary, got \[1\]"),
        ({"callbacks": lfcs.StopAt(3)}, "callbacks wants a list of lfcs.Callback"),
        ({"callbacks": [lfcs.Recorder]}, "callbacks wants a list of lfcs.Callback, each made"),
        ({"seed": "a"}, "seed wants a whole number, got 'a'"),
        ({"steps": 1e3}, "steps wants a whole number, got 1000.0"),
        ({"network": {"neuron": "toys:Guess"}}, "neuron 'toys:Guess' is not a neuron model"),
        ({"encoder": {"kind": "populaton"}}, "unknown encoder 'populaton'; did you mean population"),
        ({"settings": {"rule.eps": 0.1}}, "unknown setting 'rule.eps'; did you mean agent.eps"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            train(tmp_path, **given)
        assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers():
    config = build_config("x", steps=np.int64(5), seed=np.int32(2), overrides={"rule.gamma": np.float32(0.5)})
    assert (config.steps, config.seed, config.rule.gamma) == (5, 2, 0.5) and type(config.steps) is int


def test_training_leaves_the_threads_as_they_were(tmp_path):
    torch.set_num_threads(2)
    try:
        train(tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_what_a_rule_stands_for_may_be_said_again():
    for agent, key, value in (("e-prop", "rule.replays", "1"), ("random", "rule.lr_readout", "0")):
        assert build_config("x", agent, overrides={key: value}) == build_config("x", agent)


def test_training_works_in_a_thread(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda n: found.append(train(tmp_path, name=n)), args=(n,)) for n in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0].summary["mean_return"] == found[1].summary["mean_return"]


SCRIPT = """
import threading
import gymnasium, numpy as np
import lfcs

print("once")

class Arrow(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.way = 0, int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.way], {}

    def step(self, action):
        self.time += 1
        return np.eye(2, dtype=np.float32)[self.way], float(action == self.way), self.time == 5, False, {}

gymnasium.register("Arrow-v0", entry_point=Arrow)
small = SMALL
for env in ("Arrow-v0", Arrow, lambda: Arrow()):
    scores = set()
    for workers in ("0", "2"):
        run = lfcs.train(env, steps=200, settings=small | {"train.env_workers": workers})
        scores.add((run.summary["mean_return"], run.summary["mean_return_sampled"]))
    print(len(scores))
given = {"steps": 100, "settings": small | {"train.env_workers": 2}}
threads = [threading.Thread(target=lfcs.train, args=(Arrow,), kwargs=given) for _ in range(3)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print("done")
"""


def test_a_plain_script_needs_no_main_guard_and_workers_know_its_environments(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.replace("SMALL", repr(SMALL)))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "1", "1", "1", "done"] and "Traceback" not in done.stderr


@pytest.mark.parametrize("foreign", ["package", "module"])
def test_foreign_modules_of_the_same_names_do_no_harm(tmp_path, foreign):
    """A user's own agents, envs and experiments beside their script, and they still have them."""
    for name in ("agents", "envs", "experiments"):
        path = tmp_path / (f"{name}/__init__.py" if foreign == "package" else f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text("MINE = True\n")
    code = f"""
        import agents, envs, experiments, lfcs
        run = lfcs.train("CartPole-v1", steps=100, settings={SMALL!r}, tuned=False)
        tuned = lfcs.train("CartPole-v1", steps=100, settings={SMALL!r})
        print(agents.MINE, envs.MINE, experiments.MINE, tuned.config.network.tau_m)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "True", "4.0"]


def test_a_run_goes_on_from_python_with_its_objects(tmp_path):
    class Stop(lfcs.Callback):
        def window(self, trainer, metrics):
            if trainer.env_steps == 100:
                trainer.interrupt()

    given = {"agent": Halved, "env": toys.Guess}
    whole = train(tmp_path, name="whole", callbacks=[lfcs.Callback()], **given)
    with pytest.raises(UserError, match="stopped at step 100"):
        train(tmp_path, name="cut", callbacks=[Stop()], **given)
    Stop.window = lfcs.Callback.window
    got = lfcs.resume(tmp_path / "cut", agent=Halved, env=toys.Guess, callbacks=[Stop()])
    assert got.policy.network.hidden.equal(whole.policy.network.hidden)


def test_directories_of_runs_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    train_ = lambda: found.append(lfcs.train("toys:Guess-v0", steps=20, settings=SMALL).path)  # noqa: E731
    threads = [threading.Thread(target=train_) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4 and all(path.parent.name == "runs" for path in found)
    with pytest.raises(UserError):
        lfcs.train("Nothing-v0")
    assert len(list((tmp_path / "runs").iterdir())) == 4  # what could not begin leaves nothing
    assert isinstance(gymnasium.spec("Guess-v0").entry_point, type)


def test_a_finished_run_goes_on_beyond_its_end(tmp_path):
    first = train(tmp_path, "CartPole-v1", tuned=False)
    rows = (first.path / "metrics.csv").read_text()
    longer = lfcs.resume(first.path, steps=400)
    assert longer.config.steps == 400 and longer.summary["env_steps"] == 400
    kept = (first.path / "metrics.csv").read_text()
    assert kept.startswith(rows) and len(kept.splitlines()) == 21, "every window stands, once"
    before = json.loads((first.path / "summary_200.json").read_text())
    assert before["mean_return"] == first.summary["mean_return"] and before["env_steps"] == 200
    config = json.loads((first.path / "config.json").read_text())
    assert config["steps"] == 400 and config["steps_before"] == [200]
    assert lfcs.resume(first.path).summary == longer.summary, "finished again"


def test_what_falls_over_a_runs_steps_falls_over_the_new_total(tmp_path):
    whole = train(tmp_path, "CartPole-v1", "whole", steps=400, tuned=False)
    longer = lfcs.resume(train(tmp_path, "CartPole-v1", "longer", tuned=False).path, steps=400)
    rates = [[row["train/learning_rate"] for row in read_metrics(run.path)] for run in (whole, longer)]
    assert rates[0][10:] == rates[1][10:] and rates[0][:10] != rates[1][:10]
    assert rates[1][9] < rates[1][10], "at the old end it had fallen to its end"


def test_going_on_that_is_cut_is_resumed_bit_by_bit(tmp_path):
    class Cut(lfcs.Callback):
        def window(self, trainer, metrics):
            if trainer.env_steps == 300:
                trainer.interrupt()

    paths = [train(tmp_path, "CartPole-v1", name, tuned=False, callbacks=[Cut()]).path for name in ("a", "b")]
    with pytest.raises(lfcs.UserError, match="stopped at step 300"):
        lfcs.resume(paths[0], steps=400, callbacks=[Cut()])

    class Cut(lfcs.Callback):  # the same by name, and does nothing
        pass

    cut, whole = lfcs.resume(paths[0], callbacks=[Cut()]), lfcs.resume(paths[1], steps=400, callbacks=[Cut()])
    same = ("mean_return", "mean_return_sampled", "env_steps", "weight_updates")
    assert [cut.summary[key] for key in same] == [whole.summary[key] for key in same]


def test_a_run_that_stopped_early_goes_on(tmp_path):
    stopped = train(tmp_path, "CartPole-v1", callbacks=[lfcs.StopAt(1.0)], tuned=False)
    assert stopped.summary["env_steps"] == 100
    with pytest.raises(UserError, match="has taken 100 steps: going on wants more of them, got 100"):
        lfcs.resume(stopped.path, steps=100, callbacks=[lfcs.StopAt(1e9)])
    longer = lfcs.resume(stopped.path, steps=150, callbacks=[lfcs.StopAt(1e9)])
    assert longer.summary["env_steps"] == 150 and longer.summary["stopped"] is None


def test_arguments_go_to_a_class_too(tmp_path):
    run = train(tmp_path, toys.Clock, env_kwargs={"horizon": 4, "ending": "truncated"})
    assert run.summary["mean_return"] == 4.0 and run.config.env_kwargs["horizon"] == 4
    with pytest.raises(UserError, match="with hours=3"):
        train(tmp_path, toys.Clock, "wrong", env_kwargs={"hours": 3})


def test_a_compiled_task_stands_for_arguments_or_is_plain(tmp_path):
    found = {
        name: train(tmp_path, env, name, env_kwargs=kwargs, tuned=False)
        for name, env, kwargs in (
            ("stands", "CartPole-v1", {"sutton_barto_reward": True}),
            ("made", "MemoryChain16-v0", {"length": 3}),
            ("plain", "Pendulum-v1", {"g": 0.0}),
            ("limit", "CartPole-v1", {"max_episode_steps": 3}),
        )
    }
    notes = {name: json.loads((run.path / "config.json").read_text())["notes"] for name, run in found.items()}
    assert notes["stands"]["environments"] == "2 environments, compiled with sutton_barto_reward=True"
    assert notes["made"]["environments"] == "2 environments, compiled with length=3"
    assert notes["plain"]["environments"] == "2 environments, plain with g=0.0, of which there is no compiled form"
    assert found["limit"].summary["mean_return"] == 3.0 and found["stands"].summary["mean_return"] == -1.0
