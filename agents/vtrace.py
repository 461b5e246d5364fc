"""V-trace: truncated ratios in the targets of critic and policy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lfcs import rules
from lfcs.agent import Agent, Loops, weight_pointer
from lfcs.config import setting
from lfcs.pointers import Row


@weight_pointer
def weight(rho: float, advantage: float, stale: float, constants: Row) -> float:
    """See :meth:`VTrace.weight`."""
    return min(rho, constants[0]) * advantage


class VTrace(Agent):
    """Weight of d log π_new(a_t): min(ρ̄, ρ_t) A_t, with A_t and the critic's target from V-trace.

    The ratios in the targets are those of the pass before. Source: Espeholt et al., arXiv:1802.01561, eqs. (1) and (4).
    """

    name = "v-trace"
    looks = True

    @dataclass(frozen=True)
    class Options:
        """What V-trace reads beside the settings of all rules."""

        rho_bar: float = setting(1.0, "largest ratio of a TD error and of the policy's update", low=1e-6, high=1e6)
        c_bar: float = setting(1.0, "largest ratio in the trace of the targets", low=1e-6, high=1e6)

    def credit(self, reward: Tensor, value: Tensor, v_next: Tensor, ends: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """Return V-trace advantages and targets."""
        rule, own = self.rule, self.options
        advantage, target = rules.vtrace(reward, value, v_next, ends, rho, rule.gamma, rule.lam, own.rho_bar, own.c_bar)
        if rule.lam_critic > rule.lam:
            _, target = rules.vtrace(
                reward, value, v_next, ends, rho, rule.gamma, rule.lam_critic, own.rho_bar, own.c_bar
            )
        return advantage, target

    def weight(self, rho: Tensor, advantage: Tensor) -> Tensor:
        """Return min(ρ̄, ρ) A."""
        return rho.clamp(max=self.options.rho_bar) * advantage

    def loops(self) -> Loops | None:
        """See :meth:`Agent.loops`."""
        return Loops(weight, (self.options.rho_bar,), bars=(self.options.rho_bar, self.options.c_bar))
