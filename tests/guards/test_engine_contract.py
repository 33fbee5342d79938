"""The engine's contract is written once, and the extension made from it lets nothing else out."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import pytest
from cffi import FFI

from tests.guards.sources import ROOT, files
from vgpud.model.explanation import Hold
from vgpud.model.mediation import Refusal
from vgpud.model.trace import RequestKind, RequestOutcome, RequestStatus, Transport
from vgpud.worker_messages import DeviceType

EXT = ROOT / "mediator_ext"


def _build_mediator() -> ModuleType:
    """mediator_ext/build_mediator.py, which lies outside of any package."""
    spec = importlib.util.spec_from_file_location("build_mediator", EXT / "build_mediator.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(library: Path) -> list[str]:
    """The symbols that a shared library defines for others."""
    done = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", str(library)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[0] for line in done.stdout.splitlines()]


def test_what_is_between_the_markers_is_plain_enough_for_cffi() -> None:
    build = _build_mediator()
    ffi = FFI()
    for header in build.CONTRACT:
        ffi.cdef(build.cdef_of((EXT / header).read_text()))


@pytest.mark.parametrize("header", _build_mediator().CONTRACT)
def test_the_markers_hold_every_function_that_the_contract_declares(header: str) -> None:
    text = (EXT / header).read_text()
    declaration = re.compile(r"^[a-z].*?\b(mediator_\w+)\(", re.MULTILINE)
    part = _build_mediator().cdef_of(text)
    assert declaration.findall(part)
    assert set(declaration.findall(text)) == set(declaration.findall(part))


@pytest.mark.parametrize(
    "header",
    [
        "int f(void);",
        "/* cffi:begin */ int f(void);",
        "/* cffi:end */ int f(void); /* cffi:begin */",
        "/* cffi:begin */ /* cffi:begin */ /* cffi:end */",
    ],
)
def test_markers_that_do_not_pair_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match="cffi:"):
        _build_mediator().cdef_of(header)


@pytest.mark.parametrize(
    ("mirror", "header", "name"),
    [
        (RequestStatus, "ring_abi.h", "vgpu_status"),
        (RequestKind, "mediator.h", "mediator_kind"),
        (RequestOutcome, "mediator.h", "mediator_outcome"),
        (Transport, "mediator.h", "mediator_transport"),
        (Refusal, "mediator.h", "mediator_refusal"),
        (Hold, "mediator.h", "mediator_hold"),
        (DeviceType, "ring_ops.h", "vgpu_device_type"),
    ],
)
def test_an_enum_is_that_of_its_header(mirror: type[IntEnum], header: str, name: str) -> None:
    body = re.search(rf"^enum {name} \{{(.*?)^\}};", (EXT / header).read_text(), re.M | re.S)
    assert body
    written = re.findall(r"^ +[A-Z]+_(\w+) = (\d+),", body.group(1), re.MULTILINE)
    numbers = {
        re.sub("^(KIND|REFUSED|HOLD|DEVICE_TYPE)_", "", entry): int(value)
        for entry, value in written
        if not entry.endswith("_COUNT")
    }
    assert numbers and {member.name: member.value for member in mirror} == numbers


def test_the_extension_exports_its_init_function_only() -> None:
    built = sorted((ROOT / "vgpud").glob("_mediator*.so"))
    assert [path.name for path in built] == ["_mediator.abi3.so"]
    assert exported(built[0]) == ["PyInit__mediator"]


def test_an_exported_symbol_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "leak.c"
    source.write_text("int leak(void);\nint leak(void) { return 1; }\n")
    library = tmp_path / "leak.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    assert exported(library) == ["leak"]


def test_the_scheduler_and_the_event_ring_are_tested_under_both_sanitizers() -> None:
    tests = {path.stem: path.read_text() for path in files(".c", under="tests/c")}
    for name in ("test_scheduler", "test_event_ring"):
        assert "/* sanitizers: address thread */" in tests[name].splitlines()
