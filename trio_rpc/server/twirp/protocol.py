"""Twirp, the HTTP of LiveKit's server APIs: formats, errors and authorization.

A request is a POST of one message, in protobuf or JSON, to `/twirp/<service>/<method>`; the
response has the same format. An error is always JSON: a code with its HTTP status, a text, and
optional metadata.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from attrs import frozen
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ... import concurrency
from ...concurrency import CancelScope
from ...errors import InvalidTokenError
from ...protocol.logs import peer_logger
from ...tokens import Claims, bearer_token

logger = peer_logger(__name__)

#: The HTTP status of each of Twirp's codes.
_STATUSES: Final = {
    "canceled": 408,
    "unknown": 500,
    "invalid_argument": 400,
    "malformed": 400,
    "deadline_exceeded": 408,
    "not_found": 404,
    "bad_route": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "unauthenticated": 401,
    "resource_exhausted": 429,
    "failed_precondition": 412,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
}
_PROTOBUF: Final = "application/protobuf"
_JSON: Final = "application/json"
#: Seconds in which the whole body of a request has to arrive.
_BODY_TIMEOUT: Final = 10.0


class TwirpError(Exception):
    """The error that a request is answered with.

    Attributes:
        code: One of Twirp's codes.
        msg: A description of the error, for a person.
        meta: More about it, by key.
    """

    def __init__(self, code: str, msg: str, meta: Mapping[str, str] | None = None) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.meta = dict(meta or {})


@frozen
class TwirpMethod:
    """One method of a service.

    Attributes:
        request_type: The type of its requests.
        respond: Takes the claims of the caller's token and the request, and returns the response or
            raises `TwirpError`; None for a method that is not implemented.
    """

    request_type: type[Message]
    respond: Callable[[Claims, Any], Awaitable[Message]] | None


class TwirpServices:
    """Services as an ASGI app, for a route whose `path` is what follows `/twirp/`.

    Args:
        services: The methods by name, for each service by its full name, for example
            `livekit.RoomService`.
        verify: Returns the claims of a token, or raises `InvalidTokenError`.
        max_request_bytes: The largest body of a request.
        max_requests: The most requests in flight, counted once their token is verified.
    """

    def __init__(
        self,
        services: Mapping[str, Mapping[str, TwirpMethod]],
        verify: Callable[[str], Claims],
        *,
        max_request_bytes: int,
        max_requests: int,
    ) -> None:
        self._services = services
        self._verify = verify
        self._max_request_bytes = max_request_bytes
        self._max_requests = max_requests
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except TwirpError as error:
            response = _error_response(error)
        except ClientDisconnect:
            logger.debug("a client disconnected before it had sent its request")
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        content_type = _content_type(request)
        method = self._find_method(request.path_params["path"])
        claims = self._authenticate(request)
        if self._requests >= self._max_requests:
            what = f"{self._max_requests} requests are in flight, which is the limit: try again"
            raise TwirpError("resource_exhausted", what)
        self._requests += 1
        try:
            body = await self._read_body(request)
            message = _decode(body, method.request_type(), content_type)
            response = await _run(method, claims, message, request)
        finally:
            self._requests -= 1
        return Response(_encode(response, content_type), media_type=content_type)

    def _find_method(self, path: str) -> TwirpMethod:
        service, _, name = path.partition("/")
        method = self._services.get(service, {}).get(name)
        if method is None:
            raise TwirpError("bad_route", f"no handler for path {path[:200]!r}")
        return method

    def _authenticate(self, request: Request) -> Claims:
        token = bearer_token(request.headers.get("authorization", ""))
        if not token:
            raise TwirpError("unauthenticated", "there is no header 'Authorization: Bearer …'")
        try:
            return self._verify(token)
        except InvalidTokenError as error:
            raise TwirpError("unauthenticated", str(error)) from None

    async def _read_body(self, request: Request) -> bytes:
        body = bytearray()
        with concurrency.current().move_on_after(_BODY_TIMEOUT):
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > self._max_request_bytes:
                        limit = f"the limit of {self._max_request_bytes:,} bytes"
                        raise TwirpError("resource_exhausted", f"the request is over {limit}")
            return bytes(body)
        raise TwirpError(
            "deadline_exceeded", f"the request did not come within {_BODY_TIMEOUT:g} s"
        )


def _error_response(error: TwirpError) -> Response:
    body: dict[str, object] = {"code": error.code, "msg": error.msg}
    if error.meta:
        body["meta"] = error.meta
    # No request can follow one that was read in part.
    headers = {"Connection": "close"} if error.code == "resource_exhausted" else None
    return JSONResponse(body, _STATUSES[error.code], headers)


def _content_type(request: Request) -> str:
    """Return the format of a request that may be one of Twirp's."""
    if request.method != "POST":
        raise TwirpError(
            "bad_route", f"unsupported method {request.method!r} (only POST is allowed)"
        )
    header = request.headers.get("content-type", "")
    content_type = header.partition(";")[0].strip().lower()
    if content_type not in (_PROTOBUF, _JSON):
        raise TwirpError("bad_route", f"unexpected Content-Type: {header[:200]!r}")
    return content_type


async def _run(method: TwirpMethod, claims: Claims, message: Message, request: Request) -> Message:
    """Return the response of a method, which is cancelled when its client disconnects."""
    if method.respond is None:
        raise TwirpError("unimplemented", "this server does not implement the method")
    async with concurrency.open_service_nursery() as nursery:
        nursery.start_soon(_cancel_when_disconnected, request, nursery.cancel_scope)
        try:
            return await method.respond(claims, message)
        except TwirpError:
            raise
        except Exception:
            logger.exception("a request failed: %s", request.path_params["path"])
            raise TwirpError("internal", "an internal error, which the server has logged") from None
    raise ClientDisconnect


async def _cancel_when_disconnected(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _decode(body: bytes, message: Message, content_type: str) -> Message:
    try:
        if content_type == _PROTOBUF:
            message.ParseFromString(body)
        else:
            json_format.Parse(body.decode(), message, ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, RecursionError):
        # Their texts repeat parts of the request.
        name = message.DESCRIPTOR.name
        raise TwirpError(
            "malformed", f"the request is not the {content_type} of a {name}"
        ) from None
    return message


def _encode(message: Message, content_type: str) -> bytes:
    if content_type == _PROTOBUF:
        return message.SerializeToString()
    # As Twirp's servers in Go encode it: names as in the protobuf, defaults included.
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    )
    return text.encode()
