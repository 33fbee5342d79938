"""Administer a running vgpud from Python; vgpu-admin makes its calls with this."""

from __future__ import annotations

from vgpud.client.connection import DEFAULT_SOCKET, Client, error_from_reply

__all__ = ["DEFAULT_SOCKET", "Client", "error_from_reply"]
