"""The rules of VMs: what may be asked, decided from values alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vgpud.model.pool import WEIGHT_MAX, WEIGHT_MIN, Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import (
    DEPTH_MAX,
    RATE_MAX,
    VM_ID_MAX,
    VM_ID_MIN,
    PeerRule,
    Quarantine,
    Vm,
)
from vgpud.names import NAME_MAX_CHARACTERS, parse_text
from vgpud.refusals import AmbiguousVm, InvalidArgument, VmExists, VmIdInUse, VmNotFound

DEFAULT_POOL_ID = "A"
DEFAULT_REASON = "an administrator's decision"

_UUID_DIGITS = re.compile(r"[0-9a-fA-F]{32}")
_NAME_OF_NAMELESS = re.compile(r"VM-([1-9][0-9]{0,9})")
_UUID_DASHED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_vm_uuid(text: str) -> str:
    """The canonical form (lower case, dashes) of a UUID; braces and missing dashes are accepted.

    Raises InvalidArgument, also for the nil UUID: QEMU shows it for every VM that was given none,
    so it names nobody.
    """
    bare = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    digits = bare.replace("-", "").lower()
    if not (_UUID_DASHED.fullmatch(bare) or _UUID_DIGITS.fullmatch(bare)) or not digits.strip("0"):
        raise InvalidArgument(
            "vm_uuid", text, "a UUID such as 5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e10"
        )
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def parse_vm_id(vm_id: int) -> int:
    """Checks a vm_id against its range. Raises InvalidArgument."""
    if not VM_ID_MIN <= vm_id <= VM_ID_MAX:
        raise InvalidArgument("vm_id", str(vm_id), f"a number from {VM_ID_MIN} to {VM_ID_MAX}")
    return vm_id


def parse_peer(text: str) -> PeerRule:
    """Reads who may connect as a VM. Raises InvalidArgument."""
    try:
        return PeerRule.parse(text)
    except ValueError as error:
        raise InvalidArgument("peer", text, "qemu, or uid:N with a numeric user id") from error


def new_vm(wanted: Vm, held: Vm | None, holder_of_id: Vm | None) -> Vm:
    """The VM to register.

    Args:
        wanted: the VM as asked for, its UUID canonical, its pool judged by `pool_for_vm`.
        held: the VM that has this UUID now, if any.
        holder_of_id: the VM that has this vm_id now, if any.

    Raises:
        VmExists: the UUID is registered.
        VmIdInUse: the vm_id belongs to another VM.
        InvalidArgument: the vm_id is out of range, or the name empty, too long or not printable.
    """
    parse_vm_id(wanted.vm_id)
    if wanted.vm_name is not None:
        parse_text("vm_name", wanted.vm_name, NAME_MAX_CHARACTERS)
    if held is not None:
        raise VmExists(held.vm_uuid)
    if holder_of_id is not None:
        raise VmIdInUse(wanted.vm_id, holder_of_id.vm_uuid)
    return wanted


def placed(
    vm: Vm, pool: Pool | None, priority: Priority | None, vm_id: int | None, holder: Vm | None
) -> Vm:
    """The VM in another place; None leaves a part of it as it is.

    Args:
        vm: as it is now.
        pool: judged by `pool_for_vm`.
        priority: its class in the pool.
        vm_id: the number that its requests carry.
        holder: the VM that has this vm_id now, if any.

    Raises:
        VmIdInUse: the vm_id belongs to another VM.
        InvalidArgument: it is out of range, or nothing is to change at all.
    """
    if pool is None and priority is None and vm_id is None:
        raise InvalidArgument("pool_id, priority, vm_id", "none", "at least one of the three")
    if vm_id is not None:
        parse_vm_id(vm_id)
        if holder is not None and holder.vm_uuid != vm.vm_uuid:
            raise VmIdInUse(vm_id, holder.vm_uuid)
    return replace(
        vm,
        pool_id=vm.pool_id if pool is None else pool.pool_id,
        priority=vm.priority if priority is None else priority,
        vm_id=vm.vm_id if vm_id is None else vm_id,
    )


def stands_for_id(name: str) -> int | None:
    """The vm_id in what a VM without a name is shown as, such as VM-9; None for any other text."""
    found = _NAME_OF_NAMELESS.fullmatch(name)
    return int(found[1]) if found else None


def only_vm(matches: Sequence[Vm], asked_for: str) -> Vm:
    """The one VM that a name or UUID means. Raises VmNotFound, or AmbiguousVm naming all."""
    if not matches:
        raise VmNotFound(asked_for)
    if len(matches) > 1:
        raise AmbiguousVm(asked_for, [vm.vm_uuid for vm in matches])
    return matches[0]


def weighted(vm: Vm, weight: int) -> Vm:
    """The VM with another weight. Raises InvalidArgument."""
    return replace(vm, weight=_in_range("weight", weight, WEIGHT_MIN, WEIGHT_MAX))


def limited(vm: Vm, rate: int | None, burst: int | None, queue_depth: int | None) -> Vm:
    """The VM with other limits; None leaves one as it is.

    Args:
        vm: as it is now.
        rate: requests per second, 0 = unlimited.
        burst: requests at once, 0 = as many as `rate`.
        queue_depth: requests waiting and running, 0 = the configured default.

    Raises:
        InvalidArgument: a value is out of range, or there is none at all.
    """
    if rate is None and burst is None and queue_depth is None:
        raise InvalidArgument("rate, burst, queue_depth", "none", "at least one of the three")
    return replace(
        vm,
        max_jobs_per_sec=_in_range("rate", rate, 0, RATE_MAX, vm.max_jobs_per_sec),
        max_burst=_in_range("burst", burst, 0, RATE_MAX, vm.max_burst),
        max_queue_depth=_in_range("queue_depth", queue_depth, 0, DEPTH_MAX, vm.max_queue_depth),
    )


def quarantined(last: Quarantine, reason: str | None) -> Quarantine:
    """The quarantine to keep when an administrator asks for one; one that holds stays as it is.

    Raises InvalidArgument for a reason that is empty, too long or not printable.
    """
    if reason is not None:
        parse_text("reason", reason, NAME_MAX_CHARACTERS)
    if last.active:
        return last
    return Quarantine(last.number + 1, True, reason or DEFAULT_REASON)


def lifted(last: Quarantine) -> Quarantine:
    """The quarantine to keep when an administrator clears it.

    Without one it is a new number all the same: the engine then forgets the VM's faults.
    """
    if last.active:
        return replace(last, active=False)
    return Quarantine(last.number + 1, False, "cleared beforehand")


def _in_range(name: str, value: int | None, lowest: int, highest: int, unset: int = 0) -> int:
    if value is None:
        return unset
    if not lowest <= value <= highest:
        raise InvalidArgument(name, str(value), f"a number from {lowest} to {highest}")
    return value
