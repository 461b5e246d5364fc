"""A policy in XyloSim, the simulator of Xylo that computes as the chip does, in whole numbers: the extra ``xylosim``.

The chip's neuron is not ours in two ways that no number mends. Its synapses have a current that keeps half of itself a
tick at least (``dash_syn`` = 1) and is added after that decay, so that half of a spike comes in at once, a quarter a
tick later, and so on; weights are twice ours here, so that a spike moves the membrane at once as ours does. And
a neuron sends as many spikes as thresholds fit into its membrane. Outputs are read as membranes, a tick later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lfcs.hardware.readers import imported
from lfcs.hardware.xylo import whole
from lfcs.policy import Policy
from lfcs.spaces import batched

TWICE = 1  # bits that weights are shifted by
LEAST = 1  # the shortest synaptic current, as a shift
NEVER = 2**15 - 1  # a threshold that an output does not reach


class OnXylo:
    """A policy whose network runs in XyloSim; it predicts for one environment at a time, greedily.

    ``ticks`` are those of a step, by default the network's own. Raises UserError where XyloSim is not installed, and as
    :func:`lfcs.hardware.xylo.whole` does.
    """

    def __init__(self, policy: Policy, ticks: int | None = None) -> None:
        self.sim, self.policy, self.numbers = imported("xylosim.v2", "xylosim"), policy, whole(policy)
        self.ticks = ticks or policy.network.config.ticks
        numbers = self.numbers
        # the simulator holds no reference to them
        self.synapses = [self._synapses(w) for w in (numbers.w_in, numbers.w_rec, numbers.w_out)]
        self.layer = self._layer()

    def _synapses(self, weights: np.ndarray) -> list[list[Any]]:
        """Return the synapses of each source of weights [targets, sources]."""
        return [
            [self.sim.XyloSynapse(int(i), 0, int(column[i])) for i in np.nonzero(column)[0]] for column in weights.T
        ]

    def _layer(self) -> Any:
        """Return the simulator, at rest."""
        numbers, (outputs, n) = self.numbers, self.numbers.w_out.shape
        return self.sim.XyloLayer(
            *self.synapses,
            aliases=[[] for _ in range(n)],
            threshold=numbers.threshold.tolist(),
            threshold_out=[NEVER] * outputs,
            has_bias=True,
            bias=numbers.bias.tolist(),
            bias_out=[0] * outputs,
            weight_shift_inp=TWICE,
            weight_shift_rec=TWICE,
            weight_shift_out=0,
            dash_mem=numbers.dash.tolist(),
            dash_mem_out=[numbers.dash_out] * outputs,
            dash_syns=[[LEAST] for _ in range(n)],
            dash_syns_out=[[LEAST] for _ in range(outputs)],
            name="lfcs",
        )

    def predict(
        self, obs: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the most probable action; see :meth:`lfcs.Policy.predict`. The state is the simulator's own.

        Raises ValueError on several observations, and where an action is to be drawn.
        """
        batch, single = batched(self.policy.observation_space, obs)
        if len(batch) != 1 or not deterministic:
            raise ValueError("XyloSim plays one environment, with the most probable actions")
        config, head = self.policy.network.config, self.policy.head
        if state is None or not config.memory or (episode_start is not None and np.any(episode_start)):
            self.layer = self._layer()
        x = self.policy.encode(batch)
        events = np.rint(x[0].numpy() * self.numbers.events).astype(int).tolist()
        self.layer.evolve([events] * self.ticks)
        membrane = x.new_tensor([record[-1] for record in self.layer.rec_v_mem_out])
        params = membrane * (self.numbers.step_out * (1.0 - config.kappa)) + self.policy.network.policy_readout.bias
        action = head.to_env(head.greedy(params.detach()[None]))
        return action[0] if single else action, ()
