"""vgpu-admin show-metrics, show-health and show-connections."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl
from vgpud.model.engine import PoolStatus, VmStatus
from vgpud.model.mediation import Times

THIS = f"--vm-uuid={UUID_1}"
TIMES = Times(count=9, sum_ns=90_000, p50_ns=2_500, p95_ns=20_000, p99_ns=71_200_000, max_ns=10**9)
NAME = 'a "b" \\ c'


@pytest.fixture
def control(control: RunningControl, admin: Admin) -> RunningControl:
    """A control server with a VM that was busy, one that was not, and pool A that was."""
    admin("register-vm", THIS, f"--vm-name={NAME}", "--priority=high")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--pool=B")
    control.engine.live[UUID_1] = VmStatus(
        connected_ring=True,
        queued=2,
        running=1,
        submitted=12,
        completed=9,
        refused=3,
        refused_by={"rate": 3},
        worker_pid=77,
        gpu_time_ns=1_500_000_000,
        wait=TIMES,
        run=TIMES,
    )
    control.engine.live_pools["A"] = PoolStatus(completed=9, wait=TIMES)
    return control


Labels = tuple[tuple[str, str], ...]


def scraped(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and its labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_number_with_its_labels(
    control: RunningControl, admin: Admin
) -> None:
    text = admin("show-metrics", "--prometheus").out
    samples = scraped(text)
    vm = (("pool", "A"), ("vm_name", NAME), ("vm_uuid", UUID_1))
    assert samples["vgpud_requests_total", ()] == 7
    assert samples["vgpud_vm_completed_total", vm] == 9
    assert samples["vgpud_vm_queued", vm] == 2
    assert samples["vgpud_vm_gpu_seconds_total", vm] == 1.5
    assert samples["vgpud_vm_refused_by_total", (vm[0], ("reason", "rate"), *vm[1:])] == 3
    assert samples["vgpud_vm_connected", (vm[0], ("transport", "ring"), *vm[1:])] == 1
    assert samples["vgpud_vm_connected", (vm[0], ("transport", "stub"), *vm[1:])] == 0
    assert samples["vgpud_vm_wait_seconds", (vm[0], ("quantile", "0.99"), *vm[1:])] == 0.0712
    assert samples["vgpud_vm_wait_seconds_sum", vm] == 0.00009
    assert samples["vgpud_vm_wait_seconds_count", vm] == 9
    assert samples["vgpud_pool_completed_total", (("pool", "A"),)] == 9
    assert samples["vgpud_pool_vms", (("pool", "A"), ("priority", "high"))] == 1
    assert samples["vgpud_device_ready", (("backend", "null"), ("device", "Test Device"))] == 1


def test_every_family_is_explained_once_and_counters_say_so(
    control: RunningControl, admin: Admin
) -> None:
    families = list(text_string_to_metric_families(admin("show-metrics", "--prometheus").out))
    assert len({family.name for family in families}) == len(families) > 30
    assert all(family.documentation for family in families)
    totals = {family.name for family in families if family.type == "counter"}
    assert {"vgpud_vm_submitted", "vgpud_pool_faults", "vgpud_requests"} <= totals


def test_people_see_a_line_for_each_pool_and_vm(control: RunningControl, admin: Admin) -> None:
    lines = admin("show-metrics").out.splitlines()
    pool = next(line for line in lines if line.startswith("A "))
    assert pool.split()[1:4] == ["0", "9", "0"] and pool.endswith(" -")
    assert "2.5 us / 71.2 ms" in pool
    (vm,) = (line for line in lines if line.startswith(NAME))
    assert vm[len(NAME) :].split()[:8] == ["12", "9", "0", "3", "2", "1", "1.5", "s"]
    assert any(line.startswith("VM-2 ") for line in lines)


def test_connections_are_shown(control: RunningControl, admin: Admin) -> None:
    head, one, two = admin("show-connections").out.splitlines()
    assert head.split() == ["VM", "ID", "UUID", "Name", "Pool", "Connected", "Worker"]
    assert one.split()[-3:] == ["A", "ring", "77"]
    assert two.split()[-4:] == ["B", "not", "connected", "-"]


def test_health_is_an_exit_status_with_everything_that_is_wrong(
    control: RunningControl, admin: Admin
) -> None:
    assert admin("show-health") == Ran(
        0, "vgpud is healthy: Test Device, 1 of 2 VMs connected\n", ""
    )
    admin("quarantine-vm", THIS)
    admin("delete-pool", "--pool-id=B", "--force", "--yes")
    control.engine.device_reason = "it fell off the bus"
    control.engine.isolation_gaps = ("workers share an account",)
    ran = admin("show-health")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "vgpu-admin: looking after the daemon: no device: it fell off the bus; guests are not kept "
        f"apart; quarantined: {NAME}; without a pool: {UUID_2}. "
        "See `vgpu-admin status` and the log. [UnhealthyError]\n"
    )


def test_a_change_that_is_pending_and_an_engine_that_stands_still_are_not_healthy(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.broken[UUID_1] = OSError("no room")
    admin("set-weight", THIS, "--weight=3")
    assert "1 change is not applied yet" in admin("show-health").err
    control.engine.draining = True
    assert "the daemon is ending" in admin("show-health").err


def test_numbers_stay_exact(control: RunningControl, admin: Admin) -> None:
    control.engine.live[UUID_1] = replace(
        control.engine.live[UUID_1], submitted=2**53 + 1, gpu_time_ns=1
    )
    text = admin("show-metrics", "--prometheus").out
    assert f" {2**53 + 1}\n" in text and " 1e-09\n" in text
