"""vgpu-worker on CUDA: the real binary in both roles, on a driver library without a device.

At the first call that must not be made as it was, the library ends the worker by SIGABRT.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_cuda import VECADD, WILD, cubin, fake_cuda
from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Ring, Unit, Worker
from tests.integration.worker_under_test import BINARY, DATA, SOURCE, Vm, environment, started

DEVICE_LOST_EXIT = 5
BUFFER = 4096


def cuda_environment(scratch: Path, **more: str) -> dict[str, str]:
    """What the spawner would set, and what the fake is told."""
    return environment("cuda", scratch) | more


@pytest.fixture
def vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(cuda_environment(short_dir))


def start_vecadd(vm: Vm) -> None:
    """Kernel 1 of module 1, and buffers 1 and 2."""
    assert vm.load(1, VECADD, kind=engine.PTX).status == engine.OK
    reply = vm.run(
        engine.kernel_create(1, 1, "vecadd"), engine.alloc(1, BUFFER), engine.alloc(2, BUFFER)
    )
    assert reply.status == engine.OK


def vecadd(count: int = BUFFER // 4) -> bytes:
    """2 += 1, as many threads as elements."""
    args = (engine.arg_buffer(1), engine.arg_buffer(2), engine.arg_buffer(2))
    return engine.launch(1, count, *args, engine.arg_value(struct.pack("<I", count)))


def test_the_probe_builds_and_runs_the_vector_add(short_dir: Path) -> None:
    with Worker(BINARY, "probe", cuda_environment(short_dir)) as worker:
        ready = worker.ready()
        assert (ready.status, ready.backend) == (0, "cuda"), ready.reason
        assert ready.module_kinds == 1 << engine.PTX | 1 << engine.CUBIN
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 0


def test_ptx_is_built_in_one_worker_and_computes_in_the_other(vm: Vm) -> None:
    start_vecadd(vm)
    numbers = struct.pack(f"<{BUFFER // 4}I", *range(BUFFER // 4))
    vm.ring.put(DATA, numbers)
    reply = vm.run(
        engine.write(1, DATA, BUFFER),
        *[vecadd()] * 5,
        engine.sync(),
        engine.read(2, DATA, BUFFER),
    )
    assert (reply.status, reply.op_index, reply.out_len) == (engine.OK, 8, BUFFER)
    sums = struct.unpack(f"<{BUFFER // 4}I", vm.ring.get(DATA, BUFFER))
    assert sums == tuple(5 * n for n in range(BUFFER // 4))


def test_a_cubin_is_taken_as_it_is(vm: Vm) -> None:
    assert vm.load(1, cubin(VECADD), kind=engine.CUBIN).status == engine.OK
    reply = vm.run(engine.kernel_create(1, 1, "vecadd"))
    assert (reply.status, reply.result[0]) == (engine.OK, 4)
    assert vm.load(2, cubin(VECADD)[:60], kind=engine.CUBIN).status == engine.BUILD_FAILED


def test_opencl_c_is_unsupported(vm: Vm) -> None:
    assert vm.load(1, SOURCE).status == engine.UNSUPPORTED


def test_ptx_that_does_not_compile_returns_its_log(vm: Vm) -> None:
    reply = vm.load(1, "int main;\n", kind=engine.PTX)
    assert (reply.status, reply.native) == (engine.BUILD_FAILED, 218)
    assert "Missing .version directive" in vm.log(reply)


def test_options_are_refused_with_a_log(vm: Vm) -> None:
    reply = vm.load(1, VECADD, "-w", kind=engine.PTX)
    assert reply.status == engine.BUILD_FAILED
    assert "no options" in vm.log(reply)


def test_vector_add_wraps_around(vm: Vm) -> None:
    unit = Unit(kind=engine.UNIT_VECTOR_ADD, args=(0x7FFFFFFF, 2, *(0,) * 6))
    reply = vm.settle(unit)
    assert (reply.status, reply.result[0]) == (engine.OK, 0x80000001)
    again = vm.launcher.run(replace(unit, args=(0xFFFFFFFF, 1, *(0,) * 6)))
    assert (again.outcome, again.result[0]) == (engine.DONE, 0)


@pytest.mark.parametrize(
    "args",
    [
        (),
        (engine.arg_buffer(1),) * 3,
        (engine.arg_buffer(1),) * 4,
        (engine.arg_value(bytes(8)),) * 5,
    ],
)
def test_arguments_that_the_kernel_does_not_take_are_invalid(
    vm: Vm, args: tuple[bytes, ...]
) -> None:
    start_vecadd(vm)
    assert vm.run(engine.launch(1, 1, *args)).status == engine.INVALID
    assert vm.run(vecadd(), engine.sync()).status == engine.OK


def test_buffers_have_the_address_that_kernels_may_be_given(vm: Vm) -> None:
    start_vecadd(vm)
    raw = vm.run(engine.alloc(3, BUFFER)).result[0]
    assert raw != 0
    address = engine.arg_value(struct.pack("<Q", raw))
    count = engine.arg_value(struct.pack("<I", 16))
    assert vm.run(engine.launch(1, 16, *[address] * 3, count), engine.sync()).status == engine.OK


def test_buffers_are_filled_and_copied_on_the_device(vm: Vm) -> None:
    pattern = bytes(range(1, 17))
    reply = vm.run(
        engine.alloc(1, BUFFER),
        engine.alloc(2, BUFFER),
        engine.fill(1, BUFFER - 16, pattern, at=16),
        engine.copy(2, 1, BUFFER // 2, at=BUFFER // 2, source_at=16),
        engine.read(2, DATA, BUFFER),
    )
    assert (reply.status, reply.op_index) == (engine.OK, 5)
    assert vm.ring.get(DATA, BUFFER) == bytes(BUFFER // 2) + pattern * (BUFFER // 32)


def test_the_binary_of_ptx_can_be_asked_for_and_is_a_cubin(vm: Vm) -> None:
    assert vm.load(1, VECADD, kind=engine.PTX).status == engine.OK
    reply = vm.run(engine.query(engine.BINARY, 1, DATA, 1 << 16))
    assert reply.status == engine.OK
    binary = vm.ring.get(DATA, reply.out_len)
    assert binary == cubin(VECADD)
    assert vm.load(2, binary, kind=engine.CUBIN).status == engine.OK


def test_the_arguments_of_a_kernel_are_told_by_their_sizes(vm: Vm) -> None:
    start_vecadd(vm)
    reply = vm.run(engine.query(engine.KERNEL_ARGS, 1, DATA, 4 * 128))
    assert (reply.status, reply.out_len) == (engine.OK, 4 * 128)
    told = vm.ring.get(DATA, 4 * 128)
    not_known = 0xFFFFFFFF
    assert [struct.unpack_from("<II", told, 128 * i) for i in range(4)] == [
        (not_known, 8), (not_known, 8), (not_known, 8), (0, 4),
    ]  # fmt: skip


def said(worker: Worker) -> str:
    """All that an ended worker wrote to its standard error."""
    assert worker.process.stderr is not None
    return worker.process.stderr.read().decode()


def test_an_illegal_address_ends_the_worker_without_an_answer(vm: Vm) -> None:
    assert vm.load(1, WILD, kind=engine.PTX).status == engine.OK
    assert vm.run(engine.kernel_create(1, 1, "wild"), engine.alloc(1, 64)).status == engine.OK
    vm.launcher.send(vm.unit(engine.launch(1, 1, engine.arg_buffer(1)), engine.nop()))
    assert vm.launcher.process.wait(engine.LONGEST_WAIT_S) == DEVICE_LOST_EXIT
    with pytest.raises(TimeoutError):
        vm.launcher.reply(timeout_s=0)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS (700)" in said(vm.launcher)


def test_a_builder_that_loses_its_device_ends_as_well(short_dir: Path) -> None:
    for vm in started(cuda_environment(short_dir, FAKE_CUDA_FAIL="cuLinkAddData_v2=719")):
        vm.ring.put(DATA, VECADD.encode())
        load = engine.module_load(1, (DATA, len(VECADD)), (0, 0), (0, 0), engine.PTX)
        unit = vm.unit(load, lane=engine.LANE_BUILD)
        assert vm.launcher.run(unit).outcome == engine.NEED_BUILD
        vm.builder.send(unit)
        assert vm.builder.process.wait(engine.LONGEST_WAIT_S) == DEVICE_LOST_EXIT


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("/nowhere/libcuda.so.1", "/nowhere/libcuda.so.1"),
        ("_broken", "libfake_cuda_broken.so has no cuLinkComplete"),
    ],
)
def test_what_is_missing_is_said_in_the_answer_to_the_bind(
    short_dir: Path, library: str, reason: str
) -> None:
    path = library if library.startswith("/") else fake_cuda(library)
    env = cuda_environment(short_dir, VGPU_CUDA_LIBRARY=path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, closing(Ring()) as ring, Worker(BINARY, "launch", env, ring) as worker:
        ready = worker.bind(ours)
        assert ready.status < 0
        assert reason in ready.reason
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 3


def test_a_device_that_does_not_start_is_named_with_the_drivers_words(short_dir: Path) -> None:
    env = cuda_environment(short_dir, FAKE_CUDA_FAIL="cuInit=100")
    with Worker(BINARY, "probe", env) as worker:
        assert worker.ready().reason == "the CUDA driver does not start: CUDA_ERROR_NO_DEVICE (100)"
        assert worker.process.wait(engine.LONGEST_WAIT_S) == 3
