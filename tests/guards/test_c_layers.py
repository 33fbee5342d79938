"""Which C file may include which header: the process and trust boundaries, as a table.

Paths are relative to mediator_ext/, system headers stand in angle brackets. A `*` in a pattern
does not cross a directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import dirname, join, normpath

import pytest

from tests.guards.sources import ROOT, files

EXT = ROOT / "mediator_ext"


@dataclass(frozen=True)
class Rule:
    """What the files matching `who` may include.

    `names`: the project's headers that they may name themselves, None for any.
    `reaches`: the project's headers that they may see at all, through headers too, None for any.
    `never`: what they must not see at all, system headers included.
    """

    who: str
    why: str
    names: tuple[str, ...] | None = None
    reaches: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()


RULES = (
    Rule(
        "transport*",
        "a transport carries requests; who admits and runs them, and when, is not its business",
        never=("admission.h", "scheduler.h", "executor.h", "worker/*"),
    ),
    Rule(
        "scheduler.c",
        "the scheduler is pure: no lock, no I/O, no clock",
        never=("<pthread.h>", "<time.h>", "<sys/*>", "<unistd.h>", "<poll.h>", "<fcntl.h>"),
    ),
    Rule(
        "*",
        "the engine speaks to other programs through formats, it does not contain them",
        never=("guest/*", "worker/*", "<CL/*>"),
    ),
    Rule(
        "worker/backend_*",
        "a backend sees the contract it fulfils and what belongs to its own runtime",
        names=("worker/backend.h", "worker/backend_*", "worker/cuda_*", "worker/opencl_*"),
    ),
    Rule(
        "worker/*",
        "a worker shares with the engine only what stands in shared memory, and how to wait for it",
        reaches=("ring_abi.h", "ring_ops.h", "worker_channel.h", "spin.h", "worker/*"),
    ),
    Rule(
        "spawn/*",
        "the spawner is privileged: it sees no guest bytes, so it knows none of their formats",
        reaches=("spawn/*",),
    ),
    Rule(
        "guest/*",
        "the guest's library knows the interface between guest and host, nothing behind it",
        reaches=("ring_abi.h", "ring_ops.h", "wire_format.h", "guest/*"),
    ),
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|(<[^>]+>))', re.MULTILINE)


def matches(pattern: str, name: str) -> bool:
    return pattern.count("/") == name.count("/") and fnmatchcase(name, pattern)


def included(name: str, sources: Mapping[str, str]) -> list[str]:
    """The headers a file names, the project's own resolved as the compiler does it."""
    found: list[str] = []
    for own, system in INCLUDE.findall(sources[name]):
        beside = normpath(join(dirname(name), own)) if own else ""
        found.append(system or (beside if beside in sources else normpath(own)))
    return found


def reached(name: str, sources: Mapping[str, str]) -> dict[str, str]:
    """Every header a file sees, mapped to the chain of files through which it sees it."""
    seen: dict[str, str] = {}
    open_ends = [(name, name)]
    while open_ends:
        current, chain = open_ends.pop()
        for header in included(current, sources) if current in sources else []:
            if header not in seen and header != name:
                seen[header] = f"{chain} > {header}"
                open_ends.append((header, seen[header]))
    return seen


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every forbidden include among `sources` (path relative to mediator_ext/ to text)."""
    wrong: list[str] = []
    for name in sorted(sources):
        direct = included(name, sources)
        seen = reached(name, sources)
        for rule in RULES:
            if not matches(rule.who, name):
                continue
            bad = [
                header
                for header in direct
                if rule.names is not None
                and not header.startswith("<")
                and not any(matches(p, header) for p in rule.names)
            ]
            bad += [
                chain
                for header, chain in seen.items()
                if rule.reaches is not None
                and not header.startswith("<")
                and not any(matches(p, header) for p in rule.reaches)
            ]
            bad += [c for h, c in seen.items() if any(matches(p, h) for p in rule.never)]
            wrong += [f"{name}: {what}: {rule.why}" for what in bad]
    return wrong


def _sources() -> dict[str, str]:
    found = files(".c", ".h", under="mediator_ext")
    return {path.relative_to(EXT).as_posix(): path.read_text() for path in found}


def test_includes_keep_the_boundaries() -> None:
    sources = _sources()
    wrong = violations(sources)
    assert sources and not wrong, "\n".join(wrong)


def test_every_rule_is_about_a_file_that_exists() -> None:
    sources = _sources()
    idle = [rule.who for rule in RULES if not any(matches(rule.who, name) for name in sources)]
    assert idle == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("transport_unix.c", '#include "scheduler.h"'),
        ("transport_unix.c", '#include "request.h"'),  # request.h below includes executor.h
        ("scheduler.c", "#include <time.h>"),
        ("scheduler.c", "# include <sys/epoll.h>"),
        ("executor.c", '#include "worker/backend.h"'),
        ("worker/backend_null.c", '#include "worker_channel.h"'),
        ("worker/main.c", '#include "request.h"'),
        ("spawn/main.c", '#include "ring_abi.h"'),
        ("guest/libvgpu.c", '#include "worker_channel.h"'),
        ("guest/libvgpu.c", '#include "../request.h"'),
    ],
)
def test_a_forbidden_include_is_seen(name: str, text: str) -> None:
    around = {
        "request.h": '#include "executor.h"',
        "ring_abi.h": "",
        "worker_channel.h": '#include "ring_abi.h"',
        "worker/backend.h": "",
    }
    assert violations({**around, name: text})


def test_an_allowed_include_is_not_reported() -> None:
    sources = {
        "ring_abi.h": "#include <stdint.h>",
        "worker_channel.h": '#include "ring_abi.h"',
        "worker/backend.h": "#include <stddef.h>",
        "worker/backend_null.c": '#include "backend.h"\n#include <string.h>',
        "worker/main.c": '#include "backend.h"\n#include "worker_channel.h"\n#include <sched.h>',
        "spawn/spawn_protocol.h": "",
        "spawn/main.c": '#include "spawn_protocol.h"\n#include <sys/wait.h>',
        "executor.c": '#include "spawn/spawn_protocol.h"\n#include "worker_channel.h"',
    }
    assert violations(sources) == []
