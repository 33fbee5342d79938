"""Who changed what, and who was refused."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.protocol.messages import ListAudit, ListAuditReply
from vgpud.protocol.states import AuditRecord
from vgpud.refusals import InvalidArgument
from vgpud.store.store import AuditEntry

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000


def list_audit(context: Context, call: ListAudit) -> ListAuditReply:
    """The newest rows, newest last."""
    limit = LIMIT_DEFAULT if call.limit is None else call.limit
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidArgument("limit", str(limit), f"1 to {LIMIT_MAX}")
    entries = context.store.list_audit(limit, refused=bool(call.refused))
    return ListAuditReply([_shown(entry) for entry in reversed(entries)])


def _shown(entry: AuditEntry) -> AuditRecord:
    return AuditRecord(
        at=entry.at,
        uid=entry.uid,
        gid=entry.gid,
        pid=entry.pid,
        method=entry.method,
        parameters=entry.parameters,
        outcome=entry.outcome.value,
        error=entry.error,
    )
