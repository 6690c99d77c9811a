"""`trio-rpc serve`: run a room server until Ctrl-C, and drain it."""

from __future__ import annotations

import argparse
import errno
import gc
import ssl
import sys
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

from ..links.stream import StreamAddress
from ..server import RoomServer, ServerLimits, serve_stream
from ..server.draining import DEFAULT_DRAIN_TIMEOUT
from ..server.webrtc import check_own_address
from ..tokens import AccessToken, Secrets, VideoGrants
from .exits import CommandError, ExitCode, UsageError
from .options import (
    DEV_API_KEY,
    DEV_API_SECRET,
    LIVEKIT_DEV_API_SECRET,
    add_command,
    complete_api_key,
    hint_at_length,
    port,
    positive_int,
    seconds,
)
from .server_extra import load_serve
from .signals import wait_for_signal

if TYPE_CHECKING:
    from .options import Commands

_DEFAULT_MAX_PARTICIPANTS = 1_000
#: Seconds between the reports of how many participants are left.
_PROGRESS_INTERVAL: Final = 1.0
_DESCRIPTION = """\
Run a room server, which speaks LiveKit's signalling on /rtc, until Ctrl-C or
SIGTERM. It then admits nobody any more, lets calls in flight end, and has every
participant join again, here after a restart or on another server; a second
Ctrl-C ends it at once. LiveKit's own SDKs, for browsers and others, can join where the
extra livekit is installed: pip install 'trio-rpc[livekit]'.

It needs at least one API key, whose secret signs the tokens of participants:
from --keys, --key-file or the environment, or --dev for a well-known one.
"""
_EXAMPLES = """\
  trio-rpc serve --dev
      for development: on this machine only, with a key that everybody knows
  trio-rpc serve --host 0.0.0.0 --key-file keys.txt --certfile cert.pem --keyfile key.pem
      for others: on all addresses, with keys of your own, on wss://
  trio-rpc serve --dev --listen tcp://127.0.0.1:7900 --listen unix:///run/room.sock
      on plain sockets besides, for programs of this library that need no WebSocket
"""
_DEV_TEXT = """\
Room server for development. Anyone who can reach it can join: its key is public.

  URL         {url}
{stream_links}  API key     {key}
  API secret  {secret}
              or {livekit_secret}, as with livekit-server --dev: lk --dev works
  {sdks}

For programs and other commands:

  export LIVEKIT_URL={url}
  export LIVEKIT_API_KEY={key}
  export LIVEKIT_API_SECRET={secret}

A token, with which alice can join the room demo for 6 hours:

  {token}

Another one:

  trio-rpc token create --dev --identity bob --room demo

Press Ctrl-C to stop."""
_SDKS_JOIN = "LiveKit's SDKs, for browsers and others, can join too."
_SDKS_DO_NOT_JOIN = "LiveKit's SDKs can't join: that takes pip install 'trio-rpc[livekit]'."


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "serve",
        summary="run a room server",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=port, default=7880, help="0 for a free one (default: %(default)s)")
    add("--backend", choices=("trio", "asyncio"), default="trio", help="(default: %(default)s)")
    add(
        "--max-participants",
        type=positive_int,
        default=_DEFAULT_MAX_PARTICIPANTS,
        metavar="N",
        help="how many may be in one room (default: %(default)s)",
    )
    add(
        "--listen",
        type=_stream_address,
        action="append",
        default=[],
        metavar="URL",
        help="serve stream links too: tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH; may be "
        "repeated",
    )
    add(
        "--drain-timeout",
        type=seconds,
        default=DEFAULT_DRAIN_TIMEOUT,
        metavar="SECONDS",
        help="how long calls in flight and queues may take at the end (default: %(default)g)",
    )
    add(
        "--node-ip",
        type=_own_address,
        metavar="IP",
        help="address of this machine that LiveKit's SDKs reach by UDP, for WebRTC (default: that "
        "of --host, or all)",
    )
    add("--certfile", type=Path, help="certificate chain in PEM, to serve wss:// and tls://")
    add("--keyfile", type=Path, help="private key of --certfile, in PEM")
    keys = parser.add_argument_group("API keys")
    keys.add_argument("--dev", action="store_true", help=f"use {DEV_API_KEY}; print how to join")
    keys.add_argument(
        "--keys",
        action="append",
        default=[],
        metavar="KEY:SECRET",
        help="an API key; may be repeated, and shows in the list of processes",
    )
    keys.add_argument("--key-file", type=Path, help="file with a line KEY: SECRET for each API key")


def _run(arguments: argparse.Namespace) -> None:
    api_keys = _api_keys(arguments)
    _check_certificate(arguments.certfile, arguments.keyfile)
    for address in arguments.listen:
        if address.scheme == "tls" and arguments.certfile is None:
            raise UsageError(f"--listen {address} wants --certfile and --keyfile")
    for api_key, api_secret in api_keys.items():
        # With --dev, the secrets are known whatever their length.
        if isinstance(api_secret, str):
            hint_at_length(api_key, api_secret)
    limits = ServerLimits(max_participants_per_room=arguments.max_participants)
    server = RoomServer(api_keys, limits)
    # Imported modules live on: searching them for garbage would block the event loop for 30 ms.
    gc.freeze()
    anyio.run(_serve, server, arguments, backend=arguments.backend)


async def _serve(server: RoomServer, arguments: argparse.Namespace) -> None:
    files = {"certfile": arguments.certfile, "keyfile": arguments.keyfile}
    serve = partial(load_serve(), node_ip=arguments.node_ip, **files)
    host, port = arguments.host, arguments.port

    async def stop_on_signal(*, task_status: TaskStatus[None]) -> None:
        await wait_for_signal(task_status=task_status)
        await _drain(server, arguments.drain_timeout)
        task_group.cancel_scope.cancel()

    async with anyio.create_task_group() as task_group:
        await task_group.start(stop_on_signal)
        try:
            url: str = await task_group.start(serve, server, host, port)
        except (OSError, UnicodeError) as error:
            raise _cannot_listen(
                error, f"{host} port {port}", " (--port takes another one)"
            ) from None
        stream_urls: list[str] = []
        for address in arguments.listen:
            try:
                stream_urls.append(
                    await task_group.start(partial(serve_stream, server, str(address), **files))
                )
            except (OSError, UnicodeError) as error:
                raise _cannot_listen(error, str(address)) from None
        _announce(url, stream_urls, arguments)
    print("The room server has shut down.", flush=True)


async def _drain(server: RoomServer, seconds: float) -> None:
    """Drain the server, and report the progress on stderr."""

    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def report_progress() -> None:
        while True:
            await anyio.sleep(_PROGRESS_INTERVAL)
            report(f"{_participants(server)} left")

    if not server.statistics().participants:
        return
    report(
        f"Shutting down: asking {_participants(server)} to join again, within {seconds:g} s. "
        "Press Ctrl-C to end at once."
    )
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(report_progress)
        await server.drain(seconds)
        task_group.cancel_scope.cancel()


def _participants(server: RoomServer) -> str:
    number = server.statistics().participants
    return f"{number} participant{'' if number == 1 else 's'}"


def _cannot_listen(error: OSError | UnicodeError, where: str, hint: str = "") -> CommandError:
    reason = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        reason += hint
    return CommandError(f"cannot listen on {where}: {reason}", ExitCode.CONNECTION)


def _announce(url: str, stream_urls: list[str], arguments: argparse.Namespace) -> None:
    if not arguments.dev:
        urls = " and ".join([url, *stream_urls])
        print(f"Room server at {urls}, on {arguments.backend}. Press Ctrl-C to stop.", flush=True)
        return
    for host in (arguments.host, *(each.host for each in arguments.listen if each.host)):
        if not _is_loopback(host):
            print(
                f"warning: --dev on {host}: anyone who can reach this machine can join",
                file=sys.stderr,
            )
    token = (
        AccessToken(DEV_API_KEY, DEV_API_SECRET)
        .with_identity("alice")
        .with_grants(VideoGrants(room_join=True, room="demo"))
        .to_jwt()
    )
    text = _DEV_TEXT.format(
        url=url,
        stream_links="".join(f"  Stream link {each}\n" for each in stream_urls),
        key=DEV_API_KEY,
        secret=DEV_API_SECRET,
        livekit_secret=LIVEKIT_DEV_API_SECRET,
        sdks=_SDKS_JOIN if find_spec("aiortc") else _SDKS_DO_NOT_JOIN,
        token=token,
    )
    print(text, flush=True)


def _own_address(text: str) -> str:
    try:
        check_own_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stream_address(text: str) -> StreamAddress:
    try:
        return StreamAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# Keys and certificates


def _api_keys(arguments: argparse.Namespace) -> dict[str, Secrets]:
    pairs = [_api_key_in(text, "--keys") for text in arguments.keys]
    if arguments.key_file is not None:
        pairs += _read_key_file(arguments.key_file)
    if arguments.dev:
        if pairs:
            raise UsageError("--dev has a key of its own: leave out --keys and --key-file")
        return {DEV_API_KEY: (DEV_API_SECRET, LIVEKIT_DEV_API_SECRET)}
    if not pairs and (pair := complete_api_key()):
        pairs = [pair]
    if not pairs:
        raise UsageError(
            "no API key: give --keys or --key-file, set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, "
            "or try --dev"
        )
    return dict(pairs)


def _read_key_file(path: Path) -> list[tuple[str, str]]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read --key-file {path}: {error}") from None
    if any(line.startswith("-----BEGIN ") for line in lines):
        raise UsageError(f"--key-file {path} is in PEM: that of a certificate goes to --keyfile")
    pairs = [
        _api_key_in(line, f"--key-file {path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line and not line.startswith("#")
    ]
    if not pairs:
        raise UsageError(f"--key-file {path} has no API key")
    return pairs


def _api_key_in(text: str, where: str) -> tuple[str, str]:
    api_key, _, api_secret = (part.strip() for part in text.partition(":"))
    if not api_key or not api_secret:
        # Without the text, which may be a secret.
        raise UsageError(f"{where}: an API key is written KEY:SECRET")
    return api_key, api_secret


def _check_certificate(certfile: Path | None, keyfile: Path | None) -> None:
    if certfile is None and keyfile is None:
        return
    if certfile is None or keyfile is None:
        raise UsageError("--certfile and --keyfile go together")
    for option, path in (("--certfile", certfile), ("--keyfile", keyfile)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(f"cannot read {option} {path}: {error.strerror}") from None
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise UsageError(f"--certfile {certfile} and --keyfile {keyfile}: {reason}") from None
