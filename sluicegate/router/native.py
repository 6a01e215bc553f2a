"""C functions called by their address, from compiled code without the GIL and from plain Python alike.

Compiled code gets an address as a run-time value, so that its cache holds no pointer of an earlier process. Every
function that the plane calls takes integers or pointers and returns a C int, so one calling form serves them all: five
64-bit arguments in registers (unused ones are ignored by the callee under the System V and AAPCS calling conventions)
and a 32-bit result. Under `NUMBA_DISABLE_JIT=1` the same calls go through ctypes.
"""

import ctypes
import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from pylibsrtp import _binding

from sluicegate.compiled import INTERPRETED
from sluicegate.router.sha1 import compress_address
from sluicegate.rtp.sealing import FUNCTIONS

_libc = ctypes.CDLL(None, use_errno=True)


def libc_address(name: str) -> int:
    """The address of a function of the C library, or 0 where this platform lacks it."""
    function = getattr(_libc, name, None)
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0


def srtp_address(name: str) -> int:
    """The address of a function of the libsrtp that pylibsrtp carries."""
    pointer = _binding.ffi.addressof(_binding.lib, name)
    return int(_binding.ffi.cast("uintptr_t", pointer))


NATIVE = np.dtype(
    [
        (name, "i8")
        for name in (
            "recvmmsg",
            "sendmmsg",
            "poll",
            "read",
            "write",
            "clock_gettime",
            "errno_location",
            "srtp_protect",
            "srtp_unprotect",
            "srtp_protect_rtcp",
            "srtp_unprotect_rtcp",
            "srtp_remove_stream",
            "encrypt_init",
            "encrypt_update",
            "encrypt_final",
            "cipher_control",
            "sha1_init",
            "sha1_update",
            "sha1_final",
            "sha1_compress",
        )
    ]
)
"""The addresses that the kernel calls, one record; those of OpenSSL are 0 where it cannot be called."""

_OPENSSL = {
    "encrypt_init": "EVP_EncryptInit_ex",
    "encrypt_update": "EVP_EncryptUpdate",
    "encrypt_final": "EVP_EncryptFinal_ex",
    "cipher_control": "EVP_CIPHER_CTX_ctrl",
    "sha1_init": "SHA1_Init",
    "sha1_update": "SHA1_Update",
    "sha1_final": "SHA1_Final",
}


def native_table() -> Any:
    """Every address of this process as a one-row record array of dtype `NATIVE`."""
    table = np.zeros(1, NATIVE).view(np.recarray)
    for name in ("recvmmsg", "sendmmsg", "poll", "read", "write", "clock_gettime"):
        table[0][name] = libc_address(name)
    table[0]["errno_location"] = libc_address("__errno_location")
    for name in NATIVE.names or ():
        if name.startswith("srtp_"):
            table[0][name] = srtp_address(name)
    for name, function in _OPENSSL.items():
        table[0][name] = FUNCTIONS.get(function, 0)
    table[0]["sha1_compress"] = compress_address()
    return table


if INTERPRETED:
    _FORM = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 5, use_errno=True)
    _functions: dict[int, Any] = {}

    def call(address: int, a: int, b: int, c: int, d: int, e: int) -> int:
        """Call the C function at `address` with five 64-bit arguments; its C int result."""
        function = _functions.get(address)
        if function is None:
            function = _functions[address] = _FORM(int(address))
        return int(function(int(a), int(b), int(c), int(d), int(e)))

    def last_errno(errno_location: int) -> int:
        """The errno of this thread's last `call`."""
        return ctypes.get_errno()

    def prefetch(address: int) -> None:
        """Nothing, in plain Python."""

    def fence() -> None:
        """Order memory between the plane's thread and the loop's: the GIL does in plain Python."""

else:
    _I32, _I64 = ir.IntType(32), ir.IntType(64)

    @intrinsic
    def call(typing_context, address, a, b, c, d, e):  # type: ignore[no-untyped-def]
        """Call the C function at `address` with five 64-bit arguments; its C int result."""
        signature = types.int64(*[types.int64] * 6)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            form = ir.FunctionType(_I32, [_I64] * 5)
            function = builder.inttoptr(arguments[0], form.as_pointer())
            return builder.sext(builder.call(function, arguments[1:]), _I64)

        return signature, generate

    @intrinsic
    def last_errno(typing_context, errno_location):  # type: ignore[no-untyped-def]
        """The errno of this thread's last `call`, through libc's `__errno_location`."""
        signature = types.int64(types.int64)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            form = ir.FunctionType(_I32.as_pointer(), [])
            function = builder.inttoptr(arguments[0], form.as_pointer())
            return builder.sext(builder.load(builder.call(function, [])), _I64)

        return signature, generate

    @intrinsic
    def prefetch(typing_context, address):  # type: ignore[no-untyped-def]
        """Have the processor fetch the cache line at an address, which may be any."""
        signature = types.void(types.int64)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
            form = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], form)
            builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
            return context.get_dummy_value()

        return signature, generate

    @intrinsic
    def fence(typing_context):  # type: ignore[no-untyped-def]
        """Order memory between the plane's thread and the loop's."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            builder.fence("seq_cst")
            return context.get_dummy_value()

        return types.void(), generate


def eventfd() -> int:
    """A non-blocking eventfd(2): eight bytes written are a wake-up, eight bytes read clear it."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
