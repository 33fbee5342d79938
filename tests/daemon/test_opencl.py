"""OpenCL C through a real vgpud: built in one worker, run in another, and wrong in every way."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.daemon.guests import VGPU_CLIENT, Guest, wait_ended
from tests.daemon_under_test import RunningDaemon
from tests.ring_abi import (
    ARG_INFO,
    Completion,
    Fact,
    Lane,
    Status,
    arg_buffer,
    arg_value,
    op_alloc,
    op_kernel_create,
    op_launch,
    op_module_load,
    op_query,
    op_read,
    op_sync,
    op_write,
    ref,
)
from tests.ring_client import RingClient

ELEMENTS = 1 << 20
CODE, LOG, DATA = 0x10000, 0x20000, 0x100000
BUILD_S = 90.0

ADD_ONE = b"kernel void add_one(global uint *a) { a[get_global_id(0)] += 1; }\n"
# The loop's end depends on memory that anybody could change, so no compiler may leave it out.
ENDLESS = b"kernel void endless(volatile global uint *a) { while (a[0] == 0) ; }\n"


def load(ring: RingClient, id_: int, source: bytes) -> Completion:
    """Build `source` as module `id_`; its log goes to LOG."""
    ring.poke(ring.data_at(CODE), source)
    command = op_module_load(id_, ref(CODE, len(source)), ref(LOG, 0x10000))
    return ring.run(command, lane=Lane.BUILD, timeout_s=BUILD_S)


def start(ring: RingClient, source: bytes, name: bytes) -> None:
    """Buffer 1 of 256 bytes and kernel 1, both in module 1."""
    assert load(ring, 1, source).status == Status.OK
    done = ring.run(op_alloc(1, 256), op_kernel_create(1, 1, name))
    assert (done.status, done.result0) == (Status.OK, 1)


def saxpy(guest: Guest) -> dict[str, Any]:
    """A million elements through vgpu-client, which checks every one of them."""
    done = subprocess.run(
        [
            VGPU_CLIENT,
            "--ring",
            guest.ring_socket,
            "--timeout-ms=90000",
            "saxpy",
            f"--elements={ELEMENTS}",
            "--repeat=3",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_two_vms_compute_a_million_elements_each_at_the_same_time(
    opencl_guest: Guest, opencl_neighbour: Guest
) -> None:
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(saxpy, (opencl_guest, opencl_neighbour)))
    for answer in answers:
        assert (answer["checked"], answer["wrong"]) == (ELEMENTS, 0)
        assert answer["gpu_us"] > 0
    assert opencl_guest.live().gpu_time_ns > 0


def test_a_kernel_changes_the_buffer_it_is_given(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        start(ring, ADD_ONE, b"add_one")
        numbers = os.urandom(256)
        ring.poke(ring.data_at(DATA), numbers)
        launches = [op_launch(1, [64], [arg_buffer(1)]) for _ in range(3)]
        done = ring.run(op_write(1, 0, DATA, 256), *launches, op_read(1, 0, 2 * DATA, 256))
        assert done.status == Status.OK
        before = memoryview(numbers).cast("I")
        after = memoryview(ring.peek(ring.data_at(2 * DATA), 256)).cast("I")
    assert [(n + 3) & 0xFFFFFFFF for n in before] == list(after)


def test_a_question_without_room_for_its_answer_is_told_how_much_it_needs(
    opencl_guest: Guest,
) -> None:
    with opencl_guest.ring() as ring:
        start(ring, ADD_ONE, b"add_one")
        short = ring.run(op_query(Fact.KERNEL_ARGS, 1, DATA, 8))
        assert (short.status, short.out_len) == (Status.INVALID, 0)
        done = ring.run(op_query(Fact.KERNEL_ARGS, 1, DATA, short.result0))
        assert (done.status, done.out_len) == (Status.OK, short.result0)
        kind, size, name, type_ = ARG_INFO.unpack(ring.peek(ring.data_at(DATA), done.out_len))
    assert (kind, size, name.rstrip(b"\0"), type_.rstrip(b"\0")) == (1, 0, b"a", b"uint*")


def test_vector_add_is_computed_on_the_device(opencl_guest: Guest) -> None:
    with opencl_guest.stub() as stub:
        assert stub.vector_add(2_000_000_000, 2_000_000_000) == 4_000_000_000 - (1 << 32)
        assert stub.vector_add(-5, 3) == -2
    assert opencl_guest.live().gpu_time_ns > 0


def test_the_log_of_a_failed_build_goes_to_its_vm_and_to_nobody_else(
    opencl_guest: Guest, opencl_neighbour: Guest, opencl_vgpud: RunningDaemon
) -> None:
    secret = b"zebra_crossing_4711"
    with opencl_guest.ring() as ring, opencl_neighbour.ring() as other:
        done = load(ring, 1, b"kernel void broken() { " + secret + b"(); }\n")
        assert done.status == Status.BUILD_FAILED
        assert 0 < done.out_len < 0x10000
        assert secret in ring.peek(ring.data_at(LOG), done.out_len)
        assert load(other, 1, ADD_ONE).status == Status.OK
        assert secret not in other.memory[:]
        # The ring and the VM are as good as before.
        start(ring, ADD_ONE, b"add_one")
    logs = (opencl_vgpud.log, *opencl_vgpud.state_dir.glob("*.log"))
    assert not any(secret in log.read_bytes() for log in logs)
    assert opencl_guest.live().faults == 0


def test_a_kernel_that_is_not_in_the_module_is_named_so(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        assert load(ring, 1, ADD_ONE).status == Status.OK
        assert ring.run(op_kernel_create(1, 1, b"add_two")).status != Status.OK
        assert ring.run(op_kernel_create(1, 1, b"add_one")).status == Status.OK


@pytest.mark.parametrize("args", [[], [arg_value(b"abcd")], [arg_buffer(1)] * 2])
def test_wrong_arguments_of_a_kernel_are_refused_and_the_worker_lives(
    opencl_guest: Guest, args: list[bytes]
) -> None:
    with opencl_guest.ring() as ring:
        start(ring, ADD_ONE, b"add_one")
        worker = opencl_guest.worker()
        assert ring.run(op_launch(1, [64], args), op_sync()).status not in (
            Status.OK,
            Status.DEVICE_LOST,
        )
        assert ring.run(op_launch(1, [64], [arg_buffer(1)]), op_sync()).status == Status.OK
        assert opencl_guest.worker() == worker


def test_an_endless_kernel_is_a_timeout_for_its_vm_and_others_are_served(
    opencl_guest: Guest, opencl_neighbour: Guest
) -> None:
    with opencl_guest.ring() as ring, opencl_neighbour.ring() as other:
        start(other, ADD_ONE, b"add_one")
        useful = op_launch(1, [64], [arg_buffer(1)])
        assert other.run(useful, op_sync()).status == Status.OK
        start(ring, ENDLESS, b"endless")
        worker, others = opencl_guest.worker(), opencl_neighbour.worker()
        done = ring.run(op_launch(1, [1], [arg_buffer(1)]), op_sync(), timeout_s=60)
        assert (done.status, done.native) == (Status.TIMEOUT, 1)
        assert other.run(useful, op_sync()).status == Status.OK
        wait_ended(worker)
        assert opencl_neighbour.worker() == others
        # What the killed worker held is gone; the VM can begin anew, over the same attachment.
        start(ring, ADD_ONE, b"add_one")
        assert ring.run(useful, op_sync()).status == Status.OK
    opencl_guest.logged("fault: its work ran longer than run_timeout_ms")
    assert (opencl_neighbour.live().faults, opencl_neighbour.live().failed) == (0, 0)


def test_a_kernel_that_crashes_its_worker_is_that_vms_loss_only(
    opencl_guest: Guest, opencl_neighbour: Guest
) -> None:
    wild = b"kernel void wild(global uint *a) { *(global uint *)(ulong)get_global_id(0) = 1; }\n"
    with opencl_guest.ring() as ring, opencl_neighbour.ring() as other:
        start(other, ADD_ONE, b"add_one")
        others = opencl_neighbour.worker()
        start(ring, wild, b"wild")
        done = ring.run(op_launch(1, [1], [arg_buffer(1)]), op_sync(), timeout_s=60)
        assert done.status == Status.DEVICE_LOST
        assert opencl_guest.live().faults == 1
        useful = op_launch(1, [64], [arg_buffer(1)])
        assert other.run(useful, op_sync()).status == Status.OK
        assert opencl_neighbour.worker() == others
        start(ring, ADD_ONE, b"add_one")
        assert ring.run(useful, op_sync()).status == Status.OK
