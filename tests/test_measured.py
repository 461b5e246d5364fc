"""What is told of a pass: each number beside its definition in torch."""

import math

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lfcs.measured import METRICS, Record, measured, quantile


@numba.njit
def compiled_quantile(values, share):
    return quantile(values, share)


def a_record(steps, batch, seed):
    g = torch.Generator().manual_seed(seed)
    rho = torch.randn(steps, batch, generator=g).mul(0.2).exp()
    value, target = torch.randn(2, steps, batch, generator=g) * 3 + 40
    rate = torch.rand(4, 6, generator=g) * torch.tensor([1.0, 0, 1, 1, 0, 1])
    norm, (change, largest) = torch.rand(4, generator=g), torch.rand(2, generator=g)
    return Record(value, rho, torch.rand(steps, batch, generator=g), rate, norm, change, target, largest)


@pytest.mark.parametrize("steps, batch", [(1, 1), (1, 2), (7, 3), (64, 16)])
def test_each_number_is_its_definition(steps, batch):
    record = a_record(steps, batch, seed=steps)
    weights = [torch.randn(5, 3), torch.randn(2, 3), torch.zeros(0)]
    found = measured(record, weights, lambda rho: {"train/own": float(rho.mean())})
    rho, target = record.rho.double(), record.target.double()
    error = (record.target - record.value).double()
    wanted = {
        "train/approx_kl": (rho - 1 - rho.log()).mean(),
        "train/approx_kl_max": record.largest,
        "train/ess": rho.sum().square() / (rho.numel() * rho.square().sum()),
        "train/entropy": record.entropy.mean(),
        "train/value_loss": error.square().mean(),
        "train/explained_variance": 1 - error.var(correction=0) / (target.var(correction=0) + 1e-12),
        "train/ratio_mean": rho.mean(),
        "train/ratio_std": rho.std(correction=0),
        "train/ratio_p05": torch.quantile(rho, 0.05),
        "train/ratio_p95": torch.quantile(rho, 0.95),
        "train/ratio_max": rho.max(),
        "train/total_variation": (rho - 1).abs().mean() / 2,
        "train/grad_norm": record.norm.mean(),
        "train/update_norm": record.change,
        "train/weight_norm": torch.cat([weight.flatten() for weight in weights]).norm(),
        "spikes/rate_mean": record.rate.mean(),
        "spikes/dead_fraction": torch.tensor(2 / 6),
        "train/own": rho.mean(),
    }
    assert found.keys() == wanted.keys() == {*METRICS, "train/own"}
    for name, number in wanted.items():
        assert found[name] == pytest.approx(float(number), rel=1e-6, abs=1e-9), name


@settings(deadline=None)  # compiled at first
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.floats(0.0, 1.0, exclude_max=True))
def test_quantiles_of_numbers_that_repeat(values, share):
    ratios = np.array(values, np.float64)
    assert compiled_quantile(ratios.copy(), share) == pytest.approx(np.quantile(ratios, share), abs=1e-9)


def test_a_policy_that_is_the_reference_is_at_no_distance():
    record = a_record(8, 4, seed=0)
    found = measured(record._replace(rho=torch.ones(8, 4)), [torch.ones(1)], lambda rho: {})
    assert found["train/approx_kl"] == found["train/total_variation"] == found["train/ratio_std"] == 0.0
    assert found["train/ess"] == found["train/ratio_p05"] == found["train/ratio_max"] == 1.0


def test_a_ratio_that_overflows_is_told_and_raises_nothing():
    record = a_record(4, 2, seed=0)
    rho = record.rho.clone()
    rho[0, 0] = math.inf
    found = measured(record._replace(rho=rho), [torch.ones(1)], lambda rho: {})
    assert found["train/ratio_max"] == math.inf
    assert math.isfinite(found["train/entropy"])
