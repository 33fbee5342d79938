"""From a call to its answer: may they, what is asked, do it, record it, apply it.

The order is the same for every method. A change and its audit row are one transaction; only after
the commit does the engine hear of it, and only after the engine does the caller.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from vgpud.control.authz import RolePolicy, authorize
from vgpud.control.handlers import (
    audit,
    backup,
    explain,
    limits,
    placement,
    pools,
    quarantine,
    reload,
    service,
    shutdown,
    status,
    trace,
    vms,
)
from vgpud.control.handlers.context import Context
from vgpud.control.peer import Peer
from vgpud.errors import ReconcileError, StoreError
from vgpud.protocol.calls import Call, decode_call, encode_error, encode_reply
from vgpud.protocol.codec import from_wire, to_wire
from vgpud.protocol.descriptions import INTERFACES
from vgpud.protocol.methods import METHODS
from vgpud.reconcile import pool_subject, vm_subject
from vgpud.record import Record
from vgpud.refusals import (
    InterfaceNotFound,
    InvalidParameter,
    MalformedMessage,
    MethodNotFound,
    PermissionDenied,
    RequestError,
    StoredNotApplied,
    StoreFailed,
)
from vgpud.store.store import AuditEntry, AuditOutcome

log = logging.getLogger(__name__)

AUDIT_PARAMETERS_MAX_CHARACTERS = 2048


@dataclass(frozen=True)
class Verb:
    """How a method is carried out; its messages are in METHODS, its role in ROLE_NEEDED.

    `handler` decides and answers. A method that `changes` something runs in a transaction with its
    audit row. One that is `urgent` must not depend on the disk: if its audit row cannot be written,
    the log has it. `pool` or `vm` names, from the reply, what was changed: the engine must take it
    over before the answer. `afterwards` runs once the change is committed. `stream` gives the
    replies to a call that permits several; it changes nothing, and ends only by an error that is
    the last answer.
    """

    handler: Callable[[Context, Any], Record]
    changes: bool = False
    urgent: bool = False
    pool: Callable[[Any], str] | None = None
    vm: Callable[[Any], str] | None = None
    afterwards: Callable[[Context, Any], None] | None = None
    stream: Callable[[Context, Any], AsyncGenerator[Record, None]] | None = None


def _pool_id(reply: Any) -> str:
    return str(reply.pool.pool_id)


def _vm_uuid(reply: Any) -> str:
    return str(reply.vm.vm_uuid)


VERBS: Mapping[str, Verb] = {
    "org.varlink.service.GetInfo": Verb(service.get_info),
    "org.varlink.service.GetInterfaceDescription": Verb(service.get_interface_description),
    "org.vgpud.admin.ListPools": Verb(pools.list_pools),
    "org.vgpud.admin.ShowPool": Verb(pools.show_pool),
    "org.vgpud.admin.CreatePool": Verb(pools.create_pool, changes=True, pool=_pool_id),
    "org.vgpud.admin.EnablePool": Verb(pools.enable_pool, changes=True, pool=_pool_id),
    "org.vgpud.admin.DisablePool": Verb(pools.disable_pool, changes=True, pool=_pool_id),
    "org.vgpud.admin.SetPoolWeight": Verb(pools.set_pool_weight, changes=True, pool=_pool_id),
    "org.vgpud.admin.DeletePool": Verb(pools.delete_pool, changes=True, pool=_pool_id),
    "org.vgpud.admin.RegisterVm": Verb(vms.register_vm, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.ShowVm": Verb(vms.show_vm),
    "org.vgpud.admin.ListVms": Verb(vms.list_vms),
    "org.vgpud.admin.RemoveVm": Verb(vms.remove_vm, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.MoveVm": Verb(placement.move_vm, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.SetWeight": Verb(limits.set_weight, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.SetRateLimit": Verb(limits.set_rate_limit, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.QuarantineVm": Verb(quarantine.quarantine_vm, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.ClearQuarantine": Verb(quarantine.clear_quarantine, changes=True, vm=_vm_uuid),
    "org.vgpud.admin.Status": Verb(status.status),
    "org.vgpud.admin.Trace": Verb(trace.trace, stream=trace.follow_trace),
    "org.vgpud.admin.Explain": Verb(explain.explain),
    "org.vgpud.admin.ListAudit": Verb(audit.list_audit),
    "org.vgpud.admin.Backup": Verb(backup.backup, urgent=True),
    "org.vgpud.admin.ReloadConfig": Verb(reload.reload_config, urgent=True),
    "org.vgpud.admin.Shutdown": Verb(
        shutdown.shutdown, urgent=True, afterwards=shutdown.begin_shutdown
    ),
}


class Dispatch:
    """Answers the messages of all connections, one at a time, in the event loop.

    `policy` may be replaced at any time, as after a reload.
    """

    def __init__(self, context: Context, policy: RolePolicy) -> None:
        self._context = context
        self.policy = policy

    def handle(self, peer: Peer, message: bytes) -> bytes | AsyncGenerator[bytes, None] | None:
        """Answers one message; None if the caller wants no answer. Blocks on the disk.

        A call that permits several answers is given them one after the other, if its method has
        several. Whatever the bytes are, the answer says what is wrong with them.
        """
        try:
            call = decode_call(message)
        except MalformedMessage as error:
            return encode_error(error)
        verb = VERBS.get(call.method)
        if call.more and not call.oneway and verb is not None and verb.stream is not None:
            return self._stream(peer, call, verb.stream)
        try:
            answer = encode_reply(to_wire(self._run(peer, call)))
        except RequestError as error:
            answer = encode_error(error)
        except StoreError as error:
            log.error("%s: %s failed: %s", peer, call.method, error)
            answer = encode_error(StoreFailed(str(error)))
        return None if call.oneway else answer

    async def _stream(
        self, peer: Peer, call: Call, stream: Callable[[Context, Any], AsyncGenerator[Record, None]]
    ) -> AsyncGenerator[bytes, None]:
        """All answers to a call; after each but the last one, an error, another follows."""
        try:
            request = self._permitted(peer, call)
            async with aclosing(stream(self._context, request)) as replies:
                async for reply in replies:
                    yield encode_reply(to_wire(reply), continues=True)
        except RequestError as error:
            if isinstance(error, PermissionDenied):
                self._refuse(peer, call, AuditOutcome.REFUSED, error)
            yield encode_error(error)
        except StoreError as error:
            log.error("%s: %s failed: %s", peer, call.method, error)
            yield encode_error(StoreFailed(str(error)))

    def _permitted(self, peer: Peer, call: Call) -> Any:
        """What a caller who may call this asks for; raises RequestError."""
        authorize(call.method, self.policy.roles_of(peer.uid, peer.gids))
        if call.upgrade:
            raise InvalidParameter("upgrade")
        return from_wire(METHODS[call.method][0], call.parameters, strict=True)

    def _run(self, peer: Peer, call: Call) -> Record:
        verb = _verb(call.method)
        store = self._context.store
        try:
            request = self._permitted(peer, call)
            if verb.urgent:
                reply = verb.handler(self._context, request)
                self._record(peer, call, AuditOutcome.STORED)
            elif verb.changes:
                with store.atomic():
                    reply = verb.handler(self._context, request)
                    store.append_audit(_entry(peer, call, AuditOutcome.STORED))
            else:
                return verb.handler(self._context, request)
        except RequestError as error:
            if verb.changes or verb.urgent or isinstance(error, PermissionDenied):
                self._refuse(peer, call, AuditOutcome.REFUSED, error)
            raise
        log.info("%s: %s %s", peer, call.method, _shown(call.parameters))
        if verb.pool is not None:
            subject = pool_subject(verb.pool(reply))
            self._apply(peer, call, subject, self._context.reconciler.apply)
        elif verb.vm is not None:
            vm_uuid = verb.vm(reply)
            apply = partial(self._context.reconciler.apply_vm, vm_uuid)
            self._apply(peer, call, vm_subject(vm_uuid), apply)
        if verb.afterwards is not None:
            verb.afterwards(self._context, request)
        return reply

    def _apply(
        self, peer: Peer, call: Call, subject: str, apply: Callable[[], Iterable[ReconcileError]]
    ) -> None:
        """Lets the engine take the change over; raises StoredNotApplied if it does not."""
        try:
            failures = apply()
        except StoreError as error:
            refusal = StoredNotApplied(str(error), error.next_step)
        else:
            # Others may have been pending for long; that is not this caller's answer.
            failure = next((failure for failure in failures if failure.subject == subject), None)
            if failure is None:
                return
            refusal = StoredNotApplied(str(failure), failure.next_step)
        self._refuse(peer, call, AuditOutcome.NOT_APPLIED, refusal)
        raise refusal

    def _refuse(self, peer: Peer, call: Call, outcome: AuditOutcome, error: RequestError) -> None:
        log.warning("%s: %s %s: %s", peer, call.method, outcome.value, error)
        self._record(peer, call, outcome, f"{error.code}: {error}")

    def _record(
        self, peer: Peer, call: Call, outcome: AuditOutcome, error: str | None = None
    ) -> None:
        """Audits what is decided already; a disk that is full must not undo that."""
        entry = _entry(peer, call, outcome, error)
        try:
            with self._context.store.atomic():
                self._context.store.append_audit(entry)
        except StoreError as failure:
            log.error(
                "%s: no audit row for %s %s: %s", peer, call.method, entry.parameters, failure
            )


def _verb(method: str) -> Verb:
    verb = VERBS.get(method)
    if verb is not None:
        return verb
    interface = method.rpartition(".")[0]
    if interface not in INTERFACES:
        raise InterfaceNotFound(interface)
    raise MethodNotFound(method)


def _entry(peer: Peer, call: Call, outcome: AuditOutcome, error: str | None = None) -> AuditEntry:
    return AuditEntry(
        uid=peer.uid,
        gid=peer.gid,
        pid=peer.pid,
        method=call.method,
        parameters=_shown(call.parameters),
        outcome=outcome,
        error=error,
    )


def _shown(parameters: dict[str, Any]) -> str:
    """The parameters as bounded, valid JSON without control characters."""
    text = json.dumps(parameters, ensure_ascii=True)
    if len(text) <= AUDIT_PARAMETERS_MAX_CHARACTERS:
        return text
    return json.dumps({"truncated": text[:AUDIT_PARAMETERS_MAX_CHARACTERS]})
