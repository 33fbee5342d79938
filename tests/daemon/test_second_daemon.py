"""A second vgpud that shares one thing with a running one is refused before it touches any VM."""

from __future__ import annotations

import signal

import pytest

from tests.daemon.guests import register
from tests.daemon.place import Place
from tests.daemon_under_test import RunningDaemon

CONFLICT = 6

# What the second one shares with the first, and what it says.
SHARED = {
    "run_dir": ('[daemon]\nstate_dir = "{own}/state"\nrun_dir = "{run}"\n', "run_dir"),
    "spawner": (
        '[daemon]\nstate_dir = "{own}/state"\nrun_dir = "{own}/run"\n'
        '[spawner]\nsocket = "{run}/spawn.sock"\n',
        "[spawner] socket",
    ),
    "control socket": (
        '[daemon]\nstate_dir = "{own}/state"\nrun_dir = "{own}/run"\n'
        '[control]\nsocket = "{run}/control.sock"\n',
        "another daemon answers on {run}/control.sock",
    ),
}


@pytest.mark.parametrize(("config", "said"), SHARED.values(), ids=SHARED.keys())
def test_it_is_refused_and_the_first_ones_vms_keep_their_workers(
    vgpud_of_its_own: RunningDaemon, place: Place, config: str, said: str
) -> None:
    guest = register(vgpud_of_its_own)
    worker = guest.warm_up()
    text = config.format(own=place.base, run=vgpud_of_its_own.run_dir)
    place.config.write_text(f'{text}[device]\nbackend = "null"\n')
    second = place.start()
    assert second.returncode == CONFLICT, second.stderr
    assert said.format(run=vgpud_of_its_own.run_dir) in second.stderr
    assert guest.warm_up() == worker
    guest.remove()


@pytest.mark.parametrize("shared", ["run_dir", "spawner"])
def test_it_is_told_which_process_is_the_first(
    vgpud_of_its_own: RunningDaemon, place: Place, shared: str
) -> None:
    assert vgpud_of_its_own.process is not None
    config, _ = SHARED[shared]
    place.config.write_text(config.format(own=place.base, run=vgpud_of_its_own.run_dir))
    assert f"another vgpud (pid {vgpud_of_its_own.process.pid}) " in place.start().stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_has_ended_is_in_nobodys_way(
    vgpud_of_its_own: RunningDaemon, number: signal.Signals
) -> None:
    vgpud_of_its_own.end(number)
    vgpud_of_its_own.start()
    assert vgpud_of_its_own.admin("status").returncode == 0
