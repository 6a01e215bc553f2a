"""The one way in which a function of the packet plane is handed to the compiler.

`compiled` functions run without the GIL and without bounds checks; with `NUMBA_DISABLE_JIT=1` they are ordinary
Python. They are not cached one by one: a caller's cached code holds its callees, and numba would not notice that a
callee changed.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

i64 = cast(Callable[[Any], int], np.int64)
"""A 64-bit integer of whatever a table or a packet holds: the only kind of number that compiled arithmetic uses."""

u64 = cast(Callable[[Any], int], np.uint64)
"""An index that is known not to be negative, where that makes a loop ten times as fast."""

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
"""Whether the plane runs as plain Python in this process."""


def compiled(function: F) -> F:
    """Compile `function` on its first call, from compiled code or from Python."""
    return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


def kernel(function: F) -> F:
    """Compile `function` for compiled callers only: without the wrappers for Python, a third less to compile."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(F, numba.njit(nogil=True, error_model="numpy", **options)(function))
