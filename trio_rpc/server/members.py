"""One participant, as the server has it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from attrs import define, field
from livekit.protocol import models, rtc

from .. import outlet
from ..events import DisconnectReason
from ..links import EARLY_FRAMES, Channel, Frame, LinkClosedError, LinkFullError
from ..participant import ParticipantKind, ParticipantPermissions
from ..sequences import SequenceFilter
from ..tokens import Claims
from .directed_streams import DirectedStreams


class Mailbox(outlet.Mailbox, Protocol):
    """The part of a link that is used to reach a member; see `Link`."""

    @property
    def queued_bytes(self) -> int: ...
    def discard_queued(self) -> None: ...


def make_sid(prefix: str) -> str:
    """An id as LiveKit's servers give them: `PA_` for participants, `RM_` for rooms."""
    return f"{prefix}_{secrets.token_hex(8)}"


@define(eq=False)
class Member:
    """A participant of a room, and the way to it.

    Attributes:
        mailbox: Where what is meant for it goes.
        on_dismissed: Called when it is let go, for the session to end.
        dismissed: Why it was let go, for people; None as long as it is in the room.
        last_heard: When it last said anything, on the event loop's clock.
        sequences: Which of its packets have come already (P6).
        directed_streams: Where its open streams go.
        stamp: What its packets get on their way, serialised (P5).
    """

    identity: str
    name: str
    metadata: str
    attributes: dict[str, str]
    kind: ParticipantKind
    permissions: ParticipantPermissions
    client: models.ClientInfo
    mailbox: Mailbox
    sid: str = field(factory=lambda: make_sid("PA"))
    joined_at: float = field(factory=time.time)
    version: int = 1
    state: models.ParticipantInfo.State = models.ParticipantInfo.ACTIVE
    on_dismissed: Callable[[], None] = lambda: None
    dismissed: str | None = None
    last_heard: float = 0.0
    sequences: SequenceFilter = field(factory=SequenceFilter)
    directed_streams: DirectedStreams = field(factory=DirectedStreams)
    stamp: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.stamp = models.DataPacket(
            participant_identity=self.identity, participant_sid=self.sid
        ).SerializeToString()

    @classmethod
    def from_claims(cls, claims: Claims, client: models.ClientInfo, mailbox: Mailbox) -> Member:
        """The participant that an access token describes."""
        grants = claims.grants
        return cls(
            identity=claims.identity,
            name=claims.name,
            metadata=claims.metadata,
            attributes=dict(claims.attributes),
            kind=ParticipantKind[claims.kind.upper()],
            permissions=ParticipantPermissions(
                can_publish_data=bool(grants.can_publish_data),
                can_update_metadata=bool(grants.can_update_own_metadata),
                hidden=grants.hidden,
                can_subscribe=bool(grants.can_subscribe),
                can_publish=bool(grants.can_publish),
            ),
            client=client,
            mailbox=mailbox,
        )

    def info(self) -> models.ParticipantInfo:
        """What others are told of it."""
        return models.ParticipantInfo(
            sid=self.sid,
            identity=self.identity,
            state=self.state,
            metadata=self.metadata,
            joined_at=int(self.joined_at),
            joined_at_ms=int(self.joined_at * 1000),
            name=self.name,
            version=self.version,
            permission=self.permissions.to_proto(),
            kind=self.kind.name,
            attributes=self.attributes,
            client_protocol=self.client.client_protocol,
            capabilities=self.client.capabilities,
        )

    def merge_attributes(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Its attributes after `changes`, in which an empty value deletes the key (V7)."""
        merged = {**self.attributes, **changes}
        return {key: value for key, value in merged.items() if value}

    def deliver(self, frame: Frame) -> None:
        """Queue something for it; when it doesn't read what it has, it is let go (V8)."""
        if self.dismissed is not None:
            return
        try:
            self.mailbox.send_nowait(frame)
            self.mailbox.flush_nowait(at_least=EARLY_FRAMES)
        except LinkFullError as error:
            self.mailbox.discard_queued()
            self.dismiss(DisconnectReason.STATE_MISMATCH, f"it does not read: {error}")
        except LinkClosedError:
            # Its session has seen, or will see, the same.
            pass

    def tell(self, response: rtc.SignalResponse) -> None:
        """Queue a signalling message for it alone."""
        self.deliver(signal_frame(response))

    def dismiss(self, reason: DisconnectReason, text: str) -> None:
        """Let it go: tell it why, and end its session; what it was sent before still goes out.

        Args:
            reason: LiveKit's word for it.
            text: The same for people.
        """
        if self.dismissed is not None:
            return
        self.dismissed = text
        leave = rtc.LeaveRequest(reason=reason.name, action=rtc.LeaveRequest.DISCONNECT)
        with suppress(LinkFullError, LinkClosedError):
            self.mailbox.send_nowait(signal_frame(rtc.SignalResponse(leave=leave)))
        self.on_dismissed()


def signal_frame(response: rtc.SignalResponse) -> Frame:
    """A signalling message, serialised once for however many it goes to."""
    return Frame(Channel.SIGNAL, response.SerializeToString())
