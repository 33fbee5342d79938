"""How the C engine becomes the Python extension vgpud._mediator (cffi, API mode, stable ABI).

The contract is written once, in the headers below: what Python may call stands in each between two
marker comments, and is cut out of it here. setup.py names `ffibuilder` to setuptools.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

EXT = Path(__file__).resolve().parent
CONTRACT = ("mediator.h", "mediator_record.h")
BEGIN = "/* cffi:begin */"
END = "/* cffi:end */"

COMPILE_ARGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]


def cdef_of(header: str) -> str:
    """The part of a header's text between the two markers.

    Raises ValueError when a marker is missing, stands twice or in the wrong order.
    """
    if header.count(BEGIN) != 1 or header.count(END) != 1:
        raise ValueError(f"the contract needs exactly one {BEGIN} and one {END} in a header")
    _, _, rest = header.partition(BEGIN)
    part, end, _ = rest.partition(END)
    if not end:
        raise ValueError(f"{END} stands before {BEGIN}")
    return part


def engine_sources() -> list[str]:
    """Every .c file of the engine, relative to setup.py as setuptools wants them, sorted."""
    return sorted(str(path.relative_to(EXT.parent)) for path in EXT.glob("*.c"))


def make_ffibuilder() -> FFI:
    """The builder setuptools runs; reads the contract, compiles nothing itself."""
    builder = FFI()
    for header in CONTRACT:
        builder.cdef(cdef_of((EXT / header).read_text()))
    builder.set_source(
        "vgpud._mediator",
        "".join(f'#include "{header}"\n' for header in CONTRACT),
        sources=engine_sources(),
        include_dirs=["mediator_ext"],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=COMPILE_ARGS,
        extra_link_args=["-Wl,-z,relro,-z,now"],
        py_limited_api=True,
    )
    return builder


ffibuilder = make_ffibuilder()
