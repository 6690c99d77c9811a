"""`trio-rpc serve`, as a process."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from trio_rpc import (
    AccessToken,
    ConnectError,
    DisconnectReason,
    Room,
    RpcInvocationData,
    VideoGrants,
)
from trio_rpc.cli import main
from trio_rpc.cli.options import DEV_API_KEY, DEV_API_SECRET
from trio_rpc.links.websocket import SUBPROTOCOL

from .command import command_line, environment, one_line, run, serving

#: A certificate for localhost, with its private key.
CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
#: The line with which the server begins to shut down.
ASKING = "Shutting down: asking {} to join again, within {} s. Press Ctrl-C to end at once."
SECRET = "a secret of 32 bytes, or of more"


def token_of(identity: str, api_key: str, api_secret: str = SECRET) -> str:
    grants = VideoGrants(room_join=True, room="demo")
    return AccessToken(api_key, api_secret).with_identity(identity).with_grants(grants).to_jwt()


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """The one line with which `trio-rpc serve` ends at once."""
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)

    def refused(*arguments: str, code: int = 2) -> str:
        assert main(["serve", *arguments]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        return one_line(captured.err).removeprefix("trio-rpc serve: error: ")

    return refused


# Development


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_after_the_participants_were_told(
    backend: str, number: signal.Signals
) -> None:
    async with serving("--dev", "--backend", backend) as server:
        connecting = Room().connect(
            server.field("URL"), server.token, reconnect=None, on_disconnect="continue"
        )
        async with connecting as room:
            assert (room.name, room.local_participant.identity) == ("demo", "alice")
            server.process.send_signal(number)
            assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        code, output, errors = await server.end()
    assert code == 0
    assert one_line(errors) == ASKING.format("1 participant", 20)
    assert output.split("\n")[-2:] == ["The room server has shut down.", ""]


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.rule("L10")
async def test_sigterm_lets_calls_in_flight_end_and_reports_who_is_left() -> None:
    async with serving("--dev", "--drain-timeout", "1000") as server:
        url = server.field("URL")
        bob_token = token_of("bob", DEV_API_KEY, DEV_API_SECRET)
        async with (
            Room().connect(url, server.token, reconnect=None, on_disconnect="continue") as alice,
            Room().connect(url, bob_token, reconnect=None, on_disconnect="continue") as bob,
        ):

            @bob.register_rpc_method("wait")
            async def wait(_data: RpcInvocationData) -> str:
                server.process.send_signal(signal.SIGTERM)
                assert server.process.stderr is not None
                stderr = BufferedByteReceiveStream(server.process.stderr)
                first = await stderr.receive_until(b"\n", 1_000)
                await stderr.receive_until(b"2 participants left\n", 1_000)
                return first.decode()

            await alice.wait_for_participant("bob")
            assert ASKING.format("2 participants", 1000) == (
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="wait", payload="", response_timeout=60
                )
            )
            for room in (alice, bob):
                assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        assert (await server.end())[0] == 0


@pytest.mark.parametrize("text", ["-1", "inf", "soon", ""])
def test_a_drain_timeout_that_is_no_number_of_seconds_is_wrong_usage(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", f"--drain-timeout={text}"])
    assert caught.value.code == 2
    assert f"{text!r} is not a number of seconds" in capsys.readouterr().err


@pytest.mark.anyio
@pytest.mark.real_time
async def test_the_key_that_is_printed_makes_tokens() -> None:
    async with serving("--dev") as server:
        api_key, api_secret = server.field("API key"), server.field("API secret")
        assert (api_key, api_secret) == (DEV_API_KEY, DEV_API_SECRET)
        assert len(api_secret) >= 32
        bob = token_of("bob", api_key, api_secret)
        async with (
            Room().connect(server.field("URL"), server.token) as alice,
            Room().connect(server.field("URL"), bob),
        ):
            assert (await alice.wait_for_participant("bob")).identity == "bob"
        assert "trio-rpc token create --dev --identity bob --room demo" in server.output
        assert "LiveKit's SDKs, for browsers and others, can join too." in server.output


@pytest.mark.anyio
@pytest.mark.real_time
async def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    async with serving("--dev") as server:
        assert urlsplit(server.field("URL")).hostname == "127.0.0.1"
        server.process.send_signal(signal.SIGINT)
        assert (await server.end())[2] == ""
    # One name that is not known to be of this machine, and resolves to it all the same.
    async with serving("--dev", "--host", "0x7f000001") as server:
        server.process.send_signal(signal.SIGINT)
        assert one_line((await server.end())[2]) == (
            "warning: --dev on 0x7f000001: anyone who can reach this machine can join"
        )


@pytest.mark.real_time
def test_a_second_ctrl_c_does_not_wait_for_participants() -> None:
    process = subprocess.Popen(
        command_line("serve", "--dev", "--port", "0"),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        output = "".join(iter(process.stdout.readline, "Press Ctrl-C to stop.\n")).split()
        port = urlsplit(output[output.index("URL") + 1]).port
        token = next(word for word in output if word.startswith("eyJ"))
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(upgrade_request(token))
            receive_until(silent, b"101 ")
            process.send_signal(signal.SIGINT)
            receive_until(silent, b"the server shuts down")
            process.send_signal(signal.SIGINT)
            assert process.wait() == -signal.SIGINT


def upgrade_request(token: str) -> bytes:
    """Return the upgrade request of a participant that sends nothing after it."""
    lines = (
        f"GET /rtc?access_token={token} HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def receive_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        chunk = connection.recv(65_536)
        assert chunk, received
        received += chunk


# Keys of one's own, and limits


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.rule("V1")
async def test_keys_come_from_options_and_a_file(tmp_path: Path) -> None:
    key_file = tmp_path / "keys"
    key_file.write_text(f"# ours\n\n  third : {SECRET}  \n")
    options = ("--keys", f"first:{SECRET}", "--keys", f"second: {SECRET}")
    async with serving(
        *options,
        *("--key-file", str(key_file)),
        LIVEKIT_API_KEY="unused",
        LIVEKIT_API_SECRET=SECRET,
    ) as server:
        assert SECRET not in server.output
        url = server.output.split()[3].rstrip(",")
        for api_key in ("first", "second", "third"):
            async with Room().connect(url, token_of("alice", api_key)):
                pass
        for api_key in ("unused", DEV_API_KEY):
            with pytest.raises(ConnectError, match="is not known to this server"):
                async with Room().connect(url, token_of("alice", api_key)):
                    raise AssertionError


@pytest.mark.anyio
@pytest.mark.real_time
async def test_the_key_comes_from_the_environment_and_a_short_secret_gets_a_hint() -> None:
    async with serving(LIVEKIT_API_KEY="mine", LIVEKIT_API_SECRET="too short") as server:
        url = server.output.split()[3].rstrip(",")
        assert server.output.startswith(f"Room server at {url}, on trio.")
        with pytest.warns(match="HMAC key"):
            token = token_of("alice", "mine", "too short")
        async with Room().connect(url, token):
            pass
        server.process.send_signal(signal.SIGINT)
        code, _, errors = await server.end()
    assert code == 0
    assert one_line(errors).startswith("hint: the secret of API key 'mine' has 9 bytes")


@pytest.mark.anyio
@pytest.mark.real_time
async def test_the_key_and_secret_of_livekits_server_in_development_are_accepted_too() -> None:
    async with serving("--dev") as server:
        with pytest.warns(match="HMAC key"):
            token = token_of("bob", "devkey", "secret")
        async with (
            Room().connect(server.field("URL"), token) as bob,
            Room().connect(server.field("URL"), server.token),
        ):
            await bob.wait_for_participant("alice")
        assert "or secret, as with livekit-server --dev" in server.output
        server.process.send_signal(signal.SIGINT)
        assert (await server.end())[2] == ""


@pytest.mark.anyio
@pytest.mark.real_time
async def test_a_room_holds_as_many_as_it_may() -> None:
    async with serving("--dev", "--max-participants", "1") as server:
        url = server.field("URL")
        async with Room().connect(url, server.token):
            with pytest.raises(ConnectError, match="which is its limit") as caught:
                async with Room().connect(url, token_of("bob", DEV_API_KEY, DEV_API_SECRET)):
                    raise AssertionError
            assert caught.value.status == 429


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
async def test_with_a_certificate_it_serves_wss(backend: str) -> None:
    certificate = ("--certfile", CERTIFICATE, "--keyfile", CERTIFICATE)
    async with serving("--dev", "--backend", backend, *certificate) as server:
        url = server.field("URL")
        assert url.startswith("wss://127.0.0.1:")
        context = ssl.create_default_context(cafile=CERTIFICATE)
        async with Room().connect(url, server.token, ssl_context=context) as room:
            assert room.isconnected()


@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
async def test_it_serves_stream_links_besides(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "room.sock"
    async with serving(
        *("--dev", "--backend", backend, "--certfile", CERTIFICATE, "--keyfile", CERTIFICATE),
        *("--listen", "tcp://127.0.0.1:0", "--listen", f"unix://{path}"),
        *("--listen", "tls://127.0.0.1:0"),
    ) as server:
        lines = [line.split() for line in server.output.splitlines()]
        tcp, unix, tls = [words[2] for words in lines if words[:2] == ["Stream", "link"]]
        assert unix == f"unix://{path}"
        context = ssl.create_default_context(cafile=CERTIFICATE)
        for url in (tcp, unix, tls):
            async with Room().connect(url, server.token, ssl_context=context) as room:
                assert room.isconnected()
        connecting = Room().connect(tcp, server.token, reconnect=None, on_disconnect="continue")
        async with connecting as room:
            server.process.send_signal(signal.SIGTERM)
            assert await room.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        code, _, errors = await server.end()
    assert code == 0
    assert one_line(errors) == ASKING.format("1 participant", 20)
    assert not path.exists()


@pytest.mark.anyio
@pytest.mark.real_time
async def test_all_urls_are_told_without_development() -> None:
    async with serving("--keys", f"mine:{SECRET}", "--listen", "tcp://127.0.0.1:0") as server:
        words = server.output.split()
        assert words[:3] + words[4:5] == ["Room", "server", "at", "and"]
        assert words[3].startswith("ws://127.0.0.1:")
        assert words[5].startswith("tcp://127.0.0.1:")
        async with Room().connect(words[5].rstrip(","), token_of("alice", "mine")):
            pass


@pytest.mark.anyio
@pytest.mark.real_time
async def test_verbose_logs_who_joins() -> None:
    async with serving("--dev", "--verbose") as server:
        async with Room().connect(server.field("URL"), server.token):
            pass
        server.process.send_signal(signal.SIGINT)
        code, _, errors = await server.end()
    assert code == 0
    assert " joined room 'demo' as 'alice'" in errors


# Errors


def test_a_port_that_is_taken_ends_with_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        completed = run("serve", "--dev", "--port", port)
    assert (completed.returncode, completed.stdout) == (3, "")
    assert one_line(completed.stderr) == (
        f"trio-rpc serve: error: cannot listen on 127.0.0.1 port {port}: "
        "Address already in use (--port takes another one)"
    )


def test_a_stream_link_that_is_taken_ends_with_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        completed = run("serve", "--dev", "--port", "0", "--listen", url)
    assert (completed.returncode, completed.stdout) == (3, "")
    assert one_line(completed.stderr) == (
        f"trio-rpc serve: error: cannot listen on {url}: Address already in use"
    )


def test_tls_without_a_certificate_is_wrong_usage(refused: Refused) -> None:
    assert refused("--dev", "--listen", "tls://127.0.0.1:0") == (
        "--listen tls://127.0.0.1:0 wants --certfile and --keyfile"
    )


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 64 + ".invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_ends_with_3(host: str, backend: str, refused: Refused) -> None:
    text = refused("--dev", "--host", host, "--backend", backend, code=3)
    assert text.startswith(f"cannot listen on {host} port 7880: ")


def test_without_a_key_it_says_what_to_do(refused: Refused) -> None:
    assert refused() == (
        "no API key: give --keys or --key-file, set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, "
        "or try --dev"
    )


def test_half_a_key_in_the_environment_is_wrong_usage(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "mine")
    assert refused() == ("there is an API key only: set LIVEKIT_API_SECRET as well")


def test_development_with_other_keys_is_wrong_usage(refused: Refused) -> None:
    assert refused("--dev", "--keys", f"first:{SECRET}") == (
        "--dev has a key of its own: leave out --keys and --key-file"
    )


@pytest.mark.parametrize("text", ["a-secret-alone", ":secret", "key:", " : "])
def test_a_malformed_key_is_not_repeated(text: str, refused: Refused) -> None:
    assert refused("--keys", text) == "--keys: an API key is written KEY:SECRET"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot read --key-file {path}: "),
        (b"\xff", "cannot read --key-file {path}: "),
        (b"# nothing\n", "--key-file {path} has no API key"),
        (b"first: x\nsecond\n", "--key-file {path}, line 2: an API key is written KEY:SECRET"),
        (
            b"-----BEGIN PRIVATE KEY-----\n",
            "--key-file {path} is in PEM: that of a certificate goes to --keyfile",
        ),
    ],
)
def test_a_useless_key_file_is_wrong_usage(
    content: bytes | None, text: str, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    assert refused("--key-file", str(path)).startswith(text.format(path=path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--certfile", CERTIFICATE], "--certfile and --keyfile go together"),
        (["--keyfile", CERTIFICATE], "--certfile and --keyfile go together"),
        (
            ["--certfile", CERTIFICATE, "--keyfile", "nowhere.pem"],
            "cannot read --keyfile nowhere.pem: No such file or directory",
        ),
        (
            ["--certfile", __file__, "--keyfile", CERTIFICATE],
            f"--certfile {__file__} and --keyfile {CERTIFICATE}: ",
        ),
    ],
)
def test_a_useless_certificate_is_wrong_usage(
    options: list[str], text: str, refused: Refused
) -> None:
    assert refused("--dev", *options).startswith(text)
