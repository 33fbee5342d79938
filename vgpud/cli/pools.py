"""The commands of pools."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from vgpud.cli.command import Command, Output
from vgpud.cli.confirm import confirmed
from vgpud.cli.render import pool_line, pool_list, pool_page, vm_head
from vgpud.client import Client
from vgpud.errors import NotConfirmedError
from vgpud.protocol.messages import (
    CreatePool,
    CreatePoolReply,
    DeletePool,
    DeletePoolReply,
    DisablePool,
    DisablePoolReply,
    EnablePool,
    EnablePoolReply,
    ListPools,
    ListPoolsReply,
    ShowPool,
    ShowPoolReply,
)
from vgpud.protocol.states import PoolState, VmState


def _pool_id(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--pool-id", required=True, metavar="ID", help="the pool: one letter or digit; case counts"
    )


def _create_options(parser: ArgumentParser) -> None:
    _pool_id(parser)
    parser.add_argument("--pool-name", metavar="NAME", help="what people call it")
    parser.add_argument("--description", metavar="TEXT", help="what it is for")


def _list_options(parser: ArgumentParser) -> None:
    parser.add_argument("--enabled-only", action="store_true", help="leave disabled pools out")


def _create(client: Client, options: Namespace) -> Output:
    call = CreatePool(options.pool_id, options.pool_name, options.description)
    reply, answer = client.call(call, CreatePoolReply)
    return Output(f"Pool {reply.pool.pool_id} created.\n{pool_line(reply.pool)}", answer)


def _list(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListPools(enabled_only=options.enabled_only), ListPoolsReply)
    return Output(pool_list(reply.pools), answer)


def _show(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ShowPool(options.pool_id), ShowPoolReply)
    return Output(pool_page(reply.pool, reply.vms), answer)


def _enable(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(EnablePool(options.pool_id), EnablePoolReply)
    done = "enabled" if reply.changed else "is already enabled"
    return Output(f"Pool {reply.pool.pool_id} {done}.", answer)


def _disable(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(DisablePool(options.pool_id), DisablePoolReply)
    done = "disabled" if reply.changed else "is already disabled"
    text = f"Pool {reply.pool.pool_id} {done}."
    if reply.changed and reply.pool.vms.total:
        text += (
            f" Its VMs ({reply.pool.vms.total}) stay assigned; what they have queued waits, and "
            "new requests are refused, until it is enabled."
        )
    return Output(text, answer)


def _delete_options(parser: ArgumentParser) -> None:
    _pool_id(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="also if it has VMs: they belong to no pool then, and their requests are refused",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _delete(client: Client, options: Namespace) -> Output:
    if options.force and not options.yes:
        page, _ = client.call(ShowPool(options.pool_id), ShowPoolReply)
        if page.vms and not confirmed(_question(page.pool, page.vms)):
            raise NotConfirmedError(f"pool {options.pool_id} was not deleted")
    reply, answer = client.call(DeletePool(options.pool_id, options.force), DeletePoolReply)
    lines = [f"Pool {reply.pool.pool_id} deleted."]
    if reply.vms:
        lines.append(f"VMs that belong to no pool now ({len(reply.vms)}):")
        lines += [f"  {vm_head(vm)}" for vm in reply.vms]
        lines.append("Move them with `vgpu-admin set-pool`; until then their requests are refused.")
    return Output("\n".join(lines), answer)


def _question(pool: PoolState, vms: Sequence[VmState]) -> str:
    names = ", ".join(vm.vm_name or vm.vm_uuid for vm in vms)
    return (
        f"Pool {pool.pool_id} has VMs ({len(vms)}): {names}.\nThey will belong to no pool, and "
        "their requests be refused. Delete it?"
    )


COMMANDS = (
    Command(
        "create-pool",
        "create a pool, enabled",
        lambda options: f"creating pool {options.pool_id}",
        _create_options,
        _create,
    ),
    Command("list-pools", "list all pools", lambda _: "listing pools", _list_options, _list),
    Command(
        "show-pool",
        "show a pool and its VMs",
        lambda options: f"showing pool {options.pool_id}",
        _pool_id,
        _show,
    ),
    Command(
        "enable-pool",
        "let the VMs of a pool be served",
        lambda options: f"enabling pool {options.pool_id}",
        _pool_id,
        _enable,
    ),
    Command(
        "disable-pool",
        "stop serving the VMs of a pool; they stay assigned",
        lambda options: f"disabling pool {options.pool_id}",
        _pool_id,
        _disable,
    ),
    Command(
        "delete-pool",
        "delete a pool",
        lambda options: f"deleting pool {options.pool_id}",
        _delete_options,
        _delete,
        "delete-pool --pool-id=C",
    ),
)
