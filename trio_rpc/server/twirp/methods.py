"""The methods of Twirp services on a room server: their grants, and the errors of its functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ... import concurrency
from ...errors import QueueFullError, RefusedError, RpcError
from ...tokens import Claims
from ..back_pressure import wait_for_room
from ..limits import ServerLimits
from ..room_server import RoomServer
from ..rooms.backlog import BacklogFullError
from .protocol import TwirpError, TwirpMethod

Responder: TypeAlias = Callable[[Claims, Any], Awaitable[Message]]
_Respond: TypeAlias = Callable[[RoomServer, Any], Awaitable[Message]]
#: The grant that each method needs, and the function that answers it, by the name of the method.
Methods: TypeAlias = Mapping[str, tuple[str, _Respond]]

_Code = RpcError.ErrorCode
#: Twirp's codes for those of an `RpcError`, as on LiveKit's server; any other is `internal`.
_TWIRP_CODES: Final[dict[int, str]] = {
    _Code.UNSUPPORTED_METHOD: "invalid_argument",
    _Code.RECIPIENT_NOT_FOUND: "not_found",
    _Code.REQUEST_PAYLOAD_TOO_LARGE: "malformed",
    _Code.UNSUPPORTED_SERVER: "unimplemented",
    _Code.UNSUPPORTED_VERSION: "unimplemented",
    _Code.CONNECTION_TIMEOUT: "canceled",
    _Code.RESPONSE_TIMEOUT: "canceled",
    _Code.RECIPIENT_DISCONNECTED: "unavailable",
    _Code.RESPONSE_PAYLOAD_TOO_LARGE: "malformed",
}
#: The names of the grants in tokens.
_GRANT_NAMES: Final = {
    "room_create": "roomCreate",
    "room_list": "roomList",
    "room_admin": "roomAdmin",
}


def twirp_methods(
    server: RoomServer, service: ServiceDescriptor, methods: Methods
) -> dict[str, TwirpMethod]:
    """Return the methods of a service, those included that are not implemented."""
    responders = {name: _responder(server, *method) for name, method in methods.items()}
    return {
        method.name: TwirpMethod(GetMessageClass(method.input_type), responders.get(method.name))
        for method in service.methods
    }


def _responder(server: RoomServer, grant: str, respond: _Respond) -> Responder:

    async def check_and_respond(claims: Claims, request: Any) -> Message:
        _check_grant(claims, grant, request)
        try:
            return await _respond_when_possible(partial(respond, server, request), server.limits)
        except QueueFullError as error:
            raise TwirpError("resource_exhausted", str(error)) from None
        except LookupError as error:
            raise TwirpError("not_found", str(error)) from None
        except ValueError as error:
            raise TwirpError("invalid_argument", str(error)) from None
        except RefusedError as error:
            code = "unavailable" if error.status == 503 else "resource_exhausted"
            raise TwirpError(code, str(error)) from None
        except RpcError as error:
            raise _twirp_error(error) from None

    return check_and_respond


async def _respond_when_possible(
    respond: Callable[[], Awaitable[Message]], limits: ServerLimits
) -> Message:
    """Respond, after waiting for receivers with full queues rather than disconnecting them (B8).

    Raises:
        BacklogFullError: a queue is still full after `ServerLimits.ping_timeout`.
    """
    backend = concurrency.current()
    deadline = backend.current_time() + limits.ping_timeout
    while True:
        try:
            return await respond()
        except BacklogFullError as error:
            with backend.cancel_scope(deadline=deadline) as scope:
                await wait_for_room(backend, error.backlog, error.size)
            if scope.cancelled_caught:
                raise


def _check_grant(claims: Claims, grant: str, request: Any) -> None:
    grants = claims.grants
    if not getattr(grants, grant):
        raise TwirpError("permission_denied", f"the token lacks the grant {_GRANT_NAMES[grant]}")
    if grant == "room_admin" and grants.room != request.room:
        raise TwirpError(
            "permission_denied",
            f"the token is for room {grants.room!r}, not for {request.room[:256]!r}",
        )


def _twirp_error(error: RpcError) -> TwirpError:
    """Return the error for a failed call, with all of the `RpcError` in its `meta`."""
    meta = {"rpc_code": str(int(error.code)), "rpc_message": error.message}
    if error.data is not None:
        meta["rpc_data"] = error.data
    return TwirpError(_TWIRP_CODES.get(error.code, "internal"), f"RpcError {error}", meta)
