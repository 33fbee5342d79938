"""Calls about requests of VMs: why they wait, what has become of them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from vgpud.client.connection import Client
from vgpud.protocol.messages import Explain, ExplainReply, Trace, TraceReply
from vgpud.protocol.states import RequestExplanation, RequestTrace


class RequestCalls:
    """All that can be asked of requests. A VM is named by its UUID, or by `vm_name`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def explain(
        self,
        vm_uuid: str | None = None,
        *,
        vm_name: str | None = None,
        request: int | None = None,
    ) -> RequestExplanation | None:
        """Why a queued request of a VM waits, the oldest if none is named.

        None if nothing is queued. Raises VmNotFound, AmbiguousVm, RequestNotQueued.
        """
        return self._client.call(Explain(vm_uuid, vm_name, request), ExplainReply)[0].explanation

    def trace(
        self,
        vm_uuid: str | None = None,
        *,
        vm_name: str | None = None,
        limit: int | None = None,
    ) -> list[RequestTrace]:
        """The last finished requests of all VMs, or of one, oldest first.

        `limit` is 0 to 1000, 100 if it is None. Raises VmNotFound, AmbiguousVm, InvalidArgument.
        """
        return self._client.call(Trace(vm_uuid, vm_name, limit), TraceReply)[0].requests

    def follow_trace(
        self, vm_uuid: str | None = None, *, vm_name: str | None = None
    ) -> Generator[RequestTrace, None, None]:
        """Requests as they finish, until the caller closes the generator.

        Raises VmNotFound, AmbiguousVm, and NoDaemonError when the daemon ends.
        """
        replies = self._client.follow(Trace(vm_uuid, vm_name, 0), TraceReply)
        with contextlib.closing(replies):
            for reply, _ in replies:
                yield from reply.requests
