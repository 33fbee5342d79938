"""The commands of weights and limits."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output, no_options
from vgpud.cli.render import limits_line, pool_weight_table, rate_limit_table, weight_table
from vgpud.cli.values import whole_number
from vgpud.cli.vms import named, which_vm
from vgpud.client import Client
from vgpud.protocol.messages import (
    ListPools,
    ListPoolsReply,
    ListVms,
    ListVmsReply,
    SetPoolWeight,
    SetPoolWeightReply,
    SetRateLimit,
    SetRateLimitReply,
    SetWeight,
    SetWeightReply,
)

WEIGHT_MIN = 1
WEIGHT_MAX = 100
RATE_MAX = 1_000_000
DEPTH_MAX = 32_768


def _weight_options(parser: ArgumentParser) -> None:
    which_vm(parser).add_argument("--pool-id", metavar="ID", help="not a VM but a pool")
    parser.add_argument(
        "--weight",
        type=whole_number(WEIGHT_MIN, WEIGHT_MAX),
        required=True,
        metavar="N",
        help=f"{WEIGHT_MIN} to {WEIGHT_MAX}: its share among the VMs of its pool and priority, or "
        "among pools (new ones have 50)",
    )


def _weight_attempt(options: Namespace) -> str:
    which = named(options) if options.pool_id is None else f"pool {options.pool_id}"
    return f"setting the weight of {which}"


def _rate_limit_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    parser.add_argument(
        "--rate",
        type=whole_number(0, RATE_MAX),
        metavar="N",
        help=f"requests per second, 0 to {RATE_MAX}; 0: unlimited",
    )
    parser.add_argument(
        "--burst",
        type=whole_number(0, RATE_MAX),
        metavar="N",
        help=f"requests at once, 0 to {RATE_MAX}; 0: as many as --rate",
    )
    parser.add_argument(
        "--queue-depth",
        type=whole_number(0, DEPTH_MAX),
        metavar="N",
        help=f"requests waiting and running, 0 to {DEPTH_MAX}; 0: the configured default",
    )


def _set_weight(client: Client, options: Namespace) -> Output:
    if options.pool_id is not None:
        of_pool, answer = client.call(
            SetPoolWeight(options.pool_id, options.weight), SetPoolWeightReply
        )
        pool = of_pool.pool
        return Output(f"Scheduler weight for pool {pool.pool_id} set to {pool.weight}", answer)
    call = SetWeight(options.weight, options.vm_uuid, options.vm_name)
    reply, answer = client.call(call, SetWeightReply)
    text = f"Scheduler weight for VM {reply.vm.vm_uuid} set to {reply.vm.weight}"
    return Output(text, answer)


def _show_weights(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListVms(), ListVmsReply)
    of_pools, more = client.call(ListPools(), ListPoolsReply)
    text = f"{weight_table(reply.vms)}\n\n{pool_weight_table(of_pools.pools)}"
    return Output(text, {**answer, **more})


def _set_rate_limit(client: Client, options: Namespace) -> Output:
    call = SetRateLimit(
        options.vm_uuid, options.vm_name, options.rate, options.burst, options.queue_depth
    )
    reply, answer = client.call(call, SetRateLimitReply)
    return Output(limits_line(reply.vm), answer)


def _show_rate_limits(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListVms(), ListVmsReply)
    return Output(rate_limit_table(reply.vms), answer)


COMMANDS = (
    Command(
        "set-weight",
        "set a VM's share among the VMs of its pool and priority, or a pool's among pools",
        _weight_attempt,
        _weight_options,
        _set_weight,
        "set-weight --vm-name=trainer --weight=80",
    ),
    Command(
        "show-weights",
        "show the weights of all VMs and pools",
        lambda _: "reading the weights",
        no_options,
        _show_weights,
        "show-weights",
    ),
    Command(
        "set-rate-limit",
        "limit what a VM may ask for; what is left out stays as it is",
        lambda options: f"limiting {named(options)}",
        _rate_limit_options,
        _set_rate_limit,
        "set-rate-limit --vm-name=trainer --rate=50 --burst=100",
    ),
    Command(
        "show-rate-limits",
        "show the limits of all VMs, and who is quarantined",
        lambda _: "reading the rate limits",
        no_options,
        _show_rate_limits,
        "show-rate-limits",
    ),
)
