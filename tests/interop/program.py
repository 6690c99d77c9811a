"""Programs that join rooms with an SDK each, driven by the tests.

A program reads commands from its standard input and writes what comes of them to its standard
output, a JSON object a line. It holds any number of participants, by their identity:

    > {"id": 1, "participant": "alice", "do": "call", "to": "bob", "method": "echo", …}
    < {"id": 1, "result": "hi"}
    < {"id": 1, "error": {"code": 1400, "message": "…", "data": null}}
    < {"id": 1, "failure": "what else went wrong"}
    < {"participant": "alice", "event": "sees", "who": "carol"}

`Peer` has the commands and names the events. All participants answer to the same methods: `echo`,
`describe` (what the handler is given), `size` (of the payload), `repeat` (an x as often as the
payload says), `fail` (with an `RpcError`), `crash` (with another one), `hang` and `number` (whose
result is no text).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from attrs import define, field, frozen

ROOT: Final = Path(__file__).parents[2]

#: Seconds; nothing that works comes near it.
PATIENCE: Final = 90.0

T = TypeVar("T")


@frozen
class Failure:
    """The `RpcError` that a call ended with."""

    code: int
    message: str
    data: str | None


class ProgramError(Exception):
    """A command failed, or the program did not do what the test waits for."""


@define(eq=False)
class Program:
    """A running program.

    Attributes:
        kind: What it is, in the words of the table of results.
    """

    kind: str
    _process: subprocess.Popen[str]
    _log: Path
    _patience: float
    _changed: threading.Condition = field(factory=threading.Condition)
    _answers: dict[int, dict[str, Any]] = field(factory=dict)
    _events: list[dict[str, Any]] = field(factory=list)
    _commands: int = 0
    _ended: bool = False

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def send(self, participant: str, do: str, **arguments: Any) -> int:
        """Send a command, and return its id."""
        self._commands += 1
        command = {"id": self._commands, "participant": participant, "do": do, **arguments}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._commands

    def answer(self, command: int) -> dict[str, Any]:
        """Wait for the answer to a command."""
        return self._wait(lambda: self._answers.pop(command, None), f"answer {command}")

    def event(self, participant: str, **wanted: Any) -> dict[str, Any]:
        """Wait for an event with these fields, and take it out."""
        wanted = {"participant": participant, **wanted}

        def take() -> dict[str, Any] | None:
            for event in self._events:
                if wanted.items() <= event.items():
                    self._events.remove(event)
                    return event
            return None

        return self._wait(take, f"event {wanted}")

    def forget_events(self, participant: str, **unwanted: Any) -> None:
        """Drop what a participant has seen so far."""
        unwanted = {"participant": participant, **unwanted}
        with self._changed:
            self._events = [each for each in self._events if not unwanted.items() <= each.items()]

    def kill(self) -> None:
        """End the process at once, by SIGKILL."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def read(self, lines: IO[str]) -> None:
        """Take what the program says, until it ends."""
        for line in lines:
            message = {**json.loads(line), "at": time.monotonic()}
            with self._changed:
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self._events.append(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self, take: Callable[[], T | None], what: str) -> T:
        found: list[T] = []

        def look() -> bool:
            if (taken := take()) is not None:
                found.append(taken)
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(look, self._patience)
            events = list(self._events)
        if found:
            return found[0]
        why = "it ended" if self._ended else f"not within {self._patience:g} s"
        log = self._log.read_text(errors="replace")[-3000:]
        raise ProgramError(f"{self.kind}: no {what}: {why}\nit has {events}\nand wrote\n{log}")


@contextmanager
def running(
    kind: str, command: list[str], log: Path, *, patience: float = PATIENCE
) -> Iterator[Program]:
    """Run a program in the block; it has a moment to end by itself afterwards.

    Args:
        log: The file for what it writes to its standard error.
        patience: Seconds after which something that does not happen is taken to be broken.
    """
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        program = Program(kind, process, log, patience)
        reader = threading.Thread(target=program.read, args=[process.stdout], name=kind)
        reader.start()
        try:
            yield program
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE / 3)
            except subprocess.TimeoutExpired:
                program.kill()
            reader.join()


@frozen
class Call:
    """A call that was begun."""

    program: Program
    command: int
    begun: float = field(factory=time.monotonic)

    def outcome(self) -> str | Failure:
        """Wait for its end."""
        return self.end()[0]

    def end(self) -> tuple[str | Failure, float]:
        """Wait for its end; return the outcome, and how many seconds it took."""
        answer = self.program.answer(self.command)
        seconds = answer["at"] - self.begun
        if "error" in answer:
            return Failure(**answer["error"]), seconds
        return str(_result(self.program, answer)), seconds


@frozen
class Peer:
    """A participant of a program."""

    program: Program
    identity: str

    def join(self, url: str, token: str) -> None:
        """Join a room."""
        self._do("join", url=url, token=token)

    def join_and_call(self, url: str, token: str, to: str) -> float:
        """Join a room in a browser, call `echo` at once, and return how many seconds that took."""
        seconds: float = self._do("join_and_call", url=url, token=token, to=to)
        return seconds

    def leave(self) -> None:
        """Leave the room."""
        self._do("leave")

    def crash(self) -> None:
        """Crash the browser's tab that the participant lives in."""
        self._do("crash")

    def begin_call(
        self, to: str, method: str, payload: str = "", *, response_timeout: float = 20.0
    ) -> Call:
        """Call a method, and come back before it is answered."""
        command = self.program.send(
            self.identity,
            "call",
            to=to,
            method=method,
            payload=payload,
            response_timeout=response_timeout,
        )
        return Call(self.program, command)

    def call(
        self, to: str, method: str, payload: str = "", *, response_timeout: float = 20.0
    ) -> str | Failure:
        """Call a method and wait for its answer."""
        return self.begin_call(to, method, payload, response_timeout=response_timeout).outcome()

    def publish(self, payload: str, to: str, *, reliable: bool = True, topic: str = "") -> None:
        """Publish data, which its receiver has as the event `data`."""
        self._do("publish", payload=payload, to=to, reliable=reliable, topic=topic)

    def send_text(self, text: str, to: str) -> None:
        """Send a text, which its receiver has as the event `text`."""
        self._do("send_text", text=text, to=to)

    def set_metadata(self, metadata: str) -> None:
        """Change the metadata; the others have the event `metadata`."""
        self._do("set_metadata", metadata=metadata)

    def set_name(self, name: str) -> None:
        """Change the name; the others have the event `name`."""
        self._do("set_name", name=name)

    def set_attributes(self, attributes: dict[str, str]) -> None:
        """Change attributes; the others have the event `attributes`."""
        self._do("set_attributes", attributes=attributes)

    def play(self, name: str, hertz: float) -> str:
        """Publish a track with a tone, which the others have as the event `subscribed`.

        Returns:
            The SID of the track.
        """
        sid: str = self._do("play", name=name, hertz=hertz)
        return sid

    def show(self, name: str, colour: tuple[int, int, int], **options: str) -> str:
        """Publish a track with a picture of a colour, as `play` does a tone.

        Args:
            options: The `codec`, which LiveKit's Python SDK alone has a choice of.
        """
        sid: str = self._do("show", name=name, colour=colour, **options)
        return sid

    def see(self, who: str) -> tuple[int, int, int]:
        """Return the colour of somebody's picture, once `subscribed`."""
        red, green, blue = self._do("see", who=who)
        return red, green, blue

    def unpublish(self, sid: str) -> None:
        """Withdraw a track; the others have the event `unpublished`."""
        self._do("unpublish", sid=sid)

    def hear(self, who: str) -> float:
        """Return the frequency of somebody's tone, once `subscribed`; 0 for silence."""
        hertz: float = self._do("hear", who=who)
        return hertz

    def reconnect_fully(self) -> None:
        """Lose the connection, and join again; another SID shows it."""
        self._do("reconnect_fully")

    def participants(self) -> dict[str, dict[str, Any]]:
        """Return the others, with their name, metadata and attributes."""
        participants: dict[str, dict[str, Any]] = self._do("participants")
        return participants

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event, perhaps one that has happened, and take it out."""
        return self.program.event(self.identity, event=event, **fields)

    def _do(self, do: str, **arguments: Any) -> Any:
        command = self.program.send(self.identity, do, **arguments)
        return _result(self.program, self.program.answer(command))


def _result(program: Program, answer: dict[str, Any]) -> Any:
    if "result" not in answer:
        raise ProgramError(f"{program.kind}: {answer.get('failure') or answer}")
    return answer["result"]
