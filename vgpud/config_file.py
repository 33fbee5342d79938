"""Reading the configuration: one TOML file, and drop-ins beside it that change single keys of it.

Anything that is not understood refuses the start: a misspelt key would else silently mean its
default.
"""

from __future__ import annotations

import difflib
import os
import re
import uuid
from collections.abc import Mapping, Sequence
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
    """Reads the configuration, or the defaults if nothing is named and nothing is installed.

    Args:
        path: the file to read; it must exist. None reads DEFAULT_PATH if there is one. Either way
            the drop-ins beside it are read after it.

    Raises:
        ConfigError: a file cannot be read, is not TOML, or has a key or value that is not
            understood; names the file, the key and what is expected.
    """
    return config_from_documents([(str(file), _read(file)) for file in config_files(path)])


def config_files(path: Path | None = None) -> list[Path]:
    """The files that load_config() reads, in that order. Raises ConfigError.

    Drop-ins are the files *.toml in FILE.d, sorted by name; hidden ones are none.
    """
    named, path = path is not None, path or DEFAULT_PATH
    files = [path] if named or path.exists() else []
    directory = path.with_name(f"{path.name}.d")
    try:
        names = sorted(entry.name for entry in os.scandir(directory))
    except FileNotFoundError:
        return files
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read: {error.strerror}") from error
    return files + [
        directory / name for name in names if name.endswith(".toml") and not name.startswith(".")
    ]


def list_config_files(path: Path | None = None) -> str:
    """For people: the files that load_config() reads."""
    return ", ".join(map(str, config_files(path))) or "no file, all defaults"


def file_that_sets(dotted: str, path: Path | None = None) -> Path:
    """The file that counts for a key, such as "daemon.user"; for one in none, the first file."""
    section, _, key = dotted.partition(".")
    files = config_files(path)
    having = [file for file in files if key in _read(file).get(section, {})]
    return (having or files or [DEFAULT_PATH])[-1 if having else 0]


def config_from_document(document: dict[str, Any], source: str) -> Config:
    """Checks a parsed TOML document. `source` names it in errors; raises ConfigError."""
    return config_from_documents([(source, document)])


def config_from_documents(documents: Sequence[tuple[str, dict[str, Any]]]) -> Config:
    """Checks parsed TOML documents, each with its name; keys of a later one count.

    Raises ConfigError, which names the document that has the key.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, document in documents:
        _refuse_unknown_keys(document, source)
        for section, content in document.items():
            merged.setdefault(section, {}).update(content)
            origin.update(dict.fromkeys((f"{section}.{key}" for key in content), source))
    try:
        config = msgspec.convert(merged, Config, strict=True)
    except msgspec.ValidationError as error:
        said = _explain(str(error), merged)
        raise ConfigError(f"{_origin_of(said.partition(':')[0], origin)}: {said}") from error
    for key, socket in _socket_paths(config):
        size = len(os.fsencode(socket))
        if size > UNIX_PATH_MAX:
            raise ConfigError(
                f"{_origin_of(key, origin)}: {key}: the path of a Unix socket may have "
                f"{UNIX_PATH_MAX} bytes, {socket} would have {size}"
            )
    return config


def _origin_of(dotted: str, origin: Mapping[str, str]) -> str:
    """Where a key is set. One left out can be refused only beside others of its section."""
    section = dotted.partition(".")[0] + "."
    others = [source for key, source in origin.items() if key.startswith(section)]
    return origin.get(dotted) or (others[-1] if others else "the default")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", _HOW_TO_START_WITHOUT) from error
    try:
        return tomli.loads(text)
    except (ValueError, RecursionError) as error:  # also too long a number, too deep a nesting
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


_HOW_TO_START_WITHOUT = (
    "Without --config, vgpud reads /etc/vgpud/vgpud.toml if it is there, else uses its defaults."
)


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
    if hint is bool:
        return "true or false"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    for meta in get_args(hint)[1:]:
        if isinstance(meta, Meta):
            if meta.description is not None:
                return meta.description
            return f"an integer from {meta.ge} to {meta.le}"
    return "a string"
