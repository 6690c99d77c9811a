"""The participants of a room: the server's updates turned into events.

No I/O: the input is LiveKit's protobuf, the output the events, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from livekit.protocol import models, rtc

from ..events import (
    ConnectionQualityChanged,
    ParticipantActive,
    ParticipantAttributesChanged,
    ParticipantConnected,
    ParticipantDisconnected,
    ParticipantMetadataChanged,
    ParticipantNameChanged,
    ParticipantPermissionsChanged,
    RoomEvent,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
    TrackUnsubscribed,
)
from ..participant import (
    ConnectionQuality,
    Participant,
    PerformRpc,
    RemoteParticipant,
    RemoteTrackPublication,
)


class Roster:
    """The participants of one session.

    Args:
        local: Ourselves, whose changes come in the same updates.
        remote: The others, by identity, to be kept up to date.
        perform_rpc: Calls a method of one of them.
        subscribe: Subscribes to a track of one of them, or ends the subscription.

    Attributes:
        is_replacing: Whether the present event is the end of a session whose participant has
            another one already.
    """

    def __init__(
        self,
        local: Participant,
        remote: dict[str, RemoteParticipant],
        perform_rpc: PerformRpc,
        subscribe: Callable[[RemoteTrackPublication, bool], None],
    ) -> None:
        self.local = local
        self.remote = remote
        self._perform_rpc = perform_rpc
        self._subscribe = subscribe
        self.is_replacing = False

    def update(self, infos: Sequence[models.ParticipantInfo]) -> Iterator[RoomEvent]:
        """Yield the changes in an update, each once it is made."""
        present = {
            info.identity: info.sid
            for info in infos
            if info.state != models.ParticipantInfo.DISCONNECTED
        }
        for info in infos:
            # The next session of the same participant implies the end of its last.
            if present.get(info.identity, info.sid) == info.sid:
                yield from self.apply(info)

    def apply(self, info: models.ParticipantInfo) -> Iterator[RoomEvent]:
        """Yield the changes in an update about one participant, each once it is made."""
        if info.sid == self.local.sid:
            yield from _apply_changes(self.local, info)
            return
        if info.identity == self.local.identity:
            # Another participant replaced us: the server disconnects us.
            return
        known = self.remote.get(info.identity)
        if info.state == models.ParticipantInfo.DISCONNECTED:
            # The end of an earlier session says nothing about the present one.
            if known is not None and known.sid == info.sid:
                yield from self._remove(known, info.disconnect_reason)
            return
        if known is not None and known.sid != info.sid:
            self.is_replacing = True
            yield from self._remove(known)
            self.is_replacing = False
            known = None
        if known is None:
            yield from self._add(info)
        else:
            was_active = known.is_active
            yield from _apply_changes(known, info)
            if known.is_active and not was_active:
                yield ParticipantActive(known)
            yield from self._apply_tracks(known)

    def reconcile(self, infos: Sequence[models.ParticipantInfo]) -> Iterator[RoomEvent]:
        """Apply the current state of all participants; those not listed have left meanwhile."""
        present = {info.identity for info in infos}
        for participant in tuple(self.remote.values()):
            if participant.identity not in present:
                yield from self._remove(participant)
        for info in infos:
            yield from self.apply(info)

    def rejoin(
        self, local: models.ParticipantInfo, infos: Sequence[models.ParticipantInfo]
    ) -> Iterator[RoomEvent]:
        """Begin another session, under another SID.

        Args:
            local: Ourselves.
            infos: All others.
        """
        yield from _apply_changes(self.local, local)
        yield from self.reconcile(infos)

    def _add(self, info: models.ParticipantInfo) -> Iterator[RoomEvent]:
        participant = self.remote[info.identity] = RemoteParticipant(info, self._perform_rpc)
        yield ParticipantConnected(participant)
        if participant.is_active:
            yield ParticipantActive(participant)
        yield from self._apply_tracks(participant)

    def _apply_tracks(self, participant: RemoteParticipant) -> Iterator[RoomEvent]:
        """Yield the changes in the tracks of a participant."""
        published = {info.sid: info for info in participant._info.tracks}
        for sid in participant._publications.keys() - published.keys():
            yield from _unpublish(participant, sid)
        for sid, info in published.items():
            publication = participant._publications.get(sid)
            if publication is None:
                publication = RemoteTrackPublication(info, self._subscribe)
                participant._publications[sid] = publication
                yield TrackPublished(publication, participant)
                continue
            was_muted = publication.muted
            publication._take(info)
            if publication.muted and not was_muted:
                yield TrackMuted(participant, publication)
            elif was_muted and not publication.muted:
                yield TrackUnmuted(participant, publication)

    def set_qualities(self, updates: Sequence[rtc.ConnectionQualityInfo]) -> Iterator[RoomEvent]:
        """Yield the changes in the quality of participants' connections, each once it is made."""
        by_sid = {each.sid: each for each in (self.local, *self.remote.values())}
        for update in updates:
            participant = by_sid.get(update.participant_sid)
            quality = ConnectionQuality(update.quality)
            if participant is not None and participant.connection_quality is not quality:
                participant._connection_quality = quality
                yield ConnectionQualityChanged(participant, quality)

    def _remove(
        self,
        participant: RemoteParticipant,
        reason: models.DisconnectReason = models.DisconnectReason.UNKNOWN_REASON,
    ) -> Iterator[RoomEvent]:
        for sid in tuple(participant._publications):
            yield from _unpublish(participant, sid)
        del self.remote[participant.identity]
        # As it was: an update about a participant that has left need not repeat its description.
        last = models.ParticipantInfo()
        last.CopyFrom(participant._info)
        last.state = models.ParticipantInfo.DISCONNECTED
        last.disconnect_reason = reason
        participant._take(last)
        yield ParticipantDisconnected(participant)


def _unpublish(participant: RemoteParticipant, sid: str) -> Iterator[RoomEvent]:
    publication = participant._publications.pop(sid)
    track, publication._track = publication._track, None
    if track is not None:
        track._end()
        yield TrackUnsubscribed(track, publication, participant)
    yield TrackUnpublished(publication, participant)


def _apply_changes(participant: Participant, info: models.ParticipantInfo) -> Iterator[RoomEvent]:
    old, old_permissions = participant._info, participant.permissions
    participant._take(info)
    if old.metadata != info.metadata:
        yield ParticipantMetadataChanged(participant, old.metadata, info.metadata)
    if old.name != info.name:
        yield ParticipantNameChanged(participant, old.name, info.name)
    if changed := _changed_attributes(dict(old.attributes), dict(info.attributes)):
        yield ParticipantAttributesChanged(changed, participant)
    if old_permissions != participant.permissions:
        yield ParticipantPermissionsChanged(participant, participant.permissions)


def _changed_attributes(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    changed = {key: value for key, value in new.items() if old.get(key) != value}
    return changed | {key: "" for key in old if key not in new}
