"""What a guest may ask about its kernels and modules, of the real worker."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Reply
from tests.integration.worker_under_test import BACKENDS, DATA, SOURCE, Vm, environment, started

VALUE, BUFFER, LOCAL = 0, 1, 2
REMEMBERED = 64


@pytest.fixture(params=BACKENDS)
def vm(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Vm]:
    yield from started(environment(request.param, short_dir))


@pytest.fixture
def null_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("null", short_dir))


@pytest.fixture
def pocl_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("opencl", short_dir))


def asked(vm: Vm, what: int, obj: int, room: int) -> Reply:
    """One QUERY; the answer, if there is one, lies at DATA."""
    vm.ring.put(DATA, b"\x55" * (room + 8))
    reply = vm.run(engine.query(what, obj, DATA, room))
    assert vm.ring.get(DATA + reply.out_len, 8) == b"\x55" * 8
    return reply


def whole(vm: Vm, what: int, obj: int) -> bytes:
    """The size is asked for, then the answer."""
    size = asked(vm, what, obj, 0).result[0]
    reply = asked(vm, what, obj, size)
    assert (reply.status, reply.out_len, reply.result[0]) == (engine.OK, size, size)
    return vm.ring.get(DATA, size)


def arguments(vm: Vm, kernel: int) -> list[tuple[int, int, str, str]]:
    """kind, size, name and type of each."""
    answer = whole(vm, engine.KERNEL_ARGS, kernel)
    return [
        (kind, size, name.rstrip(b"\0").decode(), type_.rstrip(b"\0").decode())
        for kind, size, name, type_ in engine.ARG_INFO.iter_unpack(answer)
    ]


def test_the_arguments_of_a_kernel_are_told_as_its_source_has_them(pocl_vm: Vm) -> None:
    source = """
    typedef struct { int x, y; } point;
    __kernel void k(float a, __global const int *p, __local uchar4 *l, point q, long16 w,
                    __constant float *c) { l[0] = p[0] + q.x + w.s0 + a + c[0]; }
    __kernel void none(void) {}
    """
    assert pocl_vm.load(1, source).status == engine.OK
    made = pocl_vm.run(engine.kernel_create(1, 1, "none"), engine.kernel_create(2, 1, "k"))
    assert (made.status, made.result[0]) == (engine.OK, 6)
    assert arguments(pocl_vm, 2) == [
        (VALUE, 4, "a", "float"),
        (BUFFER, 0, "p", "int*"),
        (LOCAL, 0, "l", "uchar4*"),
        (VALUE, 0, "q", "point"),
        (VALUE, 128, "w", "long16"),
        (BUFFER, 0, "c", "float*"),
    ]
    assert arguments(pocl_vm, 1) == []


def test_a_long_name_is_cut_and_ends_with_nul(pocl_vm: Vm) -> None:
    name = "n" * 200
    assert pocl_vm.load(1, f"__kernel void k(int {name}) {{}}").status == engine.OK
    assert pocl_vm.run(engine.kernel_create(1, 1, "k")).status == engine.OK
    assert arguments(pocl_vm, 1) == [(VALUE, 4, "n" * 59, "int")]


def test_a_device_that_tells_nothing_of_arguments_answers_with_none(null_vm: Vm) -> None:
    assert null_vm.load(1, SOURCE).status == engine.OK
    assert null_vm.run(engine.kernel_create(1, 1, "saxpy")).status == engine.OK
    assert arguments(null_vm, 1) == []


@pytest.mark.parametrize("short_of", [1, 64, 127])
def test_an_answer_without_room_is_refused_with_its_size_and_nothing_is_written(
    pocl_vm: Vm, short_of: int
) -> None:
    assert pocl_vm.load(1, SOURCE).status == engine.OK
    assert pocl_vm.run(engine.kernel_create(1, 1, "saxpy")).status == engine.OK
    size = 3 * engine.ARG_INFO.size
    reply = asked(pocl_vm, engine.KERNEL_ARGS, 1, size - short_of)
    assert (reply.status, reply.result[0], reply.out_len) == (engine.INVALID, size, 0)
    assert pocl_vm.ring.get(DATA, size - short_of) == b"\x55" * (size - short_of)


def test_log_and_binary_are_those_of_the_build(vm: Vm) -> None:
    warned = SOURCE + "\n#warning this is in the log\n"
    reply = vm.load(1, warned)
    assert reply.status == engine.OK
    log = vm.log(reply)
    assert vm.load(2, SOURCE).status == engine.OK
    assert whole(vm, engine.BUILD_LOG, 1).decode() == log
    assert len(whole(vm, engine.BINARY, 1)) > 0
    assert vm.run(engine.module_unload(1)).status == engine.OK
    assert asked(vm, engine.BINARY, 1, 0).status == engine.NO_OBJECT


def test_the_log_of_a_build_that_warned_has_the_warning(pocl_vm: Vm) -> None:
    assert pocl_vm.load(1, SOURCE + "\n#warning look here\n").status == engine.OK
    assert "look here" in whole(pocl_vm, engine.BUILD_LOG, 1).decode()


def test_a_binary_does_not_tell_where_the_host_keeps_things(pocl_vm: Vm, short_dir: Path) -> None:
    assert pocl_vm.load(1, SOURCE).status == engine.OK
    binary = whole(pocl_vm, engine.BINARY, 1)
    assert str(short_dir).encode() not in binary


def test_a_build_that_is_forgotten_is_told_so_and_comes_back_with_its_code(null_vm: Vm) -> None:
    sources = [f"// {number}" for number in range(REMEMBERED + 1)]
    for module, source in enumerate(sources, 1):
        assert null_vm.load(module, source).status == engine.OK
    assert asked(null_vm, engine.BINARY, 1, 0).status == engine.NO_MEMORY
    assert asked(null_vm, engine.BINARY, len(sources), 0).status == engine.OK
    assert null_vm.load(100, sources[0]).status == engine.OK
    assert asked(null_vm, engine.BINARY, 1, 0).status == engine.OK


@pytest.mark.parametrize(
    ("op", "status"),
    [
        (engine.query(engine.KERNEL_ARGS, 0, DATA, 64), engine.INVALID),
        (engine.query(engine.KERNEL_ARGS, 9, DATA, 64), engine.NO_OBJECT),
        (engine.query(engine.BINARY, 9, DATA, 64), engine.NO_OBJECT),
        (engine.query(0, 1, DATA, 64), engine.UNSUPPORTED),
        (engine.query(4, 1, DATA, 64), engine.UNSUPPORTED),
        (engine.query(engine.BINARY, 1, engine.DATA_BYTES - 8, 16), engine.INVALID),
        (engine.query(engine.BINARY, 1, (1 << 64) - 8, 16), engine.INVALID),
        (engine.query(engine.BINARY, 1, engine.DATA_BYTES + 1, 0), engine.INVALID),
        (
            engine.op(0x03, struct.pack("<II", 3, 1) + engine.ref(DATA, 64, seg=1)),
            engine.INVALID,
        ),
        (engine.op(0x03, struct.pack("<IIIIQQ", 3, 1, 0, 1, DATA, 64)), engine.INVALID),
        (engine.op(0x03, bytes(24)), engine.INVALID),
    ],
)
def test_a_wrong_question_is_refused(null_vm: Vm, op: bytes, status: int) -> None:
    assert null_vm.load(1, SOURCE).status == engine.OK
    reply = null_vm.run(engine.nop(), op)
    assert (reply.status, reply.op_index) == (status, 1)
