"""What one VM leaves in memory, no other one finds: canaries over thousands of hand-overs."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_under_test import BACKENDS, COMMAND, DATA, Vm, environment, started

HAND_OVERS = 10_000
IN_A_COMMAND = 48
SIZES = (1, 64, 4096, 4099, 65_536, 100_000)
# What is written is recognised wherever it turns up; what is read to never starts as zeroes.
CANARY = b"\xca\xfe\xba\xbe\xde\xad\xbe\xef"
NOT_READ = b"\x55"

STAIN = """
#define CANARY 0xcafebabe
__kernel void stain(__global int *out, __local int *shared)
{
    volatile int own[256];
    for (int i = 0; i < 256; i++)
        own[i] = shared[i] = CANARY;
    out[0] = own[get_global_id(0)];
}
__kernel void look(__global int *out, __local int *shared)
{
    volatile int own[256];
    for (int i = 0; i < 256; i++) {
        out[i] = shared[i];
        out[256 + i] = own[i];
    }
}
"""


@contextmanager
def two_vms(backend: str, scratch: Path) -> Iterator[tuple[Vm, Vm]]:
    """Two VMs of one host, each with its workers."""
    with ExitStack() as stack:
        vms = []
        for name in ("one", "other"):
            directory = scratch / name
            directory.mkdir()
            running = contextmanager(started)(environment(backend, directory))
            vms.append(stack.enter_context(running))
        yield vms[0], vms[1]


def stain(obj: int, size: int, how: int) -> bytes:
    """Fill a buffer with the canary, by one op or by another; buffer 9 is full of it."""
    if how % 3 == 0:
        return engine.write(obj, COMMAND + (1 << 16), size)
    if how % 3 == 1 and size % len(CANARY) == 0:
        return engine.fill(obj, size, CANARY)
    return engine.copy(obj, 9, size)


@pytest.mark.parametrize("backend", [*BACKENDS, "cuda"])
def test_no_buffer_ever_shows_what_another_held_before(backend: str, short_dir: Path) -> None:
    sizes = itertools.cycle(SIZES)
    canaries = CANARY * (max(SIZES) // len(CANARY) + 1)
    handed_over = 0
    with two_vms(backend, short_dir) as vms:
        for vm in vms:
            vm.ring.put(COMMAND + (1 << 16), canaries)
            size = len(canaries) // 16 * 16
            vm.run(engine.alloc(9, size), engine.fill(9, size, CANARY))
        for vm in itertools.cycle(vms):
            ops, at = [], DATA
            for number in range(IN_A_COMMAND):
                size = next(sizes)
                ops += [
                    engine.alloc(1, size),
                    engine.read(1, at, size),
                    stain(1, size, handed_over + number),
                    engine.free(1),
                ]
                at += size
            vm.ring.put(DATA, NOT_READ * (at - DATA))
            reply = vm.run(*ops)
            assert (reply.status, reply.op_index) == (engine.OK, len(ops))
            assert not vm.ring.get(DATA, at - DATA).strip(b"\0")
            handed_over += IN_A_COMMAND
            if handed_over >= HAND_OVERS:
                break


def looks(vm: Vm) -> bytes:
    """What a kernel finds in its local memory and in its own variables, never written to."""
    reply = vm.run(
        engine.kernel_create(2, 1, "look"),
        engine.alloc(2, 2048),
        engine.launch(2, 1, engine.arg_buffer(2), engine.arg_local(1024), local=1),
        engine.read(2, DATA, 2048),
    )
    assert reply.status == engine.OK
    return vm.ring.get(DATA, 2048)


def test_local_and_private_memory_show_nothing_of_another_vm(short_dir: Path) -> None:
    with two_vms("opencl", short_dir) as vms:
        for vm in vms:
            assert vm.load(1, STAIN).status == engine.OK
        for _ in range(10):
            reply = vms[0].run(
                engine.kernel_create(1, 1, "stain"),
                engine.alloc(1, 4),
                engine.launch(1, 1, engine.arg_buffer(1), engine.arg_local(1024), local=1),
                engine.read(1, DATA, 4),
                engine.free(1),
            )
            assert reply.status == engine.OK
            assert vms[0].ring.get(DATA, 4) == struct.pack("<I", 0xCAFEBABE)
            assert vms[0].run(engine.module_unload(1)).status == engine.OK
            assert vms[0].load(1, STAIN).status == engine.OK
        # The canary is there to be found: by its own VM, whose memory it is.
        assert struct.pack("<I", 0xCAFEBABE) in looks(vms[0])
        assert struct.pack("<I", 0xCAFEBABE) not in looks(vms[1])
