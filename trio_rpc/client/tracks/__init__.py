"""Audio and video of a session: publishing tracks, and subscribing to those of others.

* `options`: the options for publishing a track.
* `sources`: the origins of our tracks' frames, which a program fills.
* `streams`: the frames of others' tracks, which a program reads.
* `publishing`: our publications, over all connections of a session.
* `subscriptions`: the tracks of others that come in, matched with their publications.
* `session_tracks`: both, as the session's connections see them.
"""

from .options import TrackPublishOptions
from .sources import AudioSource, VideoSource
from .streams import AudioFrameEvent, AudioStream, VideoFrameEvent, VideoStream

__all__ = [
    "AudioFrameEvent",
    "AudioSource",
    "AudioStream",
    "TrackPublishOptions",
    "VideoFrameEvent",
    "VideoSource",
    "VideoStream",
]
