"""Finding vgpu-spawn, or starting it, and ending it."""

from __future__ import annotations

import logging
from pathlib import Path

from vgpud.account import account_of
from vgpud.config import Config
from vgpud.descriptors import max_held, raise_file_limit
from vgpud.spawner import Spawner, SpawnerLaunch, SpawnerLostError, connect_or_start

log = logging.getLogger(__name__)

BIN = Path(__file__).resolve().parent / "bin"


def reach_spawner(config: Config) -> tuple[Spawner, bool]:
    """The running spawner, or one that is started, and which of both; blocks.

    Raises SpawnerError. To be called by the holder of the instance lock.
    """
    try:
        return Spawner.connect(config.spawn_socket, request_timeout_s(config)), False
    except SpawnerLostError:
        return start_spawner(config), True


def request_timeout_s(config: Config) -> float:
    """How long one request to the spawner may take."""
    return config.spawner.request_timeout_ms / 1000


def start_spawner(config: Config) -> Spawner:
    """A spawner that is started; blocks. Raises SpawnerError."""
    run_dir = Path(config.daemon.run_dir)
    launch = SpawnerLaunch(
        binary=Path(config.spawner.binary or BIN / "vgpu-spawn"),
        worker_binary=Path(config.spawner.worker_binary or BIN / "vgpu-worker"),
        allow_uid=account_of(config)[0],
        uid_base=config.spawner.worker_uid_base or None,
        max_workers=config.spawner.max_workers,
        max_held=max_held(config, raise_file_limit()),
        log_file=Path(config.daemon.state_dir) / "vgpu-spawn.log",
    )
    return connect_or_start(
        config.spawn_socket,
        launch,
        run_dir / "spawn.lock",
        config.spawner.start_timeout_ms / 1000,
        request_timeout_s(config),
    )


def end_spawner(config: Config, spawner: Spawner) -> None:
    """End the spawner with all its workers; one that did not answer in time is asked once more."""
    try:
        spawner.shutdown()
    except SpawnerLostError as error:
        log.warning("%s; asking again", error)
        spawner.close()
        try:
            Spawner.connect(config.spawn_socket, request_timeout_s(config)).shutdown()
        except SpawnerLostError:
            log.warning("vgpu-spawn is not there any more")
