"""Messages to JSON values and back, by the types their classes declare.

Only the few types that occur: str, int (64 bit), bool, Priority (its word), a list, a message, and
each of them or None.
"""

from __future__ import annotations

import types
from enum import IntEnum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vgpud.model.priority import Priority
from vgpud.record import REQUIRED, Record
from vgpud.refusals import InvalidArgument, InvalidParameter

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1

Message = TypeVar("Message", bound=Record)


def to_wire(message: Record) -> dict[str, Any]:
    """The message as JSON values; fields that are None are left out, as Varlink allows."""
    return {
        name: _value_to_wire(value)
        for name in message.field_defaults
        if (value := getattr(message, name)) is not None
    }


def from_wire(cls: type[Message], values: dict[str, Any], *, strict: bool) -> Message:
    """Builds a message of class `cls` from JSON values.

    Args:
        cls: a class of `vgpud.protocol.messages`.
        values: the parameters of a call or a reply.
        strict: refuse fields that the class does not have. A daemon does; a client does not, so
            that it understands a newer daemon.

    Raises:
        InvalidParameter: a field is unknown, missing, or of the wrong type.
        InvalidArgument: a number is beyond 64 bits, or a text holds what is no character.
    """
    return _message_from_wire(cls, values, strict, "")


def _value_to_wire(value: object) -> Any:
    if isinstance(value, Priority):
        return value.label
    if isinstance(value, list):
        return [_value_to_wire(item) for item in value]
    if isinstance(value, Record):
        return to_wire(value)
    if isinstance(value, (str, int)) and not isinstance(value, IntEnum):
        return value
    raise TypeError(f"{type(value).__name__} has no form on the wire")


# Resolving the annotations costs more than reading the message, so it is done once per class.
_hints_of: dict[type[Record], dict[str, Any]] = {}


def _hints(cls: type[Record]) -> dict[str, Any]:
    if cls not in _hints_of:
        _hints_of[cls] = get_type_hints(cls)
    return _hints_of[cls]


def _message_from_wire(cls: type[Message], values: object, strict: bool, where: str) -> Message:
    if not isinstance(values, dict):
        raise InvalidParameter(where.rstrip("."))
    hints = _hints(cls)
    if strict:
        for name in values:
            if name not in cls.field_defaults:
                raise InvalidParameter(f"{where}{name}")
    arguments = {}
    for name, default in cls.field_defaults.items():
        hint = hints[name]
        value = values.get(name)
        if value is not None or _may_be_none(hint):
            arguments[name] = _value_from_wire(hint, value, strict, f"{where}{name}")
        elif default is REQUIRED:
            raise InvalidParameter(f"{where}{name}")
    return cls(**arguments)


def _may_be_none(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _value_from_wire(hint: Any, value: object, strict: bool, where: str) -> Any:
    if _may_be_none(hint):
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not types.NoneType)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise InvalidParameter(where)
        (item,) = get_args(hint)
        return [_value_from_wire(item, element, strict, where) for element in value]
    if hint is Priority:
        try:
            return Priority.from_label(value if isinstance(value, str) else "")
        except ValueError as error:
            raise InvalidParameter(where) from error
    if issubclass(hint, Record):
        return _message_from_wire(hint, value, strict, f"{where}.")
    # bool is a kind of int to Python, but not to anybody else.
    if type(value) is not hint:
        raise InvalidParameter(where)
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise InvalidArgument(where, str(value), "a number of at most 64 bits")
    if isinstance(value, str) and not _is_text(value):
        raise InvalidArgument(where, value, "text in UTF-8")
    return value


def _is_text(value: str) -> bool:
    """Whether it is all characters: JSON can spell halves of them, which nothing else takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
