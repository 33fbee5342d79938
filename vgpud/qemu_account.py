"""The account that runs QEMU: who may connect to the sockets of VMs registered with --peer=qemu."""

from __future__ import annotations

import pwd

from vgpud.errors import EngineError
from vgpud.model.vm import UID_MAX

KNOWN_ACCOUNTS = ("libvirt-qemu", "qemu")
"""What libvirt runs QEMU as, on Debian and its relatives, and on Fedora and its relatives."""

_ROOT = 0

_REMEDY = (
    "Set [vms] qemu_user in vgpud.toml to the account that runs QEMU and reload vgpud, "
    "or remove the VM and register it again with --peer=uid:N."
)


def qemu_uid(configured: str) -> int:
    """The uid of the account.

    Where none is configured, the one of libvirt; on a host without libvirt, root, which may do
    everything anyway.

    Args:
        configured: `[vms] qemu_user`, a name, a number or empty.

    Raises:
        EngineError: there is no such account.
    """
    if not configured:
        return next((uid for name in KNOWN_ACCOUNTS if (uid := _uid(name)) is not None), _ROOT)
    if configured.isascii() and configured.isdecimal():
        uid = int(configured) if len(configured) <= len(str(UID_MAX)) else UID_MAX + 1
        if uid > UID_MAX:
            raise EngineError(f"there is no account with the number {configured}", _REMEDY)
        return uid
    found = _uid(configured)
    if found is None:
        raise EngineError(f"there is no account {configured}, which is to run QEMU", _REMEDY)
    return found


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
