"""`trio-rpc token`: create and inspect access tokens."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any, get_args

import jwt

from ..errors import InvalidTokenError
from ..tokens import (
    AccessToken,
    KindClaim,
    VideoGrants,
    check_join,
    inspect_token,
    verify_token,
)
from .exits import CommandError, ExitCode, UsageError
from .options import (
    add_api_key_options,
    add_command,
    api_key_of,
    duration,
    hint_at_length,
    key_value,
    run_help,
)

if TYPE_CHECKING:
    from .options import Commands

_CREATE_DESCRIPTION = """\
Make an access token, which lets its holder join one room under one identity,
and print it, and nothing else, on stdout.
"""
_CREATE_EXAMPLES = """\
  trio-rpc token create --dev --identity alice --room demo
      for 'trio-rpc serve --dev'
  TOKEN=$(trio-rpc token create --identity bot --room demo --kind agent --ttl 30m)
      for a program, with the key of the environment
"""
_INSPECT_DESCRIPTION = """\
Print what an access token claims, as JSON on stdout, and on stderr whether it
is valid: its time, and its signature where the API key is known.
"""
_INSPECT_EXAMPLES = """\
  trio-rpc token inspect eyJhbGciOi...
  trio-rpc token create --dev --identity alice --room demo | trio-rpc token inspect --dev
"""


def add_parser(commands: Commands) -> None:
    """Add the commands to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "token",
        summary="make and inspect access tokens",
        description="Make and inspect access tokens.",
        examples=_CREATE_EXAMPLES + _INSPECT_EXAMPLES,
    )
    run_help(parser)
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_create_parser(subcommands)
    _add_inspect_parser(subcommands)


def _add_create_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "create",
        summary="make an access token",
        description=_CREATE_DESCRIPTION,
        examples=_CREATE_EXAMPLES,
    )
    parser.set_defaults(run=_create)
    holder = parser.add_argument_group("the holder")
    add = holder.add_argument
    add("--identity", required=True, help="who it is, unique in the room; at most 256 bytes")
    add("--room", required=True, help="the room that it may join")
    add("--name", help="what people call it")
    add("--metadata", help="any text about it, for the others in the room")
    add(
        "--attribute",
        dest="attributes",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="a named text about it, for the others in the room; may be repeated",
    )
    add("--kind", choices=get_args(KindClaim), help="what it is (default: standard)")
    add(
        "--ttl",
        type=duration,
        default="6h",
        metavar="TIME",
        help="how long it may join: a number and s, m, h or d (default: %(default)s)",
    )
    grants = parser.add_argument_group("what it may do (default: send and receive, be seen)")
    add = grants.add_argument
    add("--hidden", action="store_true", help="the others don't see it, and it calls nobody")
    add("--no-publish", action="store_true", help="send no tracks")
    add("--no-publish-data", action="store_true", help="send no data, and so call nobody")
    add("--no-subscribe", action="store_true", help="get no tracks")
    add(
        "--update-own-metadata",
        action="store_true",
        help="change its own name, metadata and attributes",
    )
    add_api_key_options(parser)


def _add_inspect_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "inspect",
        summary="show what an access token says, and whether it is valid",
        description=_INSPECT_DESCRIPTION,
        examples=_INSPECT_EXAMPLES,
    )
    parser.set_defaults(run=_inspect)
    parser.add_argument(
        "token", nargs="?", default="-", metavar="TOKEN", help="the token; - is stdin (default)"
    )
    add_api_key_options(parser)


# Making


def _create(arguments: argparse.Namespace) -> None:
    api_key = api_key_of(arguments)
    if api_key is None:
        raise UsageError(
            "no API key: give --api-key and --api-secret, set LIVEKIT_API_KEY and "
            "LIVEKIT_API_SECRET, or take --dev"
        )
    hint_at_length(*api_key)
    try:
        print(_access_token(api_key, arguments).to_jwt())
    except ValueError as error:
        raise UsageError(str(error)) from None


def _access_token(api_key: tuple[str, str], arguments: argparse.Namespace) -> AccessToken:
    token = (
        AccessToken(*api_key)
        .with_identity(arguments.identity)
        .with_ttl(arguments.ttl)
        .with_grants(_grants(arguments))
    )
    if arguments.name is not None:
        token = token.with_name(arguments.name)
    if arguments.metadata is not None:
        token = token.with_metadata(arguments.metadata)
    if arguments.attributes:
        token = token.with_attributes(dict(arguments.attributes))
    if arguments.kind is not None:
        token = token.with_kind(arguments.kind)
    return token


def _grants(arguments: argparse.Namespace) -> VideoGrants:
    # The grant for data defaults to that for tracks.
    can_publish_data = (
        False if arguments.no_publish_data else True if arguments.no_publish else None
    )
    return VideoGrants(
        room_join=True,
        room=arguments.room,
        can_publish=False if arguments.no_publish else None,
        can_publish_data=can_publish_data,
        can_subscribe=False if arguments.no_subscribe else None,
        can_update_own_metadata=arguments.update_own_metadata or None,
        hidden=arguments.hidden,
    )


# Inspecting


def _inspect(arguments: argparse.Namespace) -> None:
    api_key = api_key_of(arguments)
    token = _read_token(arguments.token)
    try:
        claims = inspect_token(token)
    except InvalidTokenError as error:
        raise UsageError(str(error)) from None
    text = json.dumps(claims, indent=2, ensure_ascii=False)
    # JSON may have lone surrogates, which can't be printed.
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)
    valid_now, time_verdict = _time_verdict(claims, time.time())
    print(f"time: {time_verdict}", file=sys.stderr)
    if api_key is not None:
        print(f"signature: {_signature_verdict(token, api_key)}", file=sys.stderr)
        hint_at_length(*api_key)
        _check(token, api_key)
    else:
        print("signature: not checked, as no API key is known", file=sys.stderr)
        if not valid_now:
            raise CommandError("a server refuses it", ExitCode.UNEXPECTED)


def _read_token(argument: str) -> str:
    if argument != "-":
        return argument.strip()
    token = sys.stdin.buffer.read().decode("ascii", "replace").strip()
    if not token:
        raise UsageError("no token came on stdin")
    return token


def _check(token: str, api_key: tuple[str, str]) -> None:
    """Check that a server with this API key would accept the token.

    Raises:
        CommandError: it would refuse it.
    """
    try:
        check_join(verify_token(token, dict([api_key])))
    except InvalidTokenError as error:
        raise CommandError(f"a server refuses it: {error}", ExitCode.UNEXPECTED) from None


def _time_verdict(claims: dict[str, Any], now: float) -> tuple[bool, str]:
    """Return whether the token is valid at this time, and a description of that."""
    expires_at, valid_from = _timestamp(claims, "exp"), _timestamp(claims, "nbf")
    if expires_at is None:
        return False, "no expiry"
    if expires_at <= now:
        return False, f"expired {_rough(now - expires_at)} ago"
    if valid_from is not None and valid_from > now:
        return False, f"not valid yet, but in {_rough(valid_from - now)}"
    return True, f"valid for another {_rough(expires_at - now)}"


def _timestamp(claims: dict[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    # Not every int can be a float.
    return float(min(value, 2**53)) if isinstance(value, int) else None


def _rough(seconds: float) -> str:
    """Format a span of time in the largest unit that fits, and the next one."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    if minutes:
        return f"{minutes:.0f} min {seconds % 60:.0f} s"
    return f"{seconds:.0f} s"


def _signature_verdict(token: str, api_key: tuple[str, str]) -> str:
    try:
        jwt.PyJWS().decode(token, api_key[1], algorithms=["HS256"])
    except jwt.PyJWTError as error:
        return f"wrong for API key {api_key[0]!r}: {error}"
    return f"right for API key {api_key[0]!r}"
