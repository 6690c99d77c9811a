"""`trio_rpc.server` has `serve` and `create_app`, which need the extra `server`, when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trio_rpc import server
from trio_rpc.server.app import create_app
from trio_rpc.server.http_listener import serve


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_public_name_is_there() -> None:
    assert {name: getattr(server, name) for name in server.__all__}.keys() == {*server.__all__}
    assert server.serve is serve
    assert server.create_app is create_app


def test_an_unknown_name_is_refused_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match=r"^module 'trio_rpc\.server' has no attribute 'saw'$"):
        _ = server.saw  # type: ignore[attr-defined]


def test_the_extra_is_imported_when_it_is_used() -> None:
    completed = run(
        "import sys\n"
        "from trio_rpc.server import RoomServer, serve_stream\n"
        "assert 'starlette' not in sys.modules\n"
        "from trio_rpc.server import create_app\n"
        "assert 'starlette' in sys.modules\n"
    )
    assert completed.returncode == 0, completed.stderr


@pytest.mark.parametrize("name", ["serve", "create_app"])
def test_a_missing_extra_is_named(name: str) -> None:
    completed = run(
        "import sys\n"
        "sys.modules['starlette'] = None\n"
        "from trio_rpc.server import RoomServer, serve_stream\n"
        f"from trio_rpc.server import {name}\n"
    )
    assert completed.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: Starlette is missing, which the server needs: "
        "pip install 'trio-rpc[server]'"
    )


@pytest.mark.parametrize("name", ["serve", "create_app"])
def test_another_missing_module_is_no_missing_extra(name: str) -> None:
    completed = run(
        "import sys\n"
        "sys.modules['trio_rpc.server.app'] = None\n"
        f"from trio_rpc.server import {name}\n"
    )
    assert "trio_rpc.server.app" in completed.stderr.splitlines()[-1]
    assert "Starlette is missing" not in completed.stderr
