"""Nothing of one VM reaches another: no object by its id, no byte that it left behind."""

from __future__ import annotations

import pytest

from tests.daemon.guests import Guest, register
from tests.daemon_under_test import RunningDaemon
from tests.ring_abi import (
    Lane,
    Status,
    address,
    arg_buffer,
    op_alloc,
    op_copy,
    op_fill,
    op_free,
    op_kernel_create,
    op_launch,
    op_module_load,
    op_module_unload,
    op_read,
    op_write,
    ref,
)
from tests.ring_client import RingClient

CANARY = b"\xca\xfe\xba\xbe\xde\xad\xbe\xef"
CODE = 0x10000
SOURCE = b"kernel void add_one(global uint *a) { a[get_global_id(0)] += 1; }\n"
BUILD_S = 90.0

# Everything that names an object: buffer 1, module 1 and kernel 1 are the other VM's.
NAMING = {
    "free": op_free(1),
    "write": op_write(1, 0, 0, 8),
    "read": op_read(1, 0, 0, 8),
    "copy to it": op_copy(1, 0, 2, 0, 8),
    "copy from it": op_copy(2, 0, 1, 0, 8),
    "fill": op_fill(1, 0, 8, b"a"),
    "module unload": op_module_unload(1),
    "kernel create": op_kernel_create(2, 1, b"add_one"),
    "launch": op_launch(1, [1], [arg_buffer(2)]),
}


def own(ring: RingClient) -> None:
    """Make buffer 1 full of canaries, module 1 and kernel 1."""
    ring.poke(ring.data_at(CODE), SOURCE)
    load = op_module_load(1, ref(CODE, len(SOURCE)), ref(0, 0))
    assert ring.run(load, lane=Lane.BUILD, timeout_s=BUILD_S).status == Status.OK
    made = [op_alloc(1, 4096), op_fill(1, 0, 4096, CANARY), op_kernel_create(1, 1, b"add_one")]
    assert ring.run(*made).status == Status.OK


def test_no_op_reaches_an_object_of_another_vm(
    opencl_guest: Guest, opencl_neighbour: Guest
) -> None:
    with opencl_guest.ring() as ring, opencl_neighbour.ring() as other:
        own(ring)
        assert other.run(op_alloc(2, 64)).status == Status.OK
        found = {name: other.run(command).status for name, command in NAMING.items()}
        assert found == dict.fromkeys(NAMING, Status.NO_OBJECT)
        assert CANARY not in other.memory[:]
        # What they name is there all the time, for its own VM, and unharmed.
        assert ring.run(op_read(1, 0, 8192, 4096)).status == Status.OK
        assert ring.peek(ring.data_at(8192), 4096) == CANARY * 512


@pytest.mark.parametrize("raw", [0, 8, 0x1000, (1 << 64) - 8])
def test_no_raw_address_reaches_anything(opencl_guest: Guest, raw: int) -> None:
    with opencl_guest.ring() as ring:
        done = ring.run(op_alloc(1, 64))
        assert (done.status, done.result0) == (Status.OK, 0)
        read = op_read(1, 0, 4096, 8).replace(address(1, 0), address(0, raw, mode=1))
        assert ring.run(read).status == Status.UNSUPPORTED
        fill = op_fill(1, 0, 8, b"a").replace(address(1, 0), address(0, raw, mode=1))
        assert ring.run(fill).status == Status.UNSUPPORTED


def test_the_memory_of_a_new_vm_has_nothing_of_one_that_was_removed(vgpud: RunningDaemon) -> None:
    for _ in range(5):
        leaving = register(vgpud)
        with leaving.ring() as ring:
            area = ring.page.data_bytes
            assert ring.memory[ring.data_at() : ring.data_at(area)] == bytes(area)
            ring.poke(ring.data_at(), CANARY * (area // len(CANARY)))
        leaving.remove()


def test_a_buffer_after_a_reattachment_is_zero_again(opencl_guest: Guest) -> None:
    for _ in range(3):
        with opencl_guest.ring() as ring:
            size = 1 << 20
            ring.poke(ring.data_at(4096), b"\x55" * size)
            done = ring.run(op_alloc(1, size), op_read(1, 0, 4096, size))
            assert done.status == Status.OK
            assert ring.peek(ring.data_at(4096), size) == bytes(size)
            assert ring.run(op_fill(1, 0, size, CANARY)).status == Status.OK
