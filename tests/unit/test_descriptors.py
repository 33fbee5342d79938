"""For how many VMs the descriptors suffice, and what vgpud does when they do not."""

from __future__ import annotations

import re

import pytest

from tests.guards.sources import ROOT
from vgpud.config import Config, ControlConfig, SpawnerConfig, VmsConfig
from vgpud.descriptors import (
    OTHERS,
    PLANNED_VMS,
    SPAWNER_HOLDS,
    SPAWNER_OTHERS,
    SPAWNER_PER_SLOT,
    DescriptorBudget,
    max_held,
)
from vgpud.errors import EngineError

SMALL = Config(control=ControlConfig(max_connections=1), spawner=SpawnerConfig(max_workers=2))


def limit_of(unit: str) -> int:
    found = re.search(r"^LimitNOFILE=(\d+)$", (ROOT / "systemd" / unit).read_text(), re.M)
    assert found
    return int(found[1])


def test_the_unit_lets_vgpud_serve_1024_vms_of_four_pairs() -> None:
    budget = DescriptorBudget.of(Config(), limit_of("vgpud.service"))
    budget.check(PLANNED_VMS, 4 * PLANNED_VMS)
    assert budget.needed(PLANNED_VMS, PLANNED_VMS) == 9_472


def test_after_a_reload_the_budget_is_of_the_connections_there_may_be_now() -> None:
    more = Config(control=ControlConfig(max_connections=5), spawner=SpawnerConfig(max_workers=9))
    budget = DescriptorBudget.of(SMALL, 1_000).reloaded(more)
    assert budget.shared == OTHERS + 2 * 5
    assert budget.max_workers == 2, "which is taken over at the next start"


def test_the_unit_lets_the_spawner_hold_what_it_does_by_default() -> None:
    usage = (ROOT / "mediator_ext/spawn/options.c").read_text()
    assert f"#define DEFAULT_MAX_HELD    {SPAWNER_HOLDS}\n" in usage
    workers = re.search(r"^#define DEFAULT_MAX_WORKERS (\d+)$", usage, re.M)
    assert workers
    of_workers = SPAWNER_PER_SLOT * int(workers[1])
    assert SPAWNER_HOLDS + of_workers + SPAWNER_OTHERS <= limit_of("vgpu-spawn.service")


def test_one_vm_too_many_is_refused_with_the_numbers() -> None:
    budget = DescriptorBudget.of(SMALL, OTHERS + 2 + 2 * 9 + 10 * 8)
    budget.check(10, 10)
    with pytest.raises(EngineError, match=r"11 VMs with 11 queue pairs need 684 .* limit is 676"):
        budget.check(11, 11)


def test_workers_count_only_as_far_as_there_are_vms_for_them() -> None:
    many = Config(spawner=SpawnerConfig(max_workers=16_384))
    assert DescriptorBudget.of(many, 0).needed(3, 3) == OTHERS + 128 + 3 * (6 + 2 + 9)


def test_a_spawner_is_told_to_hold_more_for_more_pairs_as_far_as_the_host_allows() -> None:
    eight = Config(vms=VmsConfig(ring_queue_pairs=8))
    assert max_held(Config(), 1 << 20) is None
    assert max_held(eight, 1 << 20) == PLANNED_VMS * (6 + 16) + 64 * 7
    assert max_held(eight, 20_000) == 20_000 - SPAWNER_OTHERS - 64 * SPAWNER_PER_SLOT
    assert max_held(eight, 10_000) is None
