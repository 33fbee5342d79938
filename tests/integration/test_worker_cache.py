"""What a VM has compiled once is not compiled again; what another has compiled does not count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Reply, Unit
from tests.integration.worker_under_test import (
    BACKENDS,
    CODE,
    OPTIONS,
    SOURCE,
    Vm,
    environment,
    started,
)

REMEMBERED = 64
LOADED = (engine.DONE, engine.OK)


@pytest.fixture(params=BACKENDS)
def vm(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Vm]:
    yield from started(environment(request.param, short_dir))


@pytest.fixture
def null_vm(short_dir: Path) -> Iterator[Vm]:
    yield from started(environment("null", short_dir))


def unit(vm: Vm, module: int, source: str, options: str = "") -> Unit:
    """A MODULE_LOAD without a log."""
    vm.ring.put(CODE, source.encode())
    vm.ring.put(OPTIONS, options.encode())
    op = engine.module_load(module, (CODE, len(source)), (OPTIONS, len(options)), (0, 0))
    return vm.unit(op, lane=engine.LANE_BUILD)


def at_once(vm: Vm, module: int, source: str, options: str = "") -> tuple[int, int]:
    """How a load ends for which nothing is built: outcome and status."""
    reply: Reply = vm.launcher.run(unit(vm, module, source, options))
    return reply.outcome, reply.status


def test_the_same_code_is_loaded_again_without_a_build(vm: Vm) -> None:
    assert vm.load(1, SOURCE).status == engine.OK
    for module in range(2, 10):
        assert at_once(vm, module, SOURCE) == LOADED
    for module in range(1, 10):
        assert vm.run(engine.module_unload(module)).status == engine.OK
    assert at_once(vm, 1, SOURCE) == LOADED
    # Another context, another pair's objects, a reset of the guest: it is the same VM.
    assert vm.launcher.run(replace(unit(vm, 1, SOURCE), ctx=2)).outcome == engine.DONE
    assert vm.launcher.run(replace(unit(vm, 1, SOURCE), generation=2)).outcome == engine.DONE


@pytest.mark.parametrize(
    ("source", "options"),
    [(SOURCE, "-DA=2"), (SOURCE, "-DA=1 "), (SOURCE, ""), (SOURCE + " ", "-DA=1")],
)
def test_other_code_or_other_options_need_a_build_of_their_own(
    null_vm: Vm, source: str, options: str
) -> None:
    assert null_vm.load(1, SOURCE, "-DA=1").status == engine.OK
    assert at_once(null_vm, 2, source, options)[0] == engine.NEED_BUILD


def test_options_are_not_taken_for_code_nor_code_for_options(null_vm: Vm) -> None:
    assert null_vm.load(1, "-w -w", "-w").status == engine.OK
    assert at_once(null_vm, 2, "-w", "-w -w")[0] == engine.NEED_BUILD


def test_what_one_vm_has_compiled_another_compiles_for_itself(vm: Vm, short_dir: Path) -> None:
    backend = "null" if vm.launcher.env["VGPU_BACKEND"] == "null" else "opencl"
    other_dir = short_dir / "other"
    other_dir.mkdir()
    assert vm.load(1, SOURCE).status == engine.OK
    with contextmanager(started)(environment(backend, other_dir)) as other:
        assert at_once(other, 1, SOURCE)[0] == engine.NEED_BUILD


def test_a_code_that_fails_is_tried_again_each_time(null_vm: Vm) -> None:
    assert null_vm.load(1, "#error no").status == engine.BUILD_FAILED
    assert at_once(null_vm, 1, "#error no")[0] == engine.NEED_BUILD


def test_of_too_many_builds_those_used_last_are_remembered(null_vm: Vm) -> None:
    sources = [f"// {number}" for number in range(REMEMBERED)]
    for module, source in enumerate(sources, 1):
        assert null_vm.load(module, source).status == engine.OK
    assert at_once(null_vm, 100, sources[0]) == LOADED
    assert null_vm.load(101, "// one more").status == engine.OK
    assert at_once(null_vm, 102, sources[0]) == LOADED
    assert at_once(null_vm, 103, sources[1])[0] == engine.NEED_BUILD
