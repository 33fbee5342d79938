"""The numbers in the manual pages are those of the headers, the programs and the sources.

The tables of vgpu-stub(7) have a heading of one form each, so that they can be read back:
`struct NAME, N bytes` before offset, type and field; `enum NAME` and `constants` before value and
name. A C program made of those names prints what the compiler knows of them.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guards.sources import ROOT

EXT = ROOT / "mediator_ext"
MAN = ROOT / "vgpud" / "man"
INTERFACE = ("wire_format.h", "ring_abi.h", "ring_ops.h")
# Where the limits that a guest meets are defined, beside the interface.
LIMITS = (
    "engine.h",
    "journal.h",
    "worker/module_source.h",
    "worker/exchange.h",
    "worker/tenant.h",
    "worker/binaries.h",
)

HEADING = re.compile(
    r'\.BR "struct (?P<struct>\w+)" ", (?P<size>\d+) bytes"'
    r"|\.B enum (?P<enum>\w+)"
    r'|\.BR constants ", (?P<constants>[^"]+)"'
)
C_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t"}
C_TYPES |= {"i32": "int32_t"}


@dataclass(frozen=True)
class Table:
    """What a heading says, `size` only of a structure, and the cells of the rows below it."""

    kind: str
    name: str
    size: int
    rows: tuple[tuple[str, ...], ...]


def tables(page: str) -> list[Table]:
    """Every table with a heading; raises ValueError for a heading without a table."""
    found = []
    lines = page.splitlines()
    for at, line in enumerate(lines):
        heading = HEADING.fullmatch(line)
        if heading is None:
            continue
        if lines[at + 1] != ".TS":
            raise ValueError(f"no table follows: {line}")
        # Skipped: .TS, the options, two lines of format, the names of the columns.
        body = "\n".join(lines[at + 6 : lines.index(".TE", at)])
        rows = re.sub(r"T\{\n.*?\nT\}", "text", body, flags=re.DOTALL).splitlines()
        kind = next(k for k in ("struct", "enum", "constants") if heading[k])
        cells = tuple(tuple(row.split("|")) for row in rows)
        found.append(Table(kind, heading[kind], int(heading["size"] or 0), cells))
    return found


def values_of(expressions: Sequence[str], headers: Sequence[str] = INTERFACE) -> list[int]:
    """What C expressions are with these headers; fails where they do not compile."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    includes = "".join(f'#include "{name}"\n' for name in ("stddef.h", "stdio.h", *headers))
    prints = "".join(f'printf("%lld\\n", (long long)({each}));\n' for each in expressions)
    source = f"{includes}int main(void)\n{{\n{prints}return 0;\n}}\n"
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "values"
        command = [gcc, "-std=c11", "-D_GNU_SOURCE", f"-I{EXT}", "-xc", "-", "-o", str(program)]
        made = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        done = subprocess.run([program], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def c_type(written: str) -> str:
    """The C type that a cell names: `u32[2]` is uint32_t[2]."""
    base, bracket, count = written.partition("[")
    return C_TYPES.get(base, base) + bracket + count


def plain(page: str) -> str:
    """A page's text with escapes and fonts taken out and lines joined."""
    text = re.sub(r"\\f.", "", page.replace("\\-", "-").replace("\\&", ""))
    text = re.sub(r"^\.(?:B|I|BR|BI|IR|RB|RI) (.*)$", r"\1", text, flags=re.MULTILINE)
    return " ".join(text.replace('"', "").split())


def stub_tables(kind: str) -> list[Table]:
    found = [t for t in tables((MAN / "vgpu-stub.7").read_text()) if t.kind == kind]
    assert found
    return found


def interface(pattern: str) -> list[str]:
    """What a pattern finds in the two headers."""
    text = "".join((EXT / name).read_text() for name in INTERFACE)
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    assert found
    return found


# ---- vgpu-stub(7) against the headers -----------------------------------------------------------


def test_the_tables_name_every_structure_of_the_interface_once() -> None:
    assert sorted(t.name for t in stub_tables("struct")) == sorted(interface(r"^struct (\w+) \{"))


def test_every_structure_has_the_fields_offsets_types_and_size_of_the_header() -> None:
    found = stub_tables("struct")
    expressions: list[str] = []
    for table in found:
        whole = f"struct {table.name}"
        expressions.append(f"sizeof({whole})")
        for _, written, name, *_ in table.rows:
            field = f"((({whole} *)0)->{name})"
            same = f"__builtin_types_compatible_p(__typeof__({field}), {c_type(written)})"
            expressions += [f"offsetof({whole}, {name})", f"sizeof({field})", same]
    values = iter(values_of(expressions))
    for table in found:
        size, end = next(values), 0
        assert size == table.size, table.name
        for row in table.rows:
            # No gap between two rows: no field of the header is missing.
            offset, length, same_type = next(values), next(values), next(values)
            assert int(row[0]) == offset == end and same_type, f"{table.name}: {row}"
            end = offset + length
        assert end == size, f"{table.name}: fields end at {end}"


def test_every_enum_has_the_names_and_values_of_the_header() -> None:
    bodies = {body.split()[0]: body for body in interface(r"^enum (\w+ \{.*?)^\};")}
    found = stub_tables("enum")
    assert sorted(t.name for t in found) == sorted(bodies)
    for table in found:
        names = re.findall(r"^    ([A-Z]\w+)", bodies[table.name], re.MULTILINE)
        named = [name for name in names if not name.endswith("_COUNT")]
        assert [row[1] for row in table.rows] == named, table.name
    rows = [row for table in found for row in table.rows]
    wrong = [
        (row, value)
        for row, value in zip(rows, values_of([row[1] for row in rows]), strict=True)
        if int(row[0], 0) != value
    ]
    assert wrong == []


def test_every_constant_has_the_value_of_its_header() -> None:
    written = {t.name: t for t in stub_tables("constants")}
    limits = written.pop("of this version of the host")
    assert sorted(written) == sorted(INTERFACE)
    for header, table in written.items():
        defined = re.findall(r"^#define (\w+)[ \t]+\S", (EXT / header).read_text(), re.MULTILINE)
        assert [row[1] for row in table.rows] == defined, header
    for table, headers in [*((t, INTERFACE) for t in written.values()), (limits, LIMITS)]:
        values = values_of([row[1] for row in table.rows], headers)
        assert [int(row[0], 0) for row in table.rows] == values, table.name


@pytest.mark.parametrize(
    ("phrase", "expressions"),
    [
        ("may be 0 or any of the last {} ids", ["sizeof(((struct journal_stub *)0)->ids) / 4"]),
        ("{} bytes for a NOP and for every refusal", ["sizeof(struct wire_response)"]),
        ("{0} bytes for a sum (data_offset {0})", ["sizeof(struct wire_response) + 4"]),
        (
            "{} bytes for the description of the device (data_offset {}, data_length {})",
            [
                "sizeof(struct wire_response) + sizeof(struct vgpu_device_info)",
                "sizeof(struct wire_response)",
                "sizeof(struct vgpu_device_info)",
            ],
        ),
        ("the guest page at {} (VGPU_PAGE_BYTES)", ["VGPU_PAGE_BYTES"]),
        ("from {} to VGPU_COMMAND_BYTES_MAX", ["sizeof(struct vgpu_op_header)"]),
        ("No body: size is {}.", ["sizeof(struct vgpu_op_header)"]),
        ("size is {}; a struct vgpu_address follows", ["sizeof(struct vgpu_address)"]),
        ("its answer, each {} bytes", ["sizeof(struct wire_header)"]),
        ("id 5: {0} bytes at cmd_off, cmd_len {0}", ["sizeof(struct vgpu_op_alloc)"]),
    ],
)
def test_a_number_in_a_sentence_is_the_headers(phrase: str, expressions: list[str]) -> None:
    values = values_of(expressions, (*INTERFACE, "journal.h"))
    assert phrase.format(*values) in plain((MAN / "vgpu-stub.7").read_text())


def test_the_examples_are_the_bytes_of_the_structures() -> None:
    lines = re.findall(r"^(?:[0-9a-f]{2} +){23}[0-9a-f]{2}$", _page("vgpu-stub.7"), re.MULTILINE)
    ping, pong, alloc = (bytes.fromhex(line) for line in lines)
    magic, of_ping, of_pong, op, size = values_of(
        ["WIRE_MAGIC", "WIRE_PING", "WIRE_PONG", "VGPU_OP_ALLOC", "sizeof(struct vgpu_op_alloc)"]
    )
    assert struct.unpack("<IIIIBBHI", ping) == (magic, of_ping, 0, 9, 0, 0, 0, 0)
    assert struct.unpack("<IIIIBBHI", pong) == (magic, of_pong, 0, 0, 0, 0, 0, 0)
    assert struct.unpack("<HHIIIQ", alloc) == (op, 0, size, 5, 0, 4096)


def test_the_options_of_a_build_are_those_that_are_allowed() -> None:
    allowed = re.findall(r'^ +"(-[^" ]+)",$', _source("worker/build_options.c"), re.MULTILINE)
    named = re.findall(r"^\.BR (\S+) [,.]$", _page("vgpu-stub.7"), re.MULTILINE)
    assert allowed and [n.replace("\\-", "-") for n in named if n.startswith("\\-")] == allowed


# ---- what else is said, against where it is decided ---------------------------------------------


@pytest.mark.parametrize(
    ("page", "phrase", "source", "pattern"),
    [
        ("vgpu-stub.7", "0|none|text 1|none|text -1|memory", "transport_ivshmem.c",
         r"IVSHMEM_VERSION 0\n#define PEER_HOST +0\n#define PEER_CLIENT +1\n"),
        ("vgpu-client.1", "Requests, 1 to 10000000; by default 1.", "guest/client_main.c",
         r"\.count = 1,"),
        ("vgpu-client.1", "by default 1048576", "guest/client_main.c", r"\.elements = 1048576,"),
        ("vgpu-client.1", "1 to 4096; by default 1.", "guest/client_main.c", r"\.depth = 1,"),
        ("vgpu-client.1", "1 to 1000; by default 1.", "guest/client_main.c", r"\.repeat = 1\b"),
        ("vgpu-client.1", "at most 16 MiB", "guest/client_ring.c", r"MAX +\(16u \* 1024 \* 1024\)"),
        ("vgpud.toml.5", "A malformed message or submission weighs 1;", "faults.c",
         r"_FRAME\] = 1,.*_ENTRY\] = 1,"),
        ("vgpud.toml.5", "name and impossible ring indices 5;", "faults.c",
         r"_FOREIGN_ID\] = 5,\s+\[MEDIATOR_FAULT_RING\] = 5,"),
        ("vgpud.toml.5", "a worker that dies of it 10; a worker that breaks", "faults.c",
         r"_WORKER\] = 20,.*_RUN_TIMEOUT\] = 10,.*_BUILD_TIMEOUT\] = 10,.*_CRASH\] = 10,"),
        ("vgpu-stub.7", "host's quantum_us, and 10 ms at least,", "workers.c",
         r"COME_BACK_NS 10000000u"),
        ("vgpu-spawn.8", "N + 4 x slot + role", "spawn/uids.h", r"UIDS_PER_SLOT +4u"),
        ("vgpu-spawn.8", "the first 4096 bytes of it", "spawn/output.h", r"MAX +4096u"),
        ("vgpu-spawn.8", "from 1879048192 on", "spawn/uids.c", r"AUTO_BASE +0x70000000u"),
        ("vgpu-spawn.8", "(0 launch, 1 build, 2 probe;", "spawn/spawn_protocol.h",
         r"LAUNCH = 0,.*BUILD = 1,.*PROBE = 2,"),
    ],
)  # fmt: skip
def test_what_a_page_says_is_what_the_source_has(
    page: str, phrase: str, source: str, pattern: str
) -> None:
    text = re.sub(r"T\{\n.*?\nT\}", "text", _page(page), flags=re.DOTALL)
    assert phrase in plain(text)
    assert re.search(pattern, _source(source), re.DOTALL)


def test_every_member_that_vgpu_client_prints_is_in_its_page() -> None:
    printed: set[str] = set()
    for path in (EXT / "guest").glob("client_*.c"):
        printed |= set(re.findall(r'report_\w+\(report, "(\w+)"', path.read_text()))
    assert len(printed) > 40
    words = set(re.findall(r"\w+", plain(_page("vgpu-client.1")).partition(" OUTPUT ")[2]))
    assert printed - words == set()


# ---- options and exit codes against --help ------------------------------------------------------

PROGRAMS = {"vgpu-client": "vgpu-client.1", "vgpu-spawn": "vgpu-spawn.8"}


def help_of(program: str) -> str:
    path = ROOT / "vgpud" / "bin" / program
    if not path.exists():
        pytest.skip(f"{program} is not built: ./build.sh build")
    return subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout


def option_entries(page: str) -> dict[str, str]:
    """Option to the text of its entry, of those that stand as a tag after .TP."""
    found: dict[str, str] = {}
    for entry in re.split(r"^\.(?:TP|PP|S[HS].*)$", page, flags=re.MULTILINE):
        tag, _, text = entry.strip().partition("\n")
        names = re.findall(r"(?<![\w-])--[a-z][a-z-]*", plain(tag))
        if tag.startswith((".B \\-", ".BI \\-")):
            found |= dict.fromkeys(names, plain(text))
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_page_and_help_have_the_same_options(program: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(program)))
    assert named and set(option_entries(_page(PROGRAMS[program]))) - {"--help"} == named - {
        "--help"
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_ranges_are_those_that_the_program_names_when_it_refuses(program: str) -> None:
    help_of(program)
    checked = 0
    for option, text in option_entries(_page(PROGRAMS[program])).items():
        command = [str(ROOT / "vgpud" / "bin" / program), f"{option}=x"]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        limits = re.search(r"a number from (\d+) to (\d+)", refused.stderr)
        if limits is None:
            continue
        low, high = limits.groups()
        assert any(
            said in text for said in (f"{low} to {high}", f"up to {high}", f"above {int(low) - 1}")
        ), f"{option}: {low} to {high}"
        checked += 1
    assert checked >= 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_defaults_and_exit_codes_are_those_of_the_help(program: str) -> None:
    text, page = help_of(program), _page(PROGRAMS[program])
    entries = option_entries(page)
    defaults = re.findall(r"^  (--[a-z-]+) .*\((\d+|/\S+)\)$", text, re.MULTILINE)
    assert defaults
    for option, default in defaults:
        assert f"by default {default}" in entries[option], option
    codes = re.findall(r"\b(\d) [a-z]", re.split(r"Exit (?:codes|status): ", text)[1])
    assert re.findall(r"^\.TP\n(\d)$", page, re.MULTILINE) == codes


def test_every_command_of_vgpu_client_is_in_its_page() -> None:
    commands = re.findall(r"^  ([a-z][a-z-]+) ", help_of("vgpu-client"), re.MULTILINE)
    tags = set(re.findall(r"^\.TP\n\.B[IR]? ([^ \"\n]+)", _page("vgpu-client.1"), re.MULTILINE))
    assert commands and set(commands) <= {tag.replace("\\-", "-") for tag in tags}


def test_pages_refer_to_pages_that_exist() -> None:
    for page in MAN.iterdir():
        text = page.read_text().replace("\\-", "-")
        named = re.findall(r"^\.BR (vgpu[\w.-]*) \((\d)\)", text, re.MULTILINE)
        assert ".SH SEE ALSO" in text.replace('"', ""), page.name
        missing = [f"{n}({s})" for n, s in named if not (MAN / f"{n}.{s}").exists()]
        assert named and not missing, page.name


# ---- that the reader of tables sees what is wrong -----------------------------------------------


def test_a_table_is_read_cell_by_cell() -> None:
    head = ".TS\ntab(|);\nlb lb\nr l.\nOffset|Type\n"
    page = f'.BR "struct a" ", 8 bytes"\n{head}0|u32|x|T{{\nwords | more\nT}}\n4|u32|y|\n.TE\n'
    rows = (("0", "u32", "x", "text"), ("4", "u32", "y", ""))
    assert tables(page) == [Table("struct", "a", 8, rows)]
    with pytest.raises(ValueError, match="no table follows"):
        tables(".B enum b\n.PP\n")


def test_a_wrong_name_does_not_compile_and_a_wrong_type_is_seen() -> None:
    with pytest.raises(AssertionError, match="no member named"):
        values_of(["offsetof(struct wire_header, length)"])
    field = "__typeof__(((struct vgpu_completion *)0)->native)"
    assert values_of(
        [f"__builtin_types_compatible_p({field}, {c_type(t)})" for t in ("i32", "u32", "i32[1]")]
    ) == [1, 0, 0]


def _page(name: str) -> str:
    return (MAN / name).read_text()


def _source(name: str) -> str:
    return (EXT / name).read_text()
