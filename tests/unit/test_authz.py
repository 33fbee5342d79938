"""Who may do what."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket

import pytest

from vgpud.config import ControlConfig
from vgpud.control.authz import ROLE_NEEDED, Role, RolePolicy, authorize
from vgpud.control.peer import peer_of
from vgpud.control.policy import role_policy
from vgpud.protocol.methods import METHODS
from vgpud.refusals import PermissionDenied

POLICY = RolePolicy(frozenset({0, 500}), admin_gid=10, operate_gid=20, view_gid=30)


@pytest.mark.parametrize(
    ("uid", "gids", "highest"),
    [
        (0, {0}, Role.ADMIN),
        (500, {7}, Role.ADMIN),
        (1000, {1000, 10}, Role.ADMIN),
        (1000, {30, 20}, Role.OPERATE),
        (1000, {30}, Role.VIEW),
        (1000, {1000}, None),
        (1000, {0}, None),
    ],
)
def test_roles_follow_uid_and_groups(uid: int, gids: set[int], highest: Role | None) -> None:
    expected = {role for role in Role if highest is not None and role <= highest}
    assert POLICY.roles_of(uid, gids) == expected


def test_a_group_that_is_not_configured_is_held_by_nobody() -> None:
    assert RolePolicy(frozenset()).roles_of(1000, {0, 1000}) == frozenset()


@pytest.mark.parametrize("method", ROLE_NEEDED)
def test_nobody_without_a_role_may_call_anything(method: str) -> None:
    with pytest.raises(PermissionDenied) as denied:
        authorize(method, frozenset())
    assert denied.value.roles == []


@pytest.mark.parametrize("method", ROLE_NEEDED)
def test_an_admin_may_call_everything(method: str) -> None:
    authorize(method, frozenset(Role))


# Written out a second time: a change of who may do what shows up here.
FOR_VIEWERS = {
    "GetInfo",
    "GetInterfaceDescription",
    "ListPools",
    "ShowPool",
    "ShowVm",
    "ListVms",
    "Status",
    "Trace",
    "Explain",
}
FOR_OPERATORS = {"EnablePool", "DisablePool", "QuarantineVm"}
FOR_ADMINS = {
    "CreatePool",
    "SetPoolWeight",
    "DeletePool",
    "RegisterVm",
    "RemoveVm",
    "MoveVm",
    "SetWeight",
    "SetRateLimit",
    "ClearQuarantine",
    "ListAudit",
    "Backup",
    "ReloadConfig",
    "Shutdown",
}
UP_TO = {
    role: frozenset(lower for lower in Role if lower <= role)
    for role in (Role.VIEW, Role.SUBMIT, Role.OPERATE)
}


def allowed(roles: frozenset[Role]) -> set[str]:
    """The methods, without their interfaces, that these roles may call."""
    passed = set()
    for method in METHODS:
        with contextlib.suppress(PermissionDenied):
            authorize(method, roles)
            passed.add(method.rpartition(".")[2])
    return passed


def test_every_method_there_is_has_exactly_one_role_that_it_needs() -> None:
    assert set(ROLE_NEEDED) == set(METHODS)
    names = sorted(method.rpartition(".")[2] for method in METHODS)
    assert names == sorted([*FOR_VIEWERS, *FOR_OPERATORS, *FOR_ADMINS])


@pytest.mark.parametrize("role", UP_TO, ids=lambda role: role.label)
@pytest.mark.parametrize("name", sorted(FOR_ADMINS))
def test_what_is_for_admins_is_refused_to_every_other_role(name: str, role: Role) -> None:
    with pytest.raises(PermissionDenied) as denied:
        authorize(f"org.vgpud.admin.{name}", UP_TO[role])
    assert denied.value.role_needed == "admin"


def test_each_role_may_call_what_is_written_for_it_and_nothing_else() -> None:
    assert allowed(UP_TO[Role.VIEW]) == FOR_VIEWERS
    assert allowed(UP_TO[Role.SUBMIT]) == FOR_VIEWERS
    assert allowed(UP_TO[Role.OPERATE]) == FOR_VIEWERS | FOR_OPERATORS
    assert allowed(frozenset(Role)) == FOR_VIEWERS | FOR_OPERATORS | FOR_ADMINS


def test_a_method_without_a_line_is_for_nobody() -> None:
    with pytest.raises(PermissionDenied):
        authorize("org.vgpud.admin.FormatDisk", frozenset(Role))


def test_viewers_look_operators_switch_pools_admins_change_vms() -> None:
    view, operate = frozenset({Role.VIEW}), frozenset({Role.VIEW, Role.SUBMIT, Role.OPERATE})
    authorize("org.vgpud.admin.Status", view)
    with pytest.raises(PermissionDenied) as denied:
        authorize("org.vgpud.admin.DisablePool", view)
    assert (denied.value.role_needed, denied.value.roles) == ("operate", ["view"])
    authorize("org.vgpud.admin.DisablePool", operate)
    with pytest.raises(PermissionDenied):
        authorize("org.vgpud.admin.RemoveVm", operate)


def test_the_kernel_names_the_peer_with_all_its_groups() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.uid, peer.gid, peer.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert peer.gids == {os.getegid(), *os.getgroups()}


def test_root_and_the_daemon_itself_are_admins_without_any_group() -> None:
    policy = role_policy(ControlConfig(admin_group="", view_group=""))
    assert policy.admin_uids == {0, os.geteuid()}
    assert policy.view_gid is None


def test_a_group_that_does_not_exist_grants_nothing() -> None:
    own = pwd.getpwuid(os.geteuid())
    policy = role_policy(ControlConfig(admin_group="no-such-group-here", view_group=""))
    assert policy.admin_gid is None
    assert policy.roles_of(own.pw_uid + 70_000, {own.pw_gid}) == frozenset()
