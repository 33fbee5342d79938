"""Version 2 against a real vgpud with the null device: attach, objects, limits, the next client."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests import ring_abi
from tests.daemon.conftest import TIGHT_MEMORY_BYTES
from tests.daemon.guests import VGPU_CLIENT, Guest, stopped
from tests.ring_abi import (
    DeviceStatus,
    Kind,
    Lane,
    Op,
    Status,
    Submission,
    op,
    op_alloc,
    op_device_info,
    op_free,
    op_kernel_create,
    op_launch,
    op_module_load,
    op_module_unload,
    op_nop,
    op_read,
    op_sync,
    op_write,
    ref,
)
from tests.ring_client import Refused, RingClient

SOURCE = b"kernel void nothing() {}\n"


def load(ring: RingClient, id_: int, source: bytes = SOURCE) -> ring_abi.Completion:
    """Build `source` as module `id_`; its log goes to 64 KiB of the data slice, at 128 KiB."""
    ring.poke(ring.data_at(0x10000), source)
    return ring.run(
        op_module_load(id_, ref(0x10000, len(source)), ref(0x20000, 0x10000)), lane=Lane.BUILD
    )


def test_the_host_page_says_who_the_vm_is_and_where_everything_lies(
    guest: Guest, neighbour: Guest
) -> None:
    with guest.ring() as ring, neighbour.ring() as other:
        page = ring.page
        assert (page.magic, page.major, page.minor) == (ring_abi.MAGIC, 2, 0)
        assert page.region_bytes == ring.region_bytes
        assert page.qp_base + page.qp_count * page.qp_stride <= page.region_bytes
        assert (page.vm_id, page.pool_id, page.priority) == (guest.vm_id, b"A", 1)
        assert (other.page.vm_id, other.page.pool_id) == (neighbour.vm_id, b"B")


def test_the_shared_memory_cannot_change_its_size(guest: Guest) -> None:
    with guest.attach() as ring:
        for size in (0, ring.region_bytes - 4096, ring.region_bytes * 2):
            with pytest.raises(PermissionError):
                os.ftruncate(ring.memory_fd, size)


def test_features_that_are_not_offered_are_not_granted(guest: Guest) -> None:
    with guest.attach() as ring:
        assert ring.negotiate(accepted=1 << 63) is DeviceStatus.FAILED
        # Nothing is taken from the ring of a guest that was not let in.
        ring.submit(Submission(1))
    with guest.ring() as ring:
        assert ring.nop().status == Status.OK
    assert guest.live().completed == 1


def test_what_is_written_to_a_buffer_is_read_back(guest: Guest) -> None:
    size = 1 << 20
    pattern = os.urandom(size)
    with guest.ring() as ring:
        ring.poke(ring.data_at(size), pattern)
        done = ring.run(
            op_alloc(1, size), op_write(1, 0, size, size), op_sync(), op_read(1, 0, 3 * size, size)
        )
        assert (done.status, done.op_index, done.out_len) == (Status.OK, 4, size)
        assert ring.peek(ring.data_at(3 * size), size) == pattern


def test_a_new_buffer_is_full_of_zeroes_also_after_another_one_was_freed(guest: Guest) -> None:
    size = 1 << 16
    with guest.ring() as ring:
        ring.poke(ring.data_at(size), os.urandom(2 * size))
        done = ring.run(
            op_alloc(1, size),
            op_write(1, 0, size, size),
            op_free(1),
            op_alloc(1, size),
            op_read(1, 0, 2 * size, size),
        )
        assert done.status == Status.OK
        assert ring.peek(ring.data_at(2 * size), size) == bytes(size)


def test_the_device_describes_itself_and_the_quota(tight_guest: Guest) -> None:
    with tight_guest.ring() as ring:
        done = ring.run(op_device_info(4096))
        assert (done.status, done.out_len) == (Status.OK, ring_abi.DEVICE_INFO.size)
        info = ring.peek(ring.data_at(4096), ring_abi.DEVICE_INFO.size)
    assert ring_abi.DEVICE_INFO.unpack(info)[9] == TIGHT_MEMORY_BYTES


def test_module_kernel_and_launch_go_the_whole_way(guest: Guest) -> None:
    with guest.ring() as ring:
        assert load(ring, 1).status == Status.OK
        done = ring.run(op_kernel_create(5, 1, b"nothing"), op_launch(5, [64]), op_sync())
        assert done.status == Status.OK
        assert ring.run(op_module_unload(1)).status == Status.OK


def test_a_build_error_is_told_with_its_log(guest: Guest) -> None:
    with guest.ring() as ring:
        done = load(ring, 1, b"#error the reason\n")
        assert done.status == Status.BUILD_FAILED
        assert b"the reason" in ring.peek(ring.data_at(0x20000), done.out_len)
        assert ring.run(op_kernel_create(5, 1, b"nothing")).status == Status.NO_OBJECT


def test_more_than_the_quota_is_refused_until_something_is_freed(tight_guest: Guest) -> None:
    with tight_guest.ring() as ring:
        assert ring.run(op_alloc(1, TIGHT_MEMORY_BYTES)).status == Status.OK
        assert ring.run(op_alloc(2, 1)).status == Status.QUOTA
        assert ring.run(op_free(1), op_alloc(2, TIGHT_MEMORY_BYTES)).status == Status.OK
        assert ring.run(op_alloc(3, 1 << 63)).status == Status.QUOTA


UNKNOWN = {
    "free": op_free(9),
    "write": op_write(9, 0, 0, 8),
    "read": op_read(9, 0, 0, 8),
    "module unload": op_module_unload(9),
    "kernel create": op_kernel_create(1, 9, b"nothing"),
    "launch": op_launch(9, [1]),
}


@pytest.mark.parametrize("command", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_object_that_is_not_there_is_named_so(guest: Guest, command: bytes) -> None:
    with guest.ring() as ring:
        done = ring.run(op_nop(), command, op_nop())
        assert (done.status, done.op_index) == (Status.NO_OBJECT, 1)
        assert ring.run(op_nop()).status == Status.OK


def test_an_id_in_use_is_refused(guest: Guest) -> None:
    with guest.ring() as ring:
        done = ring.run(op_alloc(1, 64), op_alloc(1, 64))
        assert (done.status, done.op_index) == (Status.EXISTS, 1)


def test_objects_of_one_context_are_not_those_of_another(guest: Guest) -> None:
    with guest.ring() as ring:
        assert ring.run(op_alloc(1, 64), ctx=1).status == Status.OK
        assert ring.run(op_read(1, 0, 4096, 64), ctx=2).status == Status.NO_OBJECT
        assert ring.run(op_alloc(1, 64), ctx=2).status == Status.OK


def test_one_vm_does_not_see_the_objects_of_another(guest: Guest, neighbour: Guest) -> None:
    with guest.ring() as ring, neighbour.ring() as other:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert other.run(op_read(1, 0, 4096, 64)).status == Status.NO_OBJECT


def test_submissions_wait_for_other_streams_and_for_signals(guest: Guest) -> None:
    with guest.ring() as ring:
        at = 8192
        wait = ring_abi.pack_wait(1, ring_abi.TimelineKind.STREAM, 5)
        wait += ring_abi.pack_wait(9, ring_abi.TimelineKind.USER, 1)
        ring.poke(ring.data_at(at), wait)
        ring.submit(Submission(1, stream=2, wait_off=at, wait_count=2))
        ring.submit(Submission(2, stream=1, signal=5))
        assert ring.wait().cookie == 2
        ring.submit(Submission(3, kind=Kind.SIGNAL, stream=9, signal=1))
        assert [ring.wait().cookie for _ in range(2)] == [3, 1]


WRONG = {
    "an op that nobody knows": (op(0x7F), Status.UNSUPPORTED),
    "a reserved op": (op(0x16, bytes(40)), Status.UNSUPPORTED),
    "an op longer than the command": (op(Op.NOP, size=4096), Status.INVALID),
    "an op without length": (op(Op.NOP, size=0), Status.INVALID),
    "an odd op": (op(Op.NOP, bytes(8), size=12), Status.INVALID),
    "flags": (op(Op.NOP, flags=1), Status.INVALID),
    "object 0": (op_alloc(0, 64), Status.INVALID),
    "a buffer of no bytes": (op_alloc(1, 0), Status.INVALID),
    "data beyond the slice": (op_alloc(1, 64) + op_write(1, 0, (1 << 40), 8), Status.INVALID),
    "data that wraps": (op_alloc(1, 64) + op_write(1, 0, (1 << 64) - 8, 16), Status.INVALID),
    "a buffer's end": (op_alloc(1, 64) + op_read(1, 60, 4096, 8), Status.INVALID),
}


@pytest.mark.parametrize(("command", "status"), WRONG.values(), ids=WRONG.keys())
def test_a_malformed_command_is_answered_and_the_next_one_is_served(
    guest: Guest, command: bytes, status: Status
) -> None:
    with guest.ring() as ring:
        assert ring.run(command).status == status
        assert ring.run(op_nop()).status == Status.OK
        assert ring.pair_state() == ring_abi.PairState.OK


ENTRIES = {
    "kind": (Submission(7, kind=0), Status.INVALID),
    "unknown kind": (Submission(7, kind=200), Status.INVALID),
    "reserved kind": (Submission(7, kind=Kind.RESET_CTX), Status.UNSUPPORTED),
    "a signal of nothing": (Submission(7, kind=Kind.SIGNAL), Status.INVALID),
    "flags": (Submission(7, flags=1), Status.INVALID),
    "reserved": (Submission(7, reserved1=1), Status.INVALID),
    "unknown lane": (Submission(7, lane=9), Status.INVALID),
    "no command": (Submission(7, kind=Kind.COMMAND), Status.INVALID),
    "odd length": (Submission(7, kind=Kind.COMMAND, cmd_len=12), Status.INVALID),
    "too long": (Submission(7, kind=Kind.COMMAND, cmd_len=65544), Status.INVALID),
    "beyond": (Submission(7, kind=Kind.COMMAND, cmd_len=8, cmd_off=1 << 40), Status.INVALID),
    "segment": (Submission(7, kind=Kind.COMMAND, cmd_len=8, cmd_seg=1), Status.UNSUPPORTED),
    "waits": (Submission(7, wait_count=17), Status.INVALID),
    "waits beyond": (Submission(7, wait_count=1, wait_off=1 << 31), Status.INVALID),
}


@pytest.mark.parametrize(("entry", "status"), ENTRIES.values(), ids=ENTRIES.keys())
def test_a_malformed_submission_is_answered_and_the_pair_is_kept(
    guest: Guest, entry: Submission, status: Status
) -> None:
    with guest.ring() as ring:
        ring.submit(entry)
        done = ring.wait()
        assert (done.cookie, done.status) == (7, status)
        assert ring.nop().status == Status.OK
    assert guest.live().faults == (status == Status.INVALID)


def test_more_submissions_than_the_queue_holds_are_all_answered_once(tight_guest: Guest) -> None:
    count = 300
    answered = []
    with tight_guest.ring() as ring:
        entries = ring.page.sq_entries
        for first in range(0, count, entries):
            some = range(first, min(first + entries, count))
            ring.submit(*(Submission(cookie) for cookie in some))
            answered += [ring.wait().cookie for _ in some]
    assert answered == list(range(count))


def test_every_queue_pair_is_served(tight_guest: Guest) -> None:
    with tight_guest.ring() as ring:
        assert ring.page.qp_count == 2
        for pair in range(2):
            assert ring.run(op_nop(), pair=pair).status == Status.OK


def test_a_second_client_is_refused_and_the_first_one_notices_nothing(guest: Guest) -> None:
    with guest.ring() as ring:
        with pytest.raises(Refused):
            RingClient(guest.ring_socket)
        guest.logged(rf"refused a second client on ring \(pid {os.getpid()}\)")
        assert ring.nop().status == Status.OK


def test_one_vm_may_use_both_ways_in_at_once(guest: Guest) -> None:
    with guest.ring() as ring, guest.stub() as stub:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert stub.vector_add(1, 1) == 2
        assert ring.run(op_free(1)).status == Status.OK


def test_clients_that_come_and_go_on_the_stub_leave_the_ring_alone(guest: Guest) -> None:
    with guest.ring() as ring:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        for _ in range(3):
            guest.warm_up()
        assert ring.run(op_read(1, 0, 4096, 64)).status == Status.OK


def test_objects_of_a_former_client_are_gone(tight_guest: Guest) -> None:
    with tight_guest.ring() as ring:
        assert ring.run(op_alloc(1, TIGHT_MEMORY_BYTES)).status == Status.OK
    with tight_guest.ring() as ring:
        assert ring.run(op_read(1, 0, 4096, 64)).status == Status.NO_OBJECT
        assert ring.run(op_alloc(1, TIGHT_MEMORY_BYTES)).status == Status.OK


def test_after_a_client_was_killed_the_next_one_gets_a_new_generation(guest: Guest) -> None:
    with guest.ring() as ring:
        first = ring.page.generation
        assert ring.run(op_nop()).status == Status.OK
    victim = subprocess.Popen(
        [VGPU_CLIENT, "--ring", guest.ring_socket, "nop", "--worker", "--count", "10000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        guest.when(lambda live: live.completed > 100, "the client has work done")
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    with guest.ring() as ring:
        assert ring.page.generation == first + 2
        assert ring.run(op_nop()).status == Status.OK


def test_what_a_client_left_unfinished_is_not_answered_to_the_next_one(guest: Guest) -> None:
    worker = guest.warm_up()
    with stopped(worker):
        with guest.ring() as ring:
            command = op_nop()
            ring.poke(ring.data_at(), command)
            ring.submit(
                *(Submission(c, kind=Kind.COMMAND, cmd_len=len(command)) for c in range(1000, 1020))
            )
            guest.when(lambda live: live.queued + live.running == 20, "all are accepted")
        guest.when(lambda live: not live.connected_ring and live.queued == 0, "they are dropped")
        ring = guest.ring()
    with ring:
        assert ring.run(op_nop()).status == Status.OK
        assert ring.take() is None
    assert guest.live().running == 0
