"""What applications send each other besides calls: data, DTMF and transcriptions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from .participant import RemoteParticipant


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
        kind: How they were sent.
        participant: Who sent them; None when the server did, or somebody whom we can't see.
        topic: What they are about, or None.
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
        participant: Who pressed it; None when the server did, or somebody whom we can't see.
    """

    code: int
    digit: str
    participant: RemoteParticipant | None = None


@frozen
class TranscriptionSegment:
    """A piece of what was said.

    Attributes:
        id: Segments with one id are versions of one piece; the last counts.
        text: What was said.
        start_time: When it began, in milliseconds of the track.
        end_time: When it ended, in milliseconds of the track.
        language: Its language, as a BCP 47 tag such as `"en"`.
        final: Whether no further version will come.
    """

    id: str
    text: str
    start_time: int
    end_time: int
    language: str
    final: bool


@frozen
class Transcription:
    """What somebody said, as text.

    Attributes:
        participant_identity: Who said it.
        track_sid: On which audio track.
        segments: The pieces, in order.
    """

    participant_identity: str
    track_sid: str
    segments: Sequence[TranscriptionSegment]
