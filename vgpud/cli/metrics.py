"""The commands that show how it goes: numbers, health, and who is connected."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from vgpud.cli.command import Command, Output, no_options
from vgpud.cli.render import connection_table, work_table
from vgpud.client import Client
from vgpud.errors import UnhealthyError
from vgpud.protocol.messages import ListVms, ListVmsReply, Status, StatusReply


def _metrics_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--prometheus", action="store_true", help="in Prometheus' text format, everything there is"
    )


def _metrics(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(Status(), StatusReply)
    if options.prometheus:
        from vgpud.cli.exposition import exposition  # which no other command needs

        return Output(exposition(reply), answer)
    return Output(work_table(reply.pools, reply.vms), answer)


def _health(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(Status(), StatusReply)
    wrong = list(_wrong(reply))
    if wrong:
        raise UnhealthyError("; ".join(wrong), "See `vgpu-admin status` and the log.")
    return Output(f"vgpud is healthy: {reply.device.name}, {_count(reply)}", answer)


def _wrong(status: StatusReply) -> Iterator[str]:
    """What an operator should do something about."""
    if status.daemon.draining:
        yield "the daemon is ending"
    elif not status.daemon.engine_running:
        yield "the engine does not run"
    if not status.device.ready:
        yield f"no device: {status.device.reason}"
    if status.daemon.pending:
        count = len(status.daemon.pending)
        yield (
            "1 change is not applied yet" if count == 1 else f"{count} changes are not applied yet"
        )
    if status.daemon.isolation_gaps:
        yield "guests are not kept apart"
    quarantined = [vm.vm_name or vm.vm_uuid for vm in status.vms if vm.quarantined]
    if quarantined:
        yield f"quarantined: {', '.join(quarantined)}"
    stranded = [vm.vm_name or vm.vm_uuid for vm in status.vms if vm.pool_id is None]
    if stranded:
        yield f"without a pool: {', '.join(stranded)}"


def _count(status: StatusReply) -> str:
    connected = sum(
        vm.live is not None and (vm.live.connected_stub or vm.live.connected_ring)
        for vm in status.vms
    )
    return f"{connected} of {len(status.vms)} VMs connected"


def _connections(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListVms(), ListVmsReply)
    return Output(connection_table(reply.vms), answer)


COMMANDS = (
    Command(
        "show-metrics",
        "show what pools and VMs did and how long it took",
        lambda _: "reading the metrics",
        _metrics_options,
        _metrics,
        "show-metrics --prometheus",
    ),
    Command(
        "show-health",
        "say whether all is well; exit status 1 and what is not, if it is not",
        lambda _: "looking after the daemon",
        no_options,
        _health,
        "show-health",
    ),
    Command(
        "show-connections",
        "show which VMs are connected, and over which socket",
        lambda _: "reading the connections",
        no_options,
        _connections,
        "show-connections",
    ),
)
