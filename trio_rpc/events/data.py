"""The data that events carry, and that participants publish, besides calls and streams."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from attrs import frozen

from ..participant import RemoteParticipant


class DataPacketKind(IntEnum):
    """The delivery of data: best-effort, or reliable and ordered.

    The integers are those of LiveKit's Python SDK, and not those of its protobuf.
    """

    KIND_LOSSY = 0
    KIND_RELIABLE = 1


@frozen
class DataPacket:
    """Data that another participant published.

    Attributes:
        data: The bytes, as they were sent.
        kind: The kind of delivery.
        participant: The sender; None for the server, or a hidden participant.
        topic: The topic, or None.
    """

    data: bytes
    kind: DataPacketKind
    participant: RemoteParticipant | None
    topic: str | None = None


@frozen
class SipDTMF:
    """A key pressed on a telephone.

    Attributes:
        code: The number of the key, 0 to 15.
        digit: The key as it is printed: `"0"` to `"9"`, `"*"`, `"#"`, `"A"` to `"D"`.
        participant: The sender; None for the server, or a hidden participant.
    """

    code: int
    digit: str
    participant: RemoteParticipant | None = None


@frozen
class TranscriptionSegment:
    """A segment of transcribed speech.

    Attributes:
        id: The id; segments with the same id are versions of one segment, of which the last counts.
        text: The transcribed text.
        start_time: The beginning of the speech, in milliseconds of the track.
        end_time: The end of the speech, in milliseconds of the track.
        language: The language, as a BCP 47 tag such as `"en"`.
        final: Whether this is the last version.
    """

    id: str
    text: str
    start_time: int
    end_time: int
    language: str
    final: bool


@frozen
class Transcription:
    """Transcribed speech of a participant.

    Attributes:
        participant_identity: The identity of the speaker.
        track_sid: The id of the audio track.
        segments: The segments, in order.
    """

    participant_identity: str
    track_sid: str
    segments: Sequence[TranscriptionSegment]
