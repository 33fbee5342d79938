"""What a worker sees of the host's files, looked at from outside, through /proc/PID/root."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import Service, needs_root, running_spawner
from vgpud.spawner import Capability, Role, Spawner, SpawnerRefusedError

pytestmark = needs_root


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Spawner:
    client = service.connect()
    if not client.info.capabilities & Capability.NAMESPACE:
        pytest.skip("needs the right to make mount, net and ipc namespaces")
    return client


def root_of(service: Service, client: Spawner, role: Role, library: str = "") -> Path:
    """The root directory of a new worker."""
    settings = {"VGPU_OPENCL_LIBRARY": library} if library else {}
    worker = service.spawn(client, role, settings=settings)
    return Path(f"/proc/{worker.process.pid}/root")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_launcher_sees_libraries_and_little_else(service: Service, client: Spawner) -> None:
    root = root_of(service, client, Role.LAUNCH)
    assert names(root) <= {"etc", "lib", "lib32", "lib64", "proc", "sys", "tmp", "usr"}
    assert names(root / "usr") <= {"lib", "lib32", "lib64", "local"}
    assert names(root / "etc") <= {"OpenCL", "alternatives", "ld.so.cache"}
    assert names(root / "proc") == {"cpuinfo"}
    assert names(root / "usr" / "lib") == names(Path("/usr/lib"))


def test_a_compiler_sees_a_linker_and_no_other_program(service: Service, client: Spawner) -> None:
    root = root_of(service, client, Role.BUILD)
    assert "ld" in names(root / "usr" / "bin")
    assert all("ld" in name for name in names(root / "usr" / "bin"))


def test_nothing_but_its_own_directory_can_be_written_to(service: Service, client: Spawner) -> None:
    worker = service.spawn(client)
    scratch = worker.environment()["TMPDIR"]
    mounts = {line.split()[4]: line for line in worker.proc("mountinfo").splitlines()}
    assert scratch in mounts
    for where, line in mounts.items():
        allowed = set(line.split()[5].split(","))
        assert {"nosuid", "nodev"} <= allowed, line
        assert ("rw" if where == scratch else "ro") in allowed, line


def test_a_librarys_directory_is_seen_and_those_beside_it_are_not(
    service: Service, client: Spawner, short_dir: Path
) -> None:
    short_dir.chmod(0o755)
    for name in ("wanted", "other"):
        (short_dir / name).mkdir(mode=0o755)
        (short_dir / name / "libOpenCL.so").touch()
    library = short_dir / "wanted" / "libOpenCL.so"
    root = root_of(service, client, Role.LAUNCH, str(library))
    assert names(root / str(short_dir)[1:]) == {"wanted"}
    assert names(root / str(library.parent)[1:]) == {"libOpenCL.so"}


def test_what_a_worker_could_not_open_is_not_shown_to_it_either(
    service: Service, client: Spawner, short_dir: Path
) -> None:
    closed = short_dir / "closed" / "lib"
    closed.mkdir(parents=True)
    (closed / "libOpenCL.so").touch()
    (short_dir / "closed").chmod(0o700)
    with pytest.raises(SpawnerRefusedError) as refused:
        root_of(service, client, Role.LAUNCH, str(closed / "libOpenCL.so"))
    assert refused.value.error_number == errno.EACCES
    said = service.log.read_text()
    assert f"cannot show it the files that it needs: {closed}: Permission denied" in said
    assert client.workers() == []
    assert service.scratch_directories() == []


@pytest.mark.parametrize("library", ["/libOpenCL.so", "/proc/self/root/etc/x", "/etc/../etc/x"])
def test_a_library_in_no_directory_of_libraries_is_refused(
    service: Service, client: Spawner, library: str
) -> None:
    with pytest.raises(SpawnerRefusedError) as refused:
        root_of(service, client, Role.LAUNCH, library)
    assert refused.value.error_number == errno.EINVAL
    assert f"OpenCL or CUDA library, {library}: Invalid argument" in service.log.read_text()
    assert service.scratch_directories() == []
