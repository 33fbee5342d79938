"""Answers as text for people. The layout is an interface: tests compare it letter by letter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vgpud.protocol.messages import StatusReply
from vgpud.protocol.states import (
    DaemonState,
    DeviceState,
    PoolLive,
    PoolState,
    PriorityCounts,
    RequestTimes,
    VmLive,
    VmState,
)

NS_PER_S = 1_000_000_000


def pool_line(pool: PoolState) -> str:
    """One line: id, name, state, and how many VMs of which priority."""
    name = f': "{pool.pool_name}"' if pool.pool_name is not None else ""
    return f"Pool {pool.pool_id}{name} | {_enabled(pool.enabled)} | VMs: {_counts(pool.vms)}"


def pool_list(pools: Sequence[PoolState]) -> str:
    """All pools under a heading."""
    return "\n".join([f"=== Pools ({len(pools)}) ===", *map(pool_line, pools)])


def pool_page(pool: PoolState, vms: Sequence[VmState]) -> str:
    """A pool with its VMs, how their priorities are distributed, and its live numbers."""
    name = f": {pool.pool_name}" if pool.pool_name is not None else ""
    lines = [f"=== Pool {pool.pool_id}{name} ===", f"Status: {_enabled(pool.enabled)}"]
    if pool.description is not None:
        lines.append(f"Description: {pool.description}")
    lines += [f"Created: {pool.created_at}", f"VMs: {pool.vms.total}", "", "VM List:"]
    lines += [f"  {vm_head(vm)}" for vm in vms] or ["  (none)"]
    lines += ["", "Priority Distribution:", *_distribution(pool.vms)]
    if pool.live is not None:
        lines += ["", "Live:", *_work_block(pool.live)]
    return "\n".join(lines)


def vm_block(vm: VmState, *, with_live: bool = True) -> str:
    """Everything about one VM; without live numbers, what an administrator decided."""
    lines = ["VM Configuration:", f"  UUID: {vm.vm_uuid}"]
    if vm.vm_name is not None:
        lines.append(f"  Name: {vm.vm_name}")
    quarantine = "YES" if vm.quarantined else "no"
    lines += [
        f"  VM ID: {vm.vm_id}",
        f"  Pool: {_pool_of(vm)}",
        f"  Priority: {vm.priority.label} ({int(vm.priority)})",
        f"  Scheduler Weight: {vm.weight}",
        f"  Rate Limit: {_rate(vm)}",
        *([f"  Rate Burst: {_burst(vm)}"] if vm.max_jobs_per_sec else []),
        f"  Max Queue Depth: {vm.max_queue_depth or 'default'}",
        f"  Quarantine: {quarantine} (error count: {vm.fault_count})",
    ]
    if vm.quarantine_reason is not None:
        lines.append(f"  Quarantine Reason: {vm.quarantine_reason}")
        lines.append(f"  Quarantined Since: {vm.quarantined_since}")
    lines += [
        f"  Peer: {vm.peer}",
        f"  Created: {vm.created_at}",
        f"  Updated: {vm.updated_at}",
    ]
    if with_live:
        lines += _live_block(vm.live)
    return "\n".join(lines)


def vm_list(vms: Sequence[VmState]) -> str:
    """VM blocks, separated by blank lines."""
    return "\n\n".join(map(vm_block, vms)) if vms else "No VMs found"


def limits_line(vm: VmState) -> str:
    """What a VM may ask for, in one line."""
    burst = f", burst: {_burst(vm)}" if vm.max_jobs_per_sec else ""
    depth = vm.max_queue_depth or "default"
    return f"Rate limit for VM {vm.vm_uuid}: {_rate(vm)}{burst}, max queue depth: {depth}"


def weight_table(vms: Iterable[VmState]) -> str:
    """The weights of all VMs, a line each."""
    rows = [("VM ID", "UUID", "Name", "Pool", "Weight")]
    rows += [
        (str(vm.vm_id), vm.vm_uuid, _name(vm), vm.pool_id or "-", str(vm.weight)) for vm in vms
    ]
    return _table(rows, (8, 36, 20, 6, 8))


def pool_weight_table(pools: Iterable[PoolState]) -> str:
    """The weights of all pools, a line each."""
    rows = [("Pool", "Name", "Weight")]
    rows += [(pool.pool_id, pool.pool_name or "-", str(pool.weight)) for pool in pools]
    return _table(rows, (6, 20, 8))


def rate_limit_table(vms: Iterable[VmState]) -> str:
    """The limits of all VMs, a line each."""
    rows = [("VM ID", "UUID", "Name", "Rate (j/s)", "Queue Max", "Quarantine", "Burst")]
    rows += [
        (
            str(vm.vm_id),
            vm.vm_uuid,
            _name(vm),
            str(vm.max_jobs_per_sec or "unlimited"),
            str(vm.max_queue_depth or "default"),
            "YES" if vm.quarantined else "no",
            str(_burst(vm)) if vm.max_jobs_per_sec else "-",
        )
        for vm in vms
    ]
    return _table(rows, (8, 36, 20, 12, 12, 12, 8))


def work_table(pools: Sequence[PoolState], vms: Sequence[VmState]) -> str:
    """What pools and VMs did, a line each."""
    titles = ("Submitted", "Completed", "Failed", "Refused", "Queued", "Running", "GPU Time")
    heading = (*titles, "Wait p50/p99", "Run p50/p99")
    rows: list[tuple[str, ...]] = [("Pool", *heading)]
    rows += [(pool.pool_id, *_work_cells(pool.live)) for pool in pools]
    rows += [("", *[""] * len(heading)), ("VM", *heading)]
    rows += [(_name(vm), *_work_cells(vm.live)) for vm in vms]
    return _table(rows, (20, 10, 10, 8, 8, 8, 8, 10, 20, 20))


def connection_table(vms: Iterable[VmState]) -> str:
    """Which VMs are connected, a line each."""
    rows = [("VM ID", "UUID", "Name", "Pool", "Connected", "Worker")]
    rows += [
        (
            str(vm.vm_id),
            vm.vm_uuid,
            _name(vm),
            vm.pool_id or "-",
            _connections(vm.live) if vm.live is not None else "not known to the engine",
            str(vm.live.worker_pid) if vm.live is not None and vm.live.worker_pid else "-",
        )
        for vm in vms
    ]
    return _table(rows, (8, 36, 20, 6, 24, 8))


def status_page(status: StatusReply) -> str:
    """The control panel: daemon, device, every pool with its VMs, and what is left over."""
    lines = _daemon_lines(status.daemon, status.device)
    lines += ["", f"=== Pools ({len(status.pools)}) ==="]
    for pool in status.pools:
        lines.append(pool_line(pool))
        if pool.live is not None:
            lines.append(f"  {_work_line(pool.live)}")
        lines += _vm_lines(vm for vm in status.vms if vm.pool_id == pool.pool_id)
    stranded = [vm for vm in status.vms if vm.pool_id is None]
    if stranded:
        lines += ["", f"=== VMs without a pool ({len(stranded)}) ===", *_vm_lines(stranded)]
    if status.daemon.pending:
        lines += ["", f"=== Stored, not applied yet ({len(status.daemon.pending)}) ==="]
        lines += [f"  {reason}" for reason in status.daemon.pending]
    if status.daemon.isolation_gaps:
        lines += ["", f"=== Guests are not kept apart ({len(status.daemon.isolation_gaps)}) ==="]
        lines += [f"  {gap}" for gap in status.daemon.isolation_gaps]
    return "\n".join(lines)


def duration(ns: int) -> str:
    """A time in the unit in which it is best read."""
    for unit, size in (("s", NS_PER_S), ("ms", 1_000_000), ("us", 1_000)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns} ns"


def size(count: int) -> str:
    """A number of bytes in the binary unit in which it is best read."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.1f} {unit}"
    return f"{count} B"


def _enabled(enabled: bool) -> str:
    return "Enabled" if enabled else "Disabled"


def _counts(vms: PriorityCounts) -> str:
    if vms.total == 0:
        return "0"
    return f"{vms.total} ({vms.high} high, {vms.medium} medium, {vms.low} low)"


def _distribution(vms: PriorityCounts) -> list[str]:
    rows = (("High", vms.high), ("Medium", vms.medium), ("Low", vms.low))
    return [f"  {label}: {count} {'VM' if count == 1 else 'VMs'}" for label, count in rows]


def _name(vm: VmState) -> str:
    return vm.vm_name if vm.vm_name is not None else f"VM-{vm.vm_id}"


def _rate(vm: VmState) -> str:
    return f"{vm.max_jobs_per_sec} jobs/sec" if vm.max_jobs_per_sec else "unlimited"


def _burst(vm: VmState) -> int:
    return vm.max_burst or vm.max_jobs_per_sec


def _table(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    return "\n".join(
        " ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def vm_head(vm: VmState) -> str:
    """A VM in one line: what it is called, and its place."""
    return f"{_name(vm)} (UUID: {vm.vm_uuid}) | Priority: {vm.priority.label} | VM ID: {vm.vm_id}"


def _pool_of(vm: VmState) -> str:
    if vm.pool_id is None:
        return "none"
    name = f'"{vm.pool_name}", ' if vm.pool_name is not None else ""
    return f"{vm.pool_id} ({name}{'enabled' if vm.pool_enabled else 'disabled'})"


def _connections(live: VmLive) -> str:
    held = [
        name
        for name, connected in (("stub", live.connected_stub), ("ring", live.connected_ring))
        if connected
    ]
    return ", ".join(held) or "not connected"


def _times(times: RequestTimes) -> str:
    """The quantiles of a kind of time; a dash while nothing was counted."""
    if times.count == 0:
        return "-"
    return (
        f"p50 {duration(times.p50_ns)}, p99 {duration(times.p99_ns)}, max {duration(times.max_ns)}"
    )


def _work_block(live: VmLive | PoolLive) -> list[str]:
    return [
        f"  Queued: {live.queued}",
        f"  Running: {live.running}",
        f"  Submitted: {live.submitted}",
        f"  Completed: {live.completed} (failed: {live.failed}, refused: {live.refused}, "
        f"dropped: {live.dropped}, faults: {live.faults})",
        f"  GPU Time: {duration(live.gpu_time_ns)}",
        f"  Build Time: {duration(live.build_time_ns)}",
        f"  Wait: {_times(live.wait)}",
        f"  Run: {_times(live.run)}",
        f"  Total: {_times(live.total)}",
    ]


def _work_line(live: VmLive | PoolLive) -> str:
    return (
        f"Queued: {live.queued} | Running: {live.running} | Completed: {live.completed} | "
        f"Failed: {live.failed} | Refused: {live.refused} | GPU: {duration(live.gpu_time_ns)} | "
        f"Wait p50/p99: {_short(live.wait)} | Run p50/p99: {_short(live.run)}"
    )


def _work_cells(live: VmLive | PoolLive | None) -> tuple[str, ...]:
    if live is None:
        return ("-",) * 9
    counts = (
        live.submitted,
        live.completed,
        live.failed,
        live.refused,
        live.queued,
        live.running,
    )
    return (*map(str, counts), duration(live.gpu_time_ns), _short(live.wait), _short(live.run))


def _short(times: RequestTimes) -> str:
    return f"{duration(times.p50_ns)} / {duration(times.p99_ns)}" if times.count else "-"


def _refusals(live: VmLive) -> str:
    return ", ".join(f"{refusal.reason} {refusal.count}" for refusal in live.refused_by)


def _live_block(live: VmLive | None) -> list[str]:
    if live is None:
        return ["Live:", "  not known to the engine"]
    worker = f"pid {live.worker_pid}" if live.worker_pid else "none"
    return [
        "Live:",
        f"  Connections: {_connections(live)}",
        *_work_block(live),
        *([f"  Refused: {_refusals(live)}"] if live.refused_by else []),
        f"  Worker: {worker}",
    ]


def _vm_lines(vms: Iterable[VmState]) -> list[str]:
    lines = []
    for vm in vms:
        quarantine = " | QUARANTINED" if vm.quarantined else ""
        lines.append(f"  {vm_head(vm)}{quarantine}")
        if vm.live is None:
            lines.append("    not known to the engine")
        else:
            lines.append(f"    {_live_line(vm.live)}")
    return lines


def _live_line(live: VmLive) -> str:
    worker = f" | Worker: {live.worker_pid}" if live.worker_pid else ""
    return f"{_connections(live)} | {_work_line(live)}{worker}"


def _daemon_lines(daemon: DaemonState, device: DeviceState) -> list[str]:
    engine = "running" if daemon.engine_running else "stopped"
    if daemon.draining:
        engine = "draining"
    if device.ready:
        what = (
            f"{device.name} ({device.backend}) | Ready | {size(device.global_mem_bytes)} | "
            f"{device.compute_units} compute units"
        )
    else:
        reason = device.reason or "no reason given"
        what = f"{device.name or 'none'} | Not ready: {reason}"
    return [
        f"=== vgpud {daemon.version} ===",
        f"Daemon: pid {daemon.pid} | up {_uptime(daemon.uptime_s)} | state in {daemon.state_dir}",
        f"Engine: {engine} | Requests: {daemon.requests_total} | "
        f"Events dropped: {daemon.events_dropped}",
        f"Device: {what}",
    ]


def _uptime(seconds: int) -> str:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2])
