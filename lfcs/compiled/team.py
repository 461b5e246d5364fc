"""Threads that go through one compiled loop together: each does its share, and they meet where one needs the others'.

Nothing is summed across shares, so that the numbers do not depend on how many threads there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lfcs.kernels import inner


class Share(NamedTuple):
    """What one thread of a team does: from the first to before the second, of environments, inputs and neurons."""

    thread: int
    threads: int
    low: int
    high: int
    first_input: int
    last_input: int
    first_neuron: int
    last_neuron: int
    meeting: np.ndarray  # [2] int64: threads that have arrived, meetings so far


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    found = context.make_array(kind)(context, builder, array)
    return cgutils.gep(builder, found.data, index)


@intrinsic
def add_to(typing: Any, array: Any, index: Any, number: Any) -> Any:
    """Add to a number that threads share, and return what it was."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw(
            "add", _place(context, builder, signature.args[0], args[0], args[1]), args[2], "seq_cst"
        )

    return types.int64(array, types.intp, types.int64), build


@intrinsic
def now_at(typing: Any, array: Any, index: Any) -> Any:
    """Return a number that threads share, as it is now."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(place, "acquire", align=8, typ=ir.IntType(64))

    return types.int64(array, types.intp), build


# sleeps for about as short as the system can: the thread that is waited for may need this one's core
rest = types.ExternalFunction("Sleep" if os.name == "nt" else "usleep", types.int32(types.uint32))
PATIENCE = 100_000  # looks before that, some hundred microseconds


@inner
def meet(share: Share) -> None:
    """Wait until every thread of the team is here."""
    if share.threads == 1:
        return
    meeting = now_at(share.meeting, 1)
    if add_to(share.meeting, 0, 1) == share.threads - 1:
        add_to(share.meeting, 0, -share.threads)
        add_to(share.meeting, 1, 1)
    else:
        looks = 0
        while now_at(share.meeting, 1) == meeting:
            looks += 1
            if looks > PATIENCE:
                rest(1)


def shares(threads: int, batch: int, inputs: int, neurons: int) -> list[Share]:
    """Return the shares of a team, as equal as can be; there are no more threads than environments."""
    threads, meeting = min(threads, batch), np.zeros(2, np.int64)

    def parts(whole: int) -> list[int]:
        return [whole * k // threads for k in range(threads + 1)]

    environments, of_input, of_neurons = parts(batch), parts(inputs), parts(neurons)
    return [
        Share(
            thread=k, threads=threads, low=environments[k], high=environments[k + 1], first_input=of_input[k],
            last_input=of_input[k + 1], first_neuron=of_neurons[k], last_neuron=of_neurons[k + 1], meeting=meeting,
        )
        for k in range(threads)
    ]  # fmt: skip


def together(call: Callable[[Share], Any], team: list[Share], pool: ThreadPoolExecutor | None) -> Any:
    """Call a compiled function with every share at once, the first in this thread; return what the first returned."""
    if pool is None:
        return call(team[0])
    others = [pool.submit(call, share) for share in team[1:]]
    result = call(team[0])
    for other in others:
        other.result()
    return result
