"""Which of a predecessor's workers go on, decided from what three sides know of them.

The spawner knows which processes live and what is held; the engine's journal knows which worker a
VM was last served by. A worker is taken over when all of it fits together. What does not is either
an entry that describes nobody any more, or a process that nobody has a use for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vgpud.mediator import Lane, Mediator
from vgpud.spawner import HeldEntry, Role, WorkerEntry
from vgpud.worker_process import HELD_FDS, ROLE_OF, Tenant, lane_of, parse_worker_key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heir:
    """A worker that goes on, and the entry with what is needed for that."""

    vm_uuid: str
    lane: Lane
    entry: HeldEntry
    process: WorkerEntry


@dataclass(frozen=True)
class Estate:
    """What a predecessor left: workers that go on, entries to drop, processes to end."""

    heirs: tuple[Heir, ...]
    stale: tuple[HeldEntry, ...]
    orphans: tuple[WorkerEntry, ...]


def journal_of(mediator: Mediator, tenants: Iterable[Tenant]) -> dict[tuple[str, Lane], int]:
    """By VM and lane the worker that the engine last had, 0 for none."""
    return {
        (tenant.vm_uuid, lane): lane_of(counters, lane).worker_id
        for tenant in tenants
        for counters in [mediator.vm_counters(tenant.handle)]
        for lane in Lane
    }


def settle_lost(mediator: Mediator, tenants: Sequence[Tenant]) -> None:
    """Workers that ended while no vgpud was there: the journal still knows them."""
    by_uuid = {tenant.vm_uuid: tenant for tenant in tenants}
    for (vm_uuid, lane), worker_id in journal_of(mediator, tenants).items():
        tenant = by_uuid[vm_uuid]
        if worker_id and lane not in tenant.workers:
            log.error("VM %s: its %s worker ended while vgpud was away", vm_uuid, lane.name.lower())
            mediator.worker_gone(tenant.handle, lane, crashed=True)


def sort_out(
    journal: Mapping[tuple[str, Lane], int],
    entries: Iterable[HeldEntry],
    living: Iterable[WorkerEntry],
) -> Estate:
    """Decide who goes on.

    `journal` has, for each VM and lane, the worker that the engine last had, 0 for none: one that
    was held and not attached yet may be anybody. `entries` are those of workers. Probes among the
    `living` end by themselves and are in no list.
    """
    processes = {process.worker_id: process for process in living if process.pid}
    heirs: dict[tuple[str, Lane], Heir] = {}
    stale: list[HeldEntry] = []
    for entry in entries:
        heir = _heir(journal, entry, processes)
        if heir is None:
            stale.append(entry)
            continue
        place = (heir.vm_uuid, heir.lane)
        former = heirs.get(place)
        if former is not None and former.process.worker_id > heir.process.worker_id:
            stale.append(entry)
            continue
        if former is not None:
            stale.append(former.entry)
        heirs[place] = heir
    taken = {heir.process.worker_id for heir in heirs.values()}
    orphans = (
        process
        for process in processes.values()
        if process.worker_id not in taken and process.role is not Role.PROBE
    )
    return Estate(tuple(heirs.values()), tuple(stale), tuple(orphans))


def _heir(
    journal: Mapping[tuple[str, Lane], int],
    entry: HeldEntry,
    processes: Mapping[int, WorkerEntry],
) -> Heir | None:
    parsed = parse_worker_key(entry.key)
    if parsed is None:
        return None
    vm_uuid, lane, worker_id = parsed
    process = processes.get(worker_id)
    if process is None or process.role is not ROLE_OF[lane] or len(entry.fds) != HELD_FDS[lane]:
        return None
    if journal.get((vm_uuid, lane), -1) not in (0, worker_id):
        return None
    return Heir(vm_uuid, lane, entry, process)
