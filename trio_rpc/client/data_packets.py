"""The packets of data, DTMF and transcriptions: made of values, and turned into events (P1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from livekit.protocol import models

from ..events import DataReceived, RoomEvent, SipDTMFReceived, TranscriptionReceived
from ..events.data import DataPacket, DataPacketKind, SipDTMF, Transcription, TranscriptionSegment
from ..links import Channel
from ..participant import Participant, TrackPublication
from .roster import Roster

_RELIABLE: Final = models.DataPacket.RELIABLE
_LOSSY: Final = models.DataPacket.LOSSY


def user_packet(
    payload: bytes, *, reliable: bool, destinations: Sequence[str], topic: str
) -> models.DataPacket:
    """Return the packet of an application's data."""
    user = models.UserPacket(payload=payload)
    if topic:
        user.topic = topic
    kind = _RELIABLE if reliable else _LOSSY
    return models.DataPacket(kind=kind, destination_identities=destinations, user=user)


def dtmf_packet(code: int, digit: str) -> models.DataPacket:
    """Return the packet of a key pressed on a telephone."""
    return models.DataPacket(sip_dtmf=models.SipDTMF(code=code, digit=digit))


def transcription_packet(transcription: Transcription) -> models.DataPacket:
    """Return the packet of a transcription."""
    return models.DataPacket(
        transcription=models.Transcription(
            transcribed_participant_identity=transcription.participant_identity,
            track_id=transcription.track_sid,
            segments=[
                models.TranscriptionSegment(
                    id=segment.id,
                    text=segment.text,
                    start_time=segment.start_time,
                    end_time=segment.end_time,
                    final=segment.final,
                    language=segment.language,
                )
                for segment in transcription.segments
            ],
        )
    )


def data_event(packet: models.DataPacket, channel: Channel, roster: Roster) -> RoomEvent | None:
    """Return the event for a packet; None where there is none for its kind."""
    sender = roster.remote.get(packet.participant_identity)
    match packet.WhichOneof("value"):
        case "user":
            user = packet.user
            is_lossy = channel is Channel.LOSSY
            data = DataPacket(
                data=user.payload,
                kind=DataPacketKind.KIND_LOSSY if is_lossy else DataPacketKind.KIND_RELIABLE,
                participant=sender,
                topic=user.topic if user.HasField("topic") else None,
            )
            return DataReceived(data)
        case "sip_dtmf":
            return SipDTMFReceived(SipDTMF(packet.sip_dtmf.code, packet.sip_dtmf.digit, sender))
        case "transcription":
            return _transcription_event(packet.transcription, roster)
        case _:
            return None


def _transcription_event(
    transcription: models.Transcription, roster: Roster
) -> TranscriptionReceived:
    identity = transcription.transcribed_participant_identity
    participant: Participant | None = roster.remote.get(identity)
    if identity == roster.local.identity:
        participant = roster.local
    segments = [
        TranscriptionSegment(
            id=segment.id,
            text=segment.text,
            start_time=segment.start_time,
            end_time=segment.end_time,
            language=segment.language,
            final=segment.final,
        )
        for segment in transcription.segments
    ]
    tracks: Mapping[str, TrackPublication]
    tracks = {} if participant is None else participant.track_publications
    return TranscriptionReceived(segments, participant, tracks.get(transcription.track_id))
