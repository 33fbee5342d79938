"""Varlink's envelope: what a call and a reply look like as JSON."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from vgpud.record import Record
from vgpud.refusals import MalformedMessage, RequestError

NESTING_MAX = 16
"""Levels of objects and lists in a message; ours have five at most."""


class Call(Record):
    """A method call.

    `more` permits several replies, it does not demand them; after `oneway` there is none, not even
    an error. `upgrade` asks to speak another protocol afterwards, which nothing here does.
    """

    method: str
    parameters: dict[str, Any]
    oneway: bool = False
    more: bool = False
    upgrade: bool = False


class Reply(Record):
    """An answer: an error's qualified name and parameters, or, with `error` None, the result.

    After one that `continues` there is another.
    """

    parameters: dict[str, Any]
    error: str | None = None
    continues: bool = False


def decode_call(message: bytes) -> Call:
    """Reads a call. Raises MalformedMessage, whatever the bytes are."""
    document = _decode_object(message)
    method = document.get("method")
    if not isinstance(method, str):
        raise MalformedMessage("method is not a string")
    flags = {}
    for name in ("oneway", "more", "upgrade"):
        flag = document.get(name)
        if flag is not None and not isinstance(flag, bool):
            raise MalformedMessage(f"{name} is not a boolean")
        flags[name] = bool(flag)
    return Call(method, _parameters(document), **flags)


def encode_call(call: Call) -> bytes:
    """Writes a call."""
    document: dict[str, Any] = {"method": call.method, "parameters": call.parameters}
    for name in ("oneway", "more", "upgrade"):
        if getattr(call, name):
            document[name] = True
    return _encode(document)


def decode_reply(message: bytes) -> Reply:
    """Reads an answer. Raises MalformedMessage."""
    document = _decode_object(message)
    error = document.get("error")
    if error is not None and not isinstance(error, str):
        raise MalformedMessage("error is not a string")
    continues = document.get("continues")
    if continues is not None and not isinstance(continues, bool):
        raise MalformedMessage("continues is not a boolean")
    return Reply(_parameters(document), error, bool(continues))


def encode_reply(parameters: dict[str, Any], *, continues: bool = False) -> bytes:
    """Writes the last, or only, answer to a call, or one after which another follows."""
    document: dict[str, Any] = {"parameters": parameters}
    if continues:
        document["continues"] = True
    return _encode(document)


def encode_error(error: RequestError) -> bytes:
    """Writes an answer that is an error."""
    return _encode({"error": error.wire_name, "parameters": error.parameters()})


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedMessage("parameters is not an object")
    return parameters


def _decode_object(message: bytes) -> dict[str, Any]:
    try:
        document = json.loads(message.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        # Bad UTF-8, bad JSON, numbers of thousands of digits; objects nested beyond all reason.
        raise MalformedMessage(str(error)[:200]) from error
    if not isinstance(document, dict):
        raise MalformedMessage("it is not a JSON object")
    _refuse_deep_nesting(document)
    return document


def _refuse_deep_nesting(document: dict[str, Any]) -> None:
    """What is kept of a refused call is written again, which recursion must not be able to stop."""
    level: list[Any] = [document]
    for _ in range(NESTING_MAX):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [
            child
            for item in containers
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise MalformedMessage(f"it is nested deeper than {NESTING_MAX} levels")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _encode(document: dict[str, Any]) -> bytes:
    # ASCII throughout: whatever is in a name, the bytes are valid UTF-8 and hold no NUL.
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")
