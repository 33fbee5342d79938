"""vgpu-client as a process, against a host's side in Python that was written apart from it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.guests import eventually
from tests.fake_vm_host import BUILD_LOG, Device, RingHost, StubHost, listening
from tests.ring_abi import Completion, Status
from tests.ring_client import Refused, RingClient
from tests.stub_client import MessageType, StubClient, WireStatus

CLIENT = Path(__file__).resolve().parents[2] / "vgpud" / "bin" / "vgpu-client"

pytestmark = pytest.mark.skipif(
    not CLIENT.exists(), reason=f"{CLIENT.name} is not built: ./build.sh build"
)


def client(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run vgpu-client to its end."""
    return subprocess.run([CLIENT, *args], capture_output=True, text=True, timeout=60, check=False)


def as_object(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a run with --json printed: one object that repeats the exit code."""
    answer: dict[str, Any] = json.loads(run.stdout)
    assert answer["exit"] == run.returncode
    assert answer["ok"] == (run.returncode == 0)
    return answer


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def ring(short_dir: Path, device: Device) -> Iterator[Path]:
    """The ring socket of a VM whose device is `device`."""
    host = RingHost(device)
    with listening(short_dir / "ring.sock", host.serve) as path:
        yield path
    host.close()


@pytest.fixture
def stub_answers() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def stub(short_dir: Path, stub_answers: list[tuple[int, int]]) -> Iterator[Path]:
    """The stub socket of a VM; `stub_answers` come before right ones."""
    with listening(short_dir / "stub.sock", StubHost(stub_answers).serve) as path:
        yield path


# ---- over the ring ----


def test_saxpy_is_built_run_and_checked(ring: Path, device: Device) -> None:
    # More than the data slice holds, so that it goes in pieces.
    run = client("--ring", ring, "saxpy", "--elements", "100001", "--repeat", "3", "--json")
    answer = as_object(run)
    assert run.returncode == 0, run.stderr
    assert (answer["elements"], answer["checked"], answer["wrong"]) == (100001, 100001, 0)
    assert {"wait_us", "gpu_us", "total_ms", "build_ms"} <= answer.keys()
    assert answer["device"] == "Fake? device"
    assert not device.buffers and not device.modules, "objects were left on the device"


def test_saxpy_says_in_words_what_happened(ring: Path) -> None:
    run = client("--ring", ring, "saxpy", "--elements", "10")
    assert run.returncode == 0, run.stderr
    assert "checked all 10 elements: every one is right" in run.stdout


def test_one_wrong_element_is_found(ring: Path, device: Device) -> None:
    device.wrong_element = 777
    run = client("--ring", ring, "saxpy", "--elements", "1000", "--json")
    assert run.returncode == 1
    assert as_object(run)["wrong"] == 1
    assert "y[777]" in run.stderr


def test_a_busy_host_is_asked_again(ring: Path, device: Device) -> None:
    device.answers = [Completion(0, Status.BUSY, retry_after_us=500)] * 7
    answer = as_object(client("--ring", ring, "saxpy", "--elements", "10", "--json"))
    assert answer["ok"] and answer["retries"] == 7


def test_a_refusal_is_told_in_words_and_exits_1(ring: Path, device: Device) -> None:
    device.answers = [Completion(0, Status.POOL_DISABLED)]
    run = client("--ring", ring, "saxpy", "--json")
    assert run.returncode == 1
    assert as_object(run)["status"] == "POOL_DISABLED"
    assert "pool is disabled" in run.stderr


def test_a_program_that_does_not_compile_shows_its_log(ring: Path, short_dir: Path) -> None:
    source = short_dir / "program.cl"
    source.write_text("int broken(")
    run = client("--ring", ring, "build", source)
    assert run.returncode == 1
    assert BUILD_LOG.decode() in run.stdout
    assert "does not compile" in run.stderr


def test_a_program_that_compiles_exits_0(ring: Path, short_dir: Path, device: Device) -> None:
    source = short_dir / "program.cl"
    source.write_text("__kernel void nothing() {}")
    assert client("--ring", ring, "build", source).returncode == 0
    assert not device.modules


def test_info_names_vm_pool_and_device(ring: Path) -> None:
    run = client("--ring", ring, "info")
    assert run.returncode == 0, run.stderr
    for words in ("5, pool A, priority high", "Fake? device (CPU)", "OpenCL C"):
        assert words in run.stdout


@pytest.mark.parametrize("more", [[], ["--depth", "16"], ["--worker"]])
def test_every_nop_is_answered(ring: Path, more: list[str]) -> None:
    answer = as_object(client("--ring", ring, "nop", "--count", "200", "--json", *more))
    assert answer["ok"] and answer["answered"] == 200
    assert answer["p50_us"] <= answer["p99_us"]


def test_ctrl_c_ends_a_long_run_with_the_numbers_of_what_was_done(
    ring: Path, device: Device
) -> None:
    argv = ("--ring", ring, "nop", "--count", "10000000", "--depth", "16", "--json")
    with subprocess.Popen((CLIENT, *argv), stdout=subprocess.PIPE, text=True) as run:
        eventually(lambda: device.taken > 100, "it is under way")
        run.send_signal(signal.SIGINT)
        answer = json.loads(run.communicate(timeout=60)[0])
    assert run.returncode == 0
    assert 100 < answer["answered"] == answer["sent"] == device.taken < 10_000_000


def test_no_answer_in_time_exits_7(ring: Path, device: Device) -> None:
    device.silent = True
    run = client("--ring", ring, "nop", "--timeout-ms", "50", "--json")
    assert run.returncode == 7
    assert "no answer in time" in as_object(run)["error"]


def test_a_client_that_is_refused_learns_why(short_dir: Path) -> None:
    with listening(short_dir / "ring.sock", None) as path:
        run = client("--ring", path, "info", "--json")
    assert run.returncode == 3
    assert "another client" in as_object(run)["error"]


def test_a_missing_socket_exits_3_and_says_what_to_do(short_dir: Path) -> None:
    run = client("--ring", short_dir / "ring.sock", "info")
    assert run.returncode == 3
    assert "vgpu-admin list-vms" in run.stderr


# ---- over the stub socket ----


@pytest.mark.parametrize("operands", [["-5", "3"], ["--", "-5", "3"]])
def test_two_numbers_are_added(stub: Path, operands: list[str]) -> None:
    run = client("--stub", stub, "vector-add", *operands)
    assert run.returncode == 0, run.stderr
    assert "-5 + 3 = -2" in run.stdout


@pytest.mark.parametrize("command", [["ping"], ["nop", "--count", "50"], ["device-info"]])
def test_a_version_1_command_is_answered(stub: Path, command: list[str]) -> None:
    answer = as_object(client("--stub", stub, "--json", *command))
    assert answer["ok"]


def test_a_cuda_call_is_reported_as_not_supported(stub: Path) -> None:
    run = client("--stub", stub, "cuda-call", "--json")
    assert run.returncode == 1
    assert as_object(run)["cuda_result"] == 801
    assert "not supported" in run.stderr


def test_busy_over_version_1_is_asked_again(
    stub: Path, stub_answers: list[tuple[int, int]]
) -> None:
    stub_answers += [(MessageType.BUSY, 0)] * 3
    answer = as_object(client("--stub", stub, "vector-add", "40", "2", "--json"))
    assert answer["result"] == 42 and answer["busy"] == 3


def test_quarantine_exits_1(stub: Path, stub_answers: list[tuple[int, int]]) -> None:
    stub_answers.append((MessageType.QUARANTINED, 0))
    run = client("--stub", stub, "nop", "--json")
    assert run.returncode == 1
    assert as_object(run)["wire_status"] == WireStatus.VM_QUARANTINED


def test_a_refused_stub_client_learns_why(short_dir: Path) -> None:
    with listening(short_dir / "stub.sock", None) as path:
        run = client("--stub", path, "ping")
    assert run.returncode == 3
    assert "another client" in run.stderr


# ---- usage ----


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["ping"],
        ["--stub", "s", "--ring", "r", "ping"],
        ["--ring", "r", "ping"],
        ["--stub", "s", "fly"],
        ["--stub", "s", "vector-add", "1"],
        ["--stub", "s", "vector-add", "1", "2", "3"],
        ["--stub", "s", "ping", "--count", "5"],
        ["--stub", "s", "nop", "--count", "0"],
        ["--stub", "s", "nop", "--count", "many"],
        ["--stub", "s", "nop", "--count"],
        ["--ring", "r", "nop", "--depth=4097"],
        ["--ring", "r", "build"],
        ["--ring", "r", "info", "--fast"],
    ],
)
def test_wrong_usage_exits_2_without_connecting(args: list[str]) -> None:
    run = client(*args)
    assert run.returncode == 2
    assert run.stderr and not run.stdout


def test_help_goes_to_standard_output() -> None:
    run = client("--help")
    assert run.returncode == 0
    assert run.stdout.startswith("Usage:")


# ---- the Python clients that other tests use ----


def test_the_python_ring_client_speaks_the_same(ring: Path) -> None:
    with RingClient(ring) as python:
        assert python.negotiate().name == "OK"
        assert python.nop().status == Status.OK
        assert python.nop().status == Status.OK


def test_the_python_ring_client_tells_a_refusal(short_dir: Path) -> None:
    with listening(short_dir / "ring.sock", None) as path, pytest.raises(Refused):
        RingClient(path)


def test_the_python_stub_client_speaks_the_same(stub: Path) -> None:
    with StubClient(stub) as python:
        assert python.vector_add(-7, 3) == -4
        assert python.ping().request_id == 0
        assert python.cuda_call(1).status == 801
