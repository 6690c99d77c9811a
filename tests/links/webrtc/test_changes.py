"""The changes that wait for an answer are bounded, whatever the server does."""

from __future__ import annotations

import pytest

from trio_rpc.links.webrtc.changes import Changes
from trio_rpc.webrtc.media.video_slot import VideoSlot

pytestmark = pytest.mark.rule("M10")


def test_a_track_that_is_unpublished_before_it_was_sent_is_forgotten() -> None:
    changes, slot = Changes(), VideoSlot()
    for number in range(1_000):
        changes.publish(str(number), VideoSlot())
        changes.unpublish(str(number))
    assert changes.are_wanted
    assert not changes.tracks
    changes.unpublish("sent")
    changes.publish("another", slot)
    assert [*changes.tracks.items()] == [("sent", None), ("another", slot)]


def test_wishes_are_added_up() -> None:
    changes = Changes()
    assert not changes.are_wanted
    for _ in range(1_000):
        changes.require(2, 1)
    assert (changes.audios, changes.videos) == (2_000, 1_000)
    assert changes.are_wanted
