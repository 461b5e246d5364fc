"""A watched run learns as one that is not; what is shown is there, right, and there once."""

from __future__ import annotations

import importlib.util
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from test_trainer import FAST, ONLINE, begin, comparable, proceed, run, same_state, without_times

import lfcs
from lfcs import run as runs
from lfcs import update as updates
from lfcs.agents import AGENTS
from lfcs.callbacks import Callback
from lfcs.config import RuleConfig
from lfcs.episodes import row_of, stacked
from lfcs.measured import kl_estimate, reverse_kl_terms
from lfcs.rollout import Moment
from lfcs.trackers.logdir import named
from lfcs.watch import told
from lfcs.watch.budget import Budget
from lfcs.watch.episode import Film
from lfcs.watch.passes import band
from lfcs.watch.signals import most_changed, signals_of

ALL = dict.fromkeys(("scalars", "images", "histograms", "tensors", "compressedHistograms"), 0)
drawn = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the extra 'plots'")


def events(path):
    return EventAccumulator(str(path), ALL).Reload()


def weights(trainer):
    state = trainer.state_dict()
    return {key: value for key, value in state.items() if "seconds" not in key}


FORMS = {
    "compiled": {"rule.replays": 3},
    "tensors": {"engine": "tensor", "rule.replays": 3},
    "online": ONLINE,
    "older windows": {"replay.capacity": 3, "rule.replays": 3},
    "looks": {"agent": "v-trace", "rule.replays": 3},
    "alif": {"network.neuron": "alif", "network.ticks": 2},
}


def begun(path, level, form):
    given = dict(FORMS[form])
    top = {key: given.pop(key) for key in ("engine", "agent") if key in given}
    config = runs.build_config(
        "toys:Guess-v0", top.get("agent"), 600, 0, "cpu", top.get("engine", "fused"),
        FAST | given | {"train.watch": level, "train.eval_every": 400},
    )  # fmt: skip
    return runs.begin(config, path, progress=False)


@pytest.mark.parametrize("form", FORMS)
def test_watching_changes_nothing(tmp_path, form):
    """Not a bit of metrics, weights, optimiser and random streams: passes are made one by one where they are seen."""
    found = {}
    for level in ("none", "scalars", "full"):
        trainer = begun(tmp_path / level, level, form)
        summary = runs.complete(trainer)
        found[level] = comparable(summary), without_times(tmp_path / level), weights(trainer)
        assert bool(list((tmp_path / level).glob("events*"))) == (level != "none")
    for level in ("scalars", "full"):
        assert found[level][:2] == found["none"][:2]
        assert same_state(found[level][2], found["none"][2]) == (True, [])


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of CartPole of which everything is shown."""
    settings = {
        "network.neurons": 32, "train.num_envs": 4, "train.eval_every": 1000, "train.eval_episodes": 2,
        "train.final_episodes": 2, "rule.lr_readout": 0.05,
    }  # fmt: skip
    run_dir = tmp_path_factory.mktemp("watched") / "my_run"
    lfcs.train("CartPole-v1", steps=2560, settings=settings, watch="full", run_dir=run_dir, tuned=False)
    return run_dir


def test_a_run_has_its_own_name(watched):
    for folder in (watched, watched.parent):
        with named(folder) as logdir:
            assert EventMultiplexer().AddRunsFromDirectory(str(logdir)).Runs().keys() == {"my_run"}
    assert (watched / "config.json").exists()  # the link alone was removed


def test_histograms_are_there(watched):
    found = events(watched)
    wanted = {
        "spikes/firing_rate", "weights/input", "weights/recurrent", "weights/readout", "signals/eligibility",
        "signals/learning_signal", "ratio/pass_01", "ratio/pass_04",
    }  # fmt: skip
    assert wanted <= set(found.Tags()["histograms"])
    for key in wanted:
        shown = found.Histograms(key)
        assert [e.step for e in shown] == [1024, 2048]
        assert all(sum(e.histogram_value.bucket) == e.histogram_value.num > 0 for e in shown)
        assert all(e.histogram_value.max > e.histogram_value.min for e in shown)
    assert found.Histograms("weights/recurrent")[0].histogram_value.num == 32 * 31


@drawn
def test_pictures_are_there(watched):
    found = events(watched)
    for key in ("raster", "membrane"):
        assert f"episode/{key}" in found.Tags()["images"]
    for key in found.Tags()["images"]:
        shown = found.Images(key)
        assert [e.step for e in shown] == [1024, 2048]
        for event in shown:
            picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("L"))
            assert picture.shape == (event.height, event.width) and len(np.unique(picture)) > 2
    assert {"learning/fast_and_slow", "learning/eligibility", "weights/receptive_fields"} <= set(found.Tags()["images"])


def test_curves_texts_and_layout_are_there(watched):
    found = events(watched)
    scalars = found.Tags()["scalars"]
    assert all(len(found.Scalars(key)) > 1 for key in scalars)  # nothing that is one dot is a chart
    first = [e.step for e in found.Scalars("passes/kl_reference_new")]
    assert first == [64 * k for k in range(1, 41)]  # ten windows of four passes
    assert [e.step for e in found.Scalars("passes/share_masked")] == [*range(832, 1025, 64), *range(1856, 2049, 64)]
    settings = found.Tensors("settings/text_summary")
    text = settings[0].tensor_proto.string_val[0].decode()
    assert len(settings) == 1 and "| `network.neurons` | **32** | 256 |" in text
    assert text.index("rule.lr_readout") < text.index("as by default") < text.index("`rule.replays`")
    (layout,) = found.Tensors("custom_scalars__config__")
    named = layout.tensor_proto.string_val[0].decode(errors="replace")
    for charts in told.charts(looked=True).values():
        for keys in charts.values():
            assert all(f"^{key}$" in named for key in keys) and set(keys) <= set(scalars)
    assert "mean_return" in found.Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()


def test_settings_and_scores_are_a_row_of_the_table(watched):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = events(watched)
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    row = HParamsPluginData.FromString(content).session_start_info.hparams
    assert row["agent"].string_value == "lf-cs" and row["network.neurons"].number_value == 32
    assert row["final/mean_return"].number_value == runs.read_summary(watched)["mean_return"]
    content = found.SummaryMetadata("_hparams_/experiment").plugin_data.content
    table = HParamsPluginData.FromString(content).experiment
    assert {i.name for i in table.hparam_infos if i.differs} >= {"agent", "rule.replays", "final/mean_return"}
    assert {m.name.tag for m in table.metric_infos} <= set(found.Tags()["scalars"])


def test_the_divergence_grows_over_passes_and_falls_at_the_sync(watched):
    found = events(watched)
    for key in ("passes/kl_reference_new", "passes/kl_new_acting"):
        by_pass = np.array([e.value for e in found.Scalars(key)]).reshape(10, 4)
        assert (by_pass >= 0).all() and by_pass[:, 3].mean() > 2 * by_pass[:, 0].mean()
    last = {e.step: e.value for e in found.Scalars("train/approx_kl")}
    passes = {e.step: e.value for e in found.Scalars("passes/kl_reference_new")}
    assert all(passes[step] == pytest.approx(value, rel=1e-4, abs=1e-7) for step, value in last.items())


class Crash(Callback):
    """Ends the process, as it were, in a window."""

    def __init__(self, at):
        self.at = at

    def window(self, trainer, metrics):
        if trainer.env_steps == self.at:
            self.at = None
            raise RuntimeError("the power is out")


def shape(event):
    return event.step, event.histogram_value


def test_nothing_is_shown_twice_after_a_resume(tmp_path):
    """The run is cut after what came behind its newest checkpoint was shown, an evaluation among it."""
    given = {"train.watch": "full", "train.eval_every": 400, "env": "CartPole-v1", "rule.replays": 3}
    whole, _ = run(tmp_path / "whole", callbacks=[Crash(None)], **given)
    with pytest.raises(RuntimeError):
        runs.complete(begin(tmp_path / "cut", callbacks=[Crash(456)], **given))
    continued = proceed(tmp_path / "cut", [Crash(None)])
    assert continued.env_steps == 264  # the evaluation at 408 comes again
    runs.complete(continued)
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert same_state(weights(continued), weights(whole)) == (True, [])
    one, other = events(tmp_path / "whole"), events(tmp_path / "cut")
    assert one.Tags() == other.Tags() and one.Tags()["histograms"]
    for key in one.Tags()["scalars"]:
        if not key.startswith("time/"):
            assert [(e.step, e.value) for e in other.Scalars(key)] == [(e.step, e.value) for e in one.Scalars(key)]
    for key in one.Tags()["histograms"]:
        assert [shape(e) for e in other.Histograms(key)] == [shape(e) for e in one.Histograms(key)]
    for kind, read in (("images", "Images"), ("tensors", "Tensors")):
        for key in one.Tags()[kind]:
            steps = [[e.step for e in getattr(found, read)(key)] for found in (one, other)]
            assert steps[0] == steps[1] and len(set(steps[0])) == len(steps[0])


def played(trainer, steps=40):
    """Return a greedy episode of a trainer's policy on random inputs in the shape of observations."""
    policy, rng = trainer.final, np.random.default_rng(0)
    state, rows, reset = policy.network.initial_state(1), [], torch.tensor([True])
    for t in range(steps):
        obs = rng.normal(size=(1, 3))
        acted = policy.act(obs, state, reset, greedy=True)
        state, reset = acted.state, torch.tensor([False])
        ended = np.array([t == steps - 1])
        rows.append(
            row_of(policy, Moment(obs, state, policy.head.to_env(acted.action), rng.normal(size=1), ended, ended), 0)
        )
    return stacked(rows)


@pytest.mark.parametrize(
    "settings",
    [{}, {"network.neuron": "alif", "network.tau_a": 10.0}, {"network.ticks": 2}, {"network.tau_m_max": 20.0},
     {"rule.feedback": "random"}],
    ids=["lif", "alif", "two ticks", "many time constants", "random feedback"],
)  # fmt: skip
def test_signals_times_eligibilities_are_the_gradient(tmp_path, settings):
    """Σ_t L_i,t ē_ij,t of a shown synapse is its element of the gradient that the engine makes of the same episode."""
    trainer = begin(tmp_path, **{"network.input_gain": 6.0, "network.readout_gain": 1.0} | settings)
    try:
        episode = played(trainer)
        assert episode["spikes"].mean() > 0.02
        policy, update = trainer.final, trainer.learner.update
        seen = signals_of(episode, policy, update)
        from lfcs.watch import signals

        traj = signals.window_of(episode, policy, update, True)
        steps = policy.engine.run(traj.x, traj.state, traj.reset)
        view = updates.View(traj.value, traj.bootstrap, torch.ones_like(traj.value))
        credit = update.credit(traj, view)
        sample = update.sample(traj, slice(0, 40), traj.params, credit)
        assert torch.equal(sample.rho, torch.ones_like(sample.rho))
        update.rule = RuleConfig(**{**vars(update.rule), "homeostasis": 0.0})
        missed, resets = credit.target - traj.value, update.by_tick(traj.reset)
        hidden, *_ = update.gradients(steps.states, resets, traj.x, sample, missed)
        hidden = hidden.clone() * 40
    finally:
        trainer.close()
    chosen = most_changed(hidden)
    assert len(seen.synapses) == 2 and seen.signal.shape == (40, 12)
    for synapse, (source, target) in zip(seen.synapses, chosen, strict=True):
        assert synapse.name.endswith(f"neuron {target}")
        total = float((synapse.signal * synapse.eligibility).sum())
        assert total == pytest.approx(float(hidden[source, target]), rel=2e-3) and abs(total) > 1e-4
        np.testing.assert_allclose(synapse.psi.max(), 0.3, atol=0.3)
        np.testing.assert_allclose(synapse.trace, episode["trace"][:, trace_at(trainer, source, target)], atol=1e-5)


def trace_at(trainer, source, target):
    network = trainer.final.network
    return target % len(network.neuron.decays) * len(network.hidden) + source


def test_the_band_is_that_of_the_rule():
    rule = RuleConfig()
    for name, wanted in (("lf-cs", (0.6, 1.4)), ("e-prop", (0.0, np.inf)), ("random", (0.0, np.inf))):
        assert band(AGENTS[name](rule)) == pytest.approx(wanted, rel=5e-3)


def test_both_directions_of_the_divergence():
    """With every action's ratio weighed by its probability under who acted, the estimates are the divergences."""
    acting, new = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    ratio = new / acting
    times = torch.tensor([5, 3, 2])
    drawn_ratios = ratio.repeat_interleave(times)
    assert float(kl_estimate(drawn_ratios)) == pytest.approx(float((acting * (acting / new).log()).sum()))
    assert float(reverse_kl_terms(drawn_ratios).mean()) == pytest.approx(float((new * (new / acting).log()).sum()))
    assert float(reverse_kl_terms(torch.ones(3)).mean()) == 0.0
    assert float(reverse_kl_terms(torch.zeros(1))) == 1.0


def test_pictures_wait_until_the_run_pays_for_them():
    budget = Budget(0.03)
    assert not budget.allows(elapsed=1.5, done=0.5)  # a run of 3 s
    assert budget.allows(elapsed=60.0, done=0.1)  # of ten minutes, at its first evaluation
    budget.spent = budget.cost = 3.0
    assert not budget.allows(elapsed=60.0, done=0.1) and budget.allows(elapsed=110.0, done=0.2)
    budget.spent = 17.0
    assert not budget.allows(elapsed=590.0, done=590 / 600)
    budget.begun = time.perf_counter() - 2.0  # two seconds into drawing
    assert budget.exceeded(elapsed=60.0, done=0.1) and not budget.exceeded(elapsed=70.0, done=0.1)


def test_a_short_run_tells_that_pictures_were_left_out(tmp_path):
    run(tmp_path, **{"train.watch": "auto"})
    found = events(tmp_path)
    assert found.Tags()["images"] == [] and len(found.Scalars("passes/kl_reference_new")) > 1
    text = found.Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "Pictures were left out at 5 evaluations" in text


class Said(Callback):
    """Keeps what a user was told."""

    def __init__(self):
        self.said = []

    def warning(self, trainer, message):
        self.said.append(message)


def test_what_is_missing_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr("lfcs.watch.watch.find_spec", lambda name: None)
    said = Said()
    run(tmp_path, callbacks=[said], **{"train.watch": "full"})
    assert [line.split(":")[0] for line in said.said] == ["no video", "no pictures"]
    assert events(tmp_path).Tags()["images"] == []


def test_what_fails_to_draw_is_said_once_and_not_tried_again(tmp_path):
    """A run learns to its end without a screen: MuJoCo's first try raises, its second would end the process."""
    said = Said()
    run(tmp_path, env="toys:Unseen-v0", callbacks=[said], **{"train.watch": "full"})
    assert said.said == ["no video: it cannot be drawn: RuntimeError: no screen, look 1"]


def test_a_level_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(lfcs.UserError, match=r"train.watch must be one of auto, none, scalars, full, got 'all'"):
        lfcs.train("CartPole-v1", watch="all", run_dir=tmp_path / "a")


def test_a_film_has_few_frames_at_equal_distances():
    film = Film()
    for number in range(1000):
        film.shoot(lambda number=number: np.full((4, 6, 3), number % 256, np.uint8))
    shown = film.developed()
    assert 60 <= len(shown) < 120 and film.every == 16 and [int(f[0, 0, 0]) for f in shown[:3]] == [0, 16, 32]
    assert Film().developed() is None
