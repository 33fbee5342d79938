"""Several answers to one call, to clients that listen, hang up, stop reading, or talk meanwhile."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import varlink

from tests.unit.control_under_test import (
    UUID_1,
    RunningControl,
    as_call,
    is_closed,
    limits,
    receive,
    running_control,
    traced,
)
from vgpud.control.authz import RolePolicy
from vgpud.model.trace import TraceBatch
from vgpud.store.store import AuditOutcome

ADMIN = "org.vgpud.admin"


def following(**parameters: Any) -> bytes:
    """A call of Trace that permits several replies."""
    call = {"method": f"{ADMIN}.Trace", "parameters": parameters, "more": True}
    return json.dumps(call).encode() + b"\0"


def add(control: RunningControl, batch: TraceBatch | None) -> None:
    control.in_loop(lambda: control.engine.trace.add(batch))


def seqs(reply: dict[str, Any]) -> list[int]:
    assert reply["continues"] is True
    return [request["seq"] for request in reply["parameters"]["requests"]]


def test_without_more_there_is_one_answer_with_the_latest(control: RunningControl) -> None:
    control.engine.trace.kept = [traced(1), traced(2), traced(3)]
    reply = control.call("Trace", limit=2)
    assert set(reply) == {"parameters"}
    assert [request["seq"] for request in reply["parameters"]["requests"]] == [2, 3]
    control.call("Trace")
    assert control.engine.trace.asked == [(None, 2), (None, 100)]


def test_a_request_is_told_in_words_and_what_never_happened_is_left_out(
    control: RunningControl,
) -> None:
    control.engine.trace.kept = [traced(7, vm_uuid=None, queued_ns=0, picked_ns=0, pool_id="")]
    (request,) = control.call("Trace")["parameters"]["requests"]
    assert (request["kind"], request["transport"], request["priority"]) == (
        "command",
        "ring",
        "high",
    )
    assert (request["status"], request["outcome"]) == ("ok", "answered")
    assert request["cookie"] == "0xffffffffffffffff"
    assert {"vm_uuid", "pool_id", "queued_ns", "picked_ns"} & set(request) == set()


def test_a_follower_is_answered_at_once_and_whenever_there_is_more(control: RunningControl) -> None:
    with control.connect() as client:
        client.sendall(following())
        assert seqs(receive(client)) == []
        add(control, TraceBatch([traced(1), traced(2)], 0))
        add(control, TraceBatch([traced(9)], 6))
        assert seqs(receive(client)) == [1, 2]
        reply = receive(client)
        assert seqs(reply) == [9] and reply["parameters"]["missed"] == 6


def test_the_varlink_client_of_others_can_follow(control: RunningControl) -> None:
    control.engine.trace.kept = [traced(1)]
    with (
        varlink.Client(address=f"unix:{control.socket}") as client,
        client.open(ADMIN) as connection,
    ):
        replies = connection.Trace(_more=True)
        assert [request["seq"] for request in next(replies)["requests"]] == [1]
        add(control, TraceBatch([traced(2)], 0))
        assert [request["seq"] for request in next(replies)["requests"]] == [2]


def test_an_idle_follower_that_hangs_up_is_let_go(control: RunningControl) -> None:
    with control.connect() as client:
        client.sendall(following())
        receive(client)
        assert not control.engine.trace.left.is_set()
    assert control.engine.trace.left.wait(10)


def test_what_is_there_already_is_told_to_a_follower_that_sends_no_more(
    control: RunningControl,
) -> None:
    control.engine.trace.kept.append(traced(1))
    with control.connect() as client:
        client.sendall(following())
        client.shutdown(socket.SHUT_WR)
        assert seqs(receive(client)) == [1]
        assert is_closed(client)


def test_a_follower_that_does_not_read_is_closed_and_delays_nobody(short_dir: Path) -> None:
    quick = limits(message_timeout_ms=200)
    with running_control(short_dir, quick) as control, control.connect() as client:
        client.sendall(following())
        receive(client)
        add(control, TraceBatch([traced(n) for n in range(3000)], 0))
        assert "parameters" in control.call("ListPools")
        assert control.engine.trace.left.wait(10)


def test_the_end_of_what_is_followed_is_the_last_answer_and_the_connection_stays(
    control: RunningControl,
) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1)
    with control.connect() as client:
        client.sendall(following(vm_uuid=UUID_1) + as_call("ListPools"))
        assert seqs(receive(client)) == []
        client.sendall(as_call("ShowPool", pool_id="A"))
        control.call("RemoveVm", vm_uuid=UUID_1)
        add(control, None)
        gone = {"error": f"{ADMIN}.VmNotFound", "parameters": {"vm": UUID_1}}
        assert receive(client) == gone
        assert len(receive(client)["parameters"]["pools"]) == 2
        assert receive(client)["parameters"]["pool"]["pool_id"] == "A"


def test_a_follower_may_not_send_more_than_a_message_meanwhile(short_dir: Path) -> None:
    with running_control(short_dir, limits(max_message_bytes=4096)) as control:
        with control.connect() as client:
            client.sendall(following())
            receive(client)
            client.sendall(b"x" * 5000)
            assert receive(client)["error"] == f"{ADMIN}.MessageTooLarge"
            assert is_closed(client)
        assert control.engine.trace.left.wait(10)


def test_more_is_no_demand_and_oneway_wants_no_answer(control: RunningControl) -> None:
    with control.connect() as client:
        call = {"method": f"{ADMIN}.ListPools", "parameters": {}, "more": True}
        client.sendall(json.dumps(call).encode() + b"\0")
        assert set(receive(client)) == {"parameters"}
        call = {"method": f"{ADMIN}.Trace", "parameters": {}, "more": True, "oneway": True}
        client.sendall(json.dumps(call).encode() + b"\0" + as_call("ShowPool", pool_id="A"))
        assert "pool" in receive(client)["parameters"]


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"limit": 1001}, "InvalidArgument"),
        ({"limit": -1}, "InvalidArgument"),
        ({"vm_uuid": UUID_1}, "VmNotFound"),
        ({"vm_uuid": UUID_1, "vm_name": "x"}, "InvalidArgument"),
    ],
)
def test_what_cannot_be_traced_is_the_only_answer(
    control: RunningControl, parameters: dict[str, Any], error: str
) -> None:
    once = control.call("Trace", **parameters)
    assert once["error"] == f"{ADMIN}.{error}"
    with control.connect() as client:
        client.sendall(following(**parameters) + as_call("ListPools"))
        assert receive(client) == once
        assert "pools" in receive(client)["parameters"]


def test_viewers_may_follow_and_who_has_no_role_is_refused_and_recorded(short_dir: Path) -> None:
    viewer = RolePolicy(frozenset(), view_gid=os.getegid())
    with running_control(short_dir, policy=viewer) as control, control.connect() as client:
        client.sendall(following())
        assert seqs(receive(client)) == []
    with running_control(short_dir, policy=RolePolicy(frozenset())) as control:
        with control.connect() as client:
            client.sendall(following())
            assert receive(client)["error"] == f"{ADMIN}.PermissionDenied"
        (entry,) = control.audit()
        assert (entry.method, entry.outcome) == (f"{ADMIN}.Trace", AuditOutcome.REFUSED)


def test_the_server_ends_while_somebody_follows(short_dir: Path) -> None:
    with running_control(short_dir) as control:
        client = control.connect()
        client.sendall(following())
        receive(client)
    with client:
        assert is_closed(client)
    assert control.engine.trace.left.is_set()
