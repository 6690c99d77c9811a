"""Audio and video over peer connections.

* `sections`: the audio and video of one peer connection, as we offer them.
* `incoming`: the tracks that come in, decoded for the program's streams.
* `outgoing`: our tracks, as aiortc encodes them.
* `audio_queue`, `video_slot`: the media between a program's source and the track; thread-safe, no
  I/O.

Only the last two are imported before the first peer connection is opened; the others import aiortc.
"""
