"""Memory tasks: who remembers gets the most, who does not gets what chance gives; compiled forms are the same."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from test_classic import assert_same_step

import lfcs
from lfcs.envs import OURS, classic, described, make_vec, memory
from lfcs.envs.classic import CompiledVectorEnv
from lfcs.envs.vector import make_sync
from lfcs.errors import UserError

CHOICES = ["CueAccumulation-v0", "DelayedMatch-v0", "MemoryChain16-v0", "MemoryChain32-v0"]
COMPILED = [*CHOICES, "TMaze10-v0", "TMaze20-v0", "ButtonFood-v0", "CartPoleNoVelocity-v0"]
ALL = [*COMPILED, "PendulumNoVelocity-v0"]

gymnasium.register("ShortMaze-v0", entry_point="lfcs.envs.memory:TMaze", kwargs={"length": 1}, max_episode_steps=7)
gymnasium.register(
    "LongMatch-v0", entry_point="lfcs.envs.memory:DelayedMatch", kwargs={"stimuli": 5, "delay": 1}, max_episode_steps=9
)
gymnasium.register(
    "FewCues-v0", entry_point="lfcs.envs.memory:CueAccumulation", kwargs={"cues": 3, "least": 1, "most": 2}
)
gymnasium.register("WideFood-v0", entry_point="lfcs.envs.memory:ButtonFood", kwargs={"size": 7}, max_episode_steps=9)


def play(env, policy, episodes, seed=0):
    """Return the returns of a policy: a function of what has been seen in the episode so far, and of a generator."""
    returns, rng = [], np.random.default_rng(seed)
    for episode in range(episodes):
        seen, total, over = [env.reset(seed=seed if episode == 0 else None)[0]], 0.0, False
        while not over:
            obs, reward, terminated, truncated, info = env.step(policy(seen, rng))
            seen.append(obs)
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return np.array(returns), info


def towards(way):
    """Return the move along a way on the grid, x first."""
    axis = 0 if way[0] else 1
    return axis if way[axis] > 0 else axis + 2


def find_food(seen, rng):
    """Go to the button, and to the food once the button has been reached."""
    pressed = any((obs[:2] == 0).all() for obs in seen)
    return towards(seen[-1][2:] if pressed else seen[-1][:2])


def balance(seen, rng):
    """Push where the pole leans to, its speed taken from the last two observations."""
    speed = seen[-1][1] - seen[-2][1] if len(seen) > 1 else 0.0
    moved = seen[-1][0] - seen[-2][0] if len(seen) > 1 else 0.0
    return int(seen[-1][1] + 12 * speed + 0.02 * seen[-1][0] + 1.0 * moved > 0)


# who remembers all that was seen, and the return
ORACLES = {
    "CueAccumulation-v0": (lambda seen, rng: int(np.sum(seen, 0)[1] > np.sum(seen, 0)[0]), 1.0),
    "DelayedMatch-v0": (lambda seen, rng: int(seen[0][:-1].argmax() == seen[-1][:-1].argmax()), 1.0),
    "MemoryChain16-v0": (lambda seen, rng: int(seen[0][2] > 0), 1.0),
    "MemoryChain32-v0": (lambda seen, rng: int(seen[0][2] > 0), 1.0),
    "TMaze10-v0": (lambda seen, rng: 1 if len(seen) < 11 else 0 if seen[0][2] else 2, 4.0),
    "TMaze20-v0": (lambda seen, rng: 1 if len(seen) < 21 else 0 if seen[0][2] else 2, 4.0),
    "ButtonFood-v0": (find_food, 1.0),
    "CartPoleNoVelocity-v0": (balance, 500.0),
}


@pytest.mark.parametrize("env_id", ALL)
def test_gymnasium_accepts_them_and_seeds_repeat(env_id):
    check_env(gymnasium.make(env_id, disable_env_checker=True).unwrapped, skip_render_check=True)
    one, other = gymnasium.make(env_id), gymnasium.make(env_id)
    one.action_space.seed(0)
    assert np.array_equal(one.reset(seed=4)[0], other.reset(seed=4)[0])
    for _ in range(600):
        action = one.action_space.sample()
        a, b = one.step(action), other.step(action)
        assert np.array_equal(a[0], b[0]) and a[1:4] == b[1:4]
        if a[2] or a[3]:
            assert np.array_equal(one.reset()[0], other.reset()[0])
    listed = " ".join([*OURS, *OURS.values()])
    assert env_id in listed


@pytest.mark.parametrize("env_id", ORACLES)
def test_who_remembers_gets_the_most(env_id):
    policy, best = ORACLES[env_id]
    returns, info = play(gymnasium.make(env_id), policy, 40 if best < 100 else 5)
    assert (returns == best).all()
    assert info == {} or info.get("correct") or info.get("pressed")


@pytest.mark.parametrize("env_id", CHOICES)
def test_what_is_seen_when_it_counts_says_nothing(env_id):
    """Given all that is seen at the decision, both answers are right equally often: no memoryless policy beats 0."""
    env, rights = gymnasium.make(env_id), {}
    for seed in range(600):
        obs, over = env.reset(seed=seed)[0], False
        while not over:
            last = tuple(obs)
            obs, reward, over, _, info = env.step(0)
        assert reward == (1.0 if info["correct"] else -1.0)
        rights.setdefault(last, []).append(info["correct"])
    for of_it in rights.values():
        assert abs(np.mean(of_it) - 0.5) < 4 * 0.5 / len(of_it) ** 0.5


def test_a_maze_walked_without_memory_is_worth_half():
    turns, _ = play(gymnasium.make("TMaze10-v0"), lambda seen, rng: 0 if seen[-1].tolist() == [0, 1, 0] else 1, 400)
    assert set(turns) == {4.0, -0.1} and abs(turns.mean() - 1.95) < 4 * 2.05 / 20
    env = gymnasium.make("TMaze10-v0")
    env.reset(seed=0)
    assert [env.step(a)[1] for a in (3, 0, 1, 3, 2)] == [-0.1, -0.1, 0.0, 0.0, -0.1]
    assert [env.step(1)[0].tolist() for _ in range(10)] == [[1, 0, 1]] * 9 + [[0, 1, 0]] and env.step(1)[1] == -0.1


def test_cues_by_hand():
    env = memory.CueAccumulation()
    env.start(np.array([0.2, 0.999, 0.69, 0.71, 0.1, 0.9, 0.0, 0.8, 0.75]))  # likely on the right; three are
    assert env.sides.tolist() == [1, 0, 1, 0, 1, 0, 0] and env.recall == 21 + 30
    obs = [env.observe()] + [env.step(0)[0] for _ in range(51)]
    assert np.flatnonzero(np.array(obs)[:, 1]).tolist() == [0, 1, 6, 7, 12, 13]
    assert np.flatnonzero(np.array(obs)[:, 0]).tolist() == [3, 4, 9, 10, 15, 16, 18, 19]
    assert np.flatnonzero(np.array(obs)[:, 2]).tolist() == [51]
    assert env.step(0)[1:] == (1.0, True, False, {"correct": True})
    env.start(np.array([0.7, 0.0, *[0.29] * 4, *[0.31] * 3]))
    assert env.sides.sum() == 4 and env.recall == 31


def test_food_pays_only_after_the_button():
    env = memory.ButtonFood(3)
    env.start(np.array([0.0, 0.0]))  # button in the corner, food above it
    assert env.button.tolist() == [0, 0] and env.food.tolist() == [0, 1]
    np.testing.assert_array_equal(env.observe(), [-0.5, -0.5, -0.5, 0.0])
    outcomes = [env.step(a)[1:3] for a in (2, 3, 1)]
    assert outcomes == [(0.0, False), (0.0, False), (1.0, True)]
    cells = set()
    for a in np.arange(8) / 8:
        for b in np.arange(7) / 7:
            env.start(np.array([a + 1e-9, b + 1e-9]))
            cells.add((*env.button, *env.food))
    assert len(cells) == 56 and all(cell[:2] != cell[2:] and (1, 1) not in (cell[:2], cell[2:]) for cell in cells)


@pytest.mark.parametrize(("env_id", "hidden"), [("CartPoleNoVelocity-v0", [1, 3]), ("PendulumNoVelocity-v0", [2])])
def test_without_velocities_all_else_is_gymnasiums(env_id, hidden):
    ours, theirs = (gymnasium.make(name) for name in (env_id, {"C": "CartPole-v1", "P": "Pendulum-v1"}[env_id[0]]))
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    theirs.action_space.seed(0)
    np.testing.assert_array_equal(ours.reset(seed=1)[0], np.delete(theirs.reset(seed=1)[0], hidden))
    for _ in range(300):
        action = theirs.action_space.sample()
        one, other = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(one[0], np.delete(other[0], hidden))
        assert one[1:4] == other[1:4] and one[0] in ours.observation_space
        if one[2] or one[3]:
            ours.reset(), theirs.reset()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([*COMPILED, "ShortMaze-v0", "LongMatch-v0", "FewCues-v0", "WideFood-v0"]),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_compiled_forms_give_the_same_numbers(env_id, count, seed):
    task = classic.find(env_id)
    ours, theirs, rng = CompiledVectorEnv(task, count), make_sync(env_id, count), np.random.default_rng(seed)
    for name in ("single_observation_space", "single_action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    for reset_seed in (seed, None):
        assert np.array_equal(ours.reset(seed=reset_seed)[0], theirs.reset(seed=reset_seed)[0])
        for _ in range(120):
            drawn = rng.integers(task.action_space.n, size=count)
            east = "Maze" in env_id and rng.random() < 0.7  # else its end is hardly reached
            assert_same_step(ours, theirs, np.ones(count, int) if east else drawn)


def test_they_are_compiled_by_themselves():
    for env_id in COMPILED:
        assert described(make_vec(env_id, 2)) == "2 environments, compiled"
        assert classic.find(env_id).limit == (gymnasium.spec(env_id).max_episode_steps or classic.NO_LIMIT)
    assert described(make_vec("TMaze10-v0", 2, device="meta")) == "2 environments, compiled"  # no form on a device


@pytest.mark.parametrize(
    ("cls", "given", "message"),
    [
        (memory.TMaze, {"length": 0}, "length of a task must be a whole number, at least 1, got 0"),
        (memory.MemoryChain, {"length": 2.5}, "length of a task must be a whole number"),
        (memory.CueAccumulation, {"cues": 4}, "cues of a task must be odd"),
        (memory.CueAccumulation, {"least": 9, "most": 8}, "most of a task must be .* at least 9"),
        (memory.ButtonFood, {"size": 4}, "size of a task must be odd"),
        (memory.DelayedMatch, {"stimuli": 1}, "stimuli of a task must be"),
    ],
)
def test_what_no_task_has_is_one_line(cls, given, message):
    with pytest.raises(UserError, match=message):
        cls(**given)


CHANCE = {"TMaze10-v0": 1.95, "CueAccumulation-v0": 0.0, "DelayedMatch-v0": 0.0, "MemoryChain16-v0": 0.0}
LEARNED = {"TMaze10-v0": 3.8, "CueAccumulation-v0": 0.7, "DelayedMatch-v0": 0.8, "MemoryChain16-v0": 0.8}


@pytest.mark.slow
@pytest.mark.parametrize("env_id", CHANCE)
def test_lf_cs_learns_with_memory_and_stays_at_chance_without(env_id, tmp_path):
    """The settings of the experiment; 400 final episodes, so that chance is known to within a tenth of the range."""
    for remembers in (True, False):
        given_ = {"network.memory": remembers, "train.final_episodes": 400}
        run = lfcs.train(env_id, settings=given_, run_dir=tmp_path / str(remembers))
        found = run.summary["mean_return_sampled"]
        assert found > LEARNED[env_id] if remembers else found < CHANCE[env_id] + 0.2


@pytest.mark.slow
def test_a_pole_is_balanced_by_memory_of_positions(tmp_path):
    """What can be had without is not known; on seed 0 it is 370 against about 50."""
    found = []
    for remembers in (True, False):
        given_ = {"network.memory": remembers}
        run = lfcs.train("CartPoleNoVelocity-v0", settings=given_, run_dir=tmp_path / str(remembers))
        found.append(run.summary["mean_return_sampled"])
    assert found[0] > 2.0 * found[1] and found[1] < 100.0


@pytest.mark.slow
def test_button_and_food_are_learned(tmp_path):
    assert lfcs.train("ButtonFood-v0", run_dir=tmp_path / "run").summary["mean_return"] > 0.9
