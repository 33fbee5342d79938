"""Workers are started, and descriptors kept, by vgpu-spawn; this is how vgpud asks for it.

There are two connections. Requests go over a blocking one, one at a time, each answered within
about 100 us (a started worker: a few ms), so nothing has to be awaited. Ends of workers arrive
unasked on the other one: `listen()` has the event loop read it.

The two are lost together. A request that is not answered in time says as much about the spawner as
an end of the connection does, and nothing could be asked any more; so it ends both, and whoever
watches is told by the event loop, not in the middle of what made the request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vgpud.errors import SpawnerError
from vgpud.spawner.connection import Connection, SpawnerLostError, close_fds
from vgpud.spawner.messages import (
    Capability,
    Flag,
    HeldEntry,
    Message,
    PeerProcess,
    Role,
    SpawnerInfo,
    Verb,
    WorkerEntry,
    WorkerExit,
    WorkerProcess,
    encode_settings,
)

REQUEST_TIMEOUT_S = 10.0
"""A spawner that has not answered after this is as good as gone, seconds."""


class Spawner:
    """A running vgpu-spawn.

    Every method blocks until the answer is there, at most the timeout, and raises
    SpawnerRefusedError if the answer is negative or SpawnerLostError if there is none. After the
    latter this object is of no more use: connect anew.
    """

    def __init__(self, requests: Connection, exits: Connection) -> None:
        """Greets the spawner on both connections; they are closed with this object."""
        self._requests = requests
        self._exits = exits
        self._on_exit: Callable[[WorkerExit], None] | None = None
        self._on_lost: Callable[[SpawnerLostError], None] | None = None
        self._lost: SpawnerLostError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._greet(exits, Flag.WANT_EXITS)
        exits.set_nonblocking()
        self._info = self._greet(requests, Flag(0))

    @classmethod
    def connect(cls, path: Path, timeout_s: float = REQUEST_TIMEOUT_S) -> Spawner:
        """The spawner that listens at `path`; `timeout_s` holds for each request."""
        requests = Connection(path, timeout_s)
        try:
            exits = Connection(path, timeout_s)
        except SpawnerError:
            requests.close()
            raise
        try:
            return cls(requests, exits)
        except SpawnerError:
            requests.close()
            exits.close()
            raise

    @property
    def info(self) -> SpawnerInfo:
        """What the spawner said about itself when it was greeted."""
        return self._info

    def hello(self) -> SpawnerInfo:
        """Ask the spawner who it is, which also shows that it answers."""
        answer, _ = self._ask("say who it is", Message(Verb.HELLO))
        self._info = _info(answer)
        return self._info

    def close(self) -> None:
        """End both connections. The spawner, its workers and what it holds stay."""
        self.silence()
        self._requests.close()
        self._exits.close()

    # --- Workers ----------------------------------------------------------------------------------

    def spawn_worker(
        self,
        role: Role,
        slot: int,
        control_socket: socket.socket | int,
        settings: Mapping[str, str],
        label: str,
    ) -> WorkerProcess:
        """Start a worker; returns when its program runs.

        `control_socket` becomes its descriptor 3; the caller's own stays open. `slot` chooses its
        uid: below the spawner's --max-workers, and one living worker for each slot and role.
        `settings` are environment variables, of names that the spawner allows. `label` names it in
        logs: printable ASCII without white space. Raises ValueError for what cannot be sent.
        """
        control_fd = control_socket if isinstance(control_socket, int) else control_socket.fileno()
        request = Message(
            Verb.WORKER, arg=role, slot=slot, key=label, detail=encode_settings(settings)
        )
        attempted = f"start a {role.name.lower()} worker for {label or 'nobody'} in slot {slot}"
        answer, fds = self._ask(attempted, request, [control_fd])
        if len(fds) != 1:
            close_fds(fds)
            error = SpawnerLostError(f"vgpu-spawn sent {len(fds)} descriptors for a worker, not 1")
            self._lose(error)
            raise error
        return WorkerProcess(answer.worker_id, answer.pid, answer.uid, fds[0])

    def kill(self, worker_id: int) -> None:
        """End a worker at once, with all it started; its exit is reported as any other."""
        self._do(f"kill worker {worker_id}", Message(Verb.KILL, worker_id=worker_id))

    def reaped(self, worker_id: int) -> None:
        """The exit of this worker has been dealt with: it need not be reported again."""
        self._do(f"forget worker {worker_id}", Message(Verb.REAPED, worker_id=worker_id))

    def workers(self) -> list[WorkerEntry]:
        """All workers that live, or whose exit was not dealt with."""
        answers = self._answers("list its workers", Message(Verb.WORKERS))
        return [
            WorkerEntry(m.worker_id, m.pid, m.uid, m.slot, Role(m.arg), m.key)
            for m, _ in answers
            if m.flags & Flag.MORE
        ]

    # --- Descriptors ------------------------------------------------------------------------------

    def hold(self, key: str, fds: Sequence[int], arg: int = 0) -> None:
        """Keep duplicates of 1 to 24 descriptors, and a 32-bit word, instead of what `key` held.

        `key` is printable ASCII without white space, at most 103 bytes.
        """
        self._do(f"hold {key}", Message(Verb.HOLD, key=key, arg=arg), fds)

    def drop(self, key: str) -> None:
        """Let go of what `key` holds."""
        self._do(f"drop {key}", Message(Verb.DROP, key=key))

    def fetch(self, prefix: str = "") -> list[HeldEntry]:
        """Duplicates of all that is held under keys with this prefix; the caller's to close.

        Everything that anybody sent to be held before this call is included, also by a process
        that was killed since.
        """
        answers = self._answers(f"return {prefix}*", Message(Verb.FETCH, key=prefix))
        return [
            HeldEntry(answer.key, answer.arg, tuple(fds))
            for answer, fds in answers
            if answer.flags & Flag.MORE
        ]

    # --- Everything else --------------------------------------------------------------------------

    def peer(self, pid: int) -> PeerProcess:
        """Who a process is; refused with ESRCH if there is none.

        The command line is cut at 511 bytes.
        """
        answer, _ = self._ask(f"look up process {pid}", Message(Verb.PEER, pid=pid))
        return PeerProcess(pid, answer.uid, answer.detail.decode(errors="replace"))

    def shutdown(self) -> None:
        """End every worker, let go of everything held, and end the spawner; then close."""
        self._do("shut down", Message(Verb.SHUTDOWN))
        self.close()

    # --- Exits of workers -------------------------------------------------------------------------

    def watch(
        self,
        on_exit: Callable[[WorkerExit], None],
        on_lost: Callable[[SpawnerLostError], None],
    ) -> None:
        """Whom `dispatch()` calls.

        `on_exit` gets every exit that is not `reaped()`, also of workers that ended before this
        connection was made, and may make requests. `on_lost` is called at most once, when the
        spawner is gone or did not answer a request; this object is silent and closed by then.
        """
        self._on_exit = on_exit
        self._on_lost = on_lost

    def listen(self) -> None:
        """Have the running event loop call `dispatch()` when there is news."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._exits.fileno(), self.dispatch)

    def silence(self) -> None:
        """Out of the event loop again, if it is in one; news waits meanwhile."""
        if self._loop is not None:
            self._loop.remove_reader(self._exits.fileno())
            self._loop = None

    def fileno(self) -> int:
        """Readable when `dispatch()` has something to do; -1 once closed."""
        return self._exits.fileno()

    def dispatch(self) -> None:
        """Pass on all that has arrived; does not block."""
        while self._exits.fileno() >= 0:
            try:
                message, fds = self._exits.receive()
            except BlockingIOError:
                return
            except SpawnerLostError as error:
                self._lost = self._lost or error
                self.close()
                if self._on_lost is not None:
                    self._on_lost(self._lost)
                return
            close_fds(fds)
            if message.verb == Verb.EXITED and self._on_exit is not None:
                self._on_exit(WorkerExit.from_message(message))

    # --- Inner workings ---------------------------------------------------------------------------

    def _greet(self, connection: Connection, flags: Flag) -> SpawnerInfo:
        answers = list(connection.ask("say who it is", Message(Verb.HELLO, flags=flags)))
        return _info(answers[-1][0])

    def _answers(
        self, attempted: str, request: Message, fds: Sequence[int] = ()
    ) -> list[tuple[Message, list[int]]]:
        if self._lost is not None:
            raise SpawnerLostError(str(self._lost))
        answers: list[tuple[Message, list[int]]] = []
        try:
            for answer in self._requests.ask(attempted, request, fds):
                answers.append(answer)
        except SpawnerError as error:
            for _, received in answers:
                close_fds(received)
            if isinstance(error, SpawnerLostError):
                self._lose(error)
            raise
        return answers

    def _lose(self, error: SpawnerLostError) -> None:
        """No further request is possible; whoever watches learns of it by the event loop."""
        self._lost = error
        self._requests.end()
        self._exits.end()

    def _ask(
        self, attempted: str, request: Message, fds: Sequence[int] = ()
    ) -> tuple[Message, list[int]]:
        (answer,) = self._answers(attempted, request, fds)
        return answer

    def _do(self, attempted: str, request: Message, fds: Sequence[int] = ()) -> None:
        _, received = self._ask(attempted, request, fds)
        close_fds(received)


def _info(answer: Message) -> SpawnerInfo:
    return SpawnerInfo(answer.pid, Capability(answer.arg))
