"""Every command of vgpu-admin prints the daemon's answer as JSON when it is asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin
from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl
from vgpud.cli.admin import COMMANDS


@pytest.mark.parametrize(
    "words",
    [
        ("list-pools",),
        ("show-pool", "--pool-id=A"),
        ("create-pool", "--pool-id=C"),
        ("enable-pool", "--pool-id=A"),
        ("disable-pool", "--pool-id=A"),
        ("register-vm", f"--vm-uuid={UUID_2}"),
        ("show-vm", f"--vm-uuid={UUID_1}"),
        ("list-vms",),
        ("delete-pool", "--pool-id=B"),
        ("set-pool", f"--vm-uuid={UUID_1}", "--pool=B"),
        ("set-priority", f"--vm-uuid={UUID_1}", "--priority=low"),
        ("set-vm-id", f"--vm-uuid={UUID_1}", "--vm-id=9"),
        ("update-vm", f"--vm-uuid={UUID_1}", "--pool=B", "--vm-id=9"),
        ("set-weight", f"--vm-uuid={UUID_1}", "--weight=7"),
        ("show-weights",),
        ("set-rate-limit", f"--vm-uuid={UUID_1}", "--rate=7"),
        ("show-rate-limits",),
        ("quarantine-vm", f"--vm-uuid={UUID_1}"),
        ("clear-quarantine", f"--vm-uuid={UUID_1}"),
        ("remove-vm", f"--vm-uuid={UUID_1}"),
        ("status",),
        ("trace",),
        ("explain", f"--vm-uuid={UUID_1}"),
        ("show-metrics",),
        ("show-health",),
        ("show-connections",),
        ("audit",),
        ("backup", "{tmp}/copy.db"),
        ("export",),
        ("names", "pools"),
        ("diff", "--file={tmp}/pools.toml"),
        ("apply", "--file={tmp}/pools.toml"),
        ("reload-config",),
        ("wait-ready",),
    ],
)
def test_every_command_speaks_json(
    control: RunningControl, admin: Admin, tmp_path: Path, words: tuple[str, ...]
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}")
    (tmp_path / "pools.toml").write_text(admin("export").out)
    ran = admin(*(word.format(tmp=tmp_path) for word in words), "--json")
    assert ran.code == 0 and isinstance(json.loads(ran.out), dict)


def test_json_test_covers_every_command() -> None:
    (mark,) = test_every_command_speaks_json.pytestmark  # type: ignore[attr-defined]
    assert {words[0] for words in mark.args[1]} == set(COMMANDS)
