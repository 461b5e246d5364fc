"""Plans: their defaults, what is refused and how it is said, and that the built-in ones ask for what they should."""

from __future__ import annotations

import json

import pytest

from lfcs import cli, experiments
from lfcs.agents import NaiveReplay
from lfcs.config import Config
from lfcs.configure import build_config
from lfcs.errors import UserError
from lfcs.study.plan import Entry, Plan
from lfcs.study.sources import builtin, command_line, load

CARTPOLE = {
    "env": "CartPole-v1", "experiment": "cartpole", "steps": 20_000, "replays": (1, 2, 4, 8, 16, 32), "capacities": (),
    "seeds": tuple(range(10, 20)), "grid_seeds": (201, 202, 203), "grid_replays": (4,), "grid_steps": 20_000,
    "rates": (1e-3, 3e-3, 1e-2, 3e-2), "settings": {}, "peers": ("PPO", "RecurrentPPO"), "note": "",
    "baseline": "lf-cs",
    "agents": {name: Entry(name) for name in ("lf-cs", "naive-replay", "importance", "acer", "v-trace")}
    | {"lf-cs slow": Entry("lf-cs", {"rule.tau_f": 64}, (16, 32))},
}  # fmt: skip
PONG = {
    "env": "Pong100-v0", "experiment": "pong", "steps": 250_000, "replays": (1, 4, 16), "seeds": tuple(range(40, 45)),
    "capacities": (),
    "grid_seeds": (201, 202), "grid_replays": (1, 4, 16), "grid_steps": 100_000,
    "rates": (3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 1e-2), "settings": {"train.eval_every": 50_000}, "peers": ("PPO",),
    "note": "Left out for their time: bptt-ppo at R = 16 (9 minutes a run) and RecurrentPPO (over 20 minutes).",
    "baseline": "lf-cs",
    "agents": {name: Entry(name) for name in ("lf-cs", "naive-replay", "importance")}
    | {"bptt-ppo": Entry("bptt-ppo", {"rule.tau_f": 20}, (1, 4))},
}  # fmt: skip
PARTS = {"replays": (16,), "seeds": tuple(range(30, 35)), "peers": (), "note": ""}
PULLED_BACK = Entry("lf-cs", {"agent.mask": "two-sided", "agent.pull": 1.0})
RULES = ("naive-replay", "importance", "acer", "v-trace")
STALE = {
    "replays": (4,), "capacities": (1, 4, 16), "peers": (), "note": "",
    "agents": {"lf-cs": Entry("lf-cs"), "lf-cs, one ratio": Entry("lf-cs", {"agent.decouple": False})}
    | {name: Entry(name) for name in RULES},
}  # fmt: skip
BUILTIN = {
    "cartpole": CARTPOLE,
    "pong": PONG,
    "pong-one-rate": PONG
    | {
        "seeds": tuple(range(10, 15)), "grid_replays": (4,), "rates": (5e-4, 1e-3, 2e-3), "peers": (),
        "note": "Every agent's rate is picked at R = 4 and kept at the other R. "
        "bptt-ppo at R = 16 left out for its time.",
    },
    "cartpole-stale": CARTPOLE | STALE
    | {"seeds": tuple(range(60, 70)), "agents": STALE["agents"] | {"bptt-ppo": Entry("bptt-ppo")}},
    "pong-stale": PONG | STALE
    | {
        "seeds": tuple(range(60, 65)), "steps": 60_000, "settings": {"train.eval_every": 20_000}, "grid_steps": 40_000,
        "grid_replays": (4,), "rates": (5e-4, 1e-3, 2e-3, 3e-3),
        "agents": STALE["agents"] | {"bptt-ppo": Entry("bptt-ppo", {"rule.tau_f": 20})},
    },
    "cartpole-parts": CARTPOLE | PARTS
    | {
        "rates": (3e-3,),
        "agents": {
            "lf-cs": Entry("lf-cs"),
            "two-sided mask": Entry("lf-cs", {"agent.mask": "two-sided"}),
            "two-sided, pulled back": PULLED_BACK,
            "sided, pulled back": Entry("lf-cs", {"agent.pull": 1.0}),
            "no homeostasis": Entry("lf-cs", {"rule.homeostasis": 0.0}),
            "no entropy bonus": Entry("lf-cs", {"rule.entropy": 0.0}),
            "no critic in the hidden signal": Entry("lf-cs", {"rule.critic_share": 0.0}),
            "advantages not normalised": Entry("lf-cs", {"rule.normalise": False}),
            "random feedback": Entry("lf-cs", {"rule.feedback": "random"}),
        },
    },
    "pong-parts": PONG | PARTS
    | {
        "rates": (2e-3,),
        "agents": {
            "lf-cs": Entry("lf-cs"),
            "homeostasis 1": Entry("lf-cs", {"rule.homeostasis": 1.0}),
            "no homeostasis": Entry("lf-cs", {"rule.homeostasis": 0.0}),
            "two-sided mask": Entry("lf-cs", {"agent.mask": "two-sided"}),
            "two-sided, pulled back": PULLED_BACK,
        },
    },
}  # fmt: skip
LEVERS = ("cartpole-levers", "acrobot-levers", "mountain-car-levers")


class Once(NaiveReplay):
    """A user's rule that uses every experience once."""

    name = "once"
    fixed = {"rule.replays": 1}


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_plan_asks_for_what_it_should(name):
    plan, wanted = load(name), BUILTIN[name]
    of_grid = {"grid_steps", "grid_seeds", "grid_replays"}  # of one rate there is no grid
    for key, value in wanted.items():
        if plan.has_grid or key not in of_grid:
            assert getattr(plan, key) == value, key
    assert plan.has_grid == (len(wanted["rates"]) > 1)
    assert list(plan.agents) == list(wanted["agents"])  # in this order


def test_every_built_in_plan_is_known_here():
    assert set(builtin()) == {*BUILTIN, *LEVERS}


@pytest.mark.parametrize("name", LEVERS)
def test_every_row_of_the_levers_differs_from_what_is_tuned_in_what_it_says(name):
    plan = load(name)
    tuned = build_config(plan.env, experiment=experiments.find(plan.experiment))
    for label, entry in plan.agents.items():
        changed = build_config(plan.env, overrides=entry.settings, experiment=experiments.find(plan.experiment))
        assert (changed == tuned) == (label == "lf-cs"), label


def test_a_plan_needs_only_what_differs_from_the_defaults():
    plan = Plan.from_dict({"env": "toys:Guess-v0"})
    assert (plan.env, plan.experiment, plan.tuned) == ("toys:Guess-v0", None, None)
    assert (plan.steps, plan.grid_steps, plan.replays) == (Config.steps, Config.steps, (1, 4, 16))
    assert (plan.seeds, plan.rates, plan.has_grid) == ((10, 11, 12, 13, 14), (), False)
    assert list(plan.agents) == ["lf-cs", "naive-replay", "importance"] and plan.agents["importance"].has_rate
    assert (plan.baseline, plan.peers, plan.settings, plan.note) == ("lf-cs", (), {}, "")


@pytest.mark.parametrize("given", [{"experiment": "acrobot"}, {"env": "acrobot"}, {"env": "Acrobot-v1"}])
def test_a_task_with_an_experiment_has_its_settings(given):
    plan = Plan.from_dict(given)
    assert (plan.env, plan.experiment, plan.steps) == ("Acrobot-v1", "acrobot", 100_000)
    assert plan.tuned["settings"]["rule.lr_readout"] == 5e-3


def test_a_number_of_seeds_counts_from_ten_and_the_baseline_is_the_first_label():
    plan = Plan.from_dict({"env": "CartPole-v1", "seeds": 2, "agents": ["acer", "lf-cs"]})
    assert plan.seeds == (10, 11) and plan.baseline == "acer"
    assert Plan.from_dict({"env": "CartPole-v1", "seeds": [2]}).seeds == (2,)


def test_a_rule_that_uses_experience_once_is_there_at_one_pass_only():
    agents = {"e-prop": {}, "random": {}, "mine": {"agent": "test_plan:Once"}, "lf-cs": {}}
    plan = Plan.from_dict({"env": "CartPole-v1", "agents": agents, "replays": [4, 16], "grid_replays": [4]})
    assert [plan.replays_of(label) for label in agents] == [(1,), (1,), (1,), (4, 16)]
    assert [plan.tuned_at("e-prop", 1), plan.tuned_at("mine", 1), plan.tuned_at("lf-cs", 16)] == [1, 1, 4]
    assert not plan.agents["random"].has_rate and plan.agents["e-prop"].has_rate
    with pytest.raises(UserError, match="replays of e-prop: e-prop stands for R = 1"):
        Plan.from_dict({"env": "CartPole-v1", "agents": {"e-prop": {"replays": [1, 4]}}})


def test_the_rate_of_the_nearest_number_of_passes_holds():
    plan = Plan.from_dict({"env": "CartPole-v1", "grid_replays": [1, 8]})  # 2 is nearer to 1 as a ratio, 4 to 8
    assert [plan.tuned_at("lf-cs", r) for r in (1, 2, 4, 8, 32)] == [1, 1, 8, 8, 8]


@pytest.mark.parametrize("argv", [["pong"], ["cartpole", "--seeds", "3"], ["toys:Guess-v0", "--agents", "e-prop"]])
def test_what_is_printed_can_be_given_back(argv, capsys, tmp_path):
    assert cli.main(["compare", *argv, "--print-plan"]) == 0
    printed = capsys.readouterr().out
    path = tmp_path / "plan.json"
    path.write_text(printed)
    assert cli.main(["compare", str(path), "--print-plan"]) == 0
    assert capsys.readouterr().out == printed
    assert load(str(path)) == Plan.from_dict(json.loads(printed))
    assert not (tmp_path / "runs").exists()


def test_flags_override_the_fields_of_a_plan():
    flags = {"agents": ["lf-cs slow", "e-prop"], "steps": 1000, "seeds": 3, "rates": [0.1], "replays": [2]}
    plan = load("cartpole", flags)
    assert plan.agents == {"lf-cs slow": Entry("lf-cs", {"rule.tau_f": 64}, (16, 32)), "e-prop": Entry("e-prop")}
    assert (plan.steps, plan.seeds, plan.rates, plan.replays) == (1000, (10, 11, 12), (0.1,), (2,))
    assert plan.experiment == "cartpole" and plan.baseline == "lf-cs slow"
    assert load("pong", {"steps": 1000}).grid_steps == 1000  # a short try has a short grid
    assert load("pong", {"steps": 200_000}).grid_steps == 100_000
    command = "lfcs compare cartpole --agents 'lf-cs slow' e-prop --seeds 3 --peers"
    assert command_line("cartpole", {"agents": ["lf-cs slow", "e-prop"], "seeds": 3}, peers=True) == command


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replay": [1]}, "unknown key of a plan 'replay'; did you mean replays"),
        ({"experiment": "cartpol"}, "no experiment 'cartpol'; did you mean cartpole"),
        ({"env": 3}, "env wants text, got 3"),
        ({"experiment": "pong"}, "env 'CartPole-v1' is not that of experiment 'pong'"),
        ({"capacities": [-1]}, "capacities wants a list of different whole numbers from 0"),
        ({"capacities": [1], "settings": {"replay.capacity": 2}}, r"settings cannot have replay\.capacity"),
        ({"steps": 0}, "steps wants a whole number from 1 to 1e\\+15, got 0"),
        ({"grid_steps": "5"}, "grid_steps wants a whole number from 1 to 1e\\+15, got '5'"),
        ({"seeds": "3"}, "seeds wants a list of different whole numbers from 0 to 1e\\+15, got '3'"),
        ({"seeds": 0}, "seeds wants a number of seeds from 1 to 10,000, got 0"),
        ({"seeds": [1, 1]}, "seeds wants a list of different"),
        ({"grid_seeds": [1, 10], "rates": [0.1, 0.2]}, "must not share a seed"),
        ({"replays": []}, "replays wants a list of different whole numbers from 1 to 1e\\+15, got \\[\\]"),
        ({"grid_replays": [0]}, "grid_replays wants a list of different whole numbers from 1 to 1e\\+15, got \\[0\\]"),
        ({"rates": [-1.0]}, "rates wants a list of different numbers from 0"),
        ({"peers": [["PPO"]]}, "peers wants a list of different names"),
        ({"peers": ["lf-cs"]}, "peers and agents must not share the name lf-cs"),
        ({"note": 1}, "note wants text"),
        ({"baseline": "e-prop"}, "baseline wants one of the labels lf-cs, naive-replay, importance, got 'e-prop'"),
        ({"agents": {}}, "agents must not be empty"),
        ({"agents": 3}, "agents wants a dictionary, got 3"),
        ({"agents": ["lf-cs", "lf-cs"]}, "agents wants a list of different names"),
        ({"agents": ["lfcs"]}, "unknown agent 'lfcs'; did you mean lf-cs"),
        ({"agents": ["test_plan:Twice"]}, "has no 'Twice'"),
        ({"agents": {"a": {"agent": None}}}, "agent of a wants text, got None"),
        ({"agents": {"a": {"agent": "lf-cs", "setting": {}}}}, "unknown key of a 'setting'; did you mean settings"),
        ({"agents": {"a": {"agent": "lf-cs", "settings": 3}}}, "settings of a wants a dictionary"),
        ({"agents": {"a": {"agent": "lf-cs", "replays": []}}}, "replays of a wants a list"),
        ({"settings": {"rule.replays": 3}}, "settings cannot have rule.replays"),
        ({"rates": [0.1], "settings": {"rule.lr_readout": 0.1}}, "cannot have rule.lr_readout"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(change, message):
    with pytest.raises(UserError, match=message) as refused:
        Plan.from_dict({"env": "CartPole-v1"} | change)
    assert "\n" not in str(refused.value)


def test_learning_rates_may_be_settings_where_a_plan_has_no_rates():
    settings = {"rule.lr_readout": 0.1}
    assert Plan.from_dict({"env": "CartPole-v1", "settings": settings}).settings == settings


@pytest.mark.parametrize("given", [{}, [], {"seeds": 3}])
def test_a_plan_has_a_task(given):
    with pytest.raises(UserError, match=r"a plan (needs env or experiment|wants a dictionary)"):
        Plan.from_dict(given)


def test_bad_comparisons_are_one_line(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"env": "CartPole-v1", "sead": 3}')
    (tmp_path / "c.json").write_text("[]")
    for name, message in (
        ("cartpol", "did you mean cartpole"),
        ("CartPoel-v1", "did you mean CartPole-v1"),
        (tmp_path / "a.json", "is not JSON"),
        (tmp_path / "b.json", "b.json: unknown key of a plan 'sead'; did you mean seeds"),
        (tmp_path / "c.json", "holds no dictionary"),
        (tmp_path / "d.json", "No such file"),
    ):
        assert cli.main(["compare", str(name)]) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
