"""A policy plays and is looked at: recordings of episodes, in environments of its own or in given ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from lfcs import envs
from lfcs.compiled.evaluation import evaluate
from lfcs.episodes import Episode, row_of, stacked
from lfcs.errors import UserError
from lfcs.policy import Policy
from lfcs.recording import Recording
from lfcs.rollout import Moment, steps_told
from lfcs.run import load_config, newest_policy
from lfcs.spaces import given_space, in_words

Given = str | gymnasium.Env | VectorEnv | Callable[[], gymnasium.Env]


def record(
    policy: Policy,
    env: Given,
    episodes: int = 1,
    seed: int = 0,
    greedy: bool = True,
    options: dict[str, Any] | None = None,
) -> Recording:
    """Return a recording of episodes; see :meth:`lfcs.Policy.record`. ``options`` go to each reset."""
    if episodes < 1 or seed < 0:
        raise UserError(f"record wants at least one episode and a seed of at least 0, got {episodes} and {seed}")
    vec, ours = environments(policy, env)
    try:
        fits(policy, vec)
        seen: list[Episode] = []
        while len(seen) < episodes:
            seen += _one_each(policy, vec, seed + len(seen), greedy, options)
    finally:
        if ours:
            vec.close()
    return Recording(seen[:episodes], title_of(env))


def of_run(run_dir: Path, env: Given | None = None, **asked: Any) -> Recording:
    """Return a recording of a run's newest policy in its task, or in ``env``; see :func:`record`.

    A world that changes is as it was at the end of the run. Raises UserError where there is no run.
    """
    config = load_config(run_dir)
    policy, steps, _ = newest_policy(run_dir, torch.device("cpu"), config.engine)
    vec, ours = environments(policy, *((config.env, config.env_kwargs) if env is None else (env,)))
    options = steps_told(vec, steps // config.train.num_envs, frozen=True)
    try:
        found = record(policy, vec, options=options, **asked)
    finally:
        if ours:
            vec.close()
    found.title = f"{config.agent} on {config.env}"
    return found


def environments(policy: Policy, env: Given, kwargs: Mapping[str, Any] | None = None) -> tuple[VectorEnv, bool]:
    """Return a vector environment for a policy, made with ``kwargs``, and whether it is ours to close.

    Raises UserError where there is none of that name, or observations do not fit.
    """
    if isinstance(env, VectorEnv):
        if not isinstance(env.single_observation_space, gymnasium.spaces.Box):
            raise UserError("a vector environment wants a Box of observations: give the id, or what makes one")
        return env, False
    if not isinstance(env, str | gymnasium.Env) and not callable(env):
        raise UserError(f"env wants an id, an environment or what makes one, got {env!r}")
    previous = envs.Previous.of(policy.encoder.config)
    if isinstance(env, gymnasium.Env) and env.observation_space == policy.observation_space:
        previous = envs.Previous()  # it tells of the last step already
    make: Any = (lambda: env) if isinstance(env, gymnasium.Env) else env
    vec = envs.make_vec(make, 1, kind="plain", previous=previous, kwargs=kwargs or {})
    return vec, not isinstance(env, gymnasium.Env)


def fits(policy: Policy, vec: VectorEnv) -> None:
    """Raise UserError where environments are not those of a policy."""
    theirs, ours = given_space(vec.single_observation_space), policy.observation_space
    if theirs.shape != ours.shape or type(theirs) is not type(ours):
        raise UserError(f"the policy observes {in_words(ours)}, the environment gives {in_words(theirs)}")
    if vec.single_action_space != policy.action_space:
        mine, wanted = in_words(policy.action_space), in_words(vec.single_action_space)
        raise UserError(f"the policy acts in {mine}, the environment wants {wanted}")


def title_of(env: Given) -> str:
    """Return the name of an environment."""
    if isinstance(env, str):
        return env
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else getattr(env, "__name__", type(env).__name__)


def _one_each(policy: Policy, vec: VectorEnv, seed: int, greedy: bool, options: dict[str, Any] | None) -> list[Episode]:
    """Return an episode of each environment, which may be longer than others."""
    rows: list[list[Episode]] = [[] for _ in range(vec.num_envs)]
    over = np.zeros(vec.num_envs, bool)
    flat = dataclasses.replace(policy, observation_space=vec.single_observation_space)

    def watch(obs: np.ndarray, state: Any, *rest: Any) -> None:
        moment = Moment(obs, policy.network.state_of(state[0]), *rest)
        for b in np.flatnonzero(~over):
            rows[b].append(row_of(flat, moment, int(b)))
        over[:] |= moment.ended

    evaluate(flat, vec, vec.num_envs, seed, greedy, watch, options)
    return [stacked(own) for own in rows]
