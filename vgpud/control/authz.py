"""Who may do what: one table, read by one pure function. What is not in it is denied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

from vgpud.refusals import PermissionDenied


class Role(IntEnum):
    """What a caller may do; each role includes those below it."""

    VIEW = 1
    SUBMIT = 2
    OPERATE = 3
    ADMIN = 4

    @property
    def label(self) -> str:
        """The word used in the configuration and in answers."""
        return self.name.lower()


ROLE_NEEDED: Mapping[str, Role] = {
    "org.varlink.service.GetInfo": Role.VIEW,
    "org.varlink.service.GetInterfaceDescription": Role.VIEW,
    "org.vgpud.admin.ListPools": Role.VIEW,
    "org.vgpud.admin.ShowPool": Role.VIEW,
    "org.vgpud.admin.CreatePool": Role.ADMIN,
    "org.vgpud.admin.EnablePool": Role.OPERATE,
    "org.vgpud.admin.DisablePool": Role.OPERATE,
    "org.vgpud.admin.SetPoolWeight": Role.ADMIN,
    "org.vgpud.admin.DeletePool": Role.ADMIN,
    "org.vgpud.admin.RegisterVm": Role.ADMIN,
    "org.vgpud.admin.ShowVm": Role.VIEW,
    "org.vgpud.admin.ListVms": Role.VIEW,
    "org.vgpud.admin.RemoveVm": Role.ADMIN,
    "org.vgpud.admin.MoveVm": Role.ADMIN,
    "org.vgpud.admin.SetWeight": Role.ADMIN,
    "org.vgpud.admin.SetRateLimit": Role.ADMIN,
    # To stop a VM that harms others cannot wait for an administrator; to let it in again can.
    "org.vgpud.admin.QuarantineVm": Role.OPERATE,
    "org.vgpud.admin.ClearQuarantine": Role.ADMIN,
    "org.vgpud.admin.Status": Role.VIEW,
    "org.vgpud.admin.Trace": Role.VIEW,
    "org.vgpud.admin.Explain": Role.VIEW,
    "org.vgpud.admin.ListAudit": Role.ADMIN,
    "org.vgpud.admin.Backup": Role.ADMIN,
    "org.vgpud.admin.ReloadConfig": Role.ADMIN,
    "org.vgpud.admin.Shutdown": Role.ADMIN,
}


@dataclass(frozen=True)
class RolePolicy:
    """Which uids and groups hold which role; groups of None are held by nobody."""

    admin_uids: frozenset[int]
    admin_gid: int | None = None
    operate_gid: int | None = None
    view_gid: int | None = None

    def roles_of(self, uid: int, gids: Collection[int]) -> frozenset[Role]:
        """All roles of a caller."""
        highest = 0
        if uid in self.admin_uids or self.admin_gid in gids:
            highest = Role.ADMIN
        elif self.operate_gid in gids:
            highest = Role.OPERATE
        elif self.view_gid in gids:
            highest = Role.VIEW
        return frozenset(role for role in Role if role <= highest)


def authorize(method: str, roles: frozenset[Role]) -> None:
    """Lets the call pass, or raises PermissionDenied.

    A method without a line in the table is for nobody.
    """
    needed = ROLE_NEEDED.get(method)
    if needed is None or needed not in roles:
        raise PermissionDenied(
            method.rpartition(".")[2],
            needed.label if needed is not None else "none that exists",
            [role.label for role in sorted(roles)],
        )
