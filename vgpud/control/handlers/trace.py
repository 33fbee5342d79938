"""The requests that are finished, once or for as long as the caller listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.vms import find_vm
from vgpud.model.trace import TraceBatch, TracedRequest
from vgpud.protocol.messages import Trace, TraceReply
from vgpud.protocol.states import RequestTrace
from vgpud.refusals import InvalidArgument, StoredNotApplied

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000
"""So many are answered in about 30 ms, for which other callers wait."""


def trace(context: Context, call: Trace) -> TraceReply:
    """The last requests, of one VM or of all."""
    vm_uuid, limit = _asked(context, call)
    return _reply(context.engine.trace.latest(vm_uuid, limit))


async def follow_trace(context: Context, call: Trace) -> AsyncGenerator[TraceReply, None]:
    """The same, and then those that come. Raises VmNotFound once the VM is removed."""
    vm_uuid, limit = _asked(context, call)
    async with aclosing(context.engine.trace.follow(vm_uuid, limit)) as batches:
        async for batch in batches:
            yield _reply(batch)
    vm = find_vm(context, vm_uuid, None)
    raise StoredNotApplied(f"VM {vm.vm_uuid} is not known to the engine")


def _asked(context: Context, call: Trace) -> tuple[str | None, int]:
    limit = LIMIT_DEFAULT if call.limit is None else call.limit
    if not 0 <= limit <= LIMIT_MAX:
        raise InvalidArgument("limit", str(limit), f"0 to {LIMIT_MAX}")
    if call.vm_uuid is None and call.vm_name is None:
        return None, limit
    return find_vm(context, call.vm_uuid, call.vm_name).vm_uuid, limit


def _reply(batch: TraceBatch) -> TraceReply:
    return TraceReply([_shown(request) for request in batch.requests], batch.missed)


def _shown(request: TracedRequest) -> RequestTrace:
    e = request.entry
    return RequestTrace(
        seq=e.seq,
        vm_uuid=request.vm_uuid,
        vm_id=e.vm_id,
        pool_id=e.pool_id or None,
        priority=e.priority,
        transport=e.transport.name.lower(),
        queue_pair=e.queue_pair,
        stream=e.stream,
        kind=e.kind.name.lower(),
        request=e.request or None,
        cookie=f"{e.cookie:#x}",
        outcome=e.outcome.name.lower(),
        status=e.status.name.lower(),
        op_index=e.op_index,
        native=e.native,
        retry_after_us=e.retry_after_us,
        received_ns=e.received_ns,
        queued_ns=e.queued_ns or None,
        picked_ns=e.picked_ns or None,
        started_ns=e.started_ns or None,
        ended_ns=e.ended_ns or None,
        answered_ns=e.answered_ns,
        gpu_time_ns=e.device_ns,
        build_time_ns=e.build_ns,
        dispatches=e.dispatches,
    )
