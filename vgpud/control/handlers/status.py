"""Everything at a glance."""

from __future__ import annotations

import os
from dataclasses import asdict

import vgpud
from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import pool_state, vm_states
from vgpud.errors import ReconcileError
from vgpud.protocol.messages import Status, StatusReply
from vgpud.protocol.states import DaemonState, DeviceState


def status(context: Context, call: Status) -> StatusReply:
    """Daemon, device, pools and VMs."""
    engine = context.engine.snapshot()
    vms = context.store.list_vms()
    return StatusReply(
        daemon=DaemonState(
            version=vgpud.__version__,
            pid=os.getpid(),
            uptime_s=int(context.uptime_s()),
            state_dir=str(context.state_dir),
            engine_running=engine.running,
            draining=engine.draining,
            requests_total=engine.requests_total,
            events_dropped=engine.events_dropped,
            pending=[_sentence(failure) for failure in context.reconciler.pending],
            isolation_gaps=list(engine.isolation_gaps),
        ),
        device=DeviceState(**asdict(engine.device)),
        pools=[pool_state(pool, vms, engine) for pool in context.store.list_pools()],
        vms=vm_states(context, vms, engine),
    )


def _sentence(failure: ReconcileError) -> str:
    return f"{failure}. {failure.remedy}" if failure.remedy else str(failure)
