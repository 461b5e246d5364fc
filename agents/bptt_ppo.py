"""PPO by backpropagation through time: the same network and rule, with the exact gradient of each chunk."""

from __future__ import annotations

from lfcs.agents.lf_cs import LfCs
from lfcs.engines import BpttEngine


class BpttPpo(LfCs):
    """lf-cs with the sided mask, whose learning signals travel by autograd through snntorch and recurrent spikes.

    Time is cut at chunks of tau_f steps: tau_f = window is the whole window. Source: Schulman et al.,
    arXiv:1707.06347, eq. (7); surrogate gradients through time: Neftci, Mostafa & Zenke, arXiv:1901.09948.
    """

    name = "bptt-ppo"
    engine = BpttEngine
    fixed = {"agent.mask": "sided", "rule.tail": 0}  # no credit reaches behind the chunk
    online = False  # its gradient needs the steps to come
