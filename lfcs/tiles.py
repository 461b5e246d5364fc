"""A matrix product in vector registers, where the compiler's own vector loops would go to memory for every addition.

Written in vector instructions, as is the search for spikes; the product for a tile of rows and columns at a time. Each
element is summed in the same order, and rounded as often, as in a plain loop: the numbers do not depend on where a tile
ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# bytes of a register, and how many a row of a tile has: four rows of sums and a row of what is added must fit
BYTES, ACROSS = (64, 4) if llvmlite.binding.get_host_cpu_features().get("avx512f") else (32, 2)
SHORT, ROWS = 16, 4
STRIP = 256  # bytes of a row that are summed at a time: a block of such rows fits into the first-level cache


class _Tile:
    """Vector code on arrays: where they are, and the loads and stores of a row of a tile."""

    def __init__(self, context: Any, builder: Any, kind: Any, width: int, across: int) -> None:
        self.context, self.builder, self.width, self.across = context, builder, width, across
        self.number = context.get_value_type(kind)
        self.size = kind.bitwidth // 8
        self.lanes = width // self.size
        self.vector = ir.VectorType(self.number, self.lanes)
        self.index = context.get_value_type(types.intp)

    def at(self, kind: Any, array: Any, *indices: Any) -> Any:
        """Return the address of an element."""
        found = self.context.make_array(kind)(self.context, self.builder, array)
        strides = cgutils.unpack_tuple(self.builder, found.strides, kind.ndim)
        offset = ir.Constant(self.index, 0)
        for index, stride in zip(indices, strides, strict=True):
            offset = self.builder.add(offset, self.builder.mul(index, stride))
        return cgutils.pointer_add(self.builder, found.data, offset)

    def vectors(self, address: Any) -> list[Any]:
        """Return the addresses of the vectors of a row of a tile that begins at an address."""
        ahead = [cgutils.pointer_add(self.builder, address, v * self.width) for v in range(self.across)]
        return [self.builder.bitcast(each, self.vector.as_pointer()) for each in ahead]

    def load(self, address: Any) -> list[Any]:
        """Return the vectors of a row of a tile."""
        return [self.builder.load(each, align=self.size, typ=self.vector) for each in self.vectors(address)]

    def store(self, address: Any, values: list[Any]) -> None:
        """Write the vectors of a row of a tile."""
        for value, each in zip(values, self.vectors(address), strict=True):
            self.builder.store(value, each, align=self.size)

    def splat(self, address: Any) -> Any:
        """Return a vector of one number."""
        number = self.builder.load(self.builder.bitcast(address, self.number.as_pointer()), typ=self.number)
        one = self.builder.insert_element(
            ir.Constant(self.vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), mask)

    def loop(self, count: Any, sums: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Return what is left of ``sums`` after ``count`` rounds of a body, which gets the number of the round."""
        builder, begin = self.builder, self.builder.block
        check, inside, after = (builder.append_basic_block(name) for name in ("check", "inside", "after"))
        builder.branch(check)
        builder.position_at_end(check)
        k = builder.phi(self.index)
        kept = [builder.phi(self.vector) for _ in sums]
        builder.cbranch(builder.icmp_signed("<", k, count), inside, after)
        builder.position_at_end(inside)
        following = body(k, kept)
        up = builder.add(k, ir.Constant(self.index, 1))
        for phi, first, later in zip([k, *kept], [ir.Constant(self.index, 0), *sums], [up, *following], strict=True):
            phi.add_incoming(first, begin)
            phi.add_incoming(later, builder.block)
        builder.branch(check)
        builder.position_at_end(after)
        return kept


def _product(width: int, across: int) -> Any:
    """Return compiled code's total_mi += Σ_k a_mk rows_ki, for four rows from m on and from column i on.

    ``across`` vectors of ``width`` bytes are the columns of the tile.
    """

    @intrinsic
    def add(typing: Any, total: Any, a: Any, rows: Any, m: Any, i: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds, (total_, a_, rows_, first, column) = signature.args, args
            at = _Tile(context, builder, kinds[0].dtype, width, across)
            lines = [builder.add(first, ir.Constant(at.index, q)) for q in range(ROWS)]
            addresses = [at.at(kinds[0], total_, line, column) for line in lines]
            sums = [vector for address in addresses for vector in at.load(address)]
            count = cgutils.unpack_tuple(builder, context.make_array(kinds[2])(context, builder, rows_).shape, 2)[0]

            def body(k: Any, kept: list[Any]) -> list[Any]:
                given, out = at.load(at.at(kinds[2], rows_, k, column)), []
                for q, line in enumerate(lines):
                    factor = at.splat(at.at(kinds[1], a_, line, k))
                    for v, row in enumerate(given):
                        out.append(builder.fadd(kept[q * across + v], builder.fmul(factor, row)))
                return out

            kept = at.loop(count, sums, body)
            for q, address in enumerate(addresses):
                at.store(address, kept[q * across : (q + 1) * across])
            return context.get_dummy_value()

        return types.void(total, a, rows, types.intp, types.intp), build

    return add


@intrinsic
def add_listed(typing: Any, total: Any, rows: Any, listed: Any, first: Any, count: Any) -> Any:
    """total_i += Σ_{first ≤ e < first + count} rows[listed_e, i], in order, for rows of STRIP bytes."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds, (total_, rows_, listed_, begin, number) = signature.args, args
        at = _Tile(context, builder, kinds[0].dtype, BYTES, STRIP // BYTES)
        zero = ir.Constant(at.index, 0)
        address = at.at(kinds[0], total_, zero)

        def body(k: Any, kept: list[Any]) -> list[Any]:
            row = builder.load(at.at(kinds[2], listed_, builder.add(begin, k)), typ=at.index)
            given = at.load(at.at(kinds[1], rows_, row, zero))
            return [builder.fadd(each, more) for each, more in zip(kept, given, strict=True)]

        at.store(address, at.loop(number, at.load(address), body))
        return context.get_dummy_value()

    return types.void(total, rows, listed, types.intp, types.intp), build


add_tile, add_vector, add_short = _product(BYTES, ACROSS), _product(BYTES, 1), _product(SHORT, 1)


MASK = 16  # numbers that a mask is of


@intrinsic
def nonzero_mask(typing: Any, row: Any, i: Any) -> Any:
    """Return a bit for each of sixteen numbers from i on, set where it is not 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _Tile(context, builder, signature.args[0].dtype, MASK * signature.args[0].dtype.bitwidth // 8, 1)
        (numbers,) = at.load(at.at(signature.args[0], args[0], args[1]))
        bits = builder.fcmp_unordered("!=", numbers, ir.Constant(at.vector, [0.0] * MASK))
        return builder.zext(builder.bitcast(bits, ir.IntType(MASK)), at.index)

    return types.intp(row, types.intp), build


@intrinsic
def lowest(typing: Any, mask: Any) -> Any:
    """Return the place of the lowest bit that is set in a mask, which is not 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.intp), build
