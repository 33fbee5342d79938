"""The interface descriptions served to clients, as shipped beside this file."""

from __future__ import annotations

from importlib import resources

from vgpud.refusals import ADMIN_INTERFACE, SERVICE_INTERFACE

INTERFACES = (SERVICE_INTERFACE, ADMIN_INTERFACE)


def load_description(interface: str) -> str:
    """The description of one of INTERFACES."""
    return (resources.files("vgpud.protocol") / f"{interface}.varlink").read_text(encoding="utf-8")
