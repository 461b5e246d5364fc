"""The equations of e-prop and lf-cs as pure tensor functions, in the order of the papers.

Sources
    [CM24]  Capone & Muratore, Learning fast while changing slow in spiking neural networks, arXiv:2402.10069
    [B20]   Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons,
            Nature Communications 11:3625 (2020)
    [S17]   Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347
    [S15]   Schulman et al., High-dimensional continuous control using generalized advantage estimation,
            arXiv:1506.02438

Symbols (time is the suffix: ``x_t``, ``x_tm1`` = one tick earlier)
    T, B, N, D   ticks or steps, environments, neurons, presynaptic sources
    z, u         spike (0 or 1) and membrane potential (in units of the threshold)   [B, N]
    beta, kappa  decay per tick of the membrane and of the readout, in [0, 1)
    xbar         presynaptic trace                                                   [B, D]
    psi          surrogate derivative of the spike                                   [B, N]
    e, ebar      eligibility, and eligibility filtered by the readout                [B, N, D]
    rho, m       ratio pi_new / pi_ref of the taken action, and its mask             [...]
    delta, A     temporal-difference error, advantage                                [T, B]
    gamma, lam   discount, and decay of the eligibility of the return

Every function works on float32 and float64 and keeps the dtype it is given.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _same_shape(**tensors: Tensor) -> None:
    first, *others = tensors.values()
    if any(other.shape != first.shape for other in others):
        raise ValueError(f"shapes must agree, got { {name: tuple(t.shape) for name, t in tensors.items()} }")


# --- the network -------------------------------------------------------------------------------------------------


def leaky_readout(y_tm1: Tensor, z_t: Tensor, kappa: float) -> Tensor:
    """Readout trace, y_t = κ y_{t-1} + (1 - κ) z_t.

    Args: ``y_tm1`` and ``z_t`` [B, N]. Returns [B, N]. Raises ValueError on unequal shapes.
    Source: [B20] eq. (3), with the input scaled by 1 - κ so that y stays in [0, 1].
    """
    _same_shape(y_tm1=y_tm1, z_t=z_t)
    return kappa * y_tm1 + (1.0 - kappa) * z_t


def surrogate_derivative(v: Tensor, dampening: float) -> Tensor:
    """Surrogate derivative of the spike, ψ = γ_pd · max(0, 1 - |v|), with v = (u - θ)/θ and θ = 1.

    Args: ``v`` any shape, distance of the membrane from threshold in thresholds; ``dampening`` γ_pd.
    Returns ψ of the shape of ``v``. Source: [B20] Methods, pseudo-derivative of the LIF neuron.
    """
    return dampening * torch.clamp(1.0 - v.abs(), min=0.0)


# --- e-prop: the local gradient ----------------------------------------------------------------------------------


def presynaptic_trace(xbar_tm1: Tensor, pre_t: Tensor, beta: float | Tensor) -> Tensor:
    """Presynaptic trace, x̄_t = β x̄_{t-1} + pre_t.

    ``pre_t`` is the input x_t for input weights, 1 for the bias and z_{t-1} for recurrent weights, all [B, D]; ``beta``
    is one number, or one for each trace [D].
    Raises ValueError on unequal shapes. Source: [B20] eq. (4) and Methods (LIF eligibility vector).
    """
    _same_shape(xbar_tm1=xbar_tm1, pre_t=pre_t)
    return beta * xbar_tm1 + pre_t


def eligibility(psi_t: Tensor, xbar_t: Tensor) -> Tensor:
    """Eligibility trace, e_ij,t = ψ_i,t x̄_j,t, an outer product: it has rank one.

    Args: ``psi_t`` [B, N], ``xbar_t`` [B, D]. Returns [B, N, D]. Source: [B20] eq. (4).
    """
    if psi_t.ndim != 2 or xbar_t.ndim != 2 or len(psi_t) != len(xbar_t):
        raise ValueError(f"expected psi [B, N] and xbar [B, D], got {tuple(psi_t.shape)} and {tuple(xbar_t.shape)}")
    return psi_t[:, :, None] * xbar_t[:, None, :]


def filtered_eligibility(ebar_tm1: Tensor, e_t: Tensor, kappa: float) -> Tensor:
    """Eligibility seen through the readout, ē_t = κ ē_{t-1} + (1 - κ) e_t.

    Args: both [B, N, D]. Raises ValueError on unequal shapes. Source: [B20] Methods, F_κ.
    """
    _same_shape(ebar_tm1=ebar_tm1, e_t=e_t)
    return kappa * ebar_tm1 + (1.0 - kappa) * e_t


def learning_signal(readout_error: Tensor, feedback: Tensor) -> Tensor:
    """Learning signal of the hidden neurons, L_i = Σ_k B_ki s_k.

    ``readout_error`` s [..., K] is what the output layer wants of its outputs, for log π of a categorical policy
    1[a = k] - π_k, for the value 1; ``feedback`` B [K, N] is W_out (symmetric) or fixed and random (broadcast
    alignment). Returns [..., N]. With ē this gives d log π(a_t)/dW_ij = L_i,t ē_ij,t.
    Raises ValueError if K differs. Source: [B20] eq. (2) and Methods, reward-based e-prop.
    """
    if readout_error.shape[-1] != feedback.shape[0]:
        raise ValueError(f"error has {readout_error.shape[-1]} outputs, feedback {feedback.shape[0]}")
    return readout_error @ feedback


def filter_backwards(signal: Tensor, kappa: float, reset: Tensor) -> Tensor:
    """Move the readout filter onto the learning signal: L̂_s = (1 - κ) Σ_{t≥s} κ^{t-s} L_t.

    Then Σ_t L_t ē_t = Σ_t L̂_t e_t, and the sum over time needs no per-synapse trace. ``signal`` [T, B, N];
    ``reset`` [T, B] is true where the state of an environment was cleared before tick t: no credit crosses it.
    Returns [T, B, N]. Raises ValueError on a wrong shape. Source: exchange of the order of summation in F_κ of [B20].
    """
    if reset.shape != signal.shape[:2]:
        raise ValueError(f"reset {tuple(reset.shape)} does not fit signal {tuple(signal.shape)}")
    keep = (kappa * (~reset).to(signal.dtype)[..., None]).unbind(0)
    out = (1.0 - kappa) * signal
    by_tick = out.unbind(0)
    for t in range(len(signal) - 2, -1, -1):
        by_tick[t].addcmul_(keep[t + 1], by_tick[t + 1])
    return out


def chunk_gradient(pre: Tensor, post: Tensor) -> Tensor:
    """Sum of rank-one terms over time and environments in one matrix product, dW_ji = Σ_{t,b} pre_j,tb · post_i,tb.

    Args: ``pre`` [T, B, D] (x̄ for hidden weights, y for readout weights), ``post`` [T, B, N] (L̂ ψ, or s).
    Returns [D, N], the transpose of a weight matrix. Raises ValueError if T or B differ.
    Source: [B20] eq. (1) with the rank-one eligibility of eq. (4).
    """
    if post.shape[:2] != pre.shape[:2]:
        raise ValueError(f"post {tuple(post.shape)} and pre {tuple(pre.shape)} differ in time or environments")
    return pre.flatten(0, 1).T @ post.flatten(0, 1)


def grouped_gradient(pre: Tensor, post: Tensor, groups: int) -> Tensor:
    """The same where neurons have G different decays: dW_ji = Σ_{t,b} x̄^g_j,tb · post_i,tb with g = i mod G.

    The eligibility of a synapse holds the trace of its source with the decay of its target neuron. That is a trace for
    every synapse where all neurons differ; with G decays it is G traces for every source, exactly. ``pre`` [T, B, G·D]
    holds them one after the other, ``post`` [T, B, N]. Returns [D, N]. Raises ValueError if T or B differ.
    Source: [B20] eq. (4), a sum over time for each group.
    """
    out = post.new_empty(pre.shape[2] // groups, post.shape[2])
    for g, xbar in enumerate(pre.chunk(groups, dim=2)):
        out[:, g::groups] = chunk_gradient(xbar, post[..., g::groups])
    return out


def slow_eligibility(eps_t: Tensor, psi_t: Tensor, xbar_t: Tensor, strength: float, decay: float) -> Tensor:
    """Slow component of the eligibility of an adaptive threshold, ε_{t+1} = ρ ε_t + e_t with e_t = ψ_t (x̄_t - b ε_t).

    Args: ``eps_t`` [B, D, N], ``psi_t`` [B, N], ``xbar_t`` [B, G·D], the traces of G groups of neurons one after the
    other, neuron i in group i mod G; ``strength`` b, ``decay`` ρ. Returns [B, D, N].
    Source: [B20] Methods, eqs. (24), (25).
    """
    d, n = eps_t.shape[1:]
    by_group = xbar_t.unflatten(1, (-1, d))
    seen = by_group[:, torch.arange(n, device=xbar_t.device) % by_group.shape[1]].transpose(1, 2)
    return decay * eps_t + psi_t[:, None] * (seen - strength * eps_t)


def slow_factor(post: Tensor, reset: Tensor, strength: float, decay: float) -> Tensor:
    """Factor of the slow eligibility ε_0 that enters the first tick in Σ_t L̂_t e_t = Σ_t post_t x̄_t + λ_0 ε_0.

    λ_t = ρ λ_{t+1} - b post_t, with ``post`` [T, B, N] and ``reset`` [T, B] as in :func:`filter_backwards`. Returns
    λ_0 [B, N], 0 where the first tick begins afresh. Source: adjoint of :func:`slow_eligibility`.
    """
    factor = torch.zeros_like(post[0])
    for t in range(len(post) - 1, -1, -1):
        factor = (decay * factor - strength * post[t]) * ~reset[t, :, None]
    return factor


def homeostasis(rate: Tensor, target: float, strength: float) -> Tensor:
    """Local firing-rate regularisation, L_i += c_reg (r_target - r̄_i).

    ``rate`` r̄ [N] in spikes per tick. Returns [N]. Source: [B20] Methods, firing-rate regularisation.
    """
    return strength * (target - rate)


# --- lf-cs -------------------------------------------------------------------------------------------------------


def ratio(logp_new: Tensor, logp_ref: Tensor) -> Tensor:
    """Ratio of the taken action's probabilities, ρ_t = π_new(a_t)/π_ref(a_t); exactly 1 where the two agree.

    ``logp_ref`` was stored when acting. Any equal shapes; raises ValueError otherwise. Source: [S17] section 3.
    """
    _same_shape(logp_new=logp_new, logp_ref=logp_ref)
    return torch.exp(logp_new - logp_ref)


def mask_two_sided(rho: Tensor, eps: float) -> Tensor:
    """Online mask, m_t = 1[1 - ε < ρ_t < 1 + ε]: learning stops outside the band, whatever the sign of A_t.

    It has no restoring force: a ratio that has left the band is not pulled back. Returns 0/1 of the shape and dtype
    of ``rho``. Source: [CM24], the bound on the new policy.
    """
    return ((rho > 1.0 - eps) & (rho < 1.0 + eps)).to(rho.dtype)


def mask_sided(rho: Tensor, advantage: Tensor, eps: float) -> Tensor:
    """Pessimistic mask: m_t = 0 if (A_t > 0 and ρ_t ≥ 1 + ε) or (A_t < 0 and ρ_t ≤ 1 - ε), else 1.

    The gradient of PPO's clipped objective; needs the sign of A_t. Returns 0/1 of the shape and dtype of ``rho``.
    Raises ValueError on unequal shapes. Source: [S17] eq. (7).
    """
    _same_shape(rho=rho, advantage=advantage)
    return (torch.sign(advantage) * (rho - 1.0) < eps).to(rho.dtype)


def td_error(r_t: Tensor, v_t: Tensor, v_tp1: Tensor, gamma: float) -> Tensor:
    """Temporal-difference error, δ_t = r_t + γ V(s_{t+1}) - V(s_t).

    ``v_tp1`` must be 0 after a termination and the value of the true final observation after a truncation.
    Any equal shapes; raises ValueError otherwise. Source: [S15] eq. (9).
    """
    _same_shape(r_t=r_t, v_t=v_t, v_tp1=v_tp1)
    return r_t + gamma * v_tp1 - v_t


def advantages(delta: Tensor, ends: Tensor, gamma: float, lam: float) -> Tensor:
    """Forward form of the credit, A_t = Σ_{s≥t} (γλ)^{s-t} δ_s, the sum stopping at the end of the episode.

    Args: ``delta`` [T, B], ``ends`` [T, B] true where step t ended an episode. Returns [T, B]. Raises ValueError on
    unequal shapes. Source: [S15] eq. (16). The update is then dW = η Σ_t A_t m_t ρ_t d log π_new(a_t)/dW.
    """
    _same_shape(delta=delta, ends=ends)
    keep = (gamma * lam * (~ends).to(delta.dtype)).unbind(0)
    out = delta.clone()
    by_step = out.unbind(0)
    for t in range(len(delta) - 2, -1, -1):
        by_step[t].addcmul_(keep[t], by_step[t + 1])
    return out


def vtrace(
    r_t: Tensor,
    v_t: Tensor,
    v_tp1: Tensor,
    ends: Tensor,
    rho: Tensor,
    gamma: float,
    lam: float,
    rho_bar: float,
    c_bar: float,
) -> tuple[Tensor, Tensor]:
    """V-trace advantages A_t and targets v_t of the critic, from ratios ρ_t of the taken actions, all [T, B].

        v_t = V_t + Σ_{s≥t} (Π_{t≤i<s} γ c_i) min(ρ̄, ρ_s) δ_s ,  c_i = λ min(c̄, ρ_i)
        A_t = r_t + γ (λ v_{t+1} + (1 - λ) V_{t+1}) - V_t

    The sums stop at the end of an episode; with ρ = 1 and ρ̄, c̄ ≥ 1 this is generalised advantage estimation.
    Raises ValueError on unequal shapes. Source: Espeholt et al., arXiv:1802.01561, eq. (1) and remark 2.
    """
    _same_shape(r_t=r_t, v_t=v_t, v_tp1=v_tp1, ends=ends, rho=rho)
    delta = td_error(r_t, v_t, v_tp1, gamma)
    correction = rho.clamp(max=rho_bar) * delta
    goes_on = gamma * lam * (~ends).to(delta.dtype)  # a number times booleans would be of torch's default precision
    keep = rho.clamp(max=c_bar) * goes_on
    for t in range(len(delta) - 2, -1, -1):
        correction[t] += keep[t] * correction[t + 1]
    following = torch.cat((correction[1:], torch.zeros_like(correction[:1])))
    return delta + goes_on * following, v_t + correction


def online_eligibility(trace_tm1: Tensor, g_t: Tensor, reset: Tensor, gamma: float, lam: float) -> Tensor:
    """Backward (online) form of the credit, E_t = γλ E_{t-1} + g_t; the update is then dW = η δ_t E_t.

    With constant weights, Σ_t δ_t E_t equals Σ_t A_t g_t of the forward form. ``trace_tm1`` and ``g_t`` [B, ...];
    ``reset`` [B] true where an episode begins at t, which clears the trace. Raises ValueError on unequal shapes.
    Source: [CM24] with the accumulating trace of Sutton & Barto (2018), section 12.2.
    """
    _same_shape(trace_tm1=trace_tm1, g_t=g_t)
    keep = gamma * lam * (~reset).to(g_t.dtype)
    return keep.reshape(-1, *[1] * (g_t.ndim - 1)) * trace_tm1 + g_t
