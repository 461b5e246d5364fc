"""A recording is what the policy did, leaves it as it was, and comes back from its file."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import toys
from test_trainer import same_state

import lfcs
from lfcs import episodes, recording
from lfcs.compiled.evaluation import evaluate
from lfcs.envs import Previous, WithPrevious, make_vec
from lfcs.errors import UserError

SMALL = {
    "network.neurons": 16, "network.input_gain": 4.0, "train.num_envs": 2, "rule.window": 10, "rule.tau_s": 10,
    "train.final_episodes": 2, "train.eval_every": 1000,
}  # fmt: skip


def trained(path, env, **settings):
    return lfcs.train(env, steps=200, settings=SMALL | settings, run_dir=path / "it", tuned=False).policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("guess"), "toys:Guess-v0")


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_recording_leaves_the_policy_as_it_was(policy):
    before, generator = policy.state_dict(), policy.generator.get_state()
    for greedy in (True, False):
        policy.record("toys:Guess-v0", 3, greedy=greedy)
    assert same_state(policy.state_dict(), before) == (True, []) and policy.generator.get_state().equal(generator)


def test_a_recording_is_what_predict_does(policy):
    (episode,) = policy.record("toys:Guess-v0", seed=7)
    env, state = gymnasium.make("Guess-v0"), None
    obs, _ = env.reset(seed=7)
    for t in range(10):
        assert np.array_equal(episode["observation"][t], obs)
        action, state = policy.predict(obs, state, deterministic=True)
        now = policy.network.state_of(state[0])
        for key, part in (("spikes", now.spk), ("membrane", now.mem), ("trace", now.trace), ("readout", now.readout)):
            np.testing.assert_allclose(episode[key][t], part[0], atol=1e-5)
        obs, reward, _, truncated, _ = env.step(action)
        assert episode["action"][t] == action and episode["reward"][t] == reward
    assert truncated and len(episode["reward"]) == 10 and episode["spikes"].sum() > 0


@pytest.mark.parametrize("greedy", [True, False])
def test_a_recording_is_what_an_evaluation_with_its_seed_plays(policy, greedy):
    envs = make_vec("toys:Guess-v0", 3)
    returns, _ = evaluate(policy, envs, 3, 5, greedy)
    found = policy.record("toys:Guess-v0", 3, seed=5, greedy=greedy)
    assert found.returns.tolist() == returns.tolist()
    assert same(found[1], policy.record("toys:Guess-v0", seed=6, greedy=greedy)[0])


def test_any_form_of_the_environment_gives_the_same_episodes(policy):
    expected = policy.record("toys:Guess-v0", 3, seed=2)
    vector = gymnasium.vector.SyncVectorEnv([toys.Guess] * 2)
    for env in (toys.Guess, toys.Guess(), lambda: toys.Guess(), vector):
        for a, b in zip(policy.record(env, 3, seed=2), expected, strict=True):
            for key in b:  # products of rows at other places in memory round otherwise
                np.testing.assert_allclose(a[key], b[key], atol=1e-6)


def test_episodes_of_a_vector_environment_end_each_at_its_own_time(tmp_path):
    policy = trained(tmp_path, "CartPole-v1")
    vector = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    found, alone = policy.record(vector, 3, seed=1), policy.record("CartPole-v1", 3, seed=1)
    lengths = [len(episode["reward"]) for episode in found]
    assert lengths == [len(episode["reward"]) for episode in alone] == alone.returns.tolist()
    assert len(set(lengths)) > 1 and f"of {min(lengths)} to {max(lengths)} steps" in found.facts()


def test_a_given_environment_stays_open(policy):
    class Closed(toys.Guess):
        def close(self):
            raise AssertionError("it was closed")

    policy.record(Closed())


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("toys:Clock-v0", r"the policy observes Box\(-inf, inf, \(3,\), float64\), the environment gives Box"),
        ("toys:Gues-v0", "did you mean Guess-v0"),
        (7, "env wants an id, an environment or what makes one, got 7"),
    ],
)
def test_environments_that_do_not_fit_are_one_line(policy, env, message):
    with pytest.raises(UserError, match=message):
        policy.record(env)


def test_actions_that_do_not_fit_are_one_line(policy):
    class Other(toys.Guess):
        def __init__(self):
            super().__init__()
            self.action_space = gymnasium.spaces.Discrete(4)

    with pytest.raises(UserError, match=r"acts in Discrete\(3, start=5\), the environment wants Discrete\(4\)"):
        policy.record(Other)
    for wrong in ({"episodes": 0}, {"seed": -1}):
        with pytest.raises(UserError, match="at least one episode and a seed of at least 0"):
            policy.record("toys:Guess-v0", **wrong)


def test_what_is_observed_of_the_last_step_is_added_where_the_environment_does_not(tmp_path):
    policy = trained(tmp_path, "toys:Guess-v0", **{"encoder.previous_action": True, "encoder.previous_reward": True})
    plain = policy.record("toys:Guess-v0", seed=3)
    wrapped = policy.record(WithPrevious(toys.Guess(), Previous(action=True, reward=True)), seed=3)
    assert plain[0]["observation"].shape == (10, 7) and same(plain[0], wrapped[0])
    assert plain[0]["observation"][1:, 3:6].argmax(1).tolist() == (plain[0]["action"][:-1] - 5).tolist()


def test_actions_of_every_kind_are_recorded(tmp_path):
    policy = trained(tmp_path, "Pendulum-v1")
    found = policy.record("Pendulum-v1", greedy=False)
    assert found[0]["action"].shape == (200, 1) and found.dims["action"] == ("step", "action_number")
    assert np.ptp(found[0]["action"]) > 0


def test_a_threshold_that_moves_is_recorded(tmp_path):
    policy = trained(tmp_path, "toys:Guess-v0", **{"network.neuron": "alif", "network.adaptation": 0.5})
    (episode,) = policy.record("toys:Guess-v0")
    assert np.array_equal(episode["membrane"] > episode["threshold"], episode["spikes"] > 0)
    assert episode["threshold"][0].min() == 1.0 and episode["threshold"].max() > 1.4


def test_every_array_has_a_name_for_each_axis(policy):
    found = policy.record("toys:Guess-v0")
    for name, array in found[0].items():
        assert len(found.dims[name]) == array.ndim and found.dims[name][0] == "step"
    assert found.dims["spikes"] == ("step", "neuron") and found.dims["trace"] == ("step", "source")


def test_a_recording_comes_back_from_its_file(policy, tmp_path):
    found = policy.record("toys:Guess-v0", 2)
    path = found.save(tmp_path / "deep" / "it")
    again = lfcs.Recording.load(path)
    assert path.name == "it.npz" and len(again) == 2 and all(same(a, b) for a, b in zip(again, found, strict=True))
    assert isinstance(found[:1], lfcs.Recording) and same(found[-1], found[1])


def test_a_recorders_file_is_a_recording(tmp_path):
    recorder = lfcs.Recorder("greedy", keep=2)
    settings = SMALL | {"train.eval_every": 100}
    run = lfcs.train("toys:Guess-v0", steps=200, settings=settings, callbacks=[recorder], run_dir=tmp_path / "it")
    found = lfcs.Recording.load(run.path / "recording.npz")
    assert len(found) == len(recorder.episodes) == 2 and same(found[1], recorder.episodes[1])
    assert found[1].keys() - {"env_steps"} == run.policy.record("toys:Guess-v0")[0].keys()


@pytest.mark.parametrize("content", [b"", b"nothing", None, {"a": 1}, {"0/a": 1}, {}])
def test_what_is_no_recording_is_one_line(tmp_path, content):
    path = tmp_path / "it.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(UserError, match=r"no recording at|not a recording|holds no episode"):
        lfcs.Recording.load(path)


def test_a_recording_wants_an_episode():
    with pytest.raises(ValueError, match="at least one episode"):
        lfcs.Recording([])


def test_a_recording_shows_itself_in_a_notebook(policy):
    found = policy.record("toys:Guess-v0", 2)
    found.title = "<guess>"
    html = found._repr_html_()
    assert (
        html.startswith('<img alt="spike raster" src="data:image/png;base64,iVBOR') and "&lt;guess&gt;: 2 epis" in html
    )
    assert "of 10 steps" in found.facts() and f"{found.returns.mean():.4g}" in repr(found)


def test_without_matplotlib_a_notebook_says_what_is_missing(policy, monkeypatch):
    from lfcs.pictures import style

    monkeypatch.setattr(style.importlib.util, "find_spec", lambda name: None)
    html = policy.record("toys:Guess-v0")._repr_html_()
    assert "1 episode of 10 steps" in html and "lfcs[plots]" in html and "<img" not in html


def test_a_raster_goes_into_a_figure_or_an_axis(policy):
    from lfcs.pictures import style

    found = policy.record("toys:Guess-v0")
    assert len(found.raster().axes) == 5
    figure = style.figure()
    axis = figure.subplots()
    assert found.raster(axis) is figure and len(figure.axes) == 1 and axis.lines
    assert len(found.raster(style.figure()).axes) == 5


def test_a_missing_xarray_is_one_line(policy, monkeypatch):
    monkeypatch.setattr(recording.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"labelled arrays need the extra 'xarray': pip install 'lfcs\[xarray\]'"):
        policy.record("toys:Guess-v0").to_xarray()


def test_labelled_arrays_have_named_axes(policy):
    pytest.importorskip("xarray")
    found = policy.record("toys:Guess-v0", 2)
    data = found.to_xarray()
    assert len(data) == 2 and data[1].spikes.dims == ("step", "neuron") and data[1].membrane.units == "thresholds"
    assert np.array_equal(data[1].spikes, found[1]["spikes"]) and data[0].sum("neuron").spikes.shape == (10,)


def test_axes_of_arrays_without_names_of_their_own_are_numbered():
    assert episodes.axes_of("observation", np.zeros((3, 2, 4))) == ("step", "observation_axis_0", "observation_axis_1")
    assert episodes.axes_of("action/arm", np.zeros((3, 2))) == ("step", "action_arm_number")
    assert episodes.axes_of("env_steps", np.array(3)) == ()
