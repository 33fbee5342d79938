"""Everything that a kernel can be given, on PoCL: ranges, arguments, modules, and memory."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_under_test import DATA, Vm, environment, started

QUOTA = 8 << 20


@pytest.fixture
def pocl_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("opencl", short_dir), memory_bytes=QUOTA)


WHERE = """
__kernel void where(__global int *out)
{
    size_t at = (get_global_id(2) - get_global_offset(2)) * get_global_size(1);
    at = (at + get_global_id(1) - get_global_offset(1)) * get_global_size(0);
    at = (at + get_global_id(0) - get_global_offset(0)) * 6;
    for (uint i = 0; i < 3; i++) {
        out[at + i] = get_global_id(i);
        out[at + 3 + i] = get_local_id(i);
    }
}
"""


@pytest.mark.parametrize(
    ("items", "local"),
    [
        ((6,), (3,)),
        ((6, 4), (2, 4)),
        ((6, 4, 5), (3, 2, 5)),
        ((6, 4, 5), (1, 1, 1)),
        ((7, 3, 2), ()),
    ],
)
@pytest.mark.parametrize("offset", [(0, 0, 0), (1000, 7, 1 << 20)])
def test_every_work_item_of_a_range_knows_its_place(
    pocl_vm: Vm, items: tuple[int, ...], local: tuple[int, ...], offset: tuple[int, ...]
) -> None:
    dims = len(items)
    assert pocl_vm.load(1, WHERE).status == engine.OK
    shape = (*items, 1, 1)[:3]
    bytes_ = 24 * shape[0] * shape[1] * shape[2]
    reply = pocl_vm.run(
        engine.kernel_create(1, 1, "where"),
        engine.alloc(1, bytes_),
        engine.launch_range(1, items, engine.arg_buffer(1), offset=offset[:dims], local=local),
        engine.read(1, DATA, bytes_),
    )
    assert reply.status == engine.OK
    found = list(struct.iter_unpack("<6i", pocl_vm.ring.get(DATA, bytes_)))
    first = (*offset[:dims], 0, 0)[:3]
    places = [p[::-1] for p in itertools.product(*(range(n) for n in reversed(shape)))]
    assert [f[:3] for f in found] == [
        tuple(a + b for a, b in zip(p, first, strict=True)) for p in places
    ]
    if local:
        group = (*local, 1, 1)[:3]
        assert [f[3:] for f in found] == [
            tuple(a % b for a, b in zip(p, group, strict=True)) for p in places
        ]


REVERSE = """
__kernel void reverse(__global int *a, __local int *first, __local int *second)
{
    size_t i = get_local_id(0), n = get_local_size(0);
    first[i] = a[get_global_id(0)];
    second[n - 1 - i] = -first[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    a[get_global_id(0)] = first[n - 1 - i] * 1000 + second[i];
}
"""


@pytest.mark.parametrize("group", [4, 32, 128])
def test_local_memory_is_shared_by_a_group_and_by_no_other(pocl_vm: Vm, group: int) -> None:
    count = 1024
    assert pocl_vm.load(1, REVERSE).status == engine.OK
    pocl_vm.ring.put(DATA, struct.pack(f"<{count}i", *range(count)))
    reply = pocl_vm.run(
        engine.kernel_create(1, 1, "reverse"),
        engine.alloc(1, 4 * count),
        engine.write(1, DATA, 4 * count),
        engine.launch(
            1, count, engine.arg_buffer(1), engine.arg_local(4 * group),
            engine.arg_local(4 * group), local=group,
        ),
        engine.read(1, DATA, 4 * count),
    )  # fmt: skip
    assert reply.status == engine.OK
    mirrored = [i // group * group + group - 1 - i % group for i in range(count)]
    found = struct.unpack(f"<{count}i", pocl_vm.ring.get(DATA, 4 * count))
    assert list(found) == [999 * m for m in mirrored]


def test_local_memory_that_the_device_does_not_have_is_invalid(pocl_vm: Vm) -> None:
    pocl_vm.run(engine.device_info(DATA, engine.DEVICE_INFO.size))
    info = pocl_vm.ring.get(DATA, engine.DEVICE_INFO.size)
    local_bytes = int(engine.DEVICE_INFO.unpack(info)[8])
    assert pocl_vm.load(1, REVERSE).status == engine.OK
    reply = pocl_vm.run(
        engine.kernel_create(1, 1, "reverse"),
        engine.alloc(1, 64),
        engine.launch(
            1, 1, engine.arg_buffer(1), engine.arg_local(local_bytes + 1), engine.arg_local(4)
        ),
    )
    assert (reply.status, reply.op_index) == (engine.INVALID, 2)


# Type to its bytes: of every size that a scalar or a vector can have.
VALUES = {
    "char": 1, "short": 2, "int": 4, "float": 4, "long": 8, "double": 8, "float4": 16,
    "long4": 32, "int16": 64, "long16": 128,
}  # fmt: skip


def test_a_value_of_every_size_arrives_as_it_was_sent(pocl_vm: Vm) -> None:
    source = "".join(
        f"__kernel void k_{name}(__global {name} *out, {name} a, char b, {name} c)"
        "{ out[0] = a; out[1] = c; *(__global char *)&out[2] = b; }\n"
        for name in VALUES
    )
    assert pocl_vm.load(1, source).status == engine.OK
    pocl_vm.run(engine.alloc(1, 512))
    for number, (name, size) in enumerate(VALUES.items(), 1):
        one, two = bytes(range(1, size + 1)), bytes(range(100, 100 + size))
        reply = pocl_vm.run(
            engine.kernel_create(number, 1, f"k_{name}"),
            engine.launch(
                number, 1, engine.arg_buffer(1), engine.arg_value(one), engine.arg_value(b"*"),
                engine.arg_value(two),
            ),
            engine.read(1, DATA, 2 * size + 1),
        )  # fmt: skip
        assert reply.status == engine.OK, name
        assert pocl_vm.ring.get(DATA, 2 * size + 1) == one + two + b"*", name


@pytest.mark.parametrize("wrong", [1, 3, 8, 16])
def test_a_value_of_another_size_than_the_kernels_is_invalid(pocl_vm: Vm, wrong: int) -> None:
    assert pocl_vm.load(1, "__kernel void k(int a, __global int *p) { p[0] = a; }").status == 0
    reply = pocl_vm.run(
        engine.alloc(1, 64),
        engine.kernel_create(1, 1, "k"),
        engine.launch(1, 1, engine.arg_value(bytes(wrong)), engine.arg_buffer(1)),
    )
    assert (reply.status, reply.op_index) == (engine.INVALID, 2)
    good = pocl_vm.run(engine.launch(1, 1, engine.arg_value(bytes(4)), engine.arg_buffer(1)))
    assert good.status == engine.OK


def test_modules_with_kernels_of_the_same_name_stand_beside_each_other(pocl_vm: Vm) -> None:
    for module in range(1, 6):
        source = f"__kernel void k(__global int *p) {{ p[0] = p[0] * 10 + {module}; }}"
        assert pocl_vm.load(module, source).status == engine.OK
    kernels = [engine.kernel_create(module, module, "k") for module in range(1, 6)]
    launches = [engine.launch(module, 1, engine.arg_buffer(1)) for module in (3, 1, 5, 2, 4, 4)]
    reply = pocl_vm.run(engine.alloc(1, 4), *kernels, *launches, engine.read(1, DATA, 4))
    assert reply.status == engine.OK
    assert struct.unpack("<i", pocl_vm.ring.get(DATA, 4)) == (315244,)
    assert pocl_vm.run(engine.module_unload(3)).status == engine.OK
    assert pocl_vm.run(engine.launch(3, 1, engine.arg_buffer(1))).status == engine.NO_OBJECT
    assert pocl_vm.run(engine.launch(2, 1, engine.arg_buffer(1))).status == engine.OK


def test_the_quota_holds_over_any_number_of_frees(pocl_vm: Vm) -> None:
    quarter = QUOTA // 4
    for _ in range(50):
        full = pocl_vm.run(*(engine.alloc(i, quarter) for i in range(1, 5)), engine.alloc(5, 1))
        assert (full.status, full.op_index) == (engine.QUOTA, 4)
        # The order of the frees is not that of the allocations; what failed has cost nothing.
        half = pocl_vm.run(engine.free(3), engine.free(1), engine.alloc(5, 2 * quarter))
        assert half.status == engine.OK
        assert pocl_vm.run(engine.alloc(6, 1)).status == engine.QUOTA
        assert pocl_vm.run(*(engine.free(i) for i in (2, 5, 4))).status == engine.OK


def test_the_quota_is_whole_again_after_a_chain_that_failed(pocl_vm: Vm) -> None:
    for _ in range(3):
        reply = pocl_vm.run(
            engine.alloc(1, QUOTA // 2), engine.free(1), engine.alloc(1, QUOTA), engine.free(9)
        )
        assert (reply.status, reply.op_index) == (engine.NO_OBJECT, 3)
        assert pocl_vm.run(engine.free(1)).status == engine.OK
    assert pocl_vm.run(engine.alloc(1, QUOTA)).status == engine.OK


@pytest.mark.parametrize("failing", [2, 60, 120, 249])
def test_a_long_chain_stops_at_the_op_that_fails_and_keeps_what_ran(
    pocl_vm: Vm, failing: int
) -> None:
    source = "__kernel void k(__global int *p) { p[0] += 1; }"
    assert pocl_vm.load(1, source).status == engine.OK
    chain = [engine.alloc(1, 4), engine.kernel_create(1, 1, "k")]
    chain += [engine.launch(1, 1, engine.arg_buffer(1))] * 248
    chain[failing:failing] = [engine.launch(1, 1, engine.arg_buffer(2))]
    reply = pocl_vm.run(*chain)
    assert (reply.status, reply.op_index) == (engine.NO_OBJECT, failing)
    assert pocl_vm.run(engine.read(1, DATA, 4)).status == engine.OK
    assert struct.unpack("<i", pocl_vm.ring.get(DATA, 4)) == (failing - 2,)
