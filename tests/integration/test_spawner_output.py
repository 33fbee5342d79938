"""What workers of vgpu-spawn say on standard error: how much of it is logged, and as whose."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.spawner_under_test import WAIT_S, Service, running_spawner
from vgpud.spawner import Spawner


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Spawner:
    return service.connect()


def heard(service: Service, text: str) -> None:
    """Wait for a line that ends like this in the spawner's log."""
    end = time.monotonic() + WAIT_S
    while f"{text}\n" not in service.log.read_text():
        assert time.monotonic() < end, service.log.read_text()
        time.sleep(0.01)


def test_what_a_worker_says_is_logged_by_line_and_cannot_be_taken_for_the_spawners(
    service: Service, client: Spawner
) -> None:
    worker = service.spawn(client, label="vm/one")
    number = worker.process.worker_id
    assert worker.ask("say out of\tluck\nvgpu-spawn: forged\nthe rest") == "said"
    heard(service, f"vgpu-spawn: worker {number} (vm/one) says: out of?luck")
    heard(service, f"vgpu-spawn: worker {number} (vm/one) says: vgpu-spawn: forged")
    worker.tell("exit 0")
    heard(service, f"vgpu-spawn: worker {number} (vm/one) says: the rest")
    assert "\nvgpu-spawn: forged" not in service.log.read_text()


def test_a_worker_that_says_too_much_is_not_heard_any_more_but_lives(
    service: Service, client: Spawner
) -> None:
    worker = service.spawn(client, label="loud")
    assert worker.ask("shout 10000") == "shouted"
    heard(
        service, f"worker {worker.process.worker_id} (loud) says too much: no more of it is logged"
    )
    assert worker.ask("shout 10000") == "shouted"
    assert worker.ask("alive") == "alive"
    assert len(service.log.read_bytes()) < 32768
