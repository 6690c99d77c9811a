"""The example of docs/howto/audio-and-video.md, run as its reader would run it."""

from __future__ import annotations

import os
import subprocess
import sys

from ..support.tokens import API_KEY, API_SECRET
from .program import PATIENCE, ROOT
from .server import Server

EXAMPLE = ROOT / "docs" / "examples" / "tones"


def test_the_tuner_hears_the_musician_and_plays(livekit_server: Server) -> None:
    env = {
        **os.environ,
        "LIVEKIT_URL": livekit_server.url,
        "LIVEKIT_API_KEY": API_KEY,
        "LIVEKIT_API_SECRET": API_SECRET,
    }
    command = [sys.executable, str(EXAMPLE / "tuner.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT) as tuner:
        try:
            assert tuner.stdout is not None
            assert tuner.stdout.readline() == "Listening\n"
            musician = subprocess.run(
                [sys.executable, str(EXAMPLE / "musician.py")],
                stdout=subprocess.PIPE,
                text=True,
                env=env,
                cwd=ROOT,
                timeout=PATIENCE,
                check=True,
            )
        finally:
            tuner.terminate()
    assert musician.stdout == "The tuner hears about 440.0 Hz\nI hear about 660.0 Hz\n"
