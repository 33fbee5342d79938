"""vgpu-worker, the real binary, over its real channel: null device and PoCL."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Ring, Unit, Worker
from tests.integration.worker_under_test import (
    BACKENDS,
    BINARY,
    CODE,
    COMMAND,
    DATA,
    SOURCE,
    Vm,
    environment,
    started,
)


@pytest.fixture(params=BACKENDS)
def vm(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Vm]:
    yield from started(environment(request.param, short_dir))


@pytest.fixture
def pocl_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("opencl", short_dir))


@pytest.fixture
def null_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("null", short_dir))


def test_written_bytes_are_read_back(vm: Vm) -> None:
    data = os.urandom(1 << 20)
    vm.ring.put(DATA, data)
    reply = vm.run(
        engine.alloc(1, len(data)),
        engine.write(1, DATA, len(data)),
        engine.read(1, DATA + (2 << 20), len(data)),
    )
    assert (reply.outcome, reply.status, reply.op_index) == (engine.DONE, engine.OK, 3)
    assert reply.out_len == len(data)
    assert vm.ring.get(DATA + (2 << 20), len(data)) == data


def test_fresh_buffer_is_zero_also_after_a_dirty_one_was_freed(vm: Vm) -> None:
    size = (1 << 20) + 3
    vm.ring.put(DATA, b"\xff" * size)
    vm.run(engine.alloc(1, size), engine.write(1, DATA, size), engine.free(1))
    reply = vm.run(engine.alloc(1, size), engine.read(1, DATA, size))
    assert reply.status == engine.OK
    assert vm.ring.get(DATA, size) == bytes(size)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_filled_and_copied_bytes_are_where_they_belong(vm: Vm, width: int) -> None:
    pattern, size = os.urandom(width), 3 << 16
    reply = vm.run(
        engine.alloc(1, size),
        engine.alloc(2, size),
        engine.fill(1, size - 3 * width, pattern, at=width),
        engine.copy(2, 1, size - 16, at=16, source_at=0),
        engine.copy(2, 2, 8, at=0, source_at=16 + width),
        engine.read(2, DATA, size),
    )
    assert (reply.status, reply.op_index) == (engine.OK, 6)
    first = bytes(width) + pattern * ((size - 3 * width) // width) + bytes(2 * width)
    second = bytes(16) + first[: size - 16]
    assert vm.ring.get(DATA, size) == second[16 + width : 24 + width] + second[8:]


def test_a_copy_comes_after_the_launch_before_it(pocl_vm: Vm) -> None:
    source = "__kernel void k(__global int *p) { for (int i = 0; i < 100000; i++) p[0] += i & 1; }"
    assert pocl_vm.load(1, source).status == engine.OK
    reply = pocl_vm.run(
        engine.alloc(1, 8), engine.alloc(2, 8), engine.kernel_create(1, 1, "k"),
        engine.launch(1, 1, engine.arg_buffer(1)), engine.copy(2, 1, 8), engine.read(2, DATA, 4),
    )  # fmt: skip
    assert reply.status == engine.OK
    assert struct.unpack("<i", pocl_vm.ring.get(DATA, 4)) == (50000,)


def test_device_info_tells_the_quota_and_is_cut_to_the_reference(vm: Vm) -> None:
    reply = vm.run(engine.device_info(DATA, 4096))
    assert (reply.status, reply.out_len) == (engine.OK, engine.DEVICE_INFO.size)
    _, backend, quota, kinds = engine.device_of(vm.ring.get(DATA, reply.out_len))
    assert backend in BACKENDS
    assert (quota, kinds) == (64 << 20, 1 << 1)
    assert vm.run(engine.device_info(DATA, 8)).out_len == 8


def test_quota_refuses_and_free_gives_room_again(vm: Vm) -> None:
    full = vm.run(engine.alloc(1, 40 << 20), engine.alloc(2, 40 << 20))
    assert (full.status, full.op_index) == (engine.QUOTA, 1)
    assert vm.run(engine.free(1), engine.alloc(2, 40 << 20)).status == engine.OK


@pytest.mark.parametrize(
    ("op", "status"),
    [
        (engine.read(1, engine.DATA_BYTES - 4, 8), engine.INVALID),
        (engine.read(1, (1 << 64) - 8, 16), engine.INVALID),
        (engine.read(1, DATA, 8, at=4089), engine.INVALID),
        (engine.write(1, DATA, 8, at=(1 << 64) - 1), engine.INVALID),
        (engine.write(9, DATA, 8), engine.NO_OBJECT),
        (engine.alloc(1, 8), engine.EXISTS),
        (engine.alloc(0, 8), engine.INVALID),
        (engine.copy(1, 9, 8), engine.NO_OBJECT),
        (engine.copy(1, 1, 8, at=4), engine.INVALID),
        (engine.fill(1, 8, b"abc"), engine.INVALID),
        (engine.fill(1, 8, b"abcd", at=2), engine.INVALID),
        (engine.op(0x16, bytes(40)), engine.UNSUPPORTED),
        (engine.op(0x77), engine.UNSUPPORTED),
    ],
)
def test_wrong_op_ends_the_command_with_its_index(null_vm: Vm, op: bytes, status: int) -> None:
    reply = null_vm.run(engine.alloc(1, 4096), op, engine.free(1))
    assert (reply.status, reply.op_index) == (status, 1)
    assert null_vm.run(engine.free(1)).status == engine.OK


def test_objects_of_another_pair_or_ctx_are_not_seen(null_vm: Vm) -> None:
    null_vm.run(engine.alloc(1, 64))
    null_vm.ring.put(COMMAND, engine.free(1), qp=1)
    unit = null_vm.unit(engine.free(1))
    assert null_vm.launcher.run(replace(unit, qp=1)).status == engine.NO_OBJECT
    assert null_vm.launcher.run(replace(unit, ctx=2)).status == engine.NO_OBJECT
    assert null_vm.launcher.run(unit).status == engine.OK


def test_second_load_of_the_same_code_needs_no_build(vm: Vm) -> None:
    assert vm.load(1, SOURCE).status == engine.OK
    reply = vm.launcher.run(vm.unit(engine.module_load(2, (CODE, len(SOURCE)), (0, 0), (0, 0)),
                                    lane=engine.LANE_BUILD))  # fmt: skip
    assert (reply.outcome, reply.status) == (engine.DONE, engine.OK)


def test_two_loads_in_one_command_are_built_one_after_the_other(null_vm: Vm) -> None:
    null_vm.ring.put(CODE, b"onetwo")
    ops = [engine.module_load(i + 1, (CODE + 3 * i, 3), (0, 0), (0, 0)) for i in range(2)]
    reply = null_vm.settle(null_vm.unit(*ops, lane=engine.LANE_BUILD))
    assert (reply.outcome, reply.status, reply.op_index) == (engine.DONE, engine.OK, 2)


def test_broken_source_returns_its_log_and_can_be_tried_again(vm: Vm) -> None:
    broken = "#error this line is in the log\n"
    for _ in range(2):
        reply = vm.load(1, broken)
        assert reply.status == engine.BUILD_FAILED
        assert "this line is in the log" in vm.log(reply)
    assert vm.load(1, SOURCE).status == engine.OK


@pytest.mark.parametrize(
    "options", ["-I /etc", "-I/etc", "-include /etc/passwd", "-DX=/etc/passwd"]
)
def test_options_that_name_files_are_refused_with_a_log(null_vm: Vm, options: str) -> None:
    reply = null_vm.load(1, SOURCE, options)
    assert reply.status == engine.BUILD_FAILED
    assert "is not allowed" in null_vm.log(reply)


def test_code_changed_after_its_build_is_invalid(null_vm: Vm) -> None:
    vm = null_vm
    vm.ring.put(CODE, SOURCE.encode())
    unit = vm.unit(
        engine.module_load(1, (CODE, len(SOURCE)), (0, 0), (0, 0)), lane=engine.LANE_BUILD
    )
    assert vm.launcher.run(unit).outcome == engine.NEED_BUILD
    assert vm.builder.run(unit).status == engine.OK
    vm.ring.put(CODE, b"//")
    reply = vm.launcher.run(replace(unit, flags=engine.BUILT))
    assert (reply.outcome, reply.status) == (engine.DONE, engine.INVALID)


@pytest.mark.parametrize("kind", [engine.SPIRV, engine.PTX, engine.CUBIN])
def test_a_kind_of_module_that_the_device_does_not_take_is_unsupported(vm: Vm, kind: int) -> None:
    reply = vm.load(1, ".version 6.0\n", kind=kind)
    assert (reply.outcome, reply.status) == (engine.DONE, engine.UNSUPPORTED)


@pytest.mark.parametrize("kind", [0, 5])
def test_a_kind_of_module_that_there_is_not_is_invalid(null_vm: Vm, kind: int) -> None:
    assert null_vm.load(1, SOURCE, kind=kind).status == engine.INVALID


def test_unloading_a_module_takes_its_kernels(vm: Vm) -> None:
    vm.load(1, SOURCE)
    assert vm.run(engine.kernel_create(1, 1, "saxpy")).status == engine.OK
    assert vm.run(engine.op(0x21, struct.pack("<II", 1, 0))).status == engine.OK
    assert vm.run(engine.launch(1, 1)).status == engine.NO_OBJECT


def test_vector_add_wraps_around(vm: Vm) -> None:
    unit = Unit(kind=engine.UNIT_VECTOR_ADD, args=(0x7FFFFFFF, 2, *(0,) * 6))
    reply = vm.settle(unit)
    assert (reply.status, reply.result[0]) == (engine.OK, 0x80000001)
    again = vm.launcher.run(replace(unit, args=(0xFFFFFFFF, 1, *(0,) * 6)))
    assert (again.outcome, again.result[0]) == (engine.DONE, 0)


def test_empty_budget_continues_after_every_op(null_vm: Vm) -> None:
    unit = replace(null_vm.unit(*[engine.nop()] * 3), budget_us=0)
    first = null_vm.launcher.run(unit)
    second = null_vm.launcher.run(replace(unit, first_op=1))
    third = null_vm.launcher.run(replace(unit, first_op=2))
    assert [(r.outcome, r.op_index) for r in (first, second, third)] == [
        (engine.CONTINUE, 1),
        (engine.CONTINUE, 2),
        (engine.DONE, 3),
    ]


def test_units_behind_an_interrupted_one_bounce_until_it_is_back(null_vm: Vm) -> None:
    worker, unit = null_vm.launcher, null_vm.unit(engine.nop(), engine.nop())
    cut = replace(unit, token=1, budget_us=0)
    other = replace(unit, token=3, stream=2)
    rest, after = replace(cut, first_op=1, reply_head=3), replace(unit, token=4, reply_head=3)
    worker.send(cut, replace(unit, token=2), other, rest, after)
    assert [(r.token, r.outcome) for r in (worker.reply() for _ in range(5))] == [
        (1, engine.CONTINUE),
        (2, engine.BOUNCED),
        (3, engine.DONE),
        (1, engine.DONE),
        (4, engine.DONE),
    ]


def test_stream_opens_again_when_its_interrupted_unit_was_given_up(null_vm: Vm) -> None:
    worker, unit = null_vm.launcher, null_vm.unit(engine.nop(), engine.nop())
    assert worker.run(replace(unit, token=1, budget_us=0)).outcome == engine.CONTINUE
    assert worker.run(replace(unit, token=2, reply_head=0)).outcome == engine.BOUNCED
    assert worker.run(replace(unit, token=2)).outcome == engine.DONE


def test_rings_wrap_and_every_unit_has_one_reply(null_vm: Vm) -> None:
    worker, unit = null_vm.launcher, null_vm.unit(engine.nop())
    for batch in range(5):
        tokens = range(batch * 64, batch * 64 + 64)
        worker.send(*(replace(unit, token=token) for token in tokens))
        assert [worker.reply().token for _ in tokens] == list(tokens)


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": 99},
        {"lane": engine.LANE_BUILD},
        {"lane": 7},
        {"qp": 2},
        {"cmd_seg": 1},
        {"cmd_len": 12},
        {"cmd_len": 0},
        {"cmd_off": engine.DATA_BYTES},
        {"first_op": 1},
    ],
)
def test_malformed_unit_is_answered_invalid(null_vm: Vm, broken: dict[str, Any]) -> None:
    reply = null_vm.launcher.run(replace(null_vm.unit(engine.nop()), **broken))
    assert (reply.outcome, reply.status) == (engine.DONE, engine.INVALID)
    assert null_vm.run(engine.nop()).status == engine.OK


def test_impossible_tail_ends_the_worker(null_vm: Vm) -> None:
    null_vm.launcher.set_word(0, 1000)
    null_vm.launcher.wake()
    assert null_vm.launcher.process.wait(engine.LONGEST_WAIT_S) == 4


def test_standby_ends_when_nobody_can_bind_it_any_more(short_dir: Path) -> None:
    with Worker(BINARY, "launch", environment("null", short_dir)) as standby:
        standby.control.close()
        assert standby.process.wait(engine.LONGEST_WAIT_S) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_probe_describes_the_device_and_exits(backend: str, short_dir: Path) -> None:
    with Worker(BINARY, "probe", environment(backend, short_dir)) as worker:
        ready = worker.ready()
        assert (ready.status, ready.backend, ready.module_kinds) == (0, backend, 1 << 1)
        assert ready.name
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 0


def test_missing_library_is_said_in_the_answer_to_the_bind(short_dir: Path) -> None:
    env = environment("null", short_dir) | {
        "VGPU_BACKEND": "opencl",
        "VGPU_OPENCL_LIBRARY": "/nowhere/libOpenCL.so",
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, closing(Ring()) as ring, Worker(BINARY, "launch", env, ring) as worker:
        ready = worker.bind(ours)
        assert ready.status < 0
        assert "/nowhere/libOpenCL.so" in ready.reason
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 3


@pytest.mark.parametrize("fields", [{"role": 1}, {"data_bytes": 17 << 20}, {"data_bytes": 4097}])
def test_wrong_bind_is_refused(short_dir: Path, fields: dict[str, int]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = environment("null", short_dir)
    with ours, theirs, closing(Ring()) as ring, Worker(BINARY, "launch", env, ring) as worker:
        assert worker.bind(ours, **fields).status < 0
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 3


def test_ring_that_may_shrink_is_refused(short_dir: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = environment("null", short_dir)
    with ours, theirs, closing(Ring()) as ring, Worker(BINARY, "launch", env, ring) as worker:
        with open(os.memfd_create("loose"), "wb") as loose:
            loose.truncate(engine.QP_BASE + engine.QP_COUNT * engine.QP_STRIDE)
            ready = worker.bind(ours, ring_fd=loose.fileno())
        assert ready.status < 0
        assert "data area" in ready.reason
