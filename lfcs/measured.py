"""What is told of a pass over a window, in few operations: on a small window each costs more than its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lfcs.kernels import compiled, inner, squared_norm

METRICS = (
    "train/approx_kl", "train/approx_kl_max", "train/ess", "train/entropy", "train/value_loss",
    "train/explained_variance", "train/ratio_mean", "train/ratio_std", "train/ratio_p05", "train/ratio_p95",
    "train/ratio_max", "train/total_variation", "train/grad_norm", "train/update_norm", "train/weight_norm",
    "spikes/rate_mean", "spikes/dead_fraction",
)  # fmt: skip


class Record(NamedTuple):
    """What a pass over a window saw, S updates: enough for all metrics, and nothing that waits for the device."""

    value: Tensor  # [T, B]
    rho: Tensor  # [T, B]
    entropy: Tensor  # [T, B]
    rate: Tensor  # [S, N] firing rates by chunk
    norm: Tensor  # [S] of the gradients before clipping
    change: Tensor  # norm of the change of the readout weights
    target: Tensor  # [T, B] of the critic
    largest: Tensor  # of KL(reference || new) over the passes


def kl_terms(rho: Tensor) -> Tensor:
    """Return (ρ - 1) - log ρ of each of the reference's actions, whose mean estimates KL(reference || new).

    It is infinite where ρ is 0 or infinite. Source: Schulman, Approximating KL divergence (2020), estimator k3.
    """
    return torch.where(rho.isinf(), rho, rho - 1.0 - rho.log())


def kl_estimate(rho: Tensor) -> Tensor:
    """Return the mean of :func:`kl_terms`."""
    return kl_terms(rho).mean()


def reverse_kl_terms(ratio: Tensor) -> Tensor:
    """Return r log r - (r - 1) of each action that was taken, r = π_new/π_acting; the mean estimates KL(new || acting).

    Never negative, as :func:`kl_terms`, of which it is the other direction. Source: as there, with r as the weight.
    """
    return ratio.xlogy(ratio) - (ratio - 1.0)  # 1 where the new policy no longer takes the action, r = 0


@inner
def k3(rho: float) -> float:
    """(ρ - 1) - log ρ; see :func:`kl_terms`."""
    return math.inf if rho == math.inf else (float(rho) - 1.0) - math.log(rho)


@inner
def quantile(values: np.ndarray, share: float) -> float:
    """Return the number below which a share of ``values`` [n] lies, linear between two of them; they are reordered."""
    at = share * (len(values) - 1)
    low = int(at)
    below = ranked(values, low)
    above = below
    for i in range(low + 1, len(values)):  # of those that are not below it, the least
        above = values[i] if i == low + 1 else min(above, values[i])
    if below == above or at == low:  # two infinite ones have no difference
        return below
    return below + (at - low) * (above - below)


@inner
def ranked(values: np.ndarray, rank: int) -> float:
    """Return what is at ``rank`` in order of size, with no larger ones before it: Hoare's selection."""
    first, last = 0, len(values) - 1
    while first < last:
        pivot, i, j = values[(first + last) // 2], first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if rank <= j:
            last = j
        elif rank >= i:
            first = i
        else:
            break
    return values[rank]


@compiled
def numbers(
    rho: np.ndarray, target: np.ndarray, value: np.ndarray, entropy: np.ndarray, rate: np.ndarray, out: np.ndarray
) -> None:
    """Write what :func:`measured` tells of flat ρ, targets, values and entropies [n] and rates [S, N] into ``out``."""
    n, sums, ratios = len(rho), np.zeros(8), np.empty(len(rho))
    largest, missed, wanted = -math.inf, 0.0, 0.0
    for i in range(n):
        ratios[i] = rho[i]
        off = ratios[i] - 1.0
        sums[0] += off
        sums[1] += off * off
        sums[2] += abs(off)
        sums[3] += k3(rho[i])
        sums[4] += entropy[i]
        largest = max(largest, ratios[i])
        missed += float(target[i]) - float(value[i])
        wanted += target[i]
    for i in range(n):
        error = float(target[i]) - float(value[i])
        sums[5] += error * error
        sums[6] += (error - missed / n) ** 2
        sums[7] += (float(target[i]) - wanted / n) ** 2
    for k in range(8):
        out[k] = sums[k] / n
    out[8], out[9], out[10] = largest, quantile(ratios, 0.05), quantile(ratios, 0.95)
    firing, dead = 0.0, 0
    for i in range(rate.shape[1]):
        mean = 0.0
        for s in range(len(rate)):
            mean += rate[s, i]
        firing += mean
        dead += mean == 0.0
    out[11], out[12] = firing / rate.size, dead / rate.shape[1]


def measured(
    record: Record, weights: Sequence[Tensor], own: Callable[[np.ndarray], dict[str, float]]
) -> dict[str, float]:
    """Return means over a pass, and what ``own`` makes of its ratios [T, B]. Here alone a device is waited for.

    ``approx_kl`` estimates KL(reference || new), ``approx_kl_max`` is its largest over the passes; ``ess`` is the
    effective sample size (Σρ)² / (n Σρ²); ``update_norm`` is the norm of the whole pass's change of the readout
    weights, ``grad_norm`` the mean norm of a gradient before clipping, ``weight_norm`` that of all ``weights``.
    """
    rho, rate, found = record.rho.numpy(force=True), record.rate.numpy(force=True), np.empty(13)
    flat = (part.numpy(force=True).reshape(-1) for part in (record.target, record.value, record.entropy))
    numbers(rho.reshape(-1), *flat, rate, found)
    off, square, far, kl, entropy, missed, error_var, target_var, most, low, high, firing, dead = found.tolist()
    squares = [float(squared_norm(weight.numpy(force=True).reshape(-1))) for weight in weights]
    return {
        "train/approx_kl": kl,
        "train/approx_kl_max": float(record.largest),
        "train/ess": _effective(rho, off, square),
        "train/entropy": entropy,
        "train/value_loss": missed,
        "train/explained_variance": 1.0 - error_var / (target_var + 1e-12),
        "train/ratio_mean": 1.0 + off,
        "train/ratio_std": math.sqrt(max(square - off * off, 0.0)) if math.isfinite(off) else math.inf,
        "train/ratio_p05": low,
        "train/ratio_p95": high,
        "train/ratio_max": most,
        "train/total_variation": 0.5 * far,
        "train/grad_norm": sum(record.norm.tolist()) / len(record.norm),
        "train/update_norm": float(record.change),
        "train/weight_norm": math.sqrt(sum(squares)),
        "spikes/rate_mean": firing,
        "spikes/dead_fraction": dead,
    } | own(rho)


def _effective(rho: np.ndarray, off: float, square: float) -> float:
    """Return the effective sample size as a share: with infinite ratios only these count."""
    if math.isfinite(off):
        return (1.0 + off) ** 2 / max(1.0 + 2.0 * off + square, 1e-300)
    return float(np.isinf(rho).mean())
