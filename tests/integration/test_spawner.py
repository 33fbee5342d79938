"""Workers of vgpu-spawn: how they are started, what they are given, how their end is told."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import (
    STRANGER_UID,
    Service,
    needs_root,
    running_spawner,
    wait_gone,
    worker_program,
)
from vgpud.spawner import Capability, Role, Spawner, SpawnerRefusedError


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Spawner:
    return service.connect()


@pytest.fixture
def unprivileged() -> Iterator[Service]:
    """A spawner that is not root, whatever the tests are."""
    with running_spawner(
        f"--allow-uid={os.geteuid()}", user=STRANGER_UID if os.geteuid() == 0 else None
    ) as running:
        yield running


def needs_namespaces(client: Spawner) -> None:
    if not client.info.capabilities & Capability.NAMESPACE:
        pytest.skip("needs the right to make mount, net and ipc namespaces")


# --- Starting -------------------------------------------------------------------------------------


def test_control_socket_works_in_both_directions(service: Service, client: Spawner) -> None:
    assert service.spawn(client).ask("hello") == "hello"


def test_worker_is_told_role_and_control_descriptor(service: Service, client: Spawner) -> None:
    for role in Role:
        worker = service.spawn(client, role)
        words = worker.proc("cmdline").split("\0")[:-1]
        assert words == ["vgpu-worker", f"--role={role.name.lower()}", "--control-fd=3"]


def test_worker_has_standard_streams_and_control_socket_only(
    service: Service, client: Spawner
) -> None:
    client.hold("some/pipe", os.pipe())
    worker = service.spawn(client)
    directory = Path(f"/proc/{worker.process.pid}/fd")
    targets = {int(link.name): str(link.readlink()) for link in directory.iterdir()}
    assert sorted(targets) == [0, 1, 2, 3]
    assert targets[0] == targets[1] == "/dev/null"
    assert targets[2].startswith("pipe:")
    assert targets[3].startswith("socket:")


def test_environment_is_clean(service: Service, client: Spawner) -> None:
    settings = {"POCL_WORK_GROUP_SPECIALIZATION": "0", "VGPU_BACKEND": "opencl"}
    environment = service.spawn(client, settings=settings).environment()
    scratch = environment["HOME"]
    assert environment == {
        **settings,
        "PATH": "/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "POCL_CACHE_DIR": scratch,
    }


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LIBRARY_PATH", "PATH", "POCL_CACHE_DIR", "HOME"])
def test_other_settings_are_refused(service: Service, client: Spawner, name: str) -> None:
    with pytest.raises(SpawnerRefusedError) as refused:
        service.spawn(client, settings={name: "/tmp"})
    assert refused.value.error_number == errno.EINVAL
    assert client.workers() == []
    assert service.scratch_directories() == []


def test_worker_starts_in_a_session_of_its_own_with_default_signals(
    service: Service, client: Spawner
) -> None:
    worker = service.spawn(client)
    assert os.getsid(worker.process.pid) == worker.process.pid
    assert worker.status("Umask") == "0077"
    assert int(worker.status("SigBlk"), 16) == 0
    assert int(worker.status("SigIgn"), 16) == 0
    assert Path(f"/proc/{worker.process.pid}/cwd").readlink() == Path("/")


def test_worker_cannot_dump_core_nor_open_many_files_nor_gain_privileges(
    service: Service, client: Spawner
) -> None:
    worker = service.spawn(client)
    limits = {
        line[:26].strip(): line[26:].split()[:2] for line in worker.proc("limits").splitlines()
    }
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["256", "256"]
    assert worker.status("NoNewPrivs") == "1"


@needs_root
def test_worker_has_no_capability_and_no_groups(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(worker.status(name), 16) == 0
    assert worker.status("Groups") == ""
    uid = str(worker.process.uid)
    assert worker.status("Uid").split() == [uid] * 4
    assert worker.status("Gid").split() == [uid] * 4


@needs_root
def test_every_slot_and_role_has_a_uid_of_its_own(service: Service, client: Spawner) -> None:
    assert client.info.capabilities & Capability.SETUID
    workers = [service.spawn(client, role, slot) for slot in (0, 1, 7) for role in Role]
    uids = {worker.process.uid for worker in workers}
    assert len(uids) == 9 and 0 not in uids and os.getuid() not in uids
    assert {entry.uid for entry in client.workers()} == uids


@needs_root
def test_two_spawners_do_not_share_uids(service: Service, client: Spawner) -> None:
    with running_spawner() as other:
        first, second = service.spawn(client), other.spawn(other.connect())
        assert first.process.uid != second.process.uid
        second.tell("exit 0")
        second.wait_ended()
        assert first.ask("alive") == "alive"


def test_worker_has_namespaces_of_its_own(service: Service, client: Spawner) -> None:
    needs_namespaces(client)
    worker = service.spawn(client)
    for name in ("mnt", "net", "ipc"):
        theirs = Path(f"/proc/{worker.process.pid}/ns/{name}").readlink()
        assert theirs != Path(f"/proc/self/ns/{name}").readlink()
    assert (
        len(worker.proc("net/dev").splitlines()) == 3
    )  # two of heading, and a loopback that is down


def test_without_root_workers_keep_the_uid_and_the_spawner_says_so(unprivileged: Service) -> None:
    client = unprivileged.connect()
    worker = unprivileged.spawn(client)
    assert not client.info.capabilities & Capability.SETUID
    assert int(worker.status("Uid").split()[0]) == worker.process.uid
    assert worker.process.uid in (STRANGER_UID, os.getuid())


def test_one_living_worker_per_slot_and_role(service: Service, client: Spawner) -> None:
    first = service.spawn(client)
    with pytest.raises(SpawnerRefusedError) as refused:
        service.spawn(client)
    assert refused.value.error_number == errno.EBUSY
    first.tell("exit 0")
    service.next_exits(client)
    assert service.spawn(client).process.uid == first.process.uid


def test_program_that_cannot_be_executed_is_an_error_and_not_a_worker() -> None:
    program = worker_program()
    with running_spawner() as service:
        client = service.connect()
        hidden = program.with_suffix(".away")
        program.rename(hidden)
        try:
            with pytest.raises(SpawnerRefusedError, match="No such file") as refused:
                service.spawn(client)
        finally:
            hidden.rename(program)
        assert refused.value.error_number == errno.ENOENT
        assert client.workers() == []
        assert service.scratch_directories() == []
        assert "cannot execute the worker program" in service.log.read_text()
        assert service.spawn(client).ask("now") == "now"


def test_control_descriptor_must_be_a_socket(client: Spawner) -> None:
    reader, writer = os.pipe()
    with pytest.raises(SpawnerRefusedError) as refused:
        client.spawn_worker(Role.LAUNCH, 0, reader, {}, "")
    os.close(reader)
    os.close(writer)
    assert refused.value.error_number == errno.ENOTSOCK


@pytest.mark.parametrize("slot", [4, 2**32 - 1])
def test_slot_beyond_the_limit_is_refused(slot: int) -> None:
    with running_spawner("--max-workers=4") as service:
        with pytest.raises(SpawnerRefusedError) as refused:
            service.spawn(service.connect(), slot=slot)
        assert refused.value.error_number == errno.EINVAL


# --- Ending ---------------------------------------------------------------------------------------


def test_exit_status_is_reported(service: Service, client: Spawner) -> None:
    worker = service.spawn(client, slot=3, label="vm/one")
    worker.tell("exit 42")
    (ended,) = service.next_exits(client)
    assert (ended.exit_status, ended.signal_number) == (42, None)
    assert (ended.worker_id, ended.pid) == (worker.process.worker_id, worker.process.pid)
    assert (ended.slot, ended.label) == (3, "vm/one")


def test_signal_is_reported(service: Service, client: Spawner) -> None:
    service.spawn(client).tell(f"signal {signal.SIGSEGV.value}")
    (ended,) = service.next_exits(client)
    assert (ended.exit_status, ended.signal_number) == (None, signal.SIGSEGV)
    assert str(ended) == "signal SIGSEGV"


def test_pidfd_tells_the_end(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    client.kill(worker.process.worker_id)
    worker.wait_ended()


def test_kill_is_reported_as_a_signal(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    client.kill(worker.process.worker_id)
    (ended,) = service.next_exits(client)
    assert ended.signal_number == signal.SIGKILL
    client.kill(worker.process.worker_id)  # late, and harmless


def test_exit_is_repeated_to_later_clients_until_reaped(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    worker.tell("exit 5")
    service.next_exits(client)
    client.close()
    later = service.connect()
    (ended,) = service.next_exits(later)
    assert (ended.worker_id, ended.exit_status) == (worker.process.worker_id, 5)
    assert [entry.pid for entry in later.workers()] == [0]
    later.reaped(ended.worker_id)
    assert later.workers() == []
    last = service.connect()
    service.spawn(last, slot=1).tell("exit 6")
    assert [e.exit_status for e in service.next_exits(last)] == [6]


def test_living_workers_are_listed_with_their_label(service: Service, client: Spawner) -> None:
    first = service.spawn(client, Role.LAUNCH, 2, label="vm/a")
    second = service.spawn(client, Role.BUILD, 2, label="vm/a")
    listed = [(e.worker_id, e.pid, e.role, e.slot, e.label) for e in client.workers()]
    assert listed == [
        (first.process.worker_id, first.process.pid, Role.LAUNCH, 2, "vm/a"),
        (second.process.worker_id, second.process.pid, Role.BUILD, 2, "vm/a"),
    ]


def test_reaped_is_refused_for_the_living_and_the_unknown(
    service: Service, client: Spawner
) -> None:
    worker = service.spawn(client)
    with pytest.raises(SpawnerRefusedError) as living:
        client.reaped(worker.process.worker_id)
    with pytest.raises(SpawnerRefusedError) as unknown:
        client.reaped(999)
    with pytest.raises(SpawnerRefusedError) as nobody:
        client.kill(999)
    assert living.value.error_number == errno.EBUSY
    assert unknown.value.error_number == nobody.value.error_number == errno.ENOENT


def test_unreaped_workers_count_against_the_limit() -> None:
    with running_spawner("--max-workers=2") as service:
        client = service.connect()
        for role, slot in itertools.product((Role.LAUNCH, Role.BUILD), (0, 1)):
            service.spawn(client, role, slot).tell("exit 0")
        ends = service.next_exits(client, 4)
        with pytest.raises(SpawnerRefusedError) as full:
            service.spawn(client)
        assert full.value.error_number == errno.ENOSPC
        client.reaped(ends[0].worker_id)
        assert service.spawn(client).ask("room") == "room"


def test_every_slot_has_two_workers_and_there_is_room_for_probes_besides() -> None:
    with running_spawner("--max-workers=2") as service:
        client = service.connect()
        for role, slot in itertools.product(Role, (0, 1)):
            assert service.spawn(client, role, slot).ask("here") == "here"
        assert len(client.workers()) == 6


def test_processes_of_the_same_group_end_with_the_worker(unprivileged: Service) -> None:
    # Without a uid of its own only the process group can be ended: setsid() leaves it.
    client = unprivileged.connect()
    worker = unprivileged.spawn(client)
    sleeper = int(worker.ask("sister"))
    worker.tell("exit 0")
    unprivileged.next_exits(client)
    wait_gone(sleeper)


@needs_root
def test_whatever_runs_as_the_uid_ends_with_the_worker(service: Service, client: Spawner) -> None:
    worker, neighbour = service.spawn(client), service.spawn(client, slot=1)
    daughter = int(worker.ask("daughter"))
    os.kill(daughter, 0)
    worker.tell("exit 0")
    service.next_exits(client)
    wait_gone(daughter)
    assert neighbour.ask("alive") == "alive"


# --- Scratch --------------------------------------------------------------------------------------


def test_scratch_directory_is_private_and_writable(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    scratch = Path(worker.environment()["TMPDIR"])
    found = scratch.stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert (found.st_uid, scratch.parent.parent) == (
        worker.process.uid,
        service.directory / "scratch",
    )
    assert worker.ask("litter 1") == str(scratch)


def test_scratch_lies_in_memory_and_is_bounded(service: Service, client: Spawner) -> None:
    needs_namespaces(client)
    worker = service.spawn(client)
    scratch = worker.environment()["TMPDIR"]
    (mount,) = (line for line in worker.proc("mountinfo").splitlines() if f" {scratch} " in line)
    assert " tmpfs " in mount and "size=524288k" in mount
    worker.ask("litter 3")
    assert list(Path(scratch).iterdir()) == []  # nothing of it on the host


def test_scratch_directory_is_removed_with_the_worker(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    worker.ask("litter 3")
    worker.tell("exit 0")
    service.next_exits(client)
    assert service.scratch_directories() == []


def test_a_tree_deeper_than_any_limit_is_removed(unprivileged: Service) -> None:
    client = unprivileged.connect()
    if client.info.capabilities & Capability.NAMESPACE:
        pytest.skip("needs a spawner without namespaces, whose scratch lies on disk")
    worker = unprivileged.spawn(client)
    scratch = Path(worker.ask("litter 3000"))
    assert (scratch / "d" / "d" / "file").exists()
    worker.tell("exit 0")
    unprivileged.next_exits(client)
    assert unprivileged.scratch_directories() == []
    assert Path("/etc/passwd").exists()
