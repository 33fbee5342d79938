"""PTX through a real vgpud, on a CUDA driver without a device; and a kernel that loses it."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

from tests.daemon.guests import VGPU_CLIENT, Guest, wait_ended
from tests.fake_cuda import VECADD, WILD
from tests.ring_abi import (
    Completion,
    Lane,
    Status,
    arg_buffer,
    arg_value,
    op_alloc,
    op_kernel_create,
    op_launch,
    op_module_load,
    op_read,
    op_sync,
    op_write,
    ref,
)
from tests.ring_client import RingClient

CODE, LOG, DATA = 0x10000, 0x20000, 0x100000
OPENCL_C, PTX = 1, 3
FEATURE_OPENCL_C, FEATURE_PTX = 2, 4
COUNT = 1024
SIZE = 4 * COUNT


def load(ring: RingClient, id_: int, source: str, kind: int = PTX) -> Completion:
    """Build `source` as module `id_`; its log goes to LOG."""
    ring.poke(ring.data_at(CODE), source.encode())
    command = op_module_load(id_, ref(CODE, len(source)), ref(LOG, 0x10000), kind=kind)
    return ring.run(command, lane=Lane.BUILD)


def start(ring: RingClient) -> None:
    """Buffers 1 and 2, and kernel 1, which adds them into the second."""
    assert load(ring, 1, VECADD).status == Status.OK
    done = ring.run(op_alloc(1, SIZE), op_alloc(2, SIZE), op_kernel_create(1, 1, b"vecadd"))
    assert (done.status, done.result0) == (Status.OK, 4)


def add() -> bytes:
    args = [arg_buffer(1), arg_buffer(2), arg_buffer(2), arg_value(struct.pack("<I", COUNT))]
    return op_launch(1, [COUNT], args)


def test_ptx_is_built_and_computes(cuda_guest: Guest) -> None:
    with cuda_guest.ring() as ring:
        start(ring)
        numbers = list(range(COUNT))
        ring.poke(ring.data_at(DATA), struct.pack(f"<{COUNT}I", *numbers))
        done = ring.run(op_write(1, 0, DATA, SIZE), *[add()] * 3, op_read(2, 0, 2 * DATA, SIZE))
        assert done.status == Status.OK
        sums = struct.unpack(f"<{COUNT}I", ring.peek(ring.data_at(2 * DATA), SIZE))
    assert list(sums) == [3 * n for n in numbers]
    assert cuda_guest.live().gpu_time_ns > 0


def test_vgpu_client_brings_ptx_along_and_finds_every_element_right(cuda_guest: Guest) -> None:
    words = [
        str(VGPU_CLIENT),
        "--ring",
        str(cuda_guest.ring_socket),
        "saxpy",
        "--repeat=3",
        "--json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["checked"], answer["wrong"]) == (1 << 20, 0)


def test_vgpu_client_compiles_a_file_of_ptx_and_shows_what_is_wrong_with_it(
    cuda_guest: Guest, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.ptx", tmp_path / "bad.ptx"
    good.write_text(VECADD)
    bad.write_text("int main;\n")
    words = [str(VGPU_CLIENT), "--ring", str(cuda_guest.ring_socket), "build"]
    assert subprocess.run([*words, str(good)], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*words, str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Missing .version directive" in done.stdout


def test_ptx_is_offered_and_opencl_c_is_not(cuda_guest: Guest) -> None:
    with cuda_guest.ring() as ring:
        offered = ring.page.features_low
        assert (offered >> FEATURE_PTX & 1, offered >> FEATURE_OPENCL_C & 1) == (1, 0)
        assert load(ring, 1, "kernel void k() {}", OPENCL_C).status == Status.UNSUPPORTED


def test_vector_add_is_computed_on_the_device(cuda_guest: Guest) -> None:
    with cuda_guest.stub() as stub:
        assert stub.vector_add(-5, 3) == -2


def test_a_kernel_that_loses_the_device_is_that_vms_loss_only(
    cuda_guest: Guest, cuda_neighbour: Guest
) -> None:
    with cuda_guest.ring() as ring, cuda_neighbour.ring() as other:
        start(other)
        assert other.run(add(), op_sync()).status == Status.OK
        others = cuda_neighbour.worker()
        assert load(ring, 1, WILD).status == Status.OK
        ring.run(op_alloc(1, 64), op_kernel_create(1, 1, b"wild"))
        worker = cuda_guest.worker()
        lost = ring.run(op_launch(1, [1], [arg_buffer(1)]), op_sync())
        assert lost.status == Status.DEVICE_LOST
        wait_ended(worker)
        assert cuda_guest.live().faults == 1
        assert other.run(add(), op_sync()).status == Status.OK
        assert cuda_neighbour.worker() == others
        # A fresh worker, with nothing in it, over the same attachment.
        start(ring)
        assert ring.run(add(), op_sync()).status == Status.OK
    cuda_guest.logged("fault: its worker ended: exit status 5, the device was lost to it")
    assert (cuda_neighbour.live().faults, cuda_neighbour.live().failed) == (0, 0)
