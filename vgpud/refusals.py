"""Every answer of the control socket that is an error.

The fields of a `RequestError` are its parameters on the wire, and the class name is its name there,
so that daemon and client speak of one class and a guard can hold both against the interface
description. Sentences live here once: the daemon logs them, the client prints them.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from vgpud.errors import ExitCode, FactError

ADMIN_INTERFACE = "org.vgpud.admin"
SERVICE_INTERFACE = "org.varlink.service"

ParameterValue: TypeAlias = str | int | list[str]


class RequestError(FactError):
    """An answer that is an error; its fields are the parameters of the answer."""

    interface: ClassVar[str] = ADMIN_INTERFACE

    @property
    def wire_name(self) -> str:
        """The fully qualified name on the control socket."""
        return f"{self.interface}.{self.code}"

    def parameters(self) -> dict[str, ParameterValue]:
        """The error's facts as they go into the answer."""
        return {name: getattr(self, name) for name in self.field_defaults}


# --- Answers of the Varlink layer itself ----------------------------------------------------------


class InterfaceNotFound(RequestError):
    """The method's interface is not served here."""

    interface = SERVICE_INTERFACE
    advice = "Client and daemon may be of different versions."

    interface_name: str

    def parameters(self) -> dict[str, ParameterValue]:
        # Varlink calls the parameter `interface`, which here is the name of the class attribute.
        return {"interface": self.interface_name}

    def __str__(self) -> str:
        return f"the daemon has no interface {self.interface_name!r}"


class MethodNotFound(RequestError):
    """The interface is served, but has no such method."""

    interface = SERVICE_INTERFACE
    advice = "Client and daemon may be of different versions."

    method: str

    def __str__(self) -> str:
        return f"the daemon has no method {self.method!r}"


class MethodNotImplemented(RequestError):
    """The method is described, but this daemon does not offer it."""

    interface = SERVICE_INTERFACE

    method: str

    def __str__(self) -> str:
        return f"the daemon does not implement {self.method!r}"


class InvalidParameter(RequestError):
    """A parameter is unknown, missing or of the wrong type."""

    interface = SERVICE_INTERFACE
    exit_code = ExitCode.USAGE

    parameter: str

    def __str__(self) -> str:
        return f"the parameter {self.parameter!r} is unknown, missing or of the wrong type"


class MalformedMessage(RequestError):
    """A message is not a Varlink call."""

    reason: str

    def __str__(self) -> str:
        return f"the message is not a call: {self.reason}"


class MessageTooLarge(RequestError):
    """A message exceeds the limit; the connection is closed after this answer."""

    exit_code = ExitCode.USAGE
    advice = "Make the values shorter, or raise max_message_bytes in [control]."

    limit_bytes: int

    def __str__(self) -> str:
        return f"the message exceeds {self.limit_bytes} bytes"


class TooManyConnections(RequestError):
    """The daemon serves as many control connections as it may; this one is closed."""

    advice = "Try again, or raise max_connections in [control]."

    limit: int

    def __str__(self) -> str:
        return f"all {self.limit} control connections are in use"


# --- Answers of the rules -------------------------------------------------------------------------


class RuleError(RequestError):
    """A well-formed request that the rules refuse."""


class PermissionDenied(RuleError):
    """The caller lacks the role that the method needs."""

    exit_code = ExitCode.NOT_ALLOWED
    advice = "Run it as root, or join the group that [control] in vgpud.toml names for this role."

    method: str
    role_needed: str
    roles: list[str]

    def __str__(self) -> str:
        held = ", ".join(self.roles) if self.roles else "none"
        return f"{self.method} needs the role {self.role_needed}; yours: {held}"


class InvalidArgument(RuleError):
    """A parameter's value is outside what it may be."""

    exit_code = ExitCode.USAGE

    parameter: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.parameter} is {self.value!r}, expected {self.expected}"


class PoolNotFound(RuleError):
    """There is no pool of this id."""

    exit_code = ExitCode.NOT_FOUND
    advice = "`vgpu-admin list-pools` shows the pools there are."

    pool_id: str

    def __str__(self) -> str:
        return f"there is no pool {self.pool_id}"


class PoolExists(RuleError):
    """A pool of this id exists already."""

    exit_code = ExitCode.CONFLICT
    advice = (
        "Choose another --pool-id; `vgpu-admin list-pools` shows those taken. "
        "Pools A and B exist from the start, and create-pool names each of them once."
    )

    pool_id: str

    def __str__(self) -> str:
        return f"there already is a pool {self.pool_id}"


class PoolDisabled(RuleError):
    """The pool takes no VM while it is disabled."""

    exit_code = ExitCode.CONFLICT

    pool_id: str

    @property
    def next_step(self) -> str:
        return f"Enable it with `vgpu-admin enable-pool --pool-id={self.pool_id}`."

    def __str__(self) -> str:
        return f"pool {self.pool_id} is disabled"


class PoolNotEmpty(RuleError):
    """The pool still has VMs."""

    exit_code = ExitCode.CONFLICT
    advice = (
        "Move them with `vgpu-admin set-pool`, or delete it with --force: "
        "then they belong to no pool, and their requests are refused."
    )

    pool_id: str
    vms: list[str]

    def __str__(self) -> str:
        count = "1 VM" if len(self.vms) == 1 else f"{len(self.vms)} VMs"
        return f"pool {self.pool_id} has {count}: {', '.join(self.vms)}"


class VmNotFound(RuleError):
    """No VM has this UUID or name."""

    exit_code = ExitCode.NOT_FOUND
    advice = "`vgpu-admin list-vms` shows the VMs registered."

    vm: str

    def __str__(self) -> str:
        return f"no VM {self.vm!r} is registered"


class VmExists(RuleError):
    """A VM of this UUID is registered already."""

    exit_code = ExitCode.CONFLICT

    vm_uuid: str

    @property
    def next_step(self) -> str:
        return f"See it with `vgpu-admin show-vm --vm-uuid={self.vm_uuid}`."

    def __str__(self) -> str:
        return f"VM {self.vm_uuid} is already registered"


class VmIdInUse(RuleError):
    """Another VM has this vm_id."""

    exit_code = ExitCode.CONFLICT
    advice = "Choose another --vm-id, or leave it out to have one assigned."

    vm_id: int
    vm_uuid: str

    def __str__(self) -> str:
        return f"VM ID {self.vm_id} belongs to VM {self.vm_uuid}"


class AmbiguousVm(RuleError):
    """Several VMs have this name."""

    exit_code = ExitCode.CONFLICT
    advice = "Name one of them with --vm-uuid."

    vm_name: str
    vm_uuids: list[str]

    def __str__(self) -> str:
        return f"{len(self.vm_uuids)} VMs are named {self.vm_name!r}: {', '.join(self.vm_uuids)}"


class RequestNotQueued(RuleError):
    """The VM has no queued request of this number."""

    exit_code = ExitCode.NOT_FOUND
    advice = "It runs, is finished, or never was; `vgpu-admin trace` shows what is finished."

    vm_uuid: str
    request: int

    def __str__(self) -> str:
        return f"VM {self.vm_uuid} has no request {self.request} queued"


class ConfigRefused(RequestError):
    """The configuration files cannot be used; the daemon goes on with what it has.

    `remedy` is a whole sentence that says what to do about the cause, or empty.
    """

    exit_code = ExitCode.USAGE

    reason: str
    remedy: str = ""

    @property
    def next_step(self) -> str:
        return f"{self.remedy} The old configuration stays.".lstrip()

    def __str__(self) -> str:
        return f"the configuration is refused: {self.reason}"


class StoredNotApplied(RequestError):
    """The change is stored, but the engine has not taken it over yet.

    `remedy` is a whole sentence that says what to do about the cause, or empty.
    """

    advice = (
        "The change is kept and vgpud goes on trying; `vgpu-admin status` shows what is pending."
    )

    reason: str
    remedy: str = ""

    @property
    def next_step(self) -> str:
        return f"{self.remedy} {self.advice}".lstrip()

    def __str__(self) -> str:
        return f"stored, but not applied yet: {self.reason}"


class StoreFailed(RequestError):
    """The database refused to read or write; nothing was changed."""

    advice = "Nothing was changed; the daemon's journal has the cause."

    reason: str

    def __str__(self) -> str:
        return f"the store failed: {self.reason}"


SERVICE_ERRORS: tuple[type[RequestError], ...] = (
    InterfaceNotFound,
    MethodNotFound,
    MethodNotImplemented,
    InvalidParameter,
)
"""The errors of org.varlink.service that we answer with."""

ADMIN_ERRORS: tuple[type[RequestError], ...] = (
    PermissionDenied,
    InvalidArgument,
    PoolNotFound,
    PoolExists,
    PoolDisabled,
    PoolNotEmpty,
    VmNotFound,
    VmExists,
    VmIdInUse,
    AmbiguousVm,
    RequestNotQueued,
    ConfigRefused,
    StoredNotApplied,
    StoreFailed,
    MalformedMessage,
    MessageTooLarge,
    TooManyConnections,
)
"""The errors of org.vgpud.admin."""
