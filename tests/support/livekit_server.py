"""The configuration of a real livekit-server, which only this machine can reach."""

from __future__ import annotations

from typing import Any, Final

from .tokens import API_KEYS

#: The program; `nox -s interop` builds it.
LIVEKIT_SERVER_VARIABLE: Final = "INTEROP_LIVEKIT_SERVER"


def configuration(host: str, port: int) -> dict[str, Any]:
    """Return a configuration for an address of this machine."""
    return {
        "port": port,
        "bind_addresses": [host],
        "keys": API_KEYS,
        "logging": {"level": "info"},
        "rtc": {
            "node_ip": host,
            "use_external_ip": False,
            "enable_loopback_candidate": host.startswith("127."),
            "ips": {"includes": [f"{host}/32"]},
            # ICE over TCP would listen on all addresses.
            "tcp_port": 0,
            # Without any it tells its clients public ones. Nobody answers at this one.
            "stun_servers": [f"{host}:9"],
        },
    }
