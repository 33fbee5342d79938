"""The control socket's language, from bytes alone; messages against the interface descriptions."""

from __future__ import annotations

import json
import types
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from varlink.scanner import (
    Interface,
    _Alias,
    _Array,
    _CustomType,
    _Enum,
    _Error,
    _Maybe,
    _Method,
    _Struct,
)

from vgpud.control.authz import ROLE_NEEDED
from vgpud.control.dispatch import VERBS
from vgpud.model.priority import Priority
from vgpud.protocol import messages, states
from vgpud.protocol.calls import Call, decode_call, decode_reply, encode_call, encode_error
from vgpud.protocol.codec import from_wire, to_wire
from vgpud.protocol.descriptions import INTERFACES, load_description
from vgpud.protocol.framing import MessageDecoder, frame
from vgpud.protocol.messages import ListPools, RegisterVm, ShowPool
from vgpud.protocol.methods import METHODS
from vgpud.protocol.states import PriorityCounts
from vgpud.record import Record
from vgpud.refusals import (
    ADMIN_ERRORS,
    ADMIN_INTERFACE,
    SERVICE_ERRORS,
    SERVICE_INTERFACE,
    InterfaceNotFound,
    InvalidArgument,
    InvalidParameter,
    MalformedMessage,
    MessageTooLarge,
    PoolExists,
    RequestError,
)

# --- Framing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_messages_are_cut_wherever_the_bytes_break(step: int) -> None:
    stream = frame(b"one") + frame(b"") + frame(b"three") + b"rest"
    decoder = MessageDecoder(100)
    found: list[bytes] = []
    for start in range(0, len(stream), step):
        found += decoder.feed(stream[start : start + step])
    assert found == [b"one", b"", b"three"]
    assert decoder.has_unfinished


def test_a_finished_message_leaves_nothing_unfinished() -> None:
    decoder = MessageDecoder(100)
    assert list(decoder.feed(frame(b"one"))) == [b"one"]
    assert not decoder.has_unfinished


def test_a_message_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert list(MessageDecoder(4).feed(frame(b"1234"))) == [b"1234"]
    with pytest.raises(MessageTooLarge) as refused:
        list(MessageDecoder(4).feed(frame(b"12345")))
    assert refused.value.limit_bytes == 4


def test_a_message_too_large_is_noticed_before_it_ends() -> None:
    decoder = MessageDecoder(4)
    assert list(decoder.feed(b"123")) == []
    with pytest.raises(MessageTooLarge):
        list(decoder.feed(b"45"))


def test_messages_before_one_too_large_are_still_delivered() -> None:
    found = []
    with pytest.raises(MessageTooLarge):
        for message in MessageDecoder(4).feed(frame(b"ok") + b"12345"):
            found.append(message)
    assert found == [b"ok"]


# --- Envelope -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"method": 3}',
        b'{"method": "a.B", "parameters": []}',
        b'{"method": "a.B", "oneway": 1}',
        b'{"method": "a.B", "more": "yes"}',
        b'{"method": "a.B", "parameters": {"x": NaN}}',
        b'{"method": "a.B", "parameters": {"x": ' + b"9" * 5000 + b"}}",
        b"[" * 60_000,
        b'{"method": "a.B", "parameters": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}",
    ],
)
def test_what_is_no_call_is_refused_in_words(message: bytes) -> None:
    with pytest.raises(MalformedMessage) as refused:
        decode_call(message)
    assert refused.value.reason


def test_a_call_is_read_as_it_was_written() -> None:
    call = Call("a.B", {"x": [1, "\U0001f600\0"]}, oneway=True, more=True)
    assert b"\0" not in encode_call(call)
    assert decode_call(encode_call(call)) == call


def test_parameters_may_be_left_out_or_null() -> None:
    assert decode_call(b'{"method": "a.B"}') == Call("a.B", {})
    assert decode_call(b'{"method": "a.B", "parameters": null}') == Call("a.B", {})


def test_an_error_carries_its_qualified_name_and_its_facts() -> None:
    reply = decode_reply(encode_error(PoolExists("A")))
    assert (reply.error, reply.parameters) == ("org.vgpud.admin.PoolExists", {"pool_id": "A"})
    reply = decode_reply(encode_error(InterfaceNotFound("a.b")))
    assert reply.error == "org.varlink.service.InterfaceNotFound"
    assert reply.parameters == {"interface": "a.b"}


# --- Messages -------------------------------------------------------------------------------------


def test_a_message_is_read_as_it_was_written() -> None:
    message = RegisterVm("u", priority=Priority.HIGH, vm_id=3)
    wire = to_wire(message)
    assert wire == {"vm_uuid": "u", "priority": "high", "vm_id": 3}
    assert from_wire(RegisterVm, json.loads(json.dumps(wire)), strict=True) == message


@pytest.mark.parametrize(
    ("cls", "values", "named"),
    [
        (ShowPool, {}, "pool_id"),
        (ShowPool, {"pool_id": None}, "pool_id"),
        (ShowPool, {"pool_id": 1}, "pool_id"),
        (ShowPool, {"pool_id": "A", "pool": "A"}, "pool"),
        (ListPools, {"enabled_only": 1}, "enabled_only"),
        (RegisterVm, {"vm_uuid": "u", "priority": "urgent"}, "priority"),
        (RegisterVm, {"vm_uuid": "u", "priority": 2}, "priority"),
        (RegisterVm, {"vm_uuid": "u", "vm_id": True}, "vm_id"),
        (RegisterVm, {"vm_uuid": "u", "vm_id": 1.0}, "vm_id"),
        (messages.ListPoolsReply, {"pools": {}}, "pools"),
        (messages.ListPoolsReply, {"pools": [{}]}, "pools.pool_id"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(
    cls: type[Record], values: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidParameter) as refused:
        from_wire(cls, values, strict=True)
    assert refused.value.parameter == named


@pytest.mark.parametrize(
    ("values", "named", "value"),
    [
        ({"vm_uuid": "u", "vm_id": 2**63}, "vm_id", str(2**63)),
        ({"vm_uuid": "u", "vm_name": "\ud800"}, "vm_name", "\ud800"),
        ({"vm_uuid": "\udcff"}, "vm_uuid", "\udcff"),
    ],
)
def test_a_value_that_nothing_else_could_take_is_refused_with_what_is_expected(
    values: dict[str, Any], named: str, value: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        from_wire(RegisterVm, values, strict=True)
    assert (refused.value.parameter, refused.value.value) == (named, value)
    assert str(refused.value).isprintable()


def test_a_client_understands_a_newer_daemon() -> None:
    values = {"high": 1, "medium": 2, "low": 3, "critical": 4}
    assert from_wire(PriorityCounts, values, strict=False) == PriorityCounts(1, 2, 3)


def test_a_record_is_a_value() -> None:
    counts = PriorityCounts(1, medium=2, low=3)
    assert counts == PriorityCounts(1, 2, 3) and counts != PriorityCounts(1, 2, 4)
    assert hash(counts) == hash(PriorityCounts(1, 2, 3))
    assert repr(counts) == "PriorityCounts(high=1, medium=2, low=3)"
    with pytest.raises(AttributeError):
        counts.low = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("positional", "named"),
    [((1,), {}), ((1, 2, 3, 4), {}), ((1, 2, 3), {"low": 3}), ((), {"x": 1})],
)
def test_a_record_takes_exactly_its_fields(
    positional: tuple[int, ...], named: dict[str, int]
) -> None:
    with pytest.raises(TypeError):
        PriorityCounts(*positional, **named)


# --- Messages against the interface descriptions --------------------------------------------------

DESCRIBED = {name: Interface(load_description(name)) for name in INTERFACES}


def spelled(varlink_type: Any) -> str:
    """A described type in Varlink's own spelling."""
    if isinstance(varlink_type, _Maybe):
        return f"?{spelled(varlink_type.element_type)}"
    if isinstance(varlink_type, _Array):
        return f"[]{spelled(varlink_type.element_type)}"
    if isinstance(varlink_type, _CustomType):
        return str(varlink_type.name)
    return {bool: "bool", int: "int", str: "string"}[type(varlink_type)]


def hinted(hint: Any) -> str:
    """A Python type in Varlink's spelling."""
    if get_origin(hint) is types.UnionType:
        return f"?{hinted(get_args(hint)[0])}"
    if get_origin(hint) is list:
        return f"[]{hinted(get_args(hint)[0])}"
    return {bool: "bool", int: "int", str: "string"}.get(hint) or str(hint.__name__)


def fields_described(struct: _Struct) -> dict[str, str]:
    return {name: spelled(kind) for name, kind in struct.fields.items()}


def fields_defined(cls: type[Record] | type[RequestError]) -> dict[str, str]:
    if cls is InterfaceNotFound:
        return {"interface": "string"}
    hints = get_type_hints(cls)
    return {name: hinted(hints[name]) for name in cls.field_defaults}


def members(kind: type) -> list[tuple[str, Any]]:
    """Methods, types or errors of all interfaces by qualified name."""
    found: list[Any] = [
        (interface, member)
        for interface in DESCRIBED.values()
        for member in interface.members.values()
        if isinstance(member, kind)
    ]
    return [(f"{interface.name}.{member.name}", member) for interface, member in found]


def test_methods_described_are_those_defined_allowed_and_carried_out() -> None:
    described = {name for name, _ in members(_Method)}
    assert described == set(METHODS) == set(ROLE_NEEDED) == set(VERBS)


@pytest.mark.parametrize(("name", "method"), members(_Method))
def test_a_methods_messages_are_as_described(name: str, method: _Method) -> None:
    call, reply = METHODS[name]
    assert fields_defined(call) == fields_described(method.in_type)
    assert fields_defined(reply) == fields_described(method.out_type)


@pytest.mark.parametrize(("name", "alias"), members(_Alias))
def test_a_type_is_as_described(name: str, alias: _Alias) -> None:
    if isinstance(alias.type, _Enum):
        assert (alias.name, list(alias.type.fields)) == ("Priority", [p.label for p in Priority])
    else:
        assert fields_defined(getattr(states, alias.name)) == fields_described(alias.type)


def test_every_type_defined_is_described() -> None:
    exchanged = {cls for pair in METHODS.values() for cls in pair}
    defined = {
        name
        for name, cls in (vars(messages) | vars(states)).items()
        if isinstance(cls, type) and issubclass(cls, Record) and cls not in exchanged | {Record}
    }
    assert defined | {"Priority"} == {name.rpartition(".")[2] for name, _ in members(_Alias)}


def test_errors_are_as_described() -> None:
    described = {name: fields_described(error.type) for name, error in members(_Error)}
    defined = {
        f"{error.interface}.{error.__name__}": fields_defined(error)
        for error in (*ADMIN_ERRORS, *SERVICE_ERRORS)
    }
    assert described == defined


@pytest.mark.parametrize(
    ("name", "member"), [*members(_Method), *members(_Alias), *members(_Error)]
)
def test_everything_described_is_explained(name: str, member: Any) -> None:
    assert member.doc.strip(), name


def test_interfaces_are_named_as_their_files() -> None:
    assert {name: interface.name for name, interface in DESCRIBED.items()} == {
        ADMIN_INTERFACE: ADMIN_INTERFACE,
        SERVICE_INTERFACE: SERVICE_INTERFACE,
    }
