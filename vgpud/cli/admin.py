"""vgpu-admin: reads the command line, makes one call, prints one answer.

Starts fast because it imports little: no event loop, no configuration, no database.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import vgpud
from vgpud.cli import (
    audit,
    backup,
    declared,
    explain,
    limits,
    metrics,
    names,
    placement,
    pools,
    quarantine,
    service,
    status,
    trace,
    vms,
)
from vgpud.cli.command import Command, Output
from vgpud.cli.report import as_json, as_line, write
from vgpud.cli.values import seconds
from vgpud.client import DEFAULT_SOCKET, TIMEOUT_S, Client, path_of_socket
from vgpud.errors import ExitCode, OutputError, UsageError, VgpudError

PROGRAM = "vgpu-admin"
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        *pools.COMMANDS,
        *vms.COMMANDS,
        *placement.COMMANDS,
        *limits.COMMANDS,
        *quarantine.COMMANDS,
        *status.COMMANDS,
        *metrics.COMMANDS,
        *trace.COMMANDS,
        *explain.COMMANDS,
        *audit.COMMANDS,
        *backup.COMMANDS,
        *declared.COMMANDS,
        *names.COMMANDS,
        *service.COMMANDS,
    )
}

WITHOUT_DAEMON = ("help", "completion")
SHELLS = ("bash", "zsh", "fish")

EPILOG = """exit status: 0 done, 1 a negative answer, 2 usage, 3 no daemon, 4 not allowed,
5 not found, 6 conflict, 7 timeout. Each command has its own --help."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that every failure is told in the same form."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"See `{self.prog} --help`.")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The command line; with `only`, without all other commands, to start sooner."""
    parser = _Parser(
        prog=PROGRAM,
        description="Administer the pools and VMs that share the GPU through vgpud.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {vgpud.__version__}")
    _add_common(parser, at_command=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS.values() if only is None else [COMMANDS[only]]:
        subparser = commands.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            # One line, to be copied as it is.
            epilog=f"example: {PROGRAM} {command.example}" if command.example else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_options(subparser)
        _add_common(subparser, at_command=True)
    helper = commands.add_parser("help", help="show this, or the help of a command")
    helper.add_argument("topic", nargs="?", metavar="COMMAND", help="the command to explain")
    completer = commands.add_parser(
        "completion", help="print the script that completes commands and names in a shell"
    )
    completer.add_argument("shell", choices=SHELLS, help="the shell that is to read it")
    return parser


def _add_common(parser: argparse.ArgumentParser, *, at_command: bool) -> None:
    """The options of all commands; written before the command or after it, the latter wins."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if at_command else value

    parser.add_argument(
        "--json",
        action="store_true",
        default=default(False),
        help="print the daemon's answer as JSON",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=default(None),
        help=f"the control socket (default: VGPUD_SOCKET, else {DEFAULT_SOCKET})",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=default(TIMEOUT_S),
        help=f"how long to wait for the answer (default {TIMEOUT_S:g})",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors go to standard error in one line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    attempt = "reading the command line"
    try:
        word = _command_word(words)
        # Help before the command is that of all commands.
        alone = word is not None and word in COMMANDS and not _asks_for_help(words, word)
        parser = build_parser(only=word if alone else None)
        options = parser.parse_args(words)
        if options.command is None:
            parser.print_help(sys.stderr)
            return ExitCode.USAGE
        if options.command == "help":
            return _help(options.topic)
        if options.command == "completion":
            return _completion(options.shell)
        command = COMMANDS[options.command]
        attempt = command.attempt(options)
        client = Client(path_of_socket(options.socket), options.timeout)
        output = command.run(client, options)
        if not isinstance(output, Output):
            return _write_all(output, in_json=options.json, endless=command.endless)
        write(json.dumps(output.answer, indent=2) if options.json else output.text)
        return output.exit_code
    except VgpudError as error:
        print(as_line(PROGRAM, attempt, error), file=sys.stderr)
        if "--json" in words and not isinstance(error, OutputError):
            write(as_json(error))
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: {attempt}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _asks_for_help(words: Sequence[str], command: str) -> bool:
    return not {"-h", "--help"}.isdisjoint(words[: words.index(command)])


def _write_all(outputs: Iterator[Output], *, in_json: bool, endless: bool) -> int:
    """Prints what comes, each answer on one line of JSON.

    Who reads no more, or presses Ctrl-C, has seen enough of what is `endless`. Everything else is
    done to its end, whoever reads of it. Raises OutputError.
    """
    unwritten: OutputError | None = None
    try:
        for output in outputs:
            text = json.dumps(output.answer) if in_json else output.text
            try:
                if text and not write(text) and endless:
                    break
            except OutputError as error:
                if endless:
                    raise
                unwritten = error
    except KeyboardInterrupt:
        if not endless:
            raise
    if unwritten is not None:
        raise unwritten
    return ExitCode.OK


def _help(topic: str | None) -> int:
    if topic is None:
        return _show_help(["--help"])
    _command_word([topic])
    return _show_help([topic, "--help"])


def _completion(shell: str) -> int:
    from vgpud.cli.completion import script  # What it needs would slow every command down.

    write(script(build_parser(), shell))
    return ExitCode.OK


def _show_help(words: list[str]) -> int:
    try:
        build_parser().parse_args(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("--help returned")


def _command_word(words: Sequence[str]) -> str | None:
    """The command among the words, if any.

    Raises UsageError for a command that does not exist, with the one probably meant.
    """
    rest = iter(words)
    for word in rest:
        if word in ("--socket", "--timeout"):
            next(rest, None)
        elif not word.startswith("-"):
            if word in COMMANDS or word in WITHOUT_DAEMON:
                return word
            raise UsageError(
                f"there is no command {word!r}",
                f"{_probably_meant(word)}See `{PROGRAM} help` for all commands.",
            )
    return None


def _probably_meant(word: str) -> str:
    import difflib  # Only a mistake needs it; else every command would load it.

    # Strict: the command with the opposite effect often differs in a few letters only.
    close = difflib.get_close_matches(word, [*COMMANDS, *WITHOUT_DAEMON], n=1, cutoff=0.8)
    return f"Did you mean {close[0]}? " if close else ""


if __name__ == "__main__":
    sys.exit(main())
