"""That no packet of these tests can leave the machine."""

from __future__ import annotations

import errno
import json
import socket
import subprocess

import pytest

from .network import Network, network


@pytest.fixture(autouse=True)
def isolated(own_network: Network) -> None:
    if not own_network.isolated:
        pytest.skip("no right to make a network namespace: the tests run on loopback")


def test_nothing_leads_out() -> None:
    routes = subprocess.run(
        ["ip", "-json", "route", "show", "table", "all"], check=True, capture_output=True
    ).stdout
    assert "default" not in {route["dst"] for route in json.loads(routes)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outwards:
        # A UDP socket that is connected sends nothing, but looks for a route.
        assert outwards.connect_ex(("192.0.2.1", 9)) == errno.ENETUNREACH


def test_a_network_ends_with_its_block_even_if_that_fails() -> None:
    def fail_inside() -> None:
        with network():
            subprocess.run(["ip", "link", "add", "more", "type", "veth"], check=True)
            assert "more" in {name for _, name in socket.if_nameindex()}
            raise ZeroDivisionError

    outside = socket.if_nameindex()
    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert socket.if_nameindex() == outside
