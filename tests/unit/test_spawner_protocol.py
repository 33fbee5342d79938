"""The messages of vgpu-spawn are the same in Python and in spawn_protocol.h."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from vgpud.spawner import messages
from vgpud.spawner.messages import (
    MAGIC,
    VERSION,
    Capability,
    Flag,
    Message,
    Role,
    Verb,
    WorkerExit,
    encode_settings,
)

ROOT = Path(__file__).resolve().parent.parent.parent
EXT = ROOT / "mediator_ext"
HEADER = (EXT / "spawn" / "spawn_protocol.h").read_text()

FIELDS = (
    "magic",
    "version",
    "verb",
    "tag",
    "status",
    "flags",
    "arg",
    "worker_id",
    "slot",
    "pid",
    "uid",
    "key",
    "detail",
)
"""The members of struct spawn_message in the order of Message.LAYOUT."""


def enum_of(name: str, prefix: str) -> dict[str, int]:
    """The enumerators of an enum of the header, without their prefix."""
    body = re.search(rf"enum {name} \{{(.*?)\}};", HEADER, re.DOTALL)
    assert body, f"spawn_protocol.h has no enum {name}"
    return {
        key.removeprefix(prefix): int(value)
        for key, value in re.findall(r"^\s*(SPAWN_\w+) = (\d+)u?,", body.group(1), re.MULTILINE)
    }


def define_of(name: str) -> int:
    """A number that the header defines."""
    found = re.search(rf"^#define {name}\s+(0x[0-9a-f]+|\d+)u?\b", HEADER, re.MULTILINE)
    assert found, f"spawn_protocol.h does not define {name}"
    return int(found.group(1), 0)


@pytest.mark.parametrize(
    ("name", "prefix", "values"),
    [
        ("spawn_verb", "SPAWN_", Verb),
        ("spawn_role", "SPAWN_ROLE_", Role),
        ("spawn_flag", "SPAWN_", Flag),
        ("spawn_capability", "SPAWN_CAN_", Capability),
    ],
)
def test_enums_have_the_values_of_the_header(
    name: str, prefix: str, values: type[IntEnum] | type[IntFlag]
) -> None:
    assert {member.name: int(member) for member in values} == enum_of(name, prefix)


@pytest.mark.parametrize("name", ["MAGIC", "VERSION", "KEY_BYTES", "DETAIL_BYTES", "MAX_FDS"])
def test_constants_have_the_values_of_the_header(name: str) -> None:
    assert getattr(messages, name) == define_of(f"SPAWN_{name}")


def test_fields_lie_where_the_compiler_puts_them(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    lines = [
        f'    printf("\\"{field}\\": [%zu, %zu],", offsetof(struct spawn_message, {field}),'
        f" sizeof(((struct spawn_message *)0)->{field}));"
        for field in FIELDS
    ]
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n"
        '#include "spawn/spawn_protocol.h"\n'
        'int main(void)\n{\n    printf("{");\n' + "\n".join(lines) + "\n"
        '    printf("\\"whole\\": [0, %zu]}\\n", sizeof(struct spawn_message));\n    return 0;\n}\n'
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, f"-I{EXT}", "-o", program, source], check=True)
    in_c = json.loads(subprocess.run([program], check=True, capture_output=True).stdout)
    assert in_c == layout_in_python()


def layout_in_python() -> dict[str, list[int]]:
    """Offset and size of every field of Message.LAYOUT."""
    layout: dict[str, list[int]] = {"whole": [0, Message.LAYOUT.size]}
    offset = 0
    formats = re.findall(r"\d*[a-zA-Z]", Message.LAYOUT.format.removeprefix("="))
    for name, code in zip(FIELDS, formats, strict=True):
        size = struct.calcsize(f"={code}")
        layout[name] = [offset, size]
        offset += size
    return layout


def test_message_survives_packing() -> None:
    message = Message(
        Verb.WORKER,
        tag=2**32 - 1,
        status=-28,
        flags=3,
        arg=4,
        worker_id=5,
        slot=6,
        pid=7,
        uid=2**31,
        key="vm/1/launch",
        detail=b"A=1\0B=2",
    )
    assert Message.unpack(message.pack()) == message


def test_packed_fields_have_their_places() -> None:
    data = Message(Verb.KILL, tag=0x01020304, worker_id=9, pid=-1).pack()
    for name, value in {"verb": 3, "tag": 0x01020304, "worker_id": 9, "pid": 0xFFFFFFFF}.items():
        offset, size = layout_in_python()[name]
        assert int.from_bytes(data[offset : offset + size], "little") == value


WHOLE = Message.LAYOUT.size


@pytest.mark.parametrize(
    "data", [b"", bytes(WHOLE - 1), bytes(WHOLE + 1), bytes(WHOLE), b"x" * WHOLE]
)
def test_what_is_not_a_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a message"):
        Message.unpack(data)


def test_another_version_of_another_size_is_named() -> None:
    data = Message.HEAD.pack(MAGIC, VERSION - 1).ljust(400, b"\0")
    with pytest.raises(ValueError, match=rf"version {VERSION - 1}, not {VERSION}: restart"):
        Message.unpack(data)


def test_texts_that_do_not_fit_are_refused() -> None:
    Message(Verb.HOLD, key="x" * 103, detail=b"y" * 511).pack()
    with pytest.raises(ValueError, match="at most 103 and 511 fit"):
        Message(Verb.HOLD, key="x" * 104).pack()
    with pytest.raises(ValueError, match="at most 103 and 511 fit"):
        Message(Verb.HOLD, detail=b"y" * 512).pack()
    with pytest.raises(UnicodeEncodeError):
        Message(Verb.HOLD, key="\u00e4").pack()


def test_settings_are_separated_by_nul() -> None:
    assert encode_settings({"A": "1", "B": "x=y"}) == b"A=1\0B=x=y"
    assert encode_settings({}) == b""


@pytest.mark.parametrize("settings", [{"": "1"}, {"A=B": "1"}, {"A": "1\0B=2"}, {"A\0": "1"}])
def test_settings_that_no_environment_can_have_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be in an environment"):
        encode_settings(settings)


def test_settings_that_do_not_fit_are_refused() -> None:
    assert len(encode_settings({"A": "x" * 509})) == 511
    with pytest.raises(ValueError, match="512 of 511 bytes"):
        encode_settings({"A": "x" * 510})


def ended(code: int, status: int) -> WorkerExit:
    return WorkerExit.from_message(
        Message(Verb.EXITED, arg=code, status=status, worker_id=1, pid=2, slot=3, key="vm")
    )


def test_exit_and_signal_are_told_apart() -> None:
    by_itself = ended(os.CLD_EXITED, 3)
    killed = ended(os.CLD_KILLED, signal.SIGKILL)
    dumped = ended(os.CLD_DUMPED, signal.SIGSEGV)
    assert (by_itself.exit_status, by_itself.signal_number) == (3, None)
    assert (killed.exit_status, killed.signal_number) == (None, 9)
    assert dumped.signal_number == 11
    assert [str(each) for each in (by_itself, killed, dumped, ended(os.CLD_KILLED, 40))] == [
        "exit status 3",
        "signal SIGKILL",
        "signal SIGSEGV",
        "signal 40",
    ]
