"""The changes of our own name, metadata and attributes, which a rejoin would undo (rule L7).

Whoever joins begins with the values of its token. So the values that we have changed are set again
after each rejoin, as they were announced last.
"""

from __future__ import annotations

from livekit.protocol import models, rtc

from ..participant import Participant
from .server_requests import ServerRequests


class OwnChanges:
    """The changes of one session.

    Args:
        requests: Our requests to the server.
    """

    def __init__(self, requests: ServerRequests) -> None:
        self._requests = requests
        self._name = False
        self._metadata = False
        self._attributes: set[str] = set()

    async def make(
        self,
        us: Participant,
        *,
        metadata: str | None,
        name: str | None,
        attributes: dict[str, str] | None,
    ) -> None:
        """Request a change, and wait until it is made; None leaves a value unchanged.

        Raises:
            SignalRequestError: the server refused, or did not answer; or the session is over.
        """
        async with self._requests.changing:
            await self._requests.update_metadata(
                rtc.UpdateParticipantMetadata(
                    metadata=us.metadata if metadata is None else metadata,
                    name=us.name if name is None else name,
                    attributes=attributes,
                )
            )
        self._name |= name is not None
        self._metadata |= metadata is not None
        self._attributes |= (attributes or {}).keys()

    def restore(
        self, before: models.ParticipantInfo, joined: models.ParticipantInfo
    ) -> tuple[models.ParticipantInfo, rtc.SignalRequest | None]:
        """Return our description after a rejoin, and the request that makes the changes again.

        Args:
            before: Our description before the rejoin.
            joined: Our description in the server's response.
        """
        restored = models.ParticipantInfo()
        restored.CopyFrom(joined)
        if joined.permission.can_update_metadata:
            if self._name:
                restored.name = before.name
            if self._metadata:
                restored.metadata = before.metadata
            for key in self._attributes:
                if key in before.attributes:
                    restored.attributes[key] = before.attributes[key]
                else:
                    restored.attributes.pop(key, None)
        if restored == joined:
            return joined, None
        update = rtc.UpdateParticipantMetadata(
            request_id=self._requests.next_id(),
            name=restored.name,
            metadata=restored.metadata,
            attributes={
                key: restored.attributes.get(key, "")
                for key in self._attributes
                if restored.attributes.get(key) != joined.attributes.get(key)
            },
        )
        return restored, rtc.SignalRequest(update_metadata=update)
