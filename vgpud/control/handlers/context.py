"""What the handlers work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgpud.reconcile import Engine, Reconciler
from vgpud.store.store import Store


@dataclass(frozen=True)
class Context:
    """Ready parts, wired by the daemon.

    `uptime_s` tells how long the daemon runs. `request_shutdown(all)` asks the daemon to drain and
    end, with `all` workers and spawner too; it returns at once. `reload()` reads the configuration
    again and returns the keys that need a restart; it raises VgpudError, and the old one stays.
    """

    store: Store
    engine: Engine
    reconciler: Reconciler
    state_dir: Path
    uptime_s: Callable[[], float]
    request_shutdown: Callable[[bool], None]
    reload: Callable[[], Sequence[str]]
