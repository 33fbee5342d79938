"""The command that keeps a copy of the database."""

from __future__ import annotations

import contextlib
import os
from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output
from vgpud.cli.render import size
from vgpud.client import Client
from vgpud.client.service import database_of
from vgpud.errors import BackupError
from vgpud.protocol.messages import Backup, BackupReply

MODE = 0o600
"""It says who may do what to whom, and who did."""


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="where to write it")
    parser.add_argument(
        "--force", action="store_true", help="replace FILE, once the new copy is complete"
    )


def _backup(client: Client, options: Namespace) -> Output:
    if os.path.lexists(options.file) and not options.force:
        raise BackupError(f"{options.file} exists", "Name another file, or add --force.")
    reply, answer = client.call(Backup(), BackupReply)
    content = database_of(reply)
    _write(options.file, content, replace=options.force)
    told = {"file": options.file, "bytes": len(content), "version": answer["version"]}
    return Output(f"{options.file}: {size(len(content))}, schema version {reply.version}", told)


def _write(path: str, content: bytes, *, replace: bool) -> None:
    """All of it or nothing, also when the power fails."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(partial, path)
        else:
            os.link(partial, path)  # unlike a rename, never over what has come meanwhile
            os.unlink(partial)
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise BackupError(f"{path} cannot be written: {error.strerror or error}") from error


COMMANDS = (
    Command(
        "backup",
        "keep a copy of the database, taken while it is in use",
        lambda options: f"copying the database to {options.file}",
        _options,
        _backup,
        "backup /var/backups/vgpud.db",
    ),
)
