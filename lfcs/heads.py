"""Action heads: what a policy's output parameters mean.

A head turns the output vector of the network (``params`` [..., K]) into a distribution over actions. Rules and loop
use only the methods of :class:`Head`, so that a new kind of action needs one class here and one line in
:func:`make_head`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import gymnasium
import torch
from torch import Tensor

from lfcs.errors import UserError


class Judgement(NamedTuple):
    """What learning needs to know of taken actions."""

    log_prob: Tensor  # log π(a) [...]
    score: Tensor  # d log π(a)/d params [..., K], the head's part of the local gradient
    entropy: Tensor  # H [...], in nats
    entropy_score: Tensor  # dH/d params [..., K]


class Head(Protocol):
    """Distribution over actions with ``size`` output parameters. All results keep the leading shape of ``params``."""

    size: int
    outputs: int  # parameters of the policy, which come first; any others belong to the critic

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions."""

    def greedy(self, params: Tensor) -> Tensor:
        """Return the most probable actions."""

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return log π(a)."""

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log-probabilities, entropies and their derivatives."""


class CategoricalHead:
    """π = softmax(l) over ``size`` discrete actions; ``params`` are the logits l [..., K]."""

    def __init__(self, size: int) -> None:
        if size < 2:
            raise ValueError(f"a categorical head needs at least 2 actions, got {size}")
        self.size = self.outputs = size

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [...] by inverting the cumulative distribution at one uniform number per row."""
        uniform = torch.rand((*params.shape[:-1], 1), generator=generator, dtype=params.dtype, device=params.device)
        below = params.softmax(-1).cumsum(-1) <= uniform
        return below.sum(-1).clamp(max=self.size - 1)

    def greedy(self, params: Tensor) -> Tensor:
        """Return argmax_k l_k [...]."""
        return params.argmax(-1)

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return l_a - log Σ_k exp l_k [...]."""
        return params.log_softmax(-1).gather(-1, action[..., None])[..., 0]

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return log π(a); 1[a = k] - π_k (Williams 1992, eq. 4); H = -Σ_k π_k log π_k; -π_k (log π_k + H)."""
        logp = params.log_softmax(-1)
        pi = logp.exp()
        chosen = action[..., None]
        entropy = -(pi * logp).sum(-1, keepdim=True)
        score = pi.neg().scatter_add_(-1, chosen, torch.ones_like(chosen, dtype=pi.dtype))
        return Judgement(logp.gather(-1, chosen)[..., 0], score, entropy[..., 0], -pi * (logp + entropy))


class ActionValueHead:
    """Softmax over K actions with action advantages α beside the logits; ``params`` are [l, α] [..., 2K].

    Actions are drawn from the logits alone; α belongs to the critic.
    """

    def __init__(self, policy: Head) -> None:
        self.policy, self.outputs, self.size = policy, policy.size, 2 * policy.size

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a [...]."""
        return self.policy.sample(params[..., : self.outputs], generator)

    def greedy(self, params: Tensor) -> Tensor:
        """Return argmax_k l_k [...]."""
        return self.policy.greedy(params[..., : self.outputs])

    def log_prob(self, params: Tensor, action: Tensor) -> Tensor:
        """Return log π(a) [...]."""
        return self.policy.log_prob(params[..., : self.outputs], action)

    def judge(self, params: Tensor, action: Tensor) -> Judgement:
        """Return the policy's judgement; the derivatives with respect to α are 0."""
        judged = self.policy.judge(params[..., : self.outputs], action)
        nothing = torch.zeros_like(judged.score)
        score, entropy_score = (torch.cat((part, nothing), dim=-1) for part in (judged.score, judged.entropy_score))
        return judged._replace(score=score, entropy_score=entropy_score)


def make_head(space: gymnasium.Space) -> Head:
    """Return the head for an action space. Raises UserError for a space without one."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return CategoricalHead(int(space.n))
    raise UserError(f"action space {space} is not supported: actions must be Discrete")
