"""What the vgpud distribution contains: the package, the engine's extension, the C programs.

The version stands in vgpud/__init__.py, the versions of what it needs in requirements*.txt.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """The requirement lines of a requirements file, without comments."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line]


def version() -> str:
    """Read, not imported: importing vgpud would need what is not installed yet."""
    text = (ROOT / "vgpud" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise SystemExit('vgpud/__init__.py must have a line `__version__ = "X.Y.Z"`')
    return found.group(1)


class BuildWithPrograms(build_py):
    """The C programs are package data: they must exist before the package is copied."""

    def run(self) -> None:
        subprocess.run(["make", "-C", str(ROOT / "mediator_ext"), "-s", "programs"], check=True)
        super().run()


setup(
    name="vgpud",
    version=version(),
    description="Lets many virtual machines and host jobs share one GPU, fairly and safely",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["vgpud", "vgpud.*"]),
    package_data={
        "vgpud": [
            "py.typed",
            "bin/*",
            "protocol/*.varlink",
            "store/*.sql",
            "store/migrations/*.sql",
            "man/*",
        ],
    },
    cffi_modules=["mediator_ext/build_mediator.py:ffibuilder"],
    install_requires=requirements("requirements.txt"),
    extras_require={"cpu": requirements("requirements-cpu.txt")},
    entry_points={
        "console_scripts": [
            "vgpud = vgpud.daemon:main",
            "vgpu-admin = vgpud.cli.admin:main",
        ]
    },
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    zip_safe=False,
    cmdclass={"build_py": BuildWithPrograms},
)
