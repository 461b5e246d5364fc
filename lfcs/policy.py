"""A policy: network, engine, head and encoder together. It acts, predicts, saves, and needs no environment for that."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch
from numba import types
from torch import Tensor

from lfcs import checkpoint
from lfcs.config import EncoderConfig, NetworkConfig, section
from lfcs.engines import Engine, Fixed, Steps
from lfcs.errors import UserError
from lfcs.heads import Head, head_name
from lfcs.nested import mapped
from lfcs.network import NetState, SpikingNetwork
from lfcs.pointers import ROW, Pointer, function_at, pointer
from lfcs.spaces import batched

if TYPE_CHECKING:
    from lfcs.recording import Recording

State = tuple[np.ndarray, ...]


def _encode(f: Any) -> Any:
    return types.void(ROW, ROW, ROW, ROW, ROW)


encode_pointer, encode_at = pointer(_encode), function_at(_encode)


class EncoderLoops(NamedTuple):
    """The compiled form of an encoder: ``encode`` (obs, mean, std, constants, out) of one row, in double precision.

    ``mean`` and ``m2`` [d] of as many numbers as ``observed`` [1] says are running moments, of size 0 where there are
    none: they are updated in place by :func:`lfcs.compiled.act.follow_moments`, and std is what
    :func:`lfcs.compiled.act.deviations` makes of them.
    """

    encode: Pointer
    constants: np.ndarray
    observed: np.ndarray
    mean: np.ndarray
    m2: np.ndarray


class Encoder(Protocol):
    """Observations [B, ...] in, input currents [B, size] (float32) out.

    One may have ``drive``, how many inputs of a dense code would drive the network as strongly (by default ``size``),
    and ``seeded(seed)``, which a run calls once, if it draws random numbers: as ``encode`` changes nothing, they are a
    function of what it is given and of what ``observe`` has counted.
    """

    size: int
    config: EncoderConfig

    def observe(self, obs: np.ndarray) -> None:
        """Update running statistics with a batch of observations."""

    def encode(self, obs: np.ndarray) -> np.ndarray:
        """Encode a batch with the statistics as they are."""

    def state_dict(self) -> dict[str, Any]:
        """Return the running statistics."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running statistics."""


class Acted(NamedTuple):
    """What a policy made of B observations."""

    x: Tensor  # [B, D] encoded observations
    state: NetState  # [B] after the step
    params: Tensor  # [B, K] of the head
    value: Tensor  # [B]
    action: Tensor  # [B, ...], as the head counts them


@dataclass
class Policy:
    """A spiking policy that can act.

    ``generator`` draws its actions; everything else about it is a function of weights, observation and state.
    ``fixed`` is the integers of a quantised policy, whose network has the weights that they stand for.
    """

    network: SpikingNetwork
    engine: Engine
    head: Head
    encoder: Encoder
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    generator: torch.Generator
    fixed: Fixed | None = None

    def __repr__(self) -> str:
        n, name = self.network.config.neurons, head_name(self.head)
        return f"<Policy of {n} neurons, {self.encoder.size} inputs, {name} head: {self.action_space}>"

    def encode(self, obs: np.ndarray) -> Tensor:
        """Return input currents [B, D] for observations [B, ...], with the encoder as it is."""
        like = self.network.hidden
        return torch.from_numpy(self.encoder.encode(obs)).to(like.device, like.dtype)

    def act(self, obs: np.ndarray, state: NetState, reset: Tensor, greedy: bool = False) -> Acted:
        """Act on observations [B, ...] from a state [B], cleared where ``reset`` [B] is true."""
        return self.respond(self.encode(obs), state, reset, greedy)

    def respond(self, x: Tensor, state: NetState, reset: Tensor, greedy: bool = False) -> Acted:
        """Act on encoded observations [B, D]; see :meth:`act`."""
        seen = self.engine.run(x[None], state, reset[None])
        params = seen.params[0]
        action = self.head.greedy(params) if greedy else self.head.sample(params, self.generator)
        return Acted(x, seen.states.at(-1), params, seen.value[0], action)

    def look(self, x: Tensor, state: NetState) -> Steps:
        """Return what the network makes of one more input [B, D] after a state [B]."""
        no_reset = torch.zeros(1, len(x), dtype=torch.bool, device=x.device)
        return self.engine.run(x[None], state, no_reset)

    def predict(
        self,
        obs: Any,
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, State]:
        """Return actions and the state after them, in the shape of Stable-Baselines3's ``predict``.

        ``obs`` is one observation as the environment gives it, or a batch as vector environments do, [B, ...] or a
        dictionary or tuple of such; and so is the action. ``state`` is what the call before returned, None at the
        start; ``episode_start`` [B] is true where an episode begins, which clears the state there. ``deterministic``
        takes the most probable action, else it is drawn. Raises ValueError on observations that do not fit.
        """
        batch, single = batched(self.observation_space, obs)
        if state is not None and len(state[0]) != len(batch):
            raise ValueError(f"the state is of {len(state[0])} environments, the observations of {len(batch)}")
        network = self.network
        before = network.initial_state(len(batch)) if state is None else network.state_of(np.asarray(state[0]))
        starts = np.zeros(len(batch), dtype=bool) if episode_start is None else np.array(episode_start, bool, ndmin=1)
        reset = torch.from_numpy(starts).to(network.hidden.device)
        acted = self.act(batch, before, reset, deterministic)
        action = self.head.to_env(acted.action)
        return mapped(lambda batch: batch[0], action) if single else action, (acted.state.data.cpu().numpy(),)

    def record(self, env: Any, episodes: int = 1, seed: int = 0, greedy: bool = True) -> Recording:
        """Return a :class:`lfcs.Recording` of episodes that the policy plays as it is, which leaves it as it is.

        ``env`` is a gymnasium id, an environment, a vector environment, of which each plays an episode at a time, or
        what makes an environment. Episode i is that of seed ``seed`` + i, with the most probable actions where
        ``greedy``, else with drawn ones. Raises UserError where the environment does not fit the policy.
        """
        from lfcs.playing import record

        return record(self, env, episodes, seed, greedy)

    def seeded(self, seed: int) -> Policy:
        """Return this policy with a generator of its own; weights and encoder are shared."""
        generator = torch.Generator(self.network.hidden.device).manual_seed(seed)
        return dataclasses.replace(self, generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Return all that :func:`lfcs.load` needs: spaces, settings, weights and the encoder's statistics."""
        quantised = {} if self.fixed is None else {"fixed": self.fixed._asdict()}
        return quantised | {
            "observation_space": pack_space(self.observation_space),
            "action_space": pack_space(self.action_space),
            "head": head_name(self.head),
            "network": dataclasses.asdict(self.network.config),
            "encoder": dataclasses.asdict(self.encoder.config),
            "weights": self.network.state_dict(),
            "statistics": self.encoder.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore weights and statistics. Raises ValueError where they are those of another network or encoder."""
        asdict = dataclasses.asdict
        network, encoder = section("network", saved["network"]), section("encoder", saved["encoder"])
        for key, mine, given in (
            ("head", head_name(self.head), saved["head"]),
            ("network", asdict(self.network.config), asdict(network)),
            ("encoder", asdict(self.encoder.config), asdict(encoder)),
        ):
            if mine != given:
                raise ValueError(f"its {key} is {given}")
        for key in ("observation_space", "action_space"):
            if unpack_space(saved[key]) != getattr(self, key):
                raise ValueError(f"its {key.replace('_', ' ')} is {unpack_space(saved[key])}")
        checkpoint.fit(self.network.state_dict(), saved["weights"], "weights")
        checkpoint.fit(self.encoder.state_dict(), saved["statistics"], "statistics")
        self.network.load_state_dict(saved["weights"])
        self.encoder.load_state_dict(saved["statistics"])

    def save(self, path: str | Path) -> Path:
        """Write the policy into one file, which :func:`lfcs.load` reads; return its path, ending in ``.npz``."""
        path = checkpoint.with_ending(path)
        checkpoint.save(path, {"policy": self.state_dict()})
        return path


def network_of(saved: dict[str, Any], outputs: int, inputs: int) -> SpikingNetwork:
    """Return the network of a saved policy, with its weights. Raises ValueError where they are those of another."""
    config, weights = section("network", saved["network"]), saved["weights"]
    sizes = tuple(weights["input.weight"].shape), len(weights["policy_readout.weight"])
    if sizes != ((config.neurons, inputs), outputs):  # before anything of a size that is not there is made
        raise ValueError(f"its weights are of {sizes}, not of {((config.neurons, inputs), outputs)}")
    network = SpikingNetwork(inputs, outputs, config, torch.Generator())
    checkpoint.fit(network.state_dict(), weights, "weights")
    network.load_state_dict(saved["weights"])
    return network


def pack_space(space: gymnasium.Space) -> dict[str, Any]:
    """Return a space as plain values and arrays. Raises UserError for one that no policy has."""
    of = gymnasium.spaces
    if isinstance(space, of.Box):
        return {"kind": "Box", "low": space.low, "high": space.high, "dtype": str(space.dtype)}
    if isinstance(space, of.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, of.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": space.nvec, "start": space.start, "dtype": str(space.dtype)}
    if isinstance(space, of.MultiBinary):
        return {"kind": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, of.Tuple):
        return {"kind": "Tuple", "spaces": [pack_space(part) for part in space.spaces]}
    if isinstance(space, of.Dict):
        return {"kind": "Dict", "spaces": [[key, pack_space(part)] for key, part in space.spaces.items()]}
    raise UserError(f"space {space} cannot be saved: no policy observes or acts in it")


def unpack_space(saved: dict[str, Any]) -> gymnasium.Space:
    """Return the space of :func:`pack_space`."""
    of, kind = gymnasium.spaces, saved["kind"]
    dtype: Any = np.dtype(saved.get("dtype", "int64")).type  # older files have none for Discrete
    if kind == "Box":
        return of.Box(saved["low"], saved["high"], dtype=dtype)
    if kind == "Discrete":
        return of.Discrete(saved["n"], start=saved["start"], dtype=dtype)
    if kind == "MultiDiscrete":
        return of.MultiDiscrete(saved["nvec"], start=saved["start"], dtype=dtype)
    if kind == "MultiBinary":
        return of.MultiBinary(saved["n"])
    if kind == "Tuple":
        return of.Tuple([unpack_space(part) for part in saved["spaces"]])
    return of.Dict([(key, unpack_space(part)) for key, part in saved["spaces"]])
