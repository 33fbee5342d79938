"""Imports of the vgpud package point strictly downwards, and a few modules have one importer.

The tables are the rule; the code below only reads import statements and compares. A new module
has to be given its place in LAYERS before it may exist.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from tests.guards.sources import ROOT, files

# Longest matching prefix decides.
LAYERS = {
    "vgpud": "version",
    "vgpud.record": "record",
    "vgpud.errors": "errors",
    "vgpud.refusals": "errors",
    "vgpud.model": "model",
    "vgpud.config": "config",
    "vgpud.config_file": "config",
    "vgpud.systemd": "systemd",
    "vgpud.log": "systemd",
    "vgpud.directories": "directories",
    "vgpud.pocl": "pocl",
    "vgpud.protocol": "protocol",
    "vgpud.store": "store",
    "vgpud._mediator": "extension",
    "vgpud.mediator": "mediator",
    "vgpud.mediator_values": "mediator",
    "vgpud.simulate": "mediator",
    "vgpud.spawner": "spawner",
    "vgpud.inventory": "inventory",
    # What the engine lives on: files of VMs, workers, the device they will use.
    "vgpud.vm_files": "supply",
    "vgpud.worker_messages": "supply",
    "vgpud.hold_off": "supply",
    "vgpud.worker_process": "supply",
    "vgpud.worker_slots": "supply",
    "vgpud.worker_start": "supply",
    "vgpud.worker_adoption": "supply",
    "vgpud.worker_idleness": "supply",
    "vgpud.eviction": "supply",
    "vgpud.standby": "supply",
    "vgpud.room": "supply",
    "vgpud.recruiter": "supply",
    "vgpud.workforce": "supply",
    "vgpud.probe": "supply",
    "vgpud.instance": "supply",
    "vgpud.qemu_account": "supply",
    "vgpud.fault_words": "supply",
    "vgpud.known_device": "supply",
    "vgpud.descriptors": "supply",
    "vgpud.client_news": "supply",
    "vgpud.engine": "supply",
    "vgpud.engine_limits": "supply",
    "vgpud.engine_status": "supply",
    "vgpud.trace_feed": "supply",
    "vgpud.reconcile": "reconcile",
    "vgpud.names": "rules",
    "vgpud.pools": "rules",
    "vgpud.vms": "rules",
    "vgpud.devices": "rules",
    "vgpud.leases": "rules",
    "vgpud.control": "control",
    "vgpud.cases": "cases",
    "vgpud.client": "client",
    "vgpud.cli": "cli",
    "vgpud.account": "daemon",
    "vgpud.spawner_life": "daemon",
    "vgpud.daemon": "daemon",
    "vgpud.__main__": "daemon",
    "vgpud.demo": "demo",
}

_WORDS = {"record", "errors", "model"}
_SETTINGS = _WORDS | {"config"}
_BELOW_RULES = _SETTINGS | {"protocol", "store", "mediator", "spawner", "inventory", "supply"}

# Who may import whom, besides its own layer and vgpud's version.
MAY_IMPORT: dict[str, Collection[str]] = {
    "version": set(),
    "record": set(),
    "errors": {"record"},
    "model": {"record", "errors"},
    "config": _WORDS,
    "systemd": _WORDS,
    "directories": _SETTINGS,
    "pocl": set(),
    "protocol": _WORDS,
    "store": _SETTINGS,
    "mediator": _SETTINGS | {"extension"},
    "spawner": _SETTINGS,
    "inventory": _SETTINGS,
    "supply": _SETTINGS | {"pocl", "mediator", "spawner"},
    "reconcile": _BELOW_RULES,
    "rules": _BELOW_RULES | {"reconcile"},
    "control": _BELOW_RULES | {"reconcile", "rules"},
    "cases": _BELOW_RULES | {"reconcile", "rules"},
    "client": _WORDS | {"protocol"},
    "cli": _WORDS | {"protocol", "client"},
    "daemon": _BELOW_RULES
    | {"reconcile", "rules", "control", "systemd", "directories", "pocl", "cli"},
    "demo": _SETTINGS | {"protocol", "cli", "pocl"},
}

# Foreign modules that belong to one layer alone; an empty set means nobody's.
SOLE_IMPORTERS: dict[str, Collection[str]] = {
    "sqlite3": {"store"},
    "sdnotify": {"systemd"},
    "tomli": {"config", "cli"},
    "tomli_w": {"cli"},
    "cffi": set(),
}

# protocol/ is values and bytes: whoever does the reading and writing is elsewhere.
NO_IO = {"asyncio", "socket", "selectors", "ssl", "threading", "subprocess"}


def layer_of(module: str) -> str | None:
    """The layer of a dotted module name, None for one outside the table."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        layer = LAYERS.get(".".join(parts[:length]))
        if layer is not None:
            # "vgpud" places the package itself, not whatever lies in it.
            return layer if length > 1 or len(parts) == 1 else None
    return None


def imports_of(source: str, module: str, is_package: bool, known: Collection[str]) -> set[str]:
    """The modules that a source imports, by full name.

    `from vgpud import vms` names vgpud.vms if that is in `known`, else vgpud.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")
                drop = node.level - (1 if is_package else 0)
                above = ".".join(up[: len(up) - drop])
                base = f"{above}.{base}" if base else above
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return found


def violations(module: str, imports: Collection[str]) -> list[str]:
    """Every forbidden edge from a module, as sentences."""
    layer = layer_of(module)
    if layer is None:
        return [f"{module} has no layer: give it a place in LAYERS"]
    wrong: list[str] = []
    for target in sorted(imports):
        top = target.partition(".")[0]
        if top in SOLE_IMPORTERS and layer not in SOLE_IMPORTERS[top]:
            wrong.append(f"{module} imports {target}, which only {SOLE_IMPORTERS[top]} may")
        if layer == "protocol" and top in NO_IO:
            wrong.append(f"{module} imports {target}: protocol does no I/O")
        if top != "vgpud":
            continue
        other = layer_of(target)
        if other is None:
            wrong.append(f"{module} imports {target}, which has no layer")
        elif other not in (layer, "version") and other not in MAY_IMPORT[layer]:
            wrong.append(f"{module} ({layer}) imports {target} ({other})")
    return wrong


def cycle_in(edges: Mapping[str, Collection[str]]) -> list[str]:
    """The modules that lie on, or lead only to, a cycle of imports; empty when there is none."""
    left = set(edges)
    while done := {module for module in left if not left & (set(edges[module]) - {module})}:
        left -= done
    return sorted(left)


def _modules() -> dict[str, Path]:
    modules: dict[str, Path] = {}
    for path in files(".py", under="vgpud"):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        modules[dotted.removesuffix(".__init__")] = path
    return modules


def test_imports_point_downwards() -> None:
    modules = _modules()
    known = {*modules, "vgpud._mediator"}
    wrong: list[str] = []
    for module, path in modules.items():
        is_package = path.name == "__init__.py"
        wrong += violations(module, imports_of(path.read_text(), module, is_package, known))
    assert modules and not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    modules = _modules()
    known = {*modules, "vgpud._mediator"}
    edges = {
        module: imports_of(path.read_text(), module, path.name == "__init__.py", known)
        for module, path in modules.items()
    }
    assert cycle_in(edges) == []


def test_a_cycle_is_seen() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c", "os"}, "c": {"a"}}) == ["a", "b", "c"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_layer_named_in_the_tables_exists() -> None:
    layers = set(LAYERS.values())
    assert set(MAY_IMPORT) | {"extension"} == layers
    assert {name for allowed in MAY_IMPORT.values() for name in allowed} <= layers
    assert {name for allowed in SOLE_IMPORTERS.values() for name in allowed} <= layers


def test_no_two_layers_may_import_each_other() -> None:
    both_ways = [
        (upper, lower)
        for upper, allowed in MAY_IMPORT.items()
        for lower in allowed
        if upper in MAY_IMPORT.get(lower, set())
    ]
    assert both_ways == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vgpud.model.pool", "from vgpud.store import Store"),
        ("vgpud.store.vms", "from vgpud import reconcile"),
        ("vgpud.vms", "import sqlite3"),
        ("vgpud.vms", "from vgpud._mediator import lib"),
        ("vgpud.vms", "from ._mediator import lib"),
        ("vgpud.cli.admin", "from vgpud.config_file import load_config"),
        ("vgpud.protocol.framing", "import asyncio"),
        ("vgpud.store.vms", "def late() -> None:\n    import vgpud.mediator"),
        ("vgpud.surprise", "import os"),
    ],
)
def test_a_forbidden_edge_is_seen(module: str, source: str) -> None:
    known = {"vgpud.reconcile", "vgpud._mediator"}
    assert violations(module, imports_of(source, module, False, known))


def test_an_allowed_edge_is_not_reported() -> None:
    source = "from vgpud.store import Store\nfrom vgpud import __version__\nfrom . import model"
    imports = imports_of(source, "vgpud.reconcile", False, {"vgpud.model"})
    assert imports == {"vgpud.store", "vgpud", "vgpud.model"}
    assert violations("vgpud.reconcile", imports) == []
