"""The worker that waits for a VM, in a daemon as an administrator runs it."""

from __future__ import annotations

import signal

import psutil

from tests.daemon.guests import Guest, eventually, hold, register, spawner_of, wait_ended
from tests.daemon_under_test import RunningDaemon, running_vgpud


def workers_of(daemon: RunningDaemon) -> set[psutil.Process]:
    return {
        child
        for child in spawner_of(daemon).children()
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    }


def the_standby(daemon: RunningDaemon, *guests: Guest) -> psutil.Process:
    """The one worker beside those of the VMs, which have built nothing."""
    bound = {guest.live().worker_pid for guest in guests}

    def alone() -> psutil.Process | None:
        others = [worker for worker in workers_of(daemon) if worker.pid not in bound]
        return others[0] if len(others) == 1 else None

    return eventually(alone, "there is one standby")


def test_a_killed_vgpud_leaves_no_standby_and_the_next_one_has_its_own() -> None:
    with running_vgpud() as daemon:
        guest = register(daemon)
        worker = hold(guest)
        former = the_standby(daemon, guest)
        for _ in range(3):
            daemon.end(signal.SIGKILL)
            wait_ended(former)
            daemon.start()
            former = the_standby(daemon, guest)
        assert guest.live().worker_pid == worker.pid
        other = register(daemon)
        assert hold(other).pid == former.pid


def test_a_vgpud_that_ends_in_order_leaves_no_standby_either() -> None:
    with running_vgpud() as daemon:
        guest = register(daemon)
        worker = hold(guest)
        former = the_standby(daemon, guest)
        spawner = spawner_of(daemon)
        daemon.end(signal.SIGTERM)
        wait_ended(former)
        assert worker.is_running() and spawner.is_running()


def test_a_lost_worker_is_replaced_by_the_standby() -> None:
    with running_vgpud() as daemon:
        guest = register(daemon)
        for _ in range(3):
            worker = hold(guest)
            waiting = the_standby(daemon, guest)
            worker.kill()
            wait_ended(worker)
            guest.when(lambda live: live.worker_pid == 0, "its end is known")
            assert hold(guest).pid == waiting.pid
