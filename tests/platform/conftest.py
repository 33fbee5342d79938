"""One booted machine for all tests of this directory: installing and booting takes a while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.platform.installed import QEMU_USER, Guest, registered
from tests.platform.systemd_host import NoContainer, SystemdHost, systemd_host


@pytest.fixture(scope="session")
def machine() -> Iterator[SystemdHost]:
    """A booted machine with vgpud installed."""
    try:
        with systemd_host() as host:
            host.do("useradd", "--system", QEMU_USER)
            yield host
    except NoContainer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def host(machine: SystemdHost) -> Iterator[SystemdHost]:
    """The machine with vgpud running, as an administrator would have started it."""
    machine.do("systemctl", "reset-failed")
    machine.do("systemctl", "start", "vgpud.service")
    yield machine


@pytest.fixture
def guest(host: SystemdHost) -> Iterator[Guest]:
    """A VM whose client is root."""
    with registered(host, "uid:0") as vm:
        yield vm
