"""The account that vgpud runs as: who that is, and how root becomes it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from vgpud.config import Config
from vgpud.errors import ConfigError


def account_of(config: Config) -> tuple[int, int]:
    """Uid and gid that the daemon runs as once it has started. Raises ConfigError."""
    name = config.daemon.user
    if not name:
        return os.geteuid(), os.getegid()
    try:
        account = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"daemon.user: there is no account {name}") from None
    return account.pw_uid, account.pw_gid


def drop_privileges(config: Config) -> None:
    """Become daemon.user, to whom the directories are given.

    Raises ConfigError when not root, or when a directory cannot be given away.
    """
    uid, gid = account_of(config)
    if uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise ConfigError(f"daemon.user: only root can become {config.daemon.user}")
    for directory in (config.daemon.state_dir, config.daemon.run_dir):
        try:
            give_away(Path(directory), uid, gid, keep=config.spawn_socket)
        except OSError as error:
            raise ConfigError(
                f"cannot give {directory} to {config.daemon.user}: {error.strerror}"
            ) from error
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def give_away(directory: Path, uid: int, gid: int, *, keep: Path) -> None:
    """Give a directory and what lies in it, but `keep`, to an account. Raises OSError.

    That account may own the directory already and change it meanwhile. So nothing is looked up
    twice by name from outside, links are given away themselves and not what they lead to, and a
    file that has another name elsewhere stays whose it is.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchown(fd, uid, gid)
        for name in os.listdir(fd):
            if directory / name == keep:
                continue
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1:
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)
