"""vgpud itself: the command line, and the only place where parts are made and joined.

Start: configuration, instance locks, control socket, spawner (found or started), privileges, store,
device, engine with what a predecessor left, READY. End: drain within shutdown_timeout_ms, and leave
to the spawner what the next vgpud goes on with; `vgpud shutdown --all` leaves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import pwd
import signal
import sys
import time
from functools import partial
from pathlib import Path

import vgpud
from vgpud.cli.shutdown import request_shutdown
from vgpud.config import DEFAULT_PATH, Config, load_config, needs_restart
from vgpud.control.dispatch import Dispatch
from vgpud.control.handlers.context import Context
from vgpud.control.listener import ControlListener
from vgpud.control.peer import group_id
from vgpud.control.policy import role_policy
from vgpud.control.server import ControlServer
from vgpud.descriptors import DescriptorBudget, max_held, raise_file_limit
from vgpud.directories import give_directory, make_directories
from vgpud.engine import HostEngine, limits_of
from vgpud.errors import ConfigError, EngineError, ExitCode, NoDaemonError, StoreError, VgpudError
from vgpud.instance import claim_spawner
from vgpud.log import say_error, start_logging
from vgpud.mediator import Mediator
from vgpud.probe import find_device
from vgpud.reconcile import Reconciler
from vgpud.spawner import (
    Spawner,
    SpawnerLaunch,
    SpawnerLostError,
    connect_or_start,
    open_hold_channel,
)
from vgpud.store.lock import acquire_instance_lock
from vgpud.store.store import Store
from vgpud.systemd import ServiceManager
from vgpud.vm_files import remove_vm_directories

log = logging.getLogger("vgpud")

BIN = Path(__file__).resolve().parent / "bin"
END_MARGIN_S = 20.0
"""What an end may take besides the time for running work."""


class Daemon:
    """One running vgpud. Made of ready parts; lives in the event loop."""

    def __init__(self, config: Config, config_path: Path | None) -> None:
        self._started_with = self._config = config
        self._config_path = config_path
        self._service = ServiceManager()
        self._started = time.monotonic()
        self._end = asyncio.Event()
        self._idle = asyncio.Event()
        self._everything = False
        self._reload_asked = False
        self._exit_code = ExitCode.OK

    async def run(self, spawner: Spawner, store: Store, listener: ControlListener) -> ExitCode:
        """Serves until it is asked to end. Raises VgpudError when it cannot start."""
        loop = asyncio.get_running_loop()
        config = self._config
        device = find_device(spawner, config.device, config.spawner.start_timeout_ms / 1000)
        if device.status.ready:
            log.info("device: %s (%s)", device.status.name, device.status.backend)
        else:
            log.error("no device: %s", device.status.reason)

        mediator = Mediator(limits_of(config))
        mediator.set_hold_fd(open_hold_channel(config.spawn_socket).detach())
        descriptors = DescriptorBudget.of(config, raise_file_limit())
        self._warn_of_few(descriptors, len(store.list_vms()))
        engine = HostEngine(config, spawner, mediator, device, descriptors)
        spawner.watch(engine.workforce.exited, self._spawner_lost)
        engine.begin()
        reconciler = Reconciler(store, engine)
        engine.watch_quarantines(reconciler.observe)
        reconciler.apply()
        reconciler.observe()  # what a predecessor's engine found out and nobody stored
        engine.start()

        context = Context(
            store=store,
            engine=engine,
            reconciler=reconciler,
            state_dir=Path(config.daemon.state_dir),
            uptime_s=lambda: time.monotonic() - self._started,
            request_shutdown=self.request_shutdown,
        )
        dispatch = Dispatch(context, role_policy(config.control))
        server = ControlServer(listener, config.control, dispatch)
        await server.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_shutdown, False)
        reload = partial(self._reload, engine, reconciler, server, dispatch)
        loop.add_signal_handler(signal.SIGHUP, reload)
        tasks = [loop.create_task(reconciler.run()), loop.create_task(self._ping())]

        self._service.ready(self._status_line(device.status.name or "no device"))
        log.info("ready: administration on %s", config.control_socket)
        if self._reload_asked:
            reload()
        await self._end.wait()

        self._service.stopping("draining")
        await self._drain(engine)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        engine.stop()
        return self._exit_code

    def _warn_of_few(self, descriptors: DescriptorBudget, vms: int) -> None:
        try:
            descriptors.check(vms, vms * self._config.vms.ring_queue_pairs)
        except EngineError as error:
            log.error("not all registered VMs can be served: %s. %s", error, error.next_step)

    @property
    def everything(self) -> bool:
        """Whoever asked for the end wants workers and spawner to end too."""
        return self._everything

    def ask_reload(self, *_: object) -> None:
        """SIGHUP before the daemon serves: the file is read again once it does."""
        self._reload_asked = True

    def request_shutdown(self, everything: bool) -> None:
        """Begin to end; returns at once. Asked again, it may still become more."""
        self._everything = self._everything or everything
        self._end.set()

    async def _drain(self, engine: HostEngine) -> None:
        engine.drain(cancel=self._everything, on_idle=self._idle.set)
        timeout_s = self._config.daemon.shutdown_timeout_ms / 1000
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            log.warning("still running after %g s: left to the workers", timeout_s)

    def _spawner_lost(self, error: SpawnerLostError) -> None:
        """Without it there are no workers and nothing is held: the service manager starts anew."""
        log.critical("%s. %s", error, error.next_step)
        self._exit_code = ExitCode.NEGATIVE
        self._end.set()

    def _reload(
        self,
        engine: HostEngine,
        reconciler: Reconciler,
        server: ControlServer,
        dispatch: Dispatch,
    ) -> None:
        self._service.reloading()
        try:
            config = load_config(self._config_path)
            engine.reload(config)
        except VgpudError as error:
            log.error("reload: keeping the old configuration: %s. %s", error, error.next_step)
            self._service.ready("reload refused, see the log; serving with the old configuration")
            return
        self._config = config
        server.reload(config.control)
        dispatch.policy = role_policy(config.control)
        logging.getLogger().setLevel(config.daemon.log_level.upper())
        for key in needs_restart(self._started_with, config):
            log.warning("reload: %s has changed and takes effect at the next start", key)
        try:
            # Who runs QEMU may be another one now, and with it whom the VMs' sockets belong to.
            pending = len(reconciler.apply_anew())
        except StoreError as error:
            log.error("reload: the VMs stay as they are: %s", error)
            pending = 1
        log.info("reload: done")
        self._service.ready("reloaded, but not all is applied" if pending else "reloaded")

    async def _ping(self) -> None:
        interval_s = self._service.watchdog_interval_s()
        while interval_s is not None:
            self._service.watchdog()
            await asyncio.sleep(interval_s)

    def _status_line(self, device: str) -> str:
        return f"serving, device: {device}"


def reach_spawner(config: Config) -> tuple[Spawner, bool]:
    """The running spawner, or one that is started, and which of both; blocks.

    Raises SpawnerError. To be called by the holder of the instance lock.
    """
    try:
        return Spawner.connect(config.spawn_socket, config.spawner.start_timeout_ms / 1000), False
    except SpawnerLostError:
        return start_spawner(config), True


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
    )


def read_config(path: Path | None) -> Config:
    """The configuration, also held against this host. Raises ConfigError."""
    config = load_config(path)
    try:
        account_of(config)
    except ConfigError as error:
        raise ConfigError(f"{path or DEFAULT_PATH}: {error}", error.next_step) from error
    return config


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


def serve(config_path: Path | None) -> ExitCode:
    """Run the daemon until it is asked to end. Raises VgpudError when it cannot start."""
    config = read_config(config_path)
    start_logging(config.daemon.log_level)
    daemon = Daemon(config, config_path)
    signal.signal(signal.SIGHUP, daemon.ask_reload)
    make_directories(config)
    with contextlib.ExitStack() as held:
        for path, key in ((config.lock_path, "state_dir"), (config.run_lock_path, "run_dir")):
            held.callback(acquire_instance_lock(path, key).release)
        listener = ControlListener.bind(
            config.control_socket, config.control.socket_mode, config.control.view_group
        )
        held.callback(listener.close)
        return serve_alone(config, daemon, listener)


def serve_alone(config: Config, daemon: Daemon, listener: ControlListener) -> ExitCode:
    """Run the daemon, which no other one disturbs. Raises VgpudError when it cannot start."""
    spawner, started = reach_spawner(config)
    try:
        claim_spawner(spawner)
        drop_privileges(config)
        store = Store.open(config.store_path)
    except VgpudError:
        if started:
            spawner.shutdown()  # nobody knows of it, and nothing is held
        raise

    try:
        code = asyncio.run(daemon.run(spawner, store, listener))
    finally:
        store.close()
    if daemon.everything:
        spawner.shutdown()
        remove_vm_directories(config.vms_dir)
        log.info("ended, with all workers and the spawner")
    else:
        spawner.close()
        log.info("ended; the spawner keeps what the next vgpud goes on with")
    return code


def shutdown(config_path: Path | None, everything: bool, wait: bool) -> ExitCode:
    """Ask a running daemon to end; with `everything`, end a spawner that has outlived it too."""
    config = load_config(config_path)
    also = ", with all workers and the spawner" if everything else ""
    try:
        ending = request_shutdown(str(config.control_socket), everything=everything)
    except NoDaemonError:
        if not everything:
            raise
        try:
            Spawner.connect(config.spawn_socket).shutdown()
            remove_vm_directories(config.vms_dir)
        except SpawnerLostError:
            print("vgpud: nothing is running")
        else:
            print("vgpud: the workers and the spawner that were left have ended")
        return ExitCode.OK
    with contextlib.closing(ending):
        if not wait or not ending.is_seen:
            print(f"vgpud: agreed to end{also}")
            return ExitCode.OK
        ending.wait(config.daemon.shutdown_timeout_ms / 1000 + END_MARGIN_S)
    print(f"vgpud: ended{also}")
    return ExitCode.OK


def parser() -> argparse.ArgumentParser:
    """The command line of vgpud."""
    top = argparse.ArgumentParser(
        prog="vgpud",
        description="Lets many virtual machines and host jobs share one GPU.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"vgpud {vgpud.__version__}")
    config_help = "configuration (default: /etc/vgpud/vgpud.toml if it exists, else the defaults)"
    top.add_argument("--config", type=Path, metavar="FILE", help=config_help)
    top.add_argument(
        "--check-config", action="store_true", help="read the configuration, say what is wrong, end"
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    end = commands.add_parser(
        "shutdown", help="ask the running vgpud to drain and end", allow_abbrev=False
    )
    # No default: it would hide what stands before the command.
    end.add_argument(
        "--config", type=Path, metavar="FILE", help=config_help, default=argparse.SUPPRESS
    )
    end.add_argument("--all", action="store_true", help="end all workers and the spawner as well")
    end.add_argument("--no-wait", action="store_true", help="return once it has agreed")
    return top


def main(arguments: list[str] | None = None) -> int:
    """The program vgpud; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "shutdown":
            return shutdown(options.config, options.all, not options.no_wait)
        if options.check_config:
            read_config(options.config)
            print("vgpud: the configuration is good")
            return ExitCode.OK
        return serve(options.config)
    except VgpudError as error:
        say_error(f"vgpud: {error}. {error.next_step}".rstrip())
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
