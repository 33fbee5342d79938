"""Reading the configuration: one TOML file, and drop-ins beside it that change single keys of it.

Anything that is not understood refuses the start: a misspelt key would else silently mean its
default.
"""

from __future__ import annotations

import difflib
import os
import re
import uuid
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomli
from msgspec import Meta, Struct

from vgpud.config import Config
from vgpud.errors import ConfigError

DEFAULT_PATH = Path("/etc/vgpud/vgpud.toml")
UNIX_PATH_MAX = 107
"""Longest path of a Unix socket in bytes, without the final NUL."""

VM_SOCKET_NAME = "stub.sock"
"""The name of a VM's socket; the other one is as long."""

_SECTIONS: dict[str, type[Struct]] = {
    field.name: type(field.default) for field in msgspec.structs.fields(Config)
}


def load_config(path: Path | None = None) -> Config:
    """Reads the configuration, or the defaults if none is named and none is installed.

    Args:
        path: the file to read; it must exist. None reads DEFAULT_PATH if there is one.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key or value that is not
            understood; names the file, the key and what is expected.
    """
    if path is None:
        if not DEFAULT_PATH.exists():
            return Config()
        path = DEFAULT_PATH
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", _HOW_TO_START_WITHOUT) from error
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    return config_from_document(document, str(path))


_HOW_TO_START_WITHOUT = (
    "Without --config, vgpud reads /etc/vgpud/vgpud.toml if it is there, else uses its defaults."
)


def config_from_document(document: dict[str, Any], source: str) -> Config:
    """Checks a parsed TOML document. `source` names it in errors; raises ConfigError."""
    _refuse_unknown_keys(document, source)
    try:
        config = msgspec.convert(document, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), document)}") from error
    for key, socket in _socket_paths(config):
        size = len(os.fsencode(socket))
        if size > UNIX_PATH_MAX:
            raise ConfigError(
                f"{source}: {key}: the path of a Unix socket may have {UNIX_PATH_MAX} bytes, "
                f"{socket} would have {size}"
            )
    return config


def _socket_paths(config: Config) -> list[tuple[str, Path]]:
    """Every socket there will be, by the key that its path comes from."""
    return [
        ("control.socket" if config.control.socket else "daemon.run_dir", config.control_socket),
        ("spawner.socket" if config.spawner.socket else "daemon.run_dir", config.spawn_socket),
        ("daemon.run_dir", config.vms_dir / str(uuid.UUID(int=0)) / VM_SOCKET_NAME),
    ]


def _refuse_unknown_keys(document: dict[str, Any], source: str) -> None:
    """Names the first key that does not exist, with the ones that look like it."""
    for section, content in document.items():
        if section not in _SECTIONS:
            raise _unknown(source, section, "section", list(_SECTIONS))
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {section}: expected a section [{section}]")
        keys = [field.name for field in msgspec.structs.fields(_SECTIONS[section])]
        for key in content:
            if key not in keys:
                raise _unknown(source, f"{section}.{key}", "key", keys)


def _unknown(source: str, dotted: str, kind: str, known: list[str]) -> ConfigError:
    said = f"{source}: {dotted}: unknown {kind}"
    close = difflib.get_close_matches(dotted.rpartition(".")[2], known, n=3)
    if close:
        return ConfigError(said, f"Did you mean {' or '.join(close)}?")
    return ConfigError(f"{said}; expected {', '.join(known)}")


def _explain(message: str, document: dict[str, Any]) -> str:
    """Says for which key msgspec refused the document, what it may be, and what it is.

    msgspec ends its sentence with "- at `$.section.key`", or with the section's path alone for
    what __post_init__ found; that sentence starts with the key.
    """
    found = re.fullmatch(r"(?P<what>.*) - at `\$\.(?P<path>[^`]*)`", message, re.DOTALL)
    if found is None:
        return message
    section, _, key = found["path"].partition(".")
    if not key:
        return f"{section}.{found['what']}"
    return f"{section}.{key}: expected {_expected(section, key)}, is {document[section][key]!r}"


def _expected(section: str, key: str) -> str:
    """The type and range of one key, in words, from its declaration."""
    hint = get_type_hints(_SECTIONS[section], include_extras=True)[key]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    for meta in get_args(hint)[1:]:
        if isinstance(meta, Meta):
            if meta.description is not None:
                return meta.description
            return f"an integer from {meta.ge} to {meta.le}"
    return "a string"
