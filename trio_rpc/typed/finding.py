"""Finding methods: of a participant, and participants that have a method (rules T6, T7, T10)."""

from __future__ import annotations

from collections import Counter
from typing import Final, Unpack

from .. import concurrency
from ..client.options import RoomLimits
from ..concurrency import Event
from ..errors import RpcError, SignalRequestError
from ..participant import DEFAULT_RESPONSE_TIMEOUT, RemoteParticipant
from ..protocol.logs import peer_logger
from ..rpc.invocation_data import RpcInvocationData
from .codec import Codec
from .discovery import (
    DISCOVER,
    METHODS_ATTRIBUTE,
    MethodInfo,
    answer,
    discover,
    fingerprint,
    is_described,
    is_unreachable,
)
from .methods import TypedMethods

logger = peer_logger(__name__)

#: The attribute of a participant that says how busy it is.
LOAD_ATTRIBUTE: Final = "trio_rpc.load"
#: Seconds after which a participant is asked again, which cannot announce changes.
_ASK_AGAIN: Final = 1.0
#: Seconds that a further page of a list gets at least.
_LEAST_TIMEOUT: Final = 0.001


class MethodFinder(TypedMethods):
    """The part of `Room` that answers and asks which methods there are."""

    def __init__(
        self,
        loop: object = None,
        *,
        codec: Codec | None = None,
        discoverable: bool = True,
        **limits: Unpack[RoomLimits],
    ) -> None:
        super().__init__(loop, codec=codec, **limits)
        if discoverable:
            self.register_rpc_method(DISCOVER, self._answer_discovery)
            self.on("connected", self._announce_methods)
        self.watch_rpc_methods(self._note_change)
        # Set on a change, in a session
        self._methods_changed: Event | None = None
        # Our typed calls in flight, by the identity of the callee
        self._pending: Counter[str] = Counter()

    def _note_change(self) -> None:
        """Have the change of our methods announced, if we are in a room."""
        if self._methods_changed is not None:
            self._methods_changed.set()

    async def _answer_discovery(self, invocation: RpcInvocationData) -> str:
        return answer(self.rpc_methods, invocation)

    async def _announce_methods(self) -> None:
        """Tell the others of our methods, and of each change, where we may."""
        announced = ""
        while True:
            changed = self._methods_changed = concurrency.current().event()
            handlers = self.rpc_methods
            is_typed = any(is_described(each) for each in handlers.values())
            methods = fingerprint(handlers) if is_typed else ""
            us = self.local_participant
            if methods != announced and us.permissions.can_update_metadata:
                try:
                    await us.set_attributes({METHODS_ATTRIBUTE: methods})
                except SignalRequestError as error:
                    logger.debug("the methods were not announced: %s", error)
                announced = methods
            await changed.wait()

    async def discover(self, identity: str, *, timeout: float | None = None) -> list[MethodInfo]:  # noqa: ASYNC109
        """Return the methods of a participant, by its own account.

        Args:
            identity: The identity of the participant.
            timeout: Seconds that the list may take, with all its pages; 10 unless given.

        Raises:
            InvalidResponse: the answer is no list of methods, or has more than 1,000.
            RpcError: the call failed; 1400 if the participant does not tell.

        Source: rule T10.
        """

        seconds = DEFAULT_RESPONSE_TIMEOUT if timeout is None else timeout
        deadline = concurrency.current().current_time() + seconds

        async def perform(payload: str) -> str:
            remaining = deadline - concurrency.current().current_time()
            return await self.local_participant.perform_rpc(
                destination_identity=identity,
                method=DISCOVER,
                payload=payload,
                # For the first page, it is what was given, and refused if that does not do.
                response_timeout=max(remaining, _LEAST_TIMEOUT) if payload else seconds,
            )

        return await discover(perform)

    async def wait_for_method(self, identity: str, name: str) -> RemoteParticipant:
        """Wait until a participant is in the room and has a method.

        Args:
            identity: The identity of the participant.
            name: The name of the method.

        Raises:
            DisconnectedError: we are not in the room any more.
            RpcError: 1400, the participant does not tell its methods.

        Source: rule T6.
        """
        backend = concurrency.current()
        changed = backend.event()

        def note() -> None:
            changed.set()

        self.on("participant_attributes_changed", note)
        self.on("participant_active", note)
        try:
            while True:
                changed = backend.event()
                participant = await self.wait_for_participant(identity)
                if await self._has_method(identity, name):
                    return participant
                with backend.move_on_after(_ASK_AGAIN):
                    await changed.wait()
        finally:
            self.off("participant_attributes_changed", note)
            self.off("participant_active", note)

    async def _has_method(self, identity: str, name: str) -> bool:
        try:
            return any(each.name == name for each in await self.discover(identity))
        except RpcError as error:
            if is_unreachable(error):
                return False
            raise

    async def _tells(self, identity: str, name: str, seconds: float | None) -> bool:
        """Return whether a participant tells that it has a method."""
        try:
            methods = await self.discover(identity, timeout=seconds)
        except RpcError as error:
            logger.debug("%s did not tell its methods: %s", identity, error)
            return False
        return any(each.name == name for each in methods)

    async def announce_load(self, load: float) -> None:
        """Tell the others how busy we are, for `least_busy`.

        Args:
            load: A number; that of an idle participant is 0.

        Raises:
            SignalRequestError: we lack the grant `canUpdateOwnMetadata`, or the server did not
                answer.
            ValueError: it is not a finite number from 0.
        """
        if not 0 <= load < float("inf"):
            raise ValueError(f"a load is a number from 0, not {load}")
        await self.local_participant.set_attributes({LOAD_ATTRIBUTE: f"{load:.6g}"})

    def _load_of(self, participant: RemoteParticipant) -> float:
        try:
            load = float(participant.attributes.get(LOAD_ATTRIBUTE, "0"))
        except ValueError:
            return 0.0
        return load if load >= 0 else 0.0

    async def least_busy(self, name: str, *, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Return the identity of the participant with a method that is the least busy.

        That is the one with the smallest announced load, and of several the one for which the
        fewest of our typed calls are pending.

        Args:
            name: The name of the method.
            timeout: Seconds that each participant may take to tell its methods; 10 unless given.

        Raises:
            LookupError: no participant has the method.

        Source: rule T7.
        """
        having = await self._participants_with(name, timeout)
        if not having:
            raise LookupError(f"no participant in room {self.name!r} has a method {name!r}")
        best = min(having, key=lambda each: (self._load_of(each), self._pending[each.identity]))
        return best.identity

    async def _participants_with(self, name: str, seconds: float | None) -> list[RemoteParticipant]:
        having: list[RemoteParticipant] = []

        async def ask(participant: RemoteParticipant) -> None:
            if await self._tells(participant.identity, name, seconds):
                having.append(participant)

        async with concurrency.current().open_nursery() as nursery:
            for participant in [*self.remote_participants.values()]:
                nursery.start_soon(ask, participant)
        return having
