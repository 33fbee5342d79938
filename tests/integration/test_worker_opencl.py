"""vgpu-worker on PoCL: real kernels, real builds, and kernels that misbehave."""

from __future__ import annotations

import struct
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_under_test import DATA, SOURCE, Vm, environment, started


@pytest.fixture
def pocl_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("opencl", short_dir))


def test_a_million_elements_are_computed_right(pocl_vm: Vm) -> None:
    vm, count = pocl_vm, 1_000_000
    x = array("f", (i % 1000 for i in range(count)))
    y = array("f", (i % 77 for i in range(count)))
    vm.ring.put(DATA, x.tobytes() + y.tobytes())
    size = 4 * count
    assert vm.load(1, SOURCE).status == engine.OK
    reply = vm.run(
        engine.kernel_create(1, 1, "saxpy"),
        engine.alloc(1, size),
        engine.alloc(2, size),
        engine.write(1, DATA, size),
        engine.write(2, DATA + size, size),
        engine.launch(
            1, count, engine.arg_value(struct.pack("<f", 2.0)), engine.arg_buffer(1),
            engine.arg_buffer(2), local=64,
        ),
        engine.sync(),
        engine.read(2, DATA, size),
    )  # fmt: skip
    assert (reply.status, reply.op_index, reply.out_len) == (engine.OK, 8, size)
    assert array("f", vm.ring.get(DATA, size)).tolist() == [
        b + 2.0 * a for a, b in zip(x, y, strict=True)
    ]
    assert reply.start_ns < reply.end_ns <= time.monotonic_ns()


def test_allowed_options_reach_the_compiler(pocl_vm: Vm) -> None:
    source = "#if N != 3\n#error N\n#endif\n__kernel void k(__global int *p) { *p = N; }"
    assert pocl_vm.load(1, source, "-cl-std=CL1.2 -D N=3").status == engine.OK


@pytest.mark.parametrize(
    "args",
    [
        (),
        (engine.arg_value(bytes(8)),) * 3,
        (engine.arg_buffer(1),) * 3,
        (engine.arg_value(bytes(4)), engine.arg_buffer(1)),
    ],
)
def test_arguments_that_the_kernel_does_not_take_are_invalid(
    pocl_vm: Vm, args: tuple[bytes, ...]
) -> None:
    pocl_vm.load(1, SOURCE)
    reply = pocl_vm.run(
        engine.alloc(1, 64), engine.kernel_create(1, 1, "saxpy"), engine.launch(1, 1, *args)
    )
    assert (reply.status, reply.op_index) == (engine.INVALID, 2)


def test_unknown_kernel_name_is_no_object(pocl_vm: Vm) -> None:
    pocl_vm.load(1, SOURCE)
    reply = pocl_vm.run(engine.kernel_create(1, 1, "nothing"))
    assert reply.status == engine.NO_OBJECT
    assert reply.native != 0


def test_a_long_row_of_launches_is_cut_near_its_budget_and_nothing_is_run_twice(
    pocl_vm: Vm,
) -> None:
    vm, count, launches = pocl_vm, 1 << 20, 100
    source = "__kernel void k(__global int *p) { p[get_global_id(0)] += 1; }"
    assert vm.load(1, source).status == engine.OK
    vm.run(engine.kernel_create(1, 1, "k"), engine.alloc(1, 4 * count))
    row = [engine.launch(1, count, engine.arg_buffer(1))] * launches
    unit = replace(vm.unit(*row, engine.read(1, DATA, 8)), budget_us=5000)
    replies = [vm.launcher.run(unit)]
    while replies[-1].outcome == engine.CONTINUE:
        assert replies[-1].op_index > unit.first_op
        unit = replace(unit, first_op=replies[-1].op_index)
        replies.append(vm.launcher.run(unit))
    assert len(replies) > 1
    assert (replies[-1].status, replies[-1].op_index) == (engine.OK, launches + 1)
    assert struct.unpack("<2i", vm.ring.get(DATA, 8)) == (launches, launches)


def test_closed_control_socket_ends_a_worker_in_an_endless_kernel(pocl_vm: Vm) -> None:
    vm = pocl_vm
    vm.load(1, SOURCE)
    vm.run(engine.kernel_create(1, 1, "endless"), engine.alloc(1, 64))
    vm.launcher.send(vm.unit(engine.launch(1, 1, engine.arg_buffer(1))))
    with pytest.raises(TimeoutError):
        vm.launcher.reply(timeout_s=0.3)
    assert vm.launcher.process.poll() is None
    vm.launcher.control.close()
    assert vm.launcher.process.wait(1.0) == 0


def test_wild_write_ends_the_worker_by_sigsegv(pocl_vm: Vm) -> None:
    vm = pocl_vm
    vm.load(1, "__kernel void k(__global int *p) { p[(long)1 << 44] = 1; }")
    vm.run(engine.kernel_create(1, 1, "k"), engine.alloc(1, 64))
    vm.launcher.send(vm.unit(engine.launch(1, 1, engine.arg_buffer(1))))
    assert vm.launcher.process.wait(engine.LONGEST_WAIT_S) == -11
