"""What the engine tells of a VM's clients, as lines of the log that name the VM."""

from __future__ import annotations

import logging

from vgpud.fault_words import fault_sentence
from vgpud.mediator import Event, EventType
from vgpud.model.trace import Transport

log = logging.getLogger(__name__)


def log_client_news(vm_uuid: str, peer_uid: int, event: Event) -> None:
    """Logs a connection, a refusal or a fault; `peer_uid` is whom the VM's sockets are for."""
    if event.type is EventType.FAULT:
        log.warning("VM %s: fault: %s", vm_uuid, fault_sentence(event))
        return
    transport = Transport(event.a).name.lower()
    match event.type:
        case EventType.CONNECTED:
            log.info("VM %s: connected over %s (pid %d)", vm_uuid, transport, event.b)
        case EventType.DISCONNECTED:
            log.info("VM %s: disconnected from %s", vm_uuid, transport)
        case EventType.PEER_REFUSED:
            log.warning(
                "VM %s: refused uid %d (pid %d) on %s: only uid %d may connect",
                vm_uuid,
                event.b & 0xFFFF_FFFF,
                event.b >> 32,
                transport,
                peer_uid,
            )
        case EventType.SECOND_CLIENT:
            log.warning(
                "VM %s: refused a second client on %s (pid %d)", vm_uuid, transport, event.b >> 32
            )
