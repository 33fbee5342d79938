"""What a VM's ways in consist of: sockets, shared memory, doorbells and the engine's journal.

All of it is made once, when the VM is registered, and held by the spawner, so that the next vgpud
finds it as it was: a client connects to a listener that is never closed, and a ring stays mapped.
The memfds are sealed before anybody else gets them: one that could shrink would kill whoever has it
mapped.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vgpud import mediator
from vgpud.errors import EngineError, SpawnerError
from vgpud.model.mediation import VmFds
from vgpud.spawner import HeldEntry, Spawner, SpawnerRefusedError, close_fds

log = logging.getLogger(__name__)

PAIRS_PER_KEY = 8
"""A held entry takes 24 descriptors; a pair has two doorbells."""

LISTEN_BACKLOG = 16
STUB_SOCKET = "stub.sock"
RING_SOCKET = "ring.sock"
VM_DIRECTORY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A VM's directory is named by its UUID."""


@dataclass(frozen=True)
class VmFileSizes:
    """What a newly registered VM gets; one that is there keeps what it has."""

    slots: int
    pairs: int
    entries: int
    data_bytes: int


def key_prefix(vm_uuid: str) -> str:
    """Under which everything of a VM is held."""
    return f"vm/{vm_uuid}/"


def sealed_memfd(name: str, size: int) -> int:
    """A memfd of `size` zero bytes whose size nobody can change any more."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        seal(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def seal(fd: int) -> None:
    """Fix the size of a memfd for good."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)


def doorbell() -> int:
    """A non-blocking eventfd."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class VmFiles:
    """Makes, finds again and removes what a VM's ways in consist of, below one directory."""

    def __init__(self, directory: Path, spawner: Spawner) -> None:
        """`directory` is made if need be; its VMs' directories may be entered by anybody, and
        each socket is opened to one account only. Raises EngineError."""
        self._directory = directory
        self._spawner = spawner
        try:
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            directory.chmod(0o711)
        except FileExistsError as error:
            raise EngineError(
                f"{directory} is in the way and is not a directory", "Move it away."
            ) from error
        except OSError as error:
            raise EngineError(
                f"cannot make the directory {directory}: {error.strerror}",
                "It must belong to the account vgpud runs as.",
            ) from error

    def directory_of(self, vm_uuid: str) -> Path:
        """Where the sockets of a VM are."""
        return self._directory / vm_uuid

    def create(self, vm_uuid: str, peer_uid: int, sizes: VmFileSizes) -> VmFds:
        """Make everything anew and have it held. Blocks for a few milliseconds.

        The descriptors are the caller's. Raises OSError, EngineError or SpawnerError; nothing is
        left held then that a later call would take for complete.
        """
        opened: list[int] = []
        try:
            fds = self._make(vm_uuid, sizes, opened)
            self.open_to(vm_uuid, peer_uid)
            self._hold(vm_uuid, fds)
        except BaseException:
            close_fds(opened)
            raise
        return fds

    def recover(self, vm_uuid: str, held: Mapping[str, HeldEntry]) -> VmFds | None:
        """What the spawner held for a VM, None when it is not complete.

        Takes the entries' descriptors over: those that are not returned are closed. Sockets that
        are not there any more, so that nobody could connect, are made anew; the rest stays as it
        is. Raises OSError or SpawnerError when that fails.
        """
        prefix = key_prefix(vm_uuid)
        base = held.get(prefix + "base")
        if base is None or len(base.fds) != 4:
            return None
        bells: list[int] = []
        for chunk in range(-(-base.arg // PAIRS_PER_KEY)):
            entry = held.get(f"{prefix}bells/{chunk}")
            bells += entry.fds if entry is not None else ()
        if len(bells) != 2 * base.arg:
            return None
        fds = VmFds(*base.fds, host_doorbells=bells[0::2], guest_doorbells=bells[1::2])
        if not all(path.is_socket() for path in self._sockets_of(vm_uuid)):
            log.warning("VM %s: its sockets were gone from %s", vm_uuid, self.directory_of(vm_uuid))
            fds = self._listen_anew(vm_uuid, fds)
        return replace(
            fds,
            stub_connection=_only_fd(held.get(prefix + "stub-connection")),
            ring_connection=_only_fd(held.get(prefix + "ring-connection")),
        )

    def open_to(self, vm_uuid: str, peer_uid: int) -> None:
        """Let one account connect. The kernel's word on who it is is asked again at each connect.

        Root gives the sockets to that account; another account grants access by an ACL.
        Raises EngineError when neither works.
        """
        sockets = self._sockets_of(vm_uuid)
        if os.geteuid() not in (0, peer_uid):
            _grant(sockets, peer_uid)
            return
        for path in sockets:
            path.chmod(0o600)
            os.chown(path, peer_uid, -1)

    def remove(self, vm_uuid: str, held_keys: Iterable[str]) -> None:
        """Have nothing of the VM held any more, and remove its sockets."""
        shutil.rmtree(self.directory_of(vm_uuid), ignore_errors=True)
        for key in held_keys:
            try:
                self._spawner.drop(key)
            except SpawnerRefusedError as error:
                # A connection is held only while there is one, and let go of by the engine.
                if error.error_number != errno.ENOENT:
                    raise

    def keep_only(self, vm_uuids: Collection[str]) -> None:
        """Remove the directories of all VMs but these: nobody listens on the sockets in them."""
        remove_vm_directories(self._directory, but=vm_uuids)

    def held_keys(self, vm_uuid: str, pairs: int) -> list[str]:
        """Every key that a VM may have something held under, but its workers'."""
        prefix = key_prefix(vm_uuid)
        bells = [f"{prefix}bells/{chunk}" for chunk in range(-(-pairs // PAIRS_PER_KEY))]
        return [
            prefix + "base",
            *bells,
            prefix + "stub-connection",
            prefix + "ring-connection",
        ]

    def _make(self, vm_uuid: str, sizes: VmFileSizes, opened: list[int]) -> VmFds:
        def own(fd: int) -> int:
            opened.append(fd)
            return fd

        journal = own(
            os.memfd_create(f"vgpud-journal-{vm_uuid}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        )
        os.ftruncate(journal, mediator.journal_bytes(sizes.slots))
        mediator.format_journal(journal, sizes.slots, sizes.pairs, sizes.entries, sizes.data_bytes)
        seal(journal)
        stub, ring = (own(fd) for fd in self._listen(vm_uuid))
        ring_bytes = mediator.ring_bytes(sizes.pairs, sizes.entries, sizes.data_bytes)
        return VmFds(
            journal=journal,
            ring=own(sealed_memfd(f"vgpud-ring-{vm_uuid}", ring_bytes)),
            stub_listener=stub,
            ring_listener=ring,
            host_doorbells=[own(doorbell()) for _ in range(sizes.pairs)],
            guest_doorbells=[own(doorbell()) for _ in range(sizes.pairs)],
        )

    def _sockets_of(self, vm_uuid: str) -> list[Path]:
        return [self.directory_of(vm_uuid) / name for name in (STUB_SOCKET, RING_SOCKET)]

    def _listen(self, vm_uuid: str) -> list[int]:
        """Listeners for stub and ring, where there is nobody yet who may connect."""
        directory = self.directory_of(vm_uuid)
        directory.mkdir(mode=0o711, exist_ok=True)
        directory.chmod(0o711)
        listeners: list[int] = []
        try:
            for path in self._sockets_of(vm_uuid):
                listeners.append(_listen(path))
        except OSError:
            close_fds(listeners)
            raise
        return listeners

    def _listen_anew(self, vm_uuid: str, fds: VmFds) -> VmFds:
        """The same with other listeners. On failure all of it is closed."""
        try:
            stub, ring = self._listen(vm_uuid)
        except OSError:
            _close(fds)
            raise
        close_fds((fds.stub_listener, fds.ring_listener))
        fds = replace(fds, stub_listener=stub, ring_listener=ring)
        try:
            self._hold_base(vm_uuid, fds)
        except SpawnerError:
            _close(fds)
            raise
        return fds

    def _hold(self, vm_uuid: str, fds: VmFds) -> None:
        # The base comes last: an entry for it means that all is there.
        prefix = key_prefix(vm_uuid)
        bells = [
            fd for pair in zip(fds.host_doorbells, fds.guest_doorbells, strict=True) for fd in pair
        ]
        size = 2 * PAIRS_PER_KEY
        for chunk, start in enumerate(range(0, len(bells), size)):
            self._spawner.hold(f"{prefix}bells/{chunk}", bells[start : start + size])
        self._hold_base(vm_uuid, fds)

    def _hold_base(self, vm_uuid: str, fds: VmFds) -> None:
        base = (fds.journal, fds.ring, fds.stub_listener, fds.ring_listener)
        self._spawner.hold(key_prefix(vm_uuid) + "base", base, arg=len(fds.host_doorbells))


def _close(fds: VmFds) -> None:
    close_fds((fds.journal, fds.ring, fds.stub_listener, fds.ring_listener))
    close_fds((*fds.host_doorbells, *fds.guest_doorbells))


def remove_vm_directories(directory: Path, but: Collection[str] = ()) -> None:
    """Remove from `directory` what is named like a VM, but for the VMs in `but`."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if VM_DIRECTORY.fullmatch(name) and name not in but:
            log.info("removing %s: nobody listens there any more", directory / name)
            shutil.rmtree(directory / name, ignore_errors=True)


def _only_fd(entry: HeldEntry | None) -> int:
    return entry.fds[0] if entry is not None and len(entry.fds) == 1 else -1


def _listen(path: Path) -> int:
    """A listening, non-blocking socket at `path`, which is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(LISTEN_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener.detach()


def _grant(paths: Sequence[Path], uid: int) -> None:
    # The whole list in one step: its account may be connecting while vgpud is restarted.
    acl = f"user::rw,user:{uid}:rw,group::-,mask::rw,other::-"
    command = ["setfacl", "--set", acl, "--", *map(os.fspath, paths)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(
            f"cannot let uid {uid} connect to {paths[0].parent}: {error}",
            "Install the acl package, or register the VM with --peer=uid:N of vgpud's own account.",
        ) from error
