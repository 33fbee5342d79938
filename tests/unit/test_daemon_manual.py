"""vgpud's own command line against its manual page."""

from __future__ import annotations

import argparse
import re

from tests.guards.sources import ROOT
from vgpud.daemon import parser


def test_every_command_and_option_of_vgpud_is_in_its_manual_page() -> None:
    page = (ROOT / "vgpud/man/vgpud.8").read_text().replace("\\-", "-")
    explained = page[page.index(".SH OPTIONS") : page.index(".SH SIGNALS")]
    top = parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        assert re.search(rf"^\.BR? {name}\b", explained, re.MULTILINE), name
        for action in [*top._actions, *command._actions]:
            for option in action.option_strings:
                assert re.search(rf"{option}\b", explained), f"{name} {option}"


def test_the_service_names_its_manual_page() -> None:
    source = (ROOT / "vgpud/control/handlers/service.py").read_text()
    name, section = re.findall(r'url="man:([\w-]+)\((\d)\)"', source)[0]
    assert (ROOT / f"vgpud/man/{name}.{section}").exists()
