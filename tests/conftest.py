"""Fixtures that several tiers share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """An empty directory with a path short enough for a Unix socket below it."""
    path = Path(tempfile.mkdtemp(prefix="vgt-"))
    yield path
    shutil.rmtree(path)
