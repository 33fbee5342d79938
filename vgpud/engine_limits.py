"""From the configuration to the limits that the C engine, and its workers, keep to; no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from vgpud.config import Config
from vgpud.mediator import Lane
from vgpud.model.mediation import EngineLimits, PriorityScope
from vgpud.worker_start import WorkforceConfig

BESIDE_BUFFERS_BYTES = 1 << 30
"""What a worker needs besides its VM's buffers: a driver's code and data, a compiler's."""


def limits_of(config: Config) -> EngineLimits:
    """What of the configuration the engine itself keeps to."""
    return EngineLimits(
        max_queued_total=config.vms.max_queued_total,
        units_in_flight=config.scheduler.units_in_flight,
        max_builds=config.max_builds,
        quantum_us=config.scheduler.quantum_us,
        spin_us=config.spin_us,
        run_timeout_ms=config.scheduler.run_timeout_ms,
        build_timeout_ms=config.scheduler.build_timeout_ms,
        queue_timeout_ms=config.scheduler.queue_timeout_ms,
        aging_after_ms=config.scheduler.aging_after_ms,
        aging_share=config.scheduler.aging_share_percent,
        priority_scope=PriorityScope[config.scheduler.priority_scope.upper()],
        fault_threshold=config.faults.threshold,
        fault_half_life_ms=config.faults.half_life_ms,
        trace_entries=config.trace.entries,
    )


def worker_memory_bytes(config: Config) -> int:
    """The most that one worker may take of the host's memory."""
    own = config.spawner.worker_memory_bytes
    return own or config.device.vm_memory_bytes + BESIDE_BUFFERS_BYTES


def workforce_config(config: Config, settings: Mapping[str, str]) -> WorkforceConfig:
    """What of the configuration holds for workers, which use the device that `settings` name."""
    return WorkforceConfig(
        settings=settings,
        memory_bytes=config.device.vm_memory_bytes,
        max_vms=config.spawner.max_workers,
        start_timeout_s=config.spawner.start_timeout_ms / 1000,
        idle_s={
            Lane.LAUNCH: config.spawner.launch_idle_ms / 1000,
            Lane.BUILD: config.spawner.build_idle_ms / 1000,
        },
        standby=bool(config.spawner.standby),
        limits={
            "VGPU_MEMORY_LIMIT": str(worker_memory_bytes(config)),
            "VGPU_TASKS_LIMIT": str(config.spawner.worker_max_tasks),
        },
    )
