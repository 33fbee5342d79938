"""A control group for each worker: who is in it, what ends with it, and what becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import (
    WAIT_S,
    Service,
    needs_root,
    program,
    running_spawner,
    wait_gone,
)
from vgpud.spawner import Capability, Role, SpawnerRefusedError, isolation_gaps

BASE = 1_920_000_000 + 64 * (os.getpid() % 100_000)
"""Of uids that no spawner chooses by itself, nor another run of these tests."""

pytestmark = needs_root


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner(f"--worker-uid-base={BASE}", "--max-workers=4") as running:
        if Capability.GROUP not in running.connect().info.capabilities:
            pytest.skip("cgroup version 2 cannot be divided here")
        yield running


def mounted_at() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    pytest.fail("there is no cgroup version 2")


def group_of(pid: int) -> Path:
    """The directory of a process's group in version 2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::/"):
            return mounted_at() / line[4:]
    pytest.fail(f"process {pid} is in no group of version 2")


def test_every_worker_is_in_a_group_of_its_own_from_the_start(service: Service) -> None:
    client = service.connect()
    workers = [service.spawn(client, slot=slot) for slot in (0, 1)]
    workers.append(service.spawn(client, Role.BUILD, slot=0))
    groups = [group_of(worker.process.pid) for worker in workers]
    assert [group.name for group in groups] == [f"worker-{w.process.worker_id}" for w in workers]
    assert {group.parent.name for group in groups} == {f"vgpu-workers-{BASE}"}
    spawner = group_of(service.process.pid)
    assert spawner not in groups and spawner not in {group.parent for group in groups}
    # What a worker starts is in its group, in whatever session.
    daughter = int(workers[0].ask("daughter"))
    assert group_of(daughter) == groups[0]


@pytest.mark.parametrize("how", ["killed by vgpud", "ends by itself"])
def test_a_workers_group_ends_with_it_and_all_that_it_has_started(
    service: Service, how: str
) -> None:
    client = service.connect()
    worker = service.spawn(client)
    group, daughter = group_of(worker.process.pid), int(worker.ask("daughter"))
    if how == "killed by vgpud":
        client.kill(worker.process.worker_id)
    else:
        worker.tell("exit 3")
    worker.wait_ended()
    (report,) = service.next_exits(client)
    assert not report.out_of_memory
    wait_gone(daughter)
    assert not group.exists()


def test_a_frozen_worker_is_ended_all_the_same(service: Service) -> None:
    client = service.connect()
    worker = service.spawn(client)
    group = group_of(worker.process.pid)
    (group / "cgroup.freeze").write_text("1")
    client.kill(worker.process.worker_id)
    worker.wait_ended()
    service.next_exits(client)
    assert not group.exists()


def test_a_limit_that_is_no_number_starts_no_worker(service: Service) -> None:
    client = service.connect()
    for value in ("", "-1", "1x", str(2**64)):
        with pytest.raises(SpawnerRefusedError):
            service.spawn(client, settings={"VGPU_MEMORY_LIMIT": value})
    assert not [worker for worker in client.workers() if worker.pid]
    assert not service.scratch_directories()


def test_a_spawner_that_ends_with_its_workers_leaves_no_group(service: Service) -> None:
    worker = service.spawn(service.connect())
    base = group_of(worker.process.pid).parent
    service.process.send_signal(signal.SIGINT)
    service.process.wait(WAIT_S)
    assert not base.exists()


def test_groups_that_a_killed_spawner_has_left_are_removed_by_the_next(service: Service) -> None:
    worker = service.spawn(service.connect())
    group, daughter = group_of(worker.process.pid), int(worker.ask("daughter"))
    service.process.kill()
    service.process.wait(WAIT_S)
    assert group.exists()
    with running_spawner(f"--worker-uid-base={BASE}", "--max-workers=4"):
        assert not group.exists()
        worker.wait_ended()
        wait_gone(daughter)


def test_the_empty_group_of_another_range_goes_too_but_not_one_with_workers(
    service: Service,
) -> None:
    full = service.spawn(service.connect())
    with running_spawner(f"--worker-uid-base={BASE + 32}", "--max-workers=4") as other:
        empty = group_of(other.spawn(other.connect()).process.pid)
        client = other.connect()
        (entry,) = client.workers()
        other.process.kill()
        other.process.wait(WAIT_S)
        os.kill(entry.pid, signal.SIGKILL)
        wait_gone(entry.pid)
    service.process.kill()
    service.process.wait(WAIT_S)
    group = group_of(full.process.pid)
    with running_spawner(f"--worker-uid-base={BASE + 16}", "--max-workers=4"):
        assert not empty.parent.exists()
        assert group.exists()
        assert os.stat(f"/proc/{full.process.pid}")
    with running_spawner(f"--worker-uid-base={BASE}", "--max-workers=4"):
        assert not group.exists()


def test_what_workers_are_not_kept_from_is_said(service: Service) -> None:
    capabilities = service.connect().info.capabilities
    whole = Capability.SETUID | Capability.NAMESPACE | Capability.GROUP | Capability.LIMIT
    assert isolation_gaps(whole) == ()
    for gap, word in ((Capability.LIMIT, "no controllers"), (Capability.GROUP, "control groups")):
        (said,) = isolation_gaps(whole & ~gap)
        assert word in said
    assert (isolation_gaps(capabilities) == ()) == (Capability.LIMIT in capabilities)


@contextmanager
def in_group(group: Path) -> Iterator[None]:
    """This process, and so what it starts, is in that group for the length of the `with` block."""
    before = group_of(os.getpid())
    (group / "cgroup.procs").write_text("0")
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text("0")


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A group without processes, which is given to a spawner."""
    group = group_of(os.getpid()) / f"vgpu-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cgroup version 2 cannot be divided here: {error}")
    try:
        yield group
    finally:
        for left in sorted(group.glob("**/"), reverse=True):
            left.rmdir()


@contextmanager
def running_in(group: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        with in_group(group):
            running = running_spawner(f"--worker-uid-base={BASE}", "--max-workers=4", "--delegated")
            service = stack.enter_context(running)
        yield service


def clear_groups(group: Path) -> None:
    """As systemd has it done between two spawners."""
    control = group / ".control"
    control.mkdir(exist_ok=True)
    with in_group(control):
        subprocess.run([program(), "--clear-groups"], check=True, timeout=WAIT_S)
    control.rmdir()


def test_a_spawner_divides_the_group_that_was_delegated_to_it(delegated: Path) -> None:
    with running_in(delegated) as service:
        assert group_of(service.process.pid) == delegated / "spawner"
        assert (delegated / "cgroup.procs").read_text() == ""
        worker = service.spawn(service.connect())
        assert group_of(worker.process.pid).parent.parent == delegated
        wanted = {"memory", "pids", "cpu"}
        there = wanted & set((delegated / "cgroup.controllers").read_text().split())
        assert set((delegated / "cgroup.subtree_control").read_text().split()) >= there
        clear_groups(delegated)  # of a living spawner nothing is cleared
        assert worker.ask("alive") == "alive"


def test_what_a_killed_spawner_left_can_be_cleared_so_that_another_one_starts(
    delegated: Path,
) -> None:
    with running_in(delegated) as service:
        worker = service.spawn(service.connect())
        daughter = int(worker.ask("daughter"))
        service.process.kill()
        service.process.wait(WAIT_S)
        clear_groups(delegated)
        worker.wait_ended()
        wait_gone(daughter)
        assert [path.name for path in delegated.iterdir() if path.is_dir()] == []
        assert (delegated / "cgroup.subtree_control").read_text().strip() == ""
    with running_in(delegated) as service:
        assert service.spawn(service.connect()).ask("alive") == "alive"
