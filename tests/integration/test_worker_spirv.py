"""Modules that are not source: taken where the device takes them, and else said to be unsupported.

VGPUD_TEST_OPENCL names an OpenCL library to use instead of the bundled PoCL, which takes no SPIR-V.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.spirv_kernel import add_one
from tests.integration.worker_under_test import DATA, Vm, environment, started

LIBRARY = os.environ.get("VGPUD_TEST_OPENCL")


@pytest.fixture
def vm(short_dir: Path) -> Iterator[Vm]:
    env = environment("opencl", short_dir)
    yield from started(env | ({"VGPU_OPENCL_LIBRARY": LIBRARY} if LIBRARY else {}))


def kinds(vm: Vm) -> int:
    """The module kinds that the device claims, as bits."""
    reply = vm.run(engine.device_info(DATA, engine.DEVICE_INFO.size))
    return engine.device_of(vm.ring.get(DATA, reply.out_len))[3]


@pytest.mark.skipif(LIBRARY is None, reason="VGPUD_TEST_OPENCL names no library that takes SPIR-V")
def test_spirv_is_run_where_it_is_claimed(vm: Vm) -> None:
    assert kinds(vm) & 1 << engine.SPIRV
    reply = vm.load(1, add_one("add_one"), kind=engine.SPIRV)
    assert reply.status == engine.OK, vm.log(reply)
    vm.ring.put(DATA, struct.pack("<64I", *range(64)))
    done = vm.run(
        engine.kernel_create(1, 1, "add_one"),
        engine.alloc(1, 256),
        engine.write(1, DATA, 256),
        engine.launch(1, 64, engine.arg_buffer(1)),
        engine.read(1, DATA, 256),
    )
    assert done.status == engine.OK
    assert struct.unpack("<64I", vm.ring.get(DATA, 256)) == tuple(range(1, 65))


@pytest.mark.skipif(LIBRARY is not None, reason="another OpenCL library may claim anything")
def test_the_bundled_device_claims_source_alone_and_takes_no_spirv(vm: Vm) -> None:
    assert kinds(vm) == 1 << engine.OPENCL_C
    reply = vm.load(1, add_one("add_one"), kind=engine.SPIRV)
    assert (reply.outcome, reply.status) == (engine.DONE, engine.UNSUPPORTED)
