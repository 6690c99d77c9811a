"""The participants of a room, as one of them sees them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Protocol

from attrs import Factory, field, frozen
from livekit.protocol import models

from ..errors import DisconnectReason
from ..protocol.capabilities import Abilities
from ..protocol.retry import Retry
from .publications import RemoteTrackPublication, TrackPublication

#: Seconds that a call may take, unless its caller says otherwise (C1).
DEFAULT_RESPONSE_TIMEOUT: Final = 10.0

_NO_TRACKS: Final[Mapping[str, TrackPublication]] = MappingProxyType({})


class ParticipantKind(IntEnum):
    """The kind of program that a participant is."""

    STANDARD = 0
    INGRESS = 1
    EGRESS = 2
    SIP = 3
    AGENT = 4
    CONNECTOR = 7
    BRIDGE = 8

    @classmethod
    def _missing_(cls, value: object) -> ParticipantKind:  # noqa: ARG003
        # A newer server may know kinds that we don't.
        return cls.STANDARD


class ParticipantKindDetail(IntEnum):
    """A detail about the kind of a participant."""

    CLOUD_AGENT = 0
    FORWARDED = 1
    CONNECTOR_WHATSAPP = 2
    CONNECTOR_TWILIO = 3
    BRIDGE_RTSP = 4
    SIMULATION = 5


class ConnectionQuality(IntEnum):
    """The quality of a participant's connection, as its server judges it."""

    QUALITY_UNKNOWN = -1
    QUALITY_POOR = 0
    QUALITY_GOOD = 1
    QUALITY_EXCELLENT = 2
    QUALITY_LOST = 3

    @classmethod
    def _missing_(cls, value: object) -> ConnectionQuality:  # noqa: ARG003
        # A newer server may know qualities that we don't.
        return cls.QUALITY_UNKNOWN


class ParticipantState(IntEnum):
    """The progress of a participant in joining. Only an active one receives data and calls."""

    JOINING = 0
    JOINED = 1
    ACTIVE = 2
    DISCONNECTED = 3

    @classmethod
    def _missing_(cls, value: object) -> ParticipantState:  # noqa: ARG003
        # A newer server may know states that we don't; the participant is in the room at least.
        return cls.JOINED


def _may_send(permissions: ParticipantPermissions) -> bool:
    """Whether a participant may send packets (C12)."""
    return permissions.can_publish_data and not permissions.hidden


@frozen
class ParticipantPermissions:
    """The permissions of a participant, from its token or the server.

    Attributes:
        can_publish_data: Send data, and call methods.
        can_update_metadata: Change its own metadata, name and attributes.
        hidden: Not announced to others, and so not allowed to call methods.
        can_subscribe: Receive the tracks of others.
        can_publish: Publish tracks.
        may_send: Whether the participant may send packets at all (rule C12).
    """

    can_publish_data: bool = True
    can_update_metadata: bool = False
    hidden: bool = False
    can_subscribe: bool = True
    can_publish: bool = True
    may_send: bool = field(
        default=Factory(_may_send, takes_self=True), init=False, eq=False, repr=False
    )

    def publish_denied_reason(self, identity: str) -> str | None:
        """Return why the participant `identity` may not send packets; None if it may (rule C12)."""
        if self.hidden:
            return f"{identity!r} is a hidden participant, which may not send"
        if not self.can_publish_data:
            return f"{identity!r} lacks the grant canPublishData"
        return None

    @classmethod
    def from_proto(cls, permission: models.ParticipantPermission) -> ParticipantPermissions:
        """Convert from LiveKit's protobuf."""
        return cls(
            can_publish_data=permission.can_publish_data,
            can_update_metadata=permission.can_update_metadata,
            hidden=permission.hidden,
            can_subscribe=permission.can_subscribe,
            can_publish=permission.can_publish,
        )

    def to_proto(self) -> models.ParticipantPermission:
        """Convert to LiveKit's protobuf."""
        return models.ParticipantPermission(
            can_publish_data=self.can_publish_data,
            can_update_metadata=self.can_update_metadata,
            hidden=self.hidden,
            can_subscribe=self.can_subscribe,
            can_publish=self.can_publish,
        )


class Participant:
    """A participant of the room, whose properties follow the server's updates.

    Attributes:
        identity: The identity, unique in the room, which calls and data are addressed to.
        permissions: The permissions of the participant.
        sid: The id that the server gave its session; a participant that joins again gets another.
        client_protocol: The version of RPC and data streams of the participant: 0 for RPC v1 alone
            (N1).
        capabilities: The further abilities of the participant, as the numbers that it announced.
    """

    def __init__(self, info: models.ParticipantInfo) -> None:
        self.identity: Final = info.identity
        self._connection_quality = ConnectionQuality.QUALITY_UNKNOWN
        self._take(info)

    def _take(self, info: models.ParticipantInfo) -> None:
        self._info = info
        self.permissions = ParticipantPermissions.from_proto(info.permission)
        # Attributes, and not properties: every call reads them.
        self.sid = info.sid
        self.client_protocol = info.client_protocol
        self.capabilities: frozenset[int] = frozenset(info.capabilities)
        self._abilities = Abilities.of(info.client_protocol, self.capabilities)

    @property
    def name(self) -> str:
        """The name to show to people."""
        return self._info.name

    @property
    def metadata(self) -> str:
        """Text that belongs to the participant, seen by all."""
        return self._info.metadata

    @property
    def attributes(self) -> dict[str, str]:
        """Texts that belong to the participant, by key, seen by all. A copy."""
        return dict(self._info.attributes)

    @property
    def kind(self) -> ParticipantKind:
        """The kind of program that the participant is."""
        return ParticipantKind(self._info.kind)

    @property
    def kind_details(self) -> list[ParticipantKindDetail]:
        """Further details about the kind; those that we don't know are left out. A copy."""
        return [each for each in ParticipantKindDetail if int(each) in self._info.kind_details]

    @property
    def joined_at(self) -> datetime | None:
        """The time at which the participant joined, in UTC; None where the server did not say."""
        info = self._info
        milliseconds = info.joined_at_ms or info.joined_at * 1000
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None

    @property
    def connection_quality(self) -> ConnectionQuality:
        """The quality of its connection, as the server reported it last."""
        return self._connection_quality

    @property
    def disconnect_reason(self) -> DisconnectReason | None:
        """The reason why the participant is not in the room any more; None while it is."""
        if self.state is not ParticipantState.DISCONNECTED:
            return None
        return DisconnectReason(self._info.disconnect_reason)

    @property
    def state(self) -> ParticipantState:
        """The progress of the participant in joining."""
        return ParticipantState(self._info.state)

    @property
    def track_publications(self) -> Mapping[str, TrackPublication]:
        """The published tracks, by SID: a view, which changes as tracks come and go."""
        return _NO_TRACKS

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity!r} {self.sid}>"


class PerformRpc(Protocol):
    """The call of a method, as `LocalParticipant.perform_rpc` makes it."""

    async def __call__(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None,
        retry: Retry | None,
    ) -> str: ...


class RemoteParticipant(Participant):
    """Another participant of the room."""

    def __init__(self, info: models.ParticipantInfo, perform_rpc: PerformRpc) -> None:
        super().__init__(info)
        self._perform_rpc = perform_rpc
        self._publications: dict[str, RemoteTrackPublication] = {}

    @property
    def track_publications(self) -> Mapping[str, RemoteTrackPublication]:
        """The published tracks, by SID: a view, which changes as tracks come and go."""
        return MappingProxyType(self._publications)

    async def perform_rpc(
        self,
        method: str,
        payload: str,
        *,
        response_timeout: float | None = None,
        retry: Retry | None = None,
    ) -> str:
        """Call a method of this participant and wait for its answer.

        The same as `LocalParticipant.perform_rpc` with the identity of this participant, which says
        what is raised as well.

        Args:
            method: The name of the method, 1 to 64 UTF-8 bytes.
            payload: The argument, in whichever format both sides use.
            response_timeout: Seconds that the whole call may take; 10 unless given.
            retry: The policy for calling again; None for never (T4).

        Returns:
            What the handler returned.

        Raises:
            RpcError: the call failed; `code` says how.
        """
        return await self._perform_rpc(
            destination_identity=self.identity,
            method=method,
            payload=payload,
            response_timeout=response_timeout,
            retry=retry,
        )

    @property
    def is_active(self) -> bool:
        """Whether the participant can be called."""
        return self._info.state == models.ParticipantInfo.ACTIVE
