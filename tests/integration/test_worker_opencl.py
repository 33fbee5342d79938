"""vgpu-worker on PoCL: real kernels, real builds, and kernels that misbehave."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Reply
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


def test_a_library_may_be_named_without_a_path(short_dir: Path) -> None:
    env = environment("opencl", short_dir)
    library = Path(env["VGPU_OPENCL_LIBRARY"])
    named = {"VGPU_OPENCL_LIBRARY": library.name, "LD_LIBRARY_PATH": str(library.parent)}
    for vm in started(env | named):
        assert vm.load(1, SOURCE).status == engine.OK


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
        # Bytes in the place of a buffer: a runtime would take them for its own pointer.
        (engine.arg_value(bytes(4)), engine.arg_value(b"\x42" * 8), engine.arg_buffer(1)),
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


def test_a_kernel_that_takes_an_image_is_unsupported(pocl_vm: Vm) -> None:
    source = (
        "__kernel void k(read_only image2d_t i, __global int *p) { p[0] = get_image_width(i); }"
    )
    assert pocl_vm.load(1, source).status == engine.OK
    reply = pocl_vm.run(engine.kernel_create(1, 1, "k"))
    assert (reply.status, reply.op_index) == (engine.UNSUPPORTED, 0)


def files_in(directory: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(directory))


def test_of_programs_that_were_built_and_unloaded_no_file_is_left(
    pocl_vm: Vm, short_dir: Path
) -> None:
    before = files_in(short_dir)
    for module in (1, 2, 3):
        pocl_vm.load(module, SOURCE + f"/* {module} */")
    pocl_vm.load(4, SOURCE + "/* 3 */")
    assert files_in(short_dir) > before
    for module in (1, 2, 3):
        assert pocl_vm.run(engine.module_unload(module)).status == engine.OK
    # What is still loaded, from the same binary as another one that is not, goes on working.
    reply = pocl_vm.run(
        engine.kernel_create(1, 4, "saxpy"), engine.alloc(1, 64), engine.alloc(2, 64),
        engine.launch(
            1, 16, engine.arg_value(bytes(4)), engine.arg_buffer(1), engine.arg_buffer(2)
        ),
        engine.sync(),
    )  # fmt: skip
    assert (reply.status, reply.op_index) == (engine.OK, 5)
    assert pocl_vm.run(engine.module_unload(4)).status == engine.OK
    assert files_in(short_dir) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_a_full_scratch_directory_is_no_memory_until_something_is_unloaded(
    short_dir: Path,
) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1040,size=64m", "vgpu-test", str(short_dir)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        for vm in started(environment("opencl", short_dir)):
            replies: list[Reply] = []
            while not replies or replies[-1].status == engine.OK:
                module = len(replies) + 1
                replies.append(vm.load(module, SOURCE + f"/* {module} */"))
            assert len(replies) > 1 and replies[-1].status == engine.NO_MEMORY
            assert vm.run(engine.module_unload(1)).status == engine.OK
            assert vm.load(1, SOURCE + "/* 1 */").status == engine.OK
    finally:
        subprocess.run(["umount", "-l", str(short_dir)], check=True)


def test_the_log_does_not_tell_where_the_host_keeps_things(pocl_vm: Vm, short_dir: Path) -> None:
    reply = pocl_vm.load(1, "__kernel void k(__global int *p) { p[0] = nothing; }")
    log = pocl_vm.log(reply)
    assert reply.status == engine.BUILD_FAILED
    assert "<program>:1:" in log and "nothing" in log
    assert str(short_dir) not in log


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
