"""A network that fails, from a seed or on demand.

A `FaultyNetwork` is between participants and their server:

    Room ──send_nowait──► lane "sent" ──────► a link of the server ──► server
    Room ◄───receive───── lane "received" ◄──        "
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Final

from attrs import define, evolve
from livekit.protocol import rtc

from .. import concurrency
from ..errors import ConnectError
from ..links import Connector, Link
from ..links.urls import connector_for
from .faults import Direction, FaultPlan, Faults
from .faulty_links import FaultyLink
from .lanes import OnPacket, Switches

#: The most bytes in flight in one direction of a link, unless set otherwise.
DEFAULT_MAX_LANE_BYTES: Final = 4 * 1024 * 1024

_NETWORK_DOWN: Final = 0


class FaultyNetwork:
    """The network between participants and a server, with faults from a seed and on demand.

    Participants connect to it in place of the server:

        network = FaultyNetwork(server)
        async with open_rooms("alice", "bob", server=server, through=network) as (alice, bob):
            network.cut("alice")

    The methods for faults on demand take the identities of the participants concerned; without any,
    they concern all participants, those that connect later included.

    Args:
        server: The server: one in this process, or a URL.
        faults: The faults from a seed; none by default. A room that reconnects relies on links that
            lose nothing while they are up, as TCP does: give it a delay alone.
        on_packet: Called with the fate of each packet, as soon as that is decided.
        max_lane_bytes: The most bytes in flight in one direction of a link; then the link is full.
    """

    def __init__(
        self,
        server: Connector | str,
        faults: Faults | None = None,
        *,
        on_packet: OnPacket | None = None,
        max_lane_bytes: int = DEFAULT_MAX_LANE_BYTES,
    ) -> None:
        self._connector = _connector(server)
        self._faults = faults or Faults()
        # Of participants that no method has named
        self._default = Switches(on_packet, max_lane_bytes)
        self._switches: dict[str, Switches] = {}
        self._links: dict[FaultyLink, str] = {}
        # Those that are being opened
        self._openings: dict[_Opening, str] = {}
        self._link_numbers = count()

    @property
    def injected(self) -> Counter[str]:
        """The number of faults so far, by kind.

        The kinds are `dropped`, `delayed`, `duplicated`, `reordered`, `lost` (in flight when the
        link ended, or sent on a link that was half-open), `cut`, `half-opened`, `stalled` and
        `refused`.
        """
        return +self._default.injected

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        """Open a link for the block; see `trio_rpc.links.Connector`."""
        identity = _identity_of(token)
        switches = self._switches_of(identity)
        if switches.refusal is not None:
            switches.injected["refused"] += 1
            raise _refusal(switches.refusal)
        opening = _Opening()
        self._openings[opening] = identity
        async with AsyncExitStack() as stack:
            try:
                link = await stack.enter_async_context(self._connector.open_link(token, request))
            finally:
                del self._openings[opening]
            if opening.is_cut:
                raise _refusal(_NETWORK_DOWN)
            number = next(self._link_numbers)
            faulty = FaultyLink(
                link,
                switches,
                FaultPlan(self._faults, number, "sent"),
                FaultPlan(self._faults, number, "received"),
            )
            async with concurrency.open_service_nursery() as nursery:
                for task in faulty.tasks:
                    nursery.start_soon(task)
                self._links[faulty] = identity
                try:
                    yield faulty
                finally:
                    del self._links[faulty]
                    await faulty.wait_given_up()

    # Faults on demand

    def cut(self, *identities: str) -> None:
        """End the links at once, on both sides, as when a network breaks down.

        Links that are being opened fail with a `ConnectError` once they would be open. New
        connections work; call `refuse` as well for a network that stays down.
        """
        for link in self._links_of(identities):
            self._default.injected["cut"] += not link.has_ended
            link.cut()
        for opening, identity in self._openings.items():
            if not identities or identity in identities:
                self._default.injected["cut"] += not opening.is_cut
                opening.is_cut = True

    def half_open(self, *identities: str) -> None:
        """Have nothing pass through the links any more, without either side noticing.

        This is what a change of network or a lost state of a router leaves behind. The server gives
        up the link after its ping timeout, and a room that reconnects after a third of that. New
        connections work; call `refuse` as well for a network that stays down. `restore` has no
        effect on such a link.
        """
        for link in self._links_of(identities):
            self._default.injected["half-opened"] += not (link.has_ended or link.is_half_open)
            link.half_open()

    def stall(self, *identities: str) -> None:
        """Hold all frames in both directions, signalling included, until `restore`.

        Links that are opened meanwhile stall too. The links are given up as those of `half_open`.
        """
        concerned = [*self._concerned(identities)]
        self._default.injected["stalled"] += not all(each.stalled for each in concerned)
        for switches in concerned:
            switches.stalled = True

    def refuse(self, *identities: str, status: int | None = None) -> None:
        """Refuse new connections until `restore`; those that are open are not concerned.

        Args:
            identities: The participants concerned; all by default.
            status: The HTTP status of the refusal, such as 503; by default, no server answers, as
                when the network is down.
        """
        for switches in self._concerned(identities):
            switches.refusal = _NETWORK_DOWN if status is None else status

    def restore(self, *identities: str) -> None:
        """Accept connections again, and release the frames that `stall` has held."""
        for switches in self._concerned(identities):
            switches.stalled = False
            switches.refusal = None
        for link in self._links_of(identities):
            link.wake()

    def drop_next(self, *identities: str, packets: int = 1, direction: Direction = "sent") -> None:
        """Drop the next packets of each participant.

        Args:
            identities: The participants concerned; all by default.
            packets: The number, in addition to packets that are still to be dropped.
            direction: `"sent"` by the participant, or `"received"`.
        """
        for switches in self._concerned(identities):
            switches.drop_next[direction] += packets

    def restart(self, server: Connector | str) -> None:
        """Put another server in place of the present one, whose links are cut.

        To participants this is a server that was restarted, and has forgotten everything.
        """
        self._connector = _connector(server)
        self.cut()

    def _switches_of(self, identity: str) -> Switches:
        if identity not in self._switches:
            default = self._default
            self._switches[identity] = evolve(default, drop_next=Counter(default.drop_next))
        return self._switches[identity]

    def _concerned(self, identities: tuple[str, ...]) -> Iterator[Switches]:
        if not identities:
            yield self._default
        for identity in identities or self._switches:
            yield self._switches_of(identity)

    def _links_of(self, identities: tuple[str, ...]) -> list[FaultyLink]:
        return [
            link
            for link, identity in self._links.items()
            if not identities or identity in identities
        ]


@define(eq=False)
class _Opening:
    """A link that is being opened, and whether it was cut meanwhile."""

    is_cut: bool = False


def _connector(server: Connector | str) -> Connector:
    return connector_for(server, None) if isinstance(server, str) else server


def _identity_of(token: str) -> str:
    """Return the identity in a token, which is not verified; empty without one."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["sub"])
    except (ValueError, TypeError, KeyError):
        return ""


def _refusal(status: int) -> ConnectError:
    if status == _NETWORK_DOWN:
        return ConnectError("no room server answered: the network is down")
    return ConnectError(f"refused with {status}: by the faulty network", status=status)
