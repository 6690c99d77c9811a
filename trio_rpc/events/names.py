"""The names of all events."""

from __future__ import annotations

from typing import Final, Literal, get_args

EventName = Literal[
    "connected",
    "reconnecting",
    "reconnected",
    "token_refreshed",
    "disconnected",
    "connection_state_changed",
    "room_updated",
    "moved",
    "room_metadata_changed",
    "participant_connected",
    "participant_active",
    "participant_disconnected",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "participant_permissions_changed",
    "connection_quality_changed",
    "data_received",
    "sip_dtmf_received",
    "transcription_received",
    "local_track_published",
    "local_track_republished",
    "local_track_unpublished",
    "local_track_subscribed",
    "track_published",
    "track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "track_subscription_failed",
    "track_muted",
    "track_unmuted",
]
#: The names of all events.
EVENT_NAMES: Final = frozenset(get_args(EventName))
