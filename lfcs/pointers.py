"""Compiled functions that other compiled functions call by their address.

A caller is then compiled once for all neuron models, heads, rules, encoders and tasks, and what is called is compiled
and cached on its own: compiling a caller does not compile it again, and a cached caller never holds an old copy of it.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Row = np.ndarray  # of numbers in double precision, as what follows says to the compiler
F64, INT, ROW, FLAGS = types.float64, types.int64, types.float64[::1], types.boolean[::1]


def batch(kind: Any, axes: int = 2) -> Any:
    """Return the type of a contiguous array [B, ...] of numbers of a kind."""
    return types.Array(kind, axes, "C")


def any_strides(kind: Any) -> Any:
    """Return the type of a matrix of any strides."""
    return types.Array(kind, 2, "A")


ONE_AT_A_TIME = threading.RLock()  # runs may begin in several threads
SLOW = 1.0  # seconds that only compiling takes, not what is found in the cache


@functools.cache
def compiling() -> None:
    """Say once why nothing happens."""
    print("compiling loops for this machine, once: about half a minute", file=sys.stderr, flush=True)


class Pointer:
    """A function to be called by address: compiled on first use, once for each signature, and cached on disk.

    ``signature`` returns the one for a kind of number, None where it follows from arguments.
    """

    def __init__(self, signature: Callable[[Any], Any] | None, function: Callable[..., Any]) -> None:
        self.signature, self.function = signature, function
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.made: dict[Any, Any] = {}
        self.of_kind: dict[Any, Any] = {}

    def of(self, dtype: Any = np.float64) -> Any:
        """Return the compiled function for arrays of a precision, which compiled functions take as an argument."""
        if dtype not in self.of_kind:
            assert self.signature is not None
            self.of_kind[dtype] = self._compiled(self.signature(getattr(types, np.dtype(dtype).name)))
        return self.of_kind[dtype]

    def address(self, dtype: Any = np.float64) -> int:
        """Return the address of :meth:`of`, which costs less to hand over; compiled code makes it a function again."""
        return int(self.of(dtype).address)

    def like(self, returns: Any, *arguments: Any) -> Any:
        """Return the compiled function for arguments of the types of these."""
        return self._compiled(returns(*map(numba.typeof, arguments)))

    def _compiled(self, signature: Any) -> Any:
        with ONE_AT_A_TIME:
            if signature not in self.made:
                begun = time.perf_counter()
                self.made[signature] = numba.cfunc(signature, cache=True, error_model="numpy")(self.function)
                if time.perf_counter() - begun > SLOW:
                    compiling()
            return self.made[signature]


def pointer(signature: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Pointer]:
    """Declare a function with the signature that ``signature`` returns for a kind of number."""
    return lambda function: Pointer(signature, function)


def function_at(signature: Callable[[Any], Any]) -> Any:
    """Return what makes, in compiled code, a function of its address and an array of the numbers that it works on."""

    @intrinsic
    def made(typing: Any, address: Any, like: Any) -> Any:
        function = types.FunctionType(signature(like.dtype))

        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(function)  # a structure whose first field is where the code is
            return builder.insert_value(ir.Constant(kind, None), builder.inttoptr(args[0], kind.elements[0]), 0)

        return function(types.int64, like), build

    return made


@intrinsic
def borrowed(typing: Any, array: Any) -> Any:
    """Return an array that compiled code does not count references to: each view of one would cost as much as a row.

    It is for arguments, which the caller keeps; whoever makes an array must hold on to it.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (given,) = args
        for place in (0, 1):  # the counter, and the Python object
            given = builder.insert_value(given, ir.Constant(given.type.elements[place], None), place)
        return given

    return array(array), build
