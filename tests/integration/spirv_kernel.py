"""A kernel as SPIR-V, put together by hand: no assembler is needed to have one.

Numbers are those of the SPIR-V specification, version 1.0, sections 2.3 (module), 3 (operands) and
3.32 (instructions).
"""

from __future__ import annotations

import struct

MAGIC, VERSION = 0x07230203, 0x00010000
ADDRESSES, KERNEL, INT64 = 4, 6, 11
PHYSICAL64, OPENCL, KERNEL_MODEL = 2, 2, 6
INPUT, CROSS_WORKGROUP = 1, 5
BUILT_IN, GLOBAL_INVOCATION_ID, ALIGNED = 11, 28, 2


def _instruction(opcode: int, *operands: int) -> bytes:
    words = (len(operands) + 1 << 16 | opcode, *operands)
    return struct.pack(f"<{len(words)}I", *words)


def _text(text: str) -> tuple[int, ...]:
    """A literal string: NUL-terminated, padded to words."""
    raw = text.encode() + b"\0"
    raw += bytes(-len(raw) % 4)
    return struct.unpack(f"<{len(raw) // 4}I", raw)


def add_one(name: str) -> bytes:
    """`kernel void NAME(global uint *a) { a[get_global_id(0)] += 1; }` as SPIR-V."""
    (kernel, position, void, uint, ulong, place, at_place, at_uint, function, one, argument,
     start, where, index, element, before, after) = range(1, 18)  # fmt: skip
    body = (
        _instruction(17, ADDRESSES),  # OpCapability
        _instruction(17, KERNEL),
        _instruction(17, INT64),
        _instruction(14, PHYSICAL64, OPENCL),  # OpMemoryModel
        _instruction(15, KERNEL_MODEL, kernel, *_text(name), position),  # OpEntryPoint
        _instruction(71, position, BUILT_IN, GLOBAL_INVOCATION_ID),  # OpDecorate
        _instruction(19, void),  # OpTypeVoid
        _instruction(21, uint, 32, 0),  # OpTypeInt
        _instruction(21, ulong, 64, 0),
        _instruction(23, place, ulong, 3),  # OpTypeVector
        _instruction(32, at_place, INPUT, place),  # OpTypePointer
        _instruction(32, at_uint, CROSS_WORKGROUP, uint),
        _instruction(33, function, void, at_uint),  # OpTypeFunction
        _instruction(43, uint, one, 1),  # OpConstant
        _instruction(59, at_place, position, INPUT),  # OpVariable
        _instruction(54, void, kernel, 0, function),  # OpFunction
        _instruction(55, at_uint, argument),  # OpFunctionParameter
        _instruction(248, start),  # OpLabel
        _instruction(61, place, where, position, ALIGNED, 32),  # OpLoad
        _instruction(81, ulong, index, where, 0),  # OpCompositeExtract
        _instruction(70, at_uint, element, argument, index),  # OpInBoundsPtrAccessChain
        _instruction(61, uint, before, element, ALIGNED, 4),
        _instruction(128, uint, after, before, one),  # OpIAdd
        _instruction(62, element, after, ALIGNED, 4),  # OpStore
        _instruction(253),  # OpReturn
        _instruction(56),  # OpFunctionEnd
    )
    return struct.pack("<5I", MAGIC, VERSION, 0, after + 1, 0) + b"".join(body)
