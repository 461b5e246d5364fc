"""The compiled kernels: products and lists of spikes bit for bit, and teams of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_learner import small_trainer
from torch.testing import assert_close

from lfcs import kernels, pointers
from lfcs.compiled.team import shares


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 13), st.integers(0, 9), st.integers(1, 170), st.booleans(), st.booleans())
def test_a_product_is_summed_in_order_wherever_a_tile_ends(m, k, n, double, transposed):
    """Bit for bit: rows in fours and alone, columns in tiles, vectors, short vectors and alone."""
    rng = np.random.default_rng(m * 1000 + k * 100 + n)
    total, a, rows = (rng.normal(size=s).astype("f8" if double else "f4") for s in ((m, n), (m, k), (k, n)))
    expected = total.copy()
    for i in range(k):
        expected = expected + a[:, i : i + 1] * rows[i]
    kernels.add_product(total, np.asfortranarray(a) if transposed else a, rows)
    assert np.array_equal(total, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.floats(0, 1), st.booleans())
def test_spikes_are_listed_in_order(n, rate, double):
    z = (np.random.default_rng(n).random((1, 3, n)) < rate).astype("f8" if double else "f4")
    fired, counts = np.full((1, 3, n), -1, np.int32), np.zeros((1, 3), np.int64)
    kernels.list_spikes(z, fired, counts)
    for b in range(3):
        assert fired[0, b, : counts[0, b]].tolist() == np.flatnonzero(z[0, b]).tolist()


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 90), st.integers(1, 200))
def test_shares_cover_all_once(threads, batch, inputs, neurons):
    team = shares(threads, batch, inputs, neurons)
    assert 1 <= len(team) <= min(threads, batch) and all(share.low < share.high for share in team)
    for first, last, whole in (
        ("low", "high", batch), ("first_input", "last_input", inputs), ("first_neuron", "last_neuron", neurons),
    ):  # fmt: skip
        covered = [i for share in team for i in range(getattr(share, first), getattr(share, last))]
        assert covered == list(range(whole))


ALIF = {"network__neuron": "alif", "network__tau_m_max": 20.0}


@pytest.mark.parametrize("chosen", [{}, {"rule__tau_f": 1, "network__ticks": 2}, {"agent": "acer"}, ALIF])
def test_the_same_numbers_for_any_number_of_threads(chosen):
    """Environments, inputs and neurons are split; nothing is summed across what is split."""
    found = []
    for threads in (1, 2, 3):
        trainer = small_trainer(network__input_gain=4.0, train__threads=threads, train__num_envs=5, **chosen)
        records = [trainer.learner.learn(trainer.rollout.collect(12), 1.0) for _ in range(3)]
        network = trainer.learner.update.network
        found.append([network.hidden, network.readout, *(part for record in records for part in record)])
        assert records[-1].rate.mean() > 0.02 and torch.isfinite(network.hidden).all()
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_close(one, two, rtol=0, atol=0)
    torch.set_num_threads(1)


def test_compiling_is_announced_once(capsys, monkeypatch):
    monkeypatch.setattr(pointers, "SLOW", 0.0)
    pointers.compiling.cache_clear()
    for _ in range(2):
        pointers.pointer(lambda f: f(f))(lambda x: x + x).of("float64")
    assert capsys.readouterr().err == "compiling loops for this machine, once: about half a minute\n"
