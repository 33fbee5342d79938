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
import signal
import sys
import time
from pathlib import Path

import vgpud
from vgpud.account import account_of, drop_privileges
from vgpud.cli.shutdown import request_shutdown
from vgpud.config import Config, needs_restart
from vgpud.config_file import file_that_sets, list_config_files, load_config
from vgpud.control.dispatch import Dispatch
from vgpud.control.handlers.context import Context
from vgpud.control.listener import ControlListener
from vgpud.control.policy import role_policy
from vgpud.control.server import ControlServer
from vgpud.descriptors import DescriptorBudget, raise_file_limit
from vgpud.directories import make_directories
from vgpud.engine import HostEngine
from vgpud.engine_limits import limits_of
from vgpud.errors import (
    ConfigError,
    EngineError,
    ExitCode,
    NoDaemonError,
    SpawnerError,
    StoreError,
    VgpudError,
)
from vgpud.instance import claim_spawner
from vgpud.known_device import recall, remember
from vgpud.log import say_error, start_logging
from vgpud.mediator import Mediator
from vgpud.probe import Device, find_device
from vgpud.reconcile import Reconciler
from vgpud.spawner import Spawner, SpawnerLostError, isolation_gaps, open_hold_channel
from vgpud.spawner_life import end_spawner, reach_spawner
from vgpud.store.lock import acquire_instance_lock
from vgpud.store.store import Store
from vgpud.systemd import ServiceManager
from vgpud.vm_files import remove_vm_directories

log = logging.getLogger("vgpud")

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
        self._was_ready = False
        self._lost: SpawnerLostError | None = None

    async def run(self, spawner: Spawner, store: Store, listener: ControlListener) -> ExitCode:
        """Serves until it is asked to end. Raises VgpudError when it cannot start."""
        loop = asyncio.get_running_loop()
        config = self._config
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_shutdown, False)
        device = await find_device(spawner, config.device, self._start_timeout_s, recall(spawner))
        note_device(spawner, device)
        for gap in isolation_gaps(spawner.info.capabilities):
            log.warning("isolation: %s", gap)

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
            reload=lambda: self._reload(engine, reconciler, server, dispatch),
        )
        dispatch = Dispatch(context, role_policy(config.control))
        server = ControlServer(listener, config.control, dispatch)
        await server.start()
        loop.add_signal_handler(signal.SIGHUP, _reload_logged, context)
        tasks = [
            loop.create_task(reconciler.run()),
            loop.create_task(self._ping()),
            loop.create_task(self._look_for_device(spawner, engine, device)),
        ]

        self._was_ready = True
        self._service.ready(status_line(device))
        log.info("ready: administration on %s", config.control_socket)
        if self._reload_asked:
            _reload_logged(context)
        await self._end.wait()

        self._service.stopping("draining")
        await self._drain(engine)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        engine.stop()
        return ExitCode.OK if self._lost is None else ExitCode.NEGATIVE

    @property
    def was_ready(self) -> bool:
        """It has served, so that there may be something for the next one to go on with."""
        return self._was_ready

    @property
    def lost(self) -> SpawnerLostError | None:
        """Why vgpud ends without having been asked to."""
        return self._lost

    @property
    def _start_timeout_s(self) -> float:
        return self._config.spawner.start_timeout_ms / 1000

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
        self._lost = error
        self._end.set()

    def _reload(
        self,
        engine: HostEngine,
        reconciler: Reconciler,
        server: ControlServer,
        dispatch: Dispatch,
    ) -> tuple[str, ...]:
        """Read the configuration again; returns the keys that take effect at the next start.

        Raises VgpudError, and the old one stays.
        """
        self._service.reloading()
        try:
            config = load_config(self._config_path)
            engine.reload(config)
        except VgpudError as error:
            log.error("reload: keeping the old configuration: %s. %s", error, error.next_step)
            self._service.ready("reload refused, see the log; serving with the old configuration")
            raise
        self._config = config
        server.reload(config.control)
        dispatch.policy = role_policy(config.control)
        logging.getLogger().setLevel(config.daemon.log_level.upper())
        restart_needed = tuple(needs_restart(self._started_with, config))
        for key in restart_needed:
            log.warning("reload: %s has changed and takes effect at the next start", key)
        try:
            # Who runs QEMU may be another one now, and with it whom the VMs' sockets belong to.
            pending = len(reconciler.apply_anew())
        except StoreError as error:
            log.error("reload: the VMs stay as they are: %s", error)
            pending = 1
        log.info("reload: done: %s", list_config_files(self._config_path))
        self._service.ready("reloaded, but not all is applied" if pending else "reloaded")
        return restart_needed

    async def _look_for_device(self, spawner: Spawner, engine: HostEngine, device: Device) -> None:
        """Until one works. The log says what has changed, not that nothing has."""
        while not (device.status.ready and device.confirmed):
            await asyncio.sleep(self._config.device.retry_interval_ms / 1000)
            try:
                found = await find_device(
                    spawner, self._config.device, self._start_timeout_s, device, logging.DEBUG
                )
                if found == device:
                    continue
                note_device(spawner, found)
            except SpawnerLostError as error:
                log.debug("not looking for a device any more: %s", error)
                return
            device = found
            engine.use_device(device)
            self._service.status(status_line(device))

    async def _ping(self) -> None:
        interval_s = self._service.watchdog_interval_s()
        while interval_s is not None:
            self._service.watchdog()
            await asyncio.sleep(interval_s)


def _reload_logged(context: Context) -> None:
    """For who is told nothing but what the log says."""
    with contextlib.suppress(VgpudError):
        context.reload()


def note_device(spawner: Spawner, device: Device) -> None:
    """Say what was found, and have it kept for the next vgpud. Raises SpawnerLostError."""
    if not device.status.ready:
        log.error("no device: %s", device.status.reason)
        return
    log.info("device: %s (%s)", device.status.name, device.status.backend)
    try:
        remember(spawner, device)
    except SpawnerLostError:
        raise
    except (OSError, SpawnerError) as error:
        log.warning("the next vgpud will not be told of this device: %s", error)


def status_line(device: Device) -> str:
    """For `systemctl status`."""
    return f"serving, device: {device.status.name or 'no device'}"


def read_config(path: Path | None) -> Config:
    """The configuration, also held against this host. Raises ConfigError."""
    config = load_config(path)
    try:
        account_of(config)
    except ConfigError as error:
        where = file_that_sets("daemon.user", path)
        raise ConfigError(f"{where}: {error}", error.next_step) from error
    return config


def serve(config_path: Path | None) -> ExitCode:
    """Run the daemon until it is asked to end. Raises VgpudError when it cannot start."""
    config = read_config(config_path)
    start_logging(config.daemon.log_level)
    log.info("configuration: %s", list_config_files(config_path))
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
        with contextlib.closing(Store.open(config.store_path)) as store:
            code = asyncio.run(daemon.run(spawner, store, listener))
    finally:
        if started and not daemon.was_ready:
            end_spawner(config, spawner)  # nobody knows of it, and nothing is held
    if daemon.everything:
        end_spawner(config, spawner)
        remove_vm_directories(config.vms_dir)
        log.info("ended, with all workers and the spawner")
    else:
        spawner.close()
        if daemon.lost is None:
            log.info("ended; the spawner keeps what the next vgpud goes on with")
        else:
            log.error("ended, as vgpu-spawn was lost; if it lives, it keeps what it has")
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
    config_help = (
        "configuration, with drop-ins in FILE.d (default: /etc/vgpud/vgpud.toml if it exists, else "
        "the defaults)"
    )
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
            files = list_config_files(options.config)
            print(f"vgpud: the configuration is good ({files})")
            return ExitCode.OK
        return serve(options.config)
    except VgpudError as error:
        say_error(f"vgpud: {error}. {error.next_step}".rstrip())
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
