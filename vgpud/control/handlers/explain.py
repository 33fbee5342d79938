"""Why a request of a VM waits."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import vm_state
from vgpud.control.handlers.vms import find_vm
from vgpud.protocol.messages import Explain, ExplainReply
from vgpud.protocol.states import RequestExplanation
from vgpud.refusals import InvalidArgument, RequestNotQueued


def explain(context: Context, call: Explain) -> ExplainReply:
    """The request of a number, or the oldest one that is queued."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    if call.request is not None and not 1 <= call.request < 2**63:
        raise InvalidArgument("request", str(call.request), "a number from 1, as trace shows it")
    # Requests are numbered from 1 on where people see them.
    seq = None if call.request is None else call.request - 1
    why = context.engine.explain(vm.vm_uuid, seq)
    if why is None and call.request is not None:
        raise RequestNotQueued(vm.vm_uuid, call.request)
    state = vm_state(context, vm)
    if why is None:
        return ExplainReply(state, None)
    return ExplainReply(
        state,
        RequestExplanation(
            request=why.seq + 1,
            hold=why.hold.name.lower(),
            units_ahead=why.units_ahead,
            stream_ahead=why.stream_ahead,
            vms_ahead=why.vms_ahead,
            pools_ahead=why.pools_ahead,
            running=why.running,
            waited_ns=why.waited_ns,
            wait_ns=why.wait_ns,
        ),
    )
