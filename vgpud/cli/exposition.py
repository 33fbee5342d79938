"""What the daemon counts, in Prometheus' text format (version 0.0.4).

Counters end in _total and begin at the engine's start; times are seconds. A summary has quantiles
of all requests since then, which cannot be averaged over VMs; for rates use _sum and _count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from vgpud.protocol.messages import StatusReply
from vgpud.protocol.states import (
    DaemonState,
    DeviceState,
    PoolLive,
    PoolState,
    RequestTimes,
    VmLive,
    VmState,
)

NS_PER_S = 1_000_000_000

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]

COUNTERS: Mapping[str, str] = {
    "submitted": "requests that came",
    "completed": "requests that were answered with success",
    "failed": "requests that were accepted and answered with an error",
    "refused": "requests that were not accepted",
    "dropped": "requests whose client had gone before the answer",
    "faults": "what was done wrong",
}
SECONDS: Mapping[str, str] = {
    "gpu": "time on the device",
    "build": "time of program builds",
}
LEVELS: Mapping[str, str] = {
    "queued": "requests that wait",
    "running": "requests that were begun",
}
TIMES: Mapping[str, str] = {
    "wait": "from arrival to the first dispatch",
    "run": "on the device",
    "total": "from arrival to the answer",
}


class Exposition:
    """Families in the order in which they are added; each is told with its help and type once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, explained: str, samples: Iterable[Sample]) -> None:
        """One family. A sample's own name is what follows the family's, often nothing."""
        lines = [f"{name}{suffix}{_labels(labels)} {_number(v)}" for suffix, labels, v in samples]
        if lines:
            self._lines += [f"# HELP {name} {explained}", f"# TYPE {name} {kind}", *lines]

    def text(self) -> str:
        """All of it, without the last newline."""
        return "\n".join(self._lines)


def exposition(status: StatusReply) -> str:
    """The whole status as metrics."""
    out = Exposition()
    _daemon(out, status.daemon, status.device)
    _pools(out, status.pools)
    _vms(out, status.vms)
    return out.text()


def _daemon(out: Exposition, daemon: DaemonState, device: DeviceState) -> None:
    one: Labels = {}

    def gauge(name: str, explained: str, value: float, labels: Labels = one) -> None:
        out.add(f"vgpud_{name}", "gauge", explained, [("", labels, value)])

    gauge("info", "which vgpud this is", 1, {"version": daemon.version})
    gauge("uptime_seconds", "since the daemon started", daemon.uptime_s)
    gauge("engine_running", "1: the engine serves", daemon.engine_running)
    gauge("draining", "1: the daemon is ending", daemon.draining)
    gauge(
        "device_ready",
        "1: the device can be used",
        device.ready,
        {"device": device.name, "backend": device.backend},
    )
    gauge("device_memory_bytes", "memory of the device", device.global_mem_bytes)
    gauge("pending_changes", "changes that are stored and not applied yet", len(daemon.pending))
    gauge("isolation_gaps", "ways in which guests are not kept apart", len(daemon.isolation_gaps))
    for name, explained, value in (
        ("requests", "requests that were answered", daemon.requests_total),
        ("events_dropped", "events of the engine that were lost", daemon.events_dropped),
    ):
        out.add(f"vgpud_{name}_total", "counter", explained, [("", one, value)])


def _pools(out: Exposition, pools: list[PoolState]) -> None:
    def labels(pool: PoolState) -> Labels:
        return {"pool": pool.pool_id}

    out.add(
        "vgpud_pool_enabled",
        "gauge",
        "1: its VMs are served",
        [("", labels(pool), pool.enabled) for pool in pools],
    )
    out.add(
        "vgpud_pool_weight",
        "gauge",
        "its share among pools",
        [("", labels(pool), pool.weight) for pool in pools],
    )
    out.add(
        "vgpud_pool_vms",
        "gauge",
        "VMs that are assigned to it",
        [
            ("", {**labels(pool), "priority": priority}, getattr(pool.vms, priority))
            for pool in pools
            for priority in ("high", "medium", "low")
        ],
    )
    _work(out, "vgpud_pool", [(labels(pool), pool.live) for pool in pools if pool.live is not None])


def _vms(out: Exposition, vms: list[VmState]) -> None:
    def labels(vm: VmState) -> Labels:
        return {"vm_uuid": vm.vm_uuid, "vm_name": vm.vm_name or "", "pool": vm.pool_id or ""}

    known = [(labels(vm), vm.live) for vm in vms if vm.live is not None]
    out.add(
        "vgpud_vm_weight",
        "gauge",
        "its share among the VMs of its pool and priority",
        [("", {**labels(vm), "priority": vm.priority.label}, vm.weight) for vm in vms],
    )
    out.add(
        "vgpud_vm_quarantined",
        "gauge",
        "1: its requests are refused until an administrator lets it in",
        [("", labels(vm), vm.quarantined) for vm in vms],
    )
    out.add(
        "vgpud_vm_connected",
        "gauge",
        "1: a client is connected over this socket",
        [
            ("", {**of, "transport": transport}, connected)
            for of, live in known
            for transport, connected in (
                ("stub", live.connected_stub),
                ("ring", live.connected_ring),
            )
        ],
    )
    out.add(
        "vgpud_vm_refused_by_total",
        "counter",
        "requests that were not accepted, by reason",
        [
            ("", {**of, "reason": refusal.reason}, refusal.count)
            for of, live in known
            for refusal in live.refused_by
        ],
    )
    _work(out, "vgpud_vm", known)


def _work(
    out: Exposition, prefix: str, known: list[tuple[Labels, PoolLive]] | list[tuple[Labels, VmLive]]
) -> None:
    for name, explained in LEVELS.items():
        samples = [("", labels, getattr(live, name)) for labels, live in known]
        out.add(f"{prefix}_{name}", "gauge", explained, samples)
    for name, explained in COUNTERS.items():
        samples = [("", labels, getattr(live, name)) for labels, live in known]
        out.add(f"{prefix}_{name}_total", "counter", explained, samples)
    for name, explained in SECONDS.items():
        samples = [
            ("", labels, getattr(live, f"{name}_time_ns") / NS_PER_S) for labels, live in known
        ]
        out.add(f"{prefix}_{name}_seconds_total", "counter", explained, samples)
    for name, explained in TIMES.items():
        summaries = [
            sample for labels, live in known for sample in _summary(labels, getattr(live, name))
        ]
        out.add(f"{prefix}_{name}_seconds", "summary", explained, summaries)


def _summary(labels: Labels, times: RequestTimes) -> Iterator[Sample]:
    for quantile, ns in (("0.5", times.p50_ns), ("0.95", times.p95_ns), ("0.99", times.p99_ns)):
        yield "", {**labels, "quantile": quantile}, ns / NS_PER_S
    yield "_sum", labels, times.sum_ns / NS_PER_S
    yield "_count", labels, times.count


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
