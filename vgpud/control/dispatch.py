"""From a call to its answer: may they, what is asked, do it, record it, apply it.

The order is the same for every method. A change and its audit row are one transaction; only after
the commit does the engine hear of it, and only after the engine does the caller.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vgpud.control.authz import RolePolicy, authorize
from vgpud.control.handlers import limits, pools, quarantine, service, shutdown, status, vms
from vgpud.control.handlers.context import Context
from vgpud.control.peer import Peer
from vgpud.errors import StoreError
from vgpud.protocol.calls import Call, decode_call, encode_error, encode_reply
from vgpud.protocol.codec import from_wire, to_wire
from vgpud.protocol.descriptions import INTERFACES
from vgpud.protocol.messages import METHODS
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
    the log has it. `subject` names, from the reply, what the engine must take over before the
    answer; `only_vm` is the UUID of the VM whose row alone was changed, where that is so.
    `afterwards` runs once the change is committed.
    """

    handler: Callable[[Context, Any], Record]
    changes: bool = False
    urgent: bool = False
    subject: Callable[[Any], str] | None = None
    only_vm: Callable[[Any], str] | None = None
    afterwards: Callable[[Context, Any], None] | None = None


def _pool_of(reply: Any) -> str:
    return pool_subject(reply.pool.pool_id)


def _vm_of(reply: Any) -> str:
    return vm_subject(reply.vm.vm_uuid)


def _uuid_of(reply: Any) -> str:
    return str(reply.vm.vm_uuid)


VERBS: Mapping[str, Verb] = {
    "org.varlink.service.GetInfo": Verb(service.get_info),
    "org.varlink.service.GetInterfaceDescription": Verb(service.get_interface_description),
    "org.vgpud.admin.ListPools": Verb(pools.list_pools),
    "org.vgpud.admin.ShowPool": Verb(pools.show_pool),
    "org.vgpud.admin.CreatePool": Verb(pools.create_pool, changes=True, subject=_pool_of),
    "org.vgpud.admin.EnablePool": Verb(pools.enable_pool, changes=True, subject=_pool_of),
    "org.vgpud.admin.DisablePool": Verb(pools.disable_pool, changes=True, subject=_pool_of),
    "org.vgpud.admin.RegisterVm": Verb(
        vms.register_vm, changes=True, subject=_vm_of, only_vm=_uuid_of
    ),
    "org.vgpud.admin.ShowVm": Verb(vms.show_vm),
    "org.vgpud.admin.ListVms": Verb(vms.list_vms),
    "org.vgpud.admin.RemoveVm": Verb(vms.remove_vm, changes=True, subject=_vm_of, only_vm=_uuid_of),
    "org.vgpud.admin.SetWeight": Verb(
        limits.set_weight, changes=True, subject=_vm_of, only_vm=_uuid_of
    ),
    "org.vgpud.admin.SetRateLimit": Verb(
        limits.set_rate_limit, changes=True, subject=_vm_of, only_vm=_uuid_of
    ),
    "org.vgpud.admin.QuarantineVm": Verb(
        quarantine.quarantine_vm, changes=True, subject=_vm_of, only_vm=_uuid_of
    ),
    "org.vgpud.admin.ClearQuarantine": Verb(
        quarantine.clear_quarantine, changes=True, subject=_vm_of, only_vm=_uuid_of
    ),
    "org.vgpud.admin.Status": Verb(status.status),
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

    def handle(self, peer: Peer, message: bytes) -> bytes | None:
        """Answers one message; None if the caller wants no answer. Blocks on the disk.

        Whatever the bytes are, the answer says what is wrong with them.
        """
        try:
            call = decode_call(message)
        except MalformedMessage as error:
            return encode_error(error)
        try:
            answer = encode_reply(to_wire(self._run(peer, call)))
        except RequestError as error:
            answer = encode_error(error)
        except StoreError as error:
            log.error("%s: %s failed: %s", peer, call.method, error)
            answer = encode_error(StoreFailed(str(error)))
        return None if call.oneway else answer

    def _run(self, peer: Peer, call: Call) -> Record:
        verb = _verb(call.method)
        store = self._context.store
        try:
            authorize(call.method, self.policy.roles_of(peer.uid, peer.gids))
            if call.upgrade:
                raise InvalidParameter("upgrade")
            request: Any = from_wire(METHODS[call.method][0], call.parameters, strict=True)
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
        if verb.subject is not None:
            only_vm = None if verb.only_vm is None else verb.only_vm(reply)
            self._apply(peer, call, verb.subject(reply), only_vm)
        if verb.afterwards is not None:
            verb.afterwards(self._context, request)
        return reply

    def _apply(self, peer: Peer, call: Call, subject: str, only_vm: str | None) -> None:
        """Lets the engine take the change over; raises StoredNotApplied if it does not."""
        reconciler = self._context.reconciler
        try:
            failures = reconciler.apply() if only_vm is None else reconciler.apply_vm(only_vm)
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
