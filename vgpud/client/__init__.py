"""Administer a running vgpud from Python.

    from vgpud.client import Priority, Vgpud

    vgpud = Vgpud()
    vgpud.create_pool("C", "Batch")
    vgpud.register_vm("f3b7d2f0-6a43-4c5e-9b1f-0d2a7c8e5b64", vm_name="trainer", pool_id="C")
    vgpud.set_priority(Priority.HIGH, vm_name="trainer")

`Vgpud` has a method for each call; a `Client` makes single ones, as vgpu-admin does, which shows
answers as they came. Errors are classes of vgpud.errors and vgpud.refusals.
"""

from __future__ import annotations

from vgpud.client.connection import DEFAULT_SOCKET, Client, error_from_reply
from vgpud.client.vgpud import TIMEOUT_S, Vgpud, path_of_socket
from vgpud.model.priority import Priority

__all__ = [
    "DEFAULT_SOCKET",
    "TIMEOUT_S",
    "Client",
    "Priority",
    "Vgpud",
    "error_from_reply",
    "path_of_socket",
]
