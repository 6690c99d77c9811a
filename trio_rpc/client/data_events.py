"""The events for packets that are not RPC's or a stream's: data, DTMF and transcriptions."""

from __future__ import annotations

from livekit.protocol import models

from ..data import DataPacket, DataPacketKind, SipDTMF, TranscriptionSegment
from ..events import DataReceived, RoomEvent, SipDTMFReceived, TranscriptionReceived
from ..links import Channel
from ..participant import Participant
from .roster import Roster


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
    return TranscriptionReceived(segments, participant)
