"""The account that vgpud runs as: who that is, and how root becomes it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from vgpud.config import Config
from vgpud.control.peer import group_id
from vgpud.directories import give_directory
from vgpud.errors import ConfigError


def account_of(config: Config) -> tuple[int, int]:
    """Uid and gid that the daemon runs as once it has started. Raises ConfigError."""
    name = config.daemon.user
    if not name:
        return os.geteuid(), os.getegid()
    try:
        account = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise ConfigError(f"daemon.user: there is no account {name}") from None
    return account.pw_uid, account.pw_gid


def drop_privileges(config: Config) -> None:
    """Become daemon.user, to whom the directories are given. Raises ConfigError when not root."""
    uid, gid = account_of(config)
    if uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise ConfigError(f"daemon.user: only root can become {config.daemon.user}")
    for directory in (config.daemon.state_dir, config.daemon.run_dir):
        give_directory(Path(directory), uid, gid, but=[config.spawn_socket, config.control_socket])
    # It belongs to its group already; the account only has to be able to remove it.
    os.chown(config.control_socket, uid, -1)
    # Besides its own groups the one that it may have to give that socket to again.
    view_gid = group_id(config.control.view_group)
    os.initgroups(pwd.getpwuid(uid).pw_name, gid)
    os.setgroups(list({*os.getgroups(), *(() if view_gid is None else (view_gid,))}))
    os.setgid(gid)
    os.setuid(uid)
