"""Which account runs QEMU, on hosts of all kinds."""

from __future__ import annotations

import pwd

import pytest

from vgpud import qemu_account
from vgpud.errors import EngineError
from vgpud.qemu_account import qemu_uid


def test_a_name_or_a_number_is_taken_as_it_is() -> None:
    assert qemu_uid("nobody") == pwd.getpwnam("nobody").pw_uid
    assert qemu_uid("64055") == 64055


@pytest.mark.parametrize("configured", ["no-such-account", "4294967295", "9" * 5000])
def test_an_account_that_is_not_there_is_refused_with_what_to_do(configured: str) -> None:
    with pytest.raises(EngineError, match="there is no account") as refused:
        qemu_uid(configured)
    assert "qemu_user" in refused.value.next_step and "--peer=uid:N" in refused.value.next_step


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [(("daemon", "nobody"), "daemon"), (("no-such-account", "nobody"), "nobody")],
)
def test_libvirts_account_is_found(
    monkeypatch: pytest.MonkeyPatch, accounts: tuple[str, str], expected: str
) -> None:
    monkeypatch.setattr(qemu_account, "KNOWN_ACCOUNTS", accounts)
    assert qemu_uid("") == pwd.getpwnam(expected).pw_uid


def test_a_host_without_libvirt_runs_qemu_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_account, "KNOWN_ACCOUNTS", ("no-such-account",))
    assert qemu_uid("") == 0
