"""Classes that are their typed fields, cheap to define.

They are declared and checked by mypy as dataclasses are. `dataclasses` compiles several functions
for each class when its module is imported; the command line clients import every message and every
error, and that alone would take half of the hundred milliseconds in which a command answers. Here
one set of functions serves all classes.
"""

from __future__ import annotations

from typing import Any, ClassVar, dataclass_transform

REQUIRED = object()
"""The default of a field that has none."""


class Fields:
    """Collects the annotated names of a class and its bases, and takes them as arguments."""

    field_defaults: ClassVar[dict[str, object]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.field_defaults = {
            name: vars(base).get(name, REQUIRED)
            for base in reversed(cls.__mro__)
            for name, annotation in vars(base).get("__annotations__", {}).items()
            if not name.startswith("_") and not annotation.startswith("ClassVar")
        }

    def __init__(self, *positional: Any, **named: Any) -> None:
        names = list(self.field_defaults)
        if len(positional) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values")
        values = dict(zip(names, positional, strict=False))
        for name, value in named.items():
            if name not in self.field_defaults or name in values:
                raise TypeError(f"{type(self).__name__} has no field {name}, or it is given twice")
            values[name] = value
        for name, default in self.field_defaults.items():
            value = values.get(name, default)
            if value is REQUIRED:
                raise TypeError(f"{type(self).__name__} needs {name}")
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.field_defaults)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass_transform(frozen_default=True)
class Record(Fields):
    """A value: equal to another of its class with equal fields; its fields never change."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.field_defaults)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.field_defaults)))
