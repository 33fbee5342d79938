"""Where the PoCL that comes as a Python package keeps its OpenCL library.

PoCL is the CPU device of a machine without a GPU. The package is never imported: only workers load
the library, each in a process of its own.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

DISTRIBUTION = "pocl-binary-distribution"


def find_bundled_pocl() -> Path | None:
    """The path of libpocl of the installed package, None when it is not installed.

    The path is resolved: the library looks for its parts beside itself and is misled by links.
    Reads the package's list of files; does not block otherwise.
    """
    try:
        files = metadata.files(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    for file in files or ():
        if file.match("libpocl*.so"):
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    return None
