"""A profile as lines for a terminal."""

from __future__ import annotations

from lfcs.hardware import costs
from lfcs.hardware.profile import LAYERS, Profile, energy_per_step

Rows = list[tuple[str, str]]
HEADINGS = {
    "local": "by eligibilities, a chunk of {} steps",
    "bptt_chunk": "by BPTT through those {} steps",
    "bptt_window": "by BPTT through a window of {} steps",
}


def lines(found: Profile) -> list[str]:
    """Return a profile as lines."""
    returns = found.returns
    head = f"{found.name}: return {returns.mean():.2f} ± {returns.std():.2f} over {len(returns)} episodes"
    out = [f"{head} of {found.lengths.mean():,.1f} steps", "an environment step, by NeuroBench's definitions:"]
    out += aligned(acting(found))
    out += ["at equal return, from their shapes, none of them trained here:", *aligned(beside(found))]
    if found.learning:
        out += ["an update of the weights, dense synaptic operations and numbers kept:", *aligned(learning(found))]
    if found.energy is not None:
        out += ["operations x energy per operation, not a measurement:", *aligned(energies(found, found.energy))]
    return out


def aligned(rows: Rows) -> list[str]:
    """Return rows as lines whose second parts begin at the same place."""
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {text}" for name, text in rows]


def acting(found: Profile) -> Rows:
    """Return what acting costs."""
    metrics, counts = found.metrics, found.counts
    ops, rate = metrics["synaptic_operations"], metrics["execution_rate"]

    def parts(of: dict[str, int]) -> str:
        told = [f"{name} {of[name] / counts.steps:,.1f}" for name in LAYERS if of[name]]
        return f": {', '.join(told)}" if told else ""

    return [
        ("synaptic operations, dense", f"{ops['dense']:,.0f}"),
        ("effective MACs", f"{ops['effective_macs']:,.1f}{parts(counts.macs)}"),
        ("effective ACs", f"{ops['effective_acs']:,.1f}{parts(counts.acs)}"),
        ("membrane updates", f"{metrics['membrane_updates']:,.1f}"),
        ("spikes", f"{metrics['spikes']:,.1f} of neurons, {metrics['input_spikes']:,.1f} of inputs"),
        ("activation sparsity", f"{metrics['activation_sparsity']:.4f}"),
        ("connection sparsity", f"{metrics['connection_sparsity']:.4f}"),
        (
            "footprint",
            f"{metrics['footprint']:,} bytes: parameters {metrics['parameter_bytes']:,}, "
            f"buffers {metrics['buffer_bytes']:,}",
        ),
        ("execution rate", "the environment tells no time step" if rate is None else f"{rate:g} Hz"),
        ("return per million operations", f"{metrics['return_per_million_synops']:.4g}"),
    ]


def beside(found: Profile) -> Rows:
    """Return what others would cost."""
    return [
        (peer.name, f"{peer.macs:,} MACs, {4 * peer.parameters:,} bytes of parameters ({peer.source})")
        for peer in found.peers
    ]


def learning(found: Profile) -> Rows:
    """Return what learning costs."""
    return [
        (
            HEADINGS[name].format(update.steps),
            f"{update.operations:,} operations, {update.operations / update.experience:,.0f} for each step of "
            f"experience; {update.memory:,} numbers",
        )
        for name, update in found.learning.items()
    ]


def energies(found: Profile, energy: costs.Energy) -> Rows:
    """Return operations times energies."""
    own = energy_per_step(found.metrics["synaptic_operations"], energy)
    rows = [("this policy", f"{own / 1e3:,.2f} nJ a step")]
    rows += [(peer.name, f"{peer.macs * energy.mac / 1e3:,.2f} nJ a step") for peer in found.peers]
    return [*rows, ("source", energy.source)]
