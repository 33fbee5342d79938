"""The configuration: what it refuses and how it says so; the shipped file against the defaults."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli

from tests.guards.sources import ROOT
from vgpud.config import MAX_BUILDS, Config
from vgpud.config_file import (
    config_files,
    config_from_document,
    file_that_sets,
    list_config_files,
    load_config,
)
from vgpud.errors import ConfigError


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        config_from_document(document, "/etc/x.toml")
    return str(refused.value)


def test_shipped_file_has_every_key_with_its_default() -> None:
    shipped = tomli.loads((ROOT / "vgpud.toml").read_text())
    assert shipped == msgspec.to_builtins(Config())


def test_shipped_file_explains_every_key() -> None:
    text = (ROOT / "vgpud.toml").read_text()
    lines = text.splitlines()
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if re.match(r"\w+ = ", line) and not above.startswith("# ")
    ]
    assert bare == []


def test_manual_page_explains_every_key_with_its_default() -> None:
    page = (ROOT / "vgpud/man/vgpud.toml.5").read_text().replace("\\-", "-").replace("\\(dq", '"')
    documented = re.findall(r'^\.BR (\w+) " = (.*)"$', page, re.MULTILINE)
    shipped = re.findall(r"^(\w+) = (.*)$", (ROOT / "vgpud.toml").read_text(), re.MULTILINE)
    assert documented == shipped


def test_file_is_read_and_the_rest_keeps_its_default(short_dir: Path) -> None:
    path = short_dir / "vgpud.toml"
    path.write_text("[scheduler]\nquantum_us = 500\n")
    config = load_config(path)
    assert config.scheduler.quantum_us == 500
    assert config.scheduler.units_in_flight == Config().scheduler.units_in_flight


def test_unknown_key_is_named_with_the_one_meant() -> None:
    with pytest.raises(ConfigError) as refused:
        config_from_document({"daemon": {"stat_dir": "/x"}}, "/etc/x.toml")
    assert str(refused.value) == "/etc/x.toml: daemon.stat_dir: unknown key"
    assert refused.value.next_step == "Did you mean state_dir?"


def test_unknown_section_is_named_with_those_there_are() -> None:
    said = refusal({"gpu": {}})
    assert "gpu: unknown section; expected daemon, control" in said


def test_key_that_looks_like_none_lists_all_of_its_section() -> None:
    assert "expected quantum_us, units_in_flight" in refusal({"scheduler": {"zzz": 1}})


def test_section_that_is_a_value_is_refused() -> None:
    assert "daemon: expected a section [daemon]" in refusal({"daemon": 3})


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("daemon", "shutdown_timeout_ms", "ten", "an integer from 1 to 86400000, is 'ten'"),
        ("daemon", "shutdown_timeout_ms", True, "an integer from 1 to 86400000, is True"),
        ("daemon", "shutdown_timeout_ms", 0, "an integer from 1 to 86400000, is 0"),
        ("daemon", "shutdown_timeout_ms", 2**70, "an integer from 1 to 86400000"),
        ("daemon", "log_level", "loud", "one of debug, info, warning, error, is 'loud'"),
        ("daemon", "state_dir", "var/lib", "an absolute path, is 'var/lib'"),
        ("daemon", "state_dir", 7, "a string, is 7"),
        ("control", "socket_mode", 660, "a mode from 0o000 to 0o777, in octal such as 0o660, is"),
        ("spawner", "worker_uid_base", 61_001, "a multiple of 4, is 61001"),
        ("vms", "ring_entries", 100, "a power of two, is 100"),
        ("trace", "entries", 100, "0 or a power of two, is 100"),
        ("vms", "max_queued_per_vm", 100_000, "an integer from 16 to 32768, is 100000"),
        ("scheduler", "units_in_flight", 33, "an integer from 1 to 32, is 33"),
        ("device", "backend", "gpu", "one of auto, cuda, opencl, null, is 'gpu'"),
        ("device", "cuda_library", "libcuda.so.1", "expected an absolute path, is 'libcuda.so.1'"),
    ],
)
def test_bad_value_is_named_with_what_is_expected(
    section: str, key: str, value: object, expected: str
) -> None:
    said = refusal({section: {key: value}})
    assert said.startswith(f"/etc/x.toml: {section}.{key}: expected ")
    assert expected in said


def test_one_vm_may_not_queue_more_than_all_together() -> None:
    said = refusal({"vms": {"max_queued_per_vm": 2_000, "max_queued_total": 1_000}})
    assert "vms.max_queued_per_vm: expected at most max_queued_total, 1000, is 2000" in said


def test_socket_path_too_long_for_the_kernel_is_refused_by_the_key_that_was_written() -> None:
    long = "/" + "x" * 107
    assert "x.toml: daemon.run_dir: " in refusal({"daemon": {"run_dir": long}})
    assert "x.toml: control.socket: " in refusal({"control": {"socket": long}})
    assert "x.toml: spawner.socket: " in refusal({"spawner": {"socket": long}})


def test_run_directory_must_leave_room_for_the_sockets_of_vms() -> None:
    longest = "/" + "x" * 55
    assert config_from_document({"daemon": {"run_dir": longest}}, "x").daemon.run_dir == longest
    said = refusal({"daemon": {"run_dir": longest + "x"}})
    assert said.startswith("/etc/x.toml: daemon.run_dir: the path of a Unix socket may have 107")
    assert said.endswith("/stub.sock would have 108")


def test_missing_file_that_was_named_is_refused(short_dir: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(short_dir / "absent.toml")


def drop_in(main: Path, name: str, text: str) -> Path:
    directory = main.with_name("vgpud.toml.d")
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    return path


@pytest.fixture
def main_file(short_dir: Path) -> Path:
    path = short_dir / "vgpud.toml"
    path.write_text("[scheduler]\nquantum_us = 500\nunits_in_flight = 4\n")
    return path


def test_drop_ins_change_single_keys_the_last_by_name_counts(main_file: Path) -> None:
    drop_in(main_file, "20-b.toml", "[scheduler]\nquantum_us = 700\n[faults]\nthreshold = 7\n")
    drop_in(main_file, "10-a.toml", "[scheduler]\nquantum_us = 600\n")
    config = load_config(main_file)
    assert config.scheduler.quantum_us == 700
    assert config.scheduler.units_in_flight == 4
    assert config.faults.threshold == 7
    assert [path.name for path in config_files(main_file)] == [
        "vgpud.toml",
        "10-a.toml",
        "20-b.toml",
    ]


def test_what_is_no_drop_in_is_not_read(main_file: Path) -> None:
    for name in ("10-a.toml.bak", ".10-a.toml", "README", "10-a.toml~"):
        drop_in(main_file, name, "this is not TOML")
    assert load_config(main_file).scheduler.quantum_us == 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scheduler]\nquantum = 1\n", "scheduler.quantum: unknown key"),
        ("[scheduler]\nquantum_us = 1\n", "scheduler.quantum_us: expected an integer from 100"),
        ("[scheduler\n", "is not valid TOML"),
        (f"x = {'9' * 5000}\n", "is not valid TOML"),
        (f"x = {'[' * 3000}\n", "is not valid TOML"),
        ("scheduler = 1\n", "scheduler: expected a section [scheduler]"),
        ("[vms]\nmax_queued_total = 100\n", "vms.max_queued_per_vm: expected at most"),
        (f"[daemon]\nrun_dir = '/{'x' * 107}'\n", "daemon.run_dir: the path of a Unix socket"),
    ],
)
def test_what_is_wrong_with_a_drop_in_names_that_file(
    main_file: Path, text: str, said: str
) -> None:
    path = drop_in(main_file, "10-a.toml", text)
    drop_in(main_file, "20-b.toml", "[faults]\nthreshold = 7\n")
    with pytest.raises(ConfigError) as refused:
        load_config(main_file)
    assert str(refused.value).startswith(f"{path}: {said}")


def test_a_drop_in_mends_a_value_of_the_file_before_it(main_file: Path) -> None:
    main_file.write_text("[scheduler]\nquantum_us = 1\n")
    with pytest.raises(ConfigError, match=f"^{main_file}: scheduler.quantum_us"):
        load_config(main_file)
    drop_in(main_file, "10-a.toml", "[scheduler]\nquantum_us = 500\n")
    assert load_config(main_file).scheduler.quantum_us == 500


def test_drop_ins_alone_are_read_where_no_file_is_installed(
    main_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main_file.unlink()
    monkeypatch.setattr("vgpud.config_file.DEFAULT_PATH", main_file)
    assert load_config() == Config()
    path = drop_in(main_file, "10-a.toml", "[scheduler]\nquantum_us = 600\n")
    assert load_config().scheduler.quantum_us == 600
    assert list_config_files() == str(path)


def test_drop_ins_do_not_stand_in_for_a_file_that_was_named(main_file: Path) -> None:
    drop_in(main_file, "10-a.toml", "[scheduler]\nquantum_us = 600\n")
    main_file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(main_file)


def test_directory_of_drop_ins_that_is_a_file_is_refused(main_file: Path) -> None:
    directory = main_file.with_name("vgpud.toml.d")
    directory.write_text("")
    with pytest.raises(ConfigError, match=f"^{directory}: cannot be read: Not a directory"):
        load_config(main_file)


def test_the_file_that_counts_for_a_key_is_found(main_file: Path) -> None:
    path = drop_in(main_file, "10-a.toml", "[scheduler]\nquantum_us = 600\n")
    assert file_that_sets("scheduler.quantum_us", main_file) == path
    assert file_that_sets("scheduler.units_in_flight", main_file) == main_file
    assert file_that_sets("daemon.user", main_file) == main_file


def test_file_that_is_not_toml_is_refused_with_its_line(short_dir: Path) -> None:
    path = short_dir / "vgpud.toml"
    path.write_text("[daemon\n")
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        load_config(path)


def test_empty_paths_follow_the_directories() -> None:
    config = config_from_document({"daemon": {"run_dir": "/r", "state_dir": "/s"}}, "x")
    assert [str(p) for p in (config.control_socket, config.spawn_socket)] == [
        "/r/control.sock",
        "/r/spawn.sock",
    ]
    assert [str(p) for p in (config.store_path, config.lock_path)] == [
        "/s/vgpud.db",
        "/s/vgpud.lock",
    ]


def test_builds_at_a_time_follow_the_cpus_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cpus, builds in ((1, 4), (6, 6), (256, MAX_BUILDS)):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, cpus=cpus: set(range(cpus)))
        assert Config().max_builds == builds
    assert config_from_document({"scheduler": {"max_builds": 1}}, "x").max_builds == 1


def test_spinning_is_for_hosts_with_cpus_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_from_document({"scheduler": {"spin_us": 30}}, "x")
    for cpus, spin_us in ((1, 0), (3, 0), (4, 30), (64, 30)):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, cpus=cpus: set(range(cpus)))
        assert config.spin_us == spin_us
    assert Config().spin_us == 0
