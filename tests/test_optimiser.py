"""Adam and the clip equal torch's, on either path."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lfcs.optimiser import Adam, Block


@pytest.mark.parametrize("path", ["_step_compiled", "_step_tensors"])
def test_steps_equal_torch_with_and_without_clipping(path):
    g = torch.Generator().manual_seed(0)
    start = [torch.randn(7, 5, generator=g, dtype=torch.float64), torch.randn(3, 4, generator=g, dtype=torch.float64)]
    ours, theirs = [w.clone() for w in start], [torch.nn.Parameter(w.clone()) for w in start]
    rates = (0.01, 0.3)
    adam = Adam(ours)
    groups = [{"params": [w], "lr": rate} for w, rate in zip(theirs, rates, strict=True)]
    witness = torch.optim.Adam(groups, maximize=True)
    for size in (0.01, 1.0, 10.0, 0.0, 0.1):
        gradients = [size * torch.randn(w.shape, generator=g, dtype=torch.float64) for w in start]
        for w, gradient in zip(theirs, gradients, strict=True):
            w.grad = gradient.clone()
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        witness.step()
        assert_close(getattr(adam, path)(tuple(gradients), rates, 0.5), expected, rtol=1e-12, atol=0)
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a, b.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", ["_step_compiled", "_step_tensors"])
def test_groups_are_clipped_each_for_itself(path):
    """Rows of one tensor may be in two groups, and a group may have rows of two tensors."""
    g = torch.Generator().manual_seed(0)
    start = [
        torch.randn(7, 5, generator=g, dtype=torch.float64),
        torch.randn(3, 4, generator=g, dtype=torch.float64),
        torch.randn(6, generator=g, dtype=torch.float64),
    ]
    blocks = [
        Block(0, slice(None), 0), Block(1, slice(0, 2), 1), Block(1, slice(2, None), 2), Block(2, slice(None), 2),
    ]  # fmt: skip
    ours = [w.clone() for w in start]
    theirs = [torch.nn.Parameter(ours[b.weight][b.rows].clone()) for b in blocks]
    rates = (0.01, 0.3, 0.1)
    adam = Adam(ours, blocks)
    witness = torch.optim.Adam(
        [{"params": [w], "lr": rates[b.weight]} for b, w in zip(blocks, theirs, strict=True)], maximize=True
    )
    for size in (0.01, 1.0, 10.0):
        gradients = [size * torch.randn(w.shape, generator=g, dtype=torch.float64) for w in start]
        for b, w in zip(blocks, theirs, strict=True):
            w.grad = gradients[b.weight][b.rows].clone()
        norms = [torch.nn.utils.clip_grad_norm_(part, 0.5) for part in (theirs[:1], theirs[1:2], theirs[2:])]
        witness.step()
        norm = getattr(adam, path)(tuple(gradients), rates, 0.5)
        assert_close(norm, torch.stack(norms).norm(), rtol=1e-12, atol=0)
        for b, w in zip(blocks, theirs, strict=True):
            assert_close(ours[b.weight][b.rows], w.detach(), rtol=0, atol=1e-12)


def test_a_restored_optimiser_goes_on_bit_by_bit():
    g = torch.Generator().manual_seed(0)
    gradients = [torch.randn(6, 5, generator=g, dtype=torch.float64) for _ in range(6)]
    weights = [torch.zeros(6, 5), torch.zeros(6, 5)]
    first, second = Adam(weights[:1]), Adam(weights[1:])
    for gradient in gradients[:3]:
        first.step((gradient,), (0.1,), 1.0)
    weights[1].copy_(weights[0])
    second.load_state_dict(first.state_dict())
    for gradient in gradients[3:]:
        first.step((gradient,), (0.1,), 1.0)
        second.step((gradient,), (0.1,), 1.0)
    assert torch.equal(*weights) and first.steps == second.steps == 6
