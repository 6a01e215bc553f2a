"""One pointer for all tables: how compiled functions are given the plane's memory.

A tuple of forty arrays would be three hundred arguments of every function that takes it: minutes of compilation, and a
kilobyte of stack a call. So compiled code sees `Tables` as a type of its own whose value is the address of a block of
(data, rows, columns), three words an array; `t.transports` builds the array from there, without reference counts.
Interpreted code gets the tuple itself.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils, pythonapi
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, typeof_impl, unbox
from numba.np import arrayobj

from sluicegate.compiled import INTERPRETED
from sluicegate.router.tables import Tables

_WORD = ir.IntType(64)
BLOCK_WORDS = 3


class TablesType(types.Type):  # type: ignore[misc]
    """The numba type of all tables: an array type for each field's name."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        self.names = tuple(arrays)
        super().__init__(name="Tables")


class TablesHandle:
    """The tables as an argument of a compiled function. `address` is the block's."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        block = [[array.ctypes.data, len(array), array.shape[1] if array.ndim > 1 else 0] for array in tables]
        self._block = np.array(block, np.int64)
        self.address = int(self._block.ctypes.data)
        self.type = TablesType({name: typeof(array) for name, array in tables._asdict().items()})


def handle(tables: Tables) -> Any:
    """What the functions of `kernel/tick.py` are called with."""
    return tables if INTERPRETED else TablesHandle(tables)


@typeof_impl.register(TablesHandle)  # type: ignore[untyped-decorator]
def _typeof(value: TablesHandle, context: Any) -> TablesType:
    return value.type


@register_default(TablesType)
class _TablesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: TablesType) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


@unbox(TablesType)  # type: ignore[untyped-decorator]
def _unbox(kind: TablesType, value: Any, context: Any) -> Any:
    address = context.pyapi.object_getattr_string(value, "address")
    word = context.pyapi.long_as_longlong(address)
    context.pyapi.decref(address)
    return pythonapi.NativeValue(context.builder.inttoptr(word, _WORD.as_pointer()))


@infer_getattr
class _TablesAttributes(AttributeTemplate):  # type: ignore[misc]
    key = TablesType

    def generic_resolve(self, kind: TablesType, name: str) -> Any:
        return kind.arrays.get(name)


@lower_getattr_generic(TablesType)  # type: ignore[untyped-decorator]
def _get_array(context: Any, builder: Any, kind: TablesType, value: Any, name: str) -> Any:
    """Build the array `name` from its three words of the block; all tables are C-contiguous."""
    array_type = kind.arrays[name]
    start = kind.names.index(name) * BLOCK_WORDS

    def word(offset: int) -> Any:
        return builder.load(cgutils.gep_inbounds(builder, value, start + offset))

    data_type = context.get_data_type(array_type.dtype)
    item_bytes = context.get_constant(types.intp, context.get_abi_sizeof(data_type))
    array = arrayobj.make_array(array_type)(context, builder)
    rows = word(1)
    shape, strides = [rows], [item_bytes]
    if array_type.ndim == 2:
        columns = word(2)
        shape, strides = [rows, columns], [builder.mul(columns, item_bytes), item_bytes]
    arrayobj.populate_array(
        array,
        data=builder.inttoptr(word(0), array.data.type),
        shape=shape,
        strides=strides,
        itemsize=item_bytes,
        meminfo=None,
    )
    return array._getvalue()
