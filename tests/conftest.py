"""Small policies and random experience in double precision."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest
import torch

from lfcs import network, pointers
from lfcs.config import NetworkConfig
from lfcs.heads import CategoricalHead
from lfcs.network import SpikingNetwork

torch.set_num_threads(1)

# ignored in the background and below nohup, here and in what tests start: signals are theirs to send
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

pointers.SLOW = float("inf")  # whichever test comes first would be told that loops are compiled


@pytest.fixture
def double():
    """Make networks in double precision within a test; torch's default stays single, so that a leak of it shows."""
    with in_double():
        yield


@contextmanager
def in_double():
    """See :func:`double`; within a test that draws examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "PRECISION", torch.float64)
        yield


def make_policy(neurons=7, inputs=3, actions=3, seed=0, **options):
    """Return a policy with strong weights, so that it spikes and every gradient is away from zero."""
    config = NetworkConfig(neurons=neurons, tau_m=6.0, input_gain=2.0, recurrent_gain=1.5, **options)
    generator = torch.Generator().manual_seed(seed)
    policy = SpikingNetwork(inputs, actions, config, generator)
    with torch.no_grad():
        policy.policy_readout.weight.normal_(generator=generator)
        policy.value_readout.weight.normal_(generator=generator)
        policy.input.bias.normal_(0.2, 0.1, generator=generator)
    return policy, CategoricalHead(actions)


def random_window(policy, head, steps, batch, seed=1):
    """Return inputs [T, B, D], actions [T, B] and resets [T, B] with episode ends inside the window."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, policy.input.in_features, generator=g, dtype=policy.recurrent.dtype)
    action = torch.randint(head.size, (steps, batch), generator=g)
    reset = torch.rand(steps, batch, generator=g) < 0.15
    reset[0] = True
    return x, action, reset
