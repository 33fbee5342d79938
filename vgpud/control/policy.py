"""Which accounts of this system hold which role, from the configuration."""

from __future__ import annotations

import logging
import os

from vgpud.config import ControlConfig
from vgpud.control.authz import RolePolicy
from vgpud.control.peer import group_id

log = logging.getLogger(__name__)


def role_policy(config: ControlConfig) -> RolePolicy:
    """Looks the groups up; a group that does not exist is held by nobody, and that is logged.

    Root and the daemon's own account always hold every role. To be asked again after a reload.
    """
    gids: list[int | None] = []
    for name in (config.admin_group, config.operate_group, config.view_group):
        gid = group_id(name)
        if name and gid is None:
            log.info("there is no group %s: nobody has a role through it", name)
        gids.append(gid)
    return RolePolicy(frozenset({0, os.geteuid()}), *gids)
