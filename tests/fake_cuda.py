"""The CUDA driver library of the tests, and programs that it knows.

It has no device: see tests/c/fake_cuda.h for what it does and does not do.
"""

from __future__ import annotations

import struct
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HEAD = ".version 6.0\n.target sm_50\n.address_size 64\n"
VECADD = (
    f"{HEAD}.visible .entry vecadd(.param .u64 a, .param .u64 b, .param .u64 sum, "
    ".param .u32 count)\n{ ret; }\n"
)
WILD = f"{HEAD}.visible .entry wild(.param .u64 a)\n{{ ret; }}\n"


@cache
def fake_cuda(variant: str = "") -> str:
    """The path of the library, built when it is not: "" is whole, "_broken" lacks a function."""
    make = ["make", "-s", "-C", str(ROOT / "mediator_ext"), "fake-cuda"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return str(ROOT / "build" / "release" / f"libfake_cuda{variant}.so")


def cubin(ptx: str) -> bytes:
    """What the fake's linker makes of PTX: the head of an ELF file for NVIDIA's devices, and it."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return (
        ident
        + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, *(0,) * 4, 64, *(0,) * 5)
        + (ptx.encode() + b"\0")
    )
