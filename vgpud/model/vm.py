"""A virtual machine, and who may connect as it."""

from __future__ import annotations

from dataclasses import dataclass, field

from vgpud.model.pool import WEIGHT_DEFAULT
from vgpud.model.priority import Priority

VM_ID_MIN = 1
VM_ID_MAX = 2**31 - 1
RATE_MAX = 1_000_000
"""The highest rate and burst: what one VM may be let through in a second, and at once."""

DEPTH_MAX = 32_768
"""The most requests that one VM can have waiting and running."""

UID_MAX = 2**32 - 2
"""The last uid; the one after it means "no change" to the kernel."""


@dataclass(frozen=True)
class PeerRule:
    """Which process may connect to a VM's sockets, judged by the uid the kernel reports.

    `uid` None stands for the account that runs QEMU (`qemu_user` in [vms]).
    """

    uid: int | None = None

    def __str__(self) -> str:
        return "qemu" if self.uid is None else f"uid:{self.uid}"

    @classmethod
    def parse(cls, text: str) -> PeerRule:
        """Reads "qemu" or "uid:N" with N decimal. Raises ValueError for anything else."""
        if text == "qemu":
            return cls()
        kind, _, number = text.partition(":")
        if kind == "uid" and number.isascii() and number.isdecimal() and len(number) <= 10:
            uid = int(number)
            if uid <= UID_MAX:
                return cls(uid)
        raise ValueError(f"{text!r} is neither qemu nor uid:N with N from 0 to {UID_MAX}")


@dataclass(frozen=True)
class Vm:
    """A VM as it should be.

    `vm_uuid` is lower-case and canonical and never changes; `vm_id` is 1 to 2**31-1. `pool_id`
    is None for a VM whose pool was deleted: it is known, but none of its requests is accepted.
    `max_jobs_per_sec` 0 means unlimited, `max_burst` 0 as many as `max_jobs_per_sec`,
    `max_queue_depth` 0 the configured default. Times as in `Pool`.
    """

    vm_uuid: str
    vm_id: int
    vm_name: str | None
    pool_id: str | None
    priority: Priority
    weight: int = WEIGHT_DEFAULT
    max_jobs_per_sec: int = 0
    max_burst: int = 0
    max_queue_depth: int = 0
    peer: PeerRule = PeerRule()
    created_at: str = field(default="", compare=False)
    updated_at: str = field(default="", compare=False)


@dataclass(frozen=True)
class Quarantine:
    """The last quarantine of a VM, begun by the engine or by an administrator.

    `number` counts those of the VM, 0 = there was none; of two that differ the higher one is the
    later. `reason` is a text for people, `since` as the times of `Pool`, empty for now.
    """

    number: int = 0
    active: bool = False
    reason: str = ""
    since: str = field(default="", compare=False)


NEVER_QUARANTINED = Quarantine()
