"""The dispatches of rooms, and the workers that get their jobs.

Each room has a dispatch for agents without a name from the moment it is made; agents with a name
are dispatched by an administrator. A job goes to the worker of that name with the least load, and
to the next one if that declines, or does not answer in time. Where there is none, nobody comes: as
on LiveKit's server, a worker that registers later gets the jobs of later dispatches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field
from livekit.protocol import agent, agent_dispatch

from ...errors import RefusedError
from ...protocol.limits import utf8_length
from ...protocol.logs import peer_logger
from ..limits import ServerLimits
from ..rooms.member import make_sid
from ..rooms.room import ServerRoom
from ..rooms.sizes import check_description, check_size
from .worker import AgentWorker, Job

logger = peer_logger(__name__)

#: The most dispatches of one room.
MAX_DISPATCHES: Final = 100
#: The most workers.
MAX_WORKERS: Final = 1_000


@define(eq=False)
class _Dispatch:
    message: agent_dispatch.AgentDispatch
    jobs: dict[str, Job] = field(factory=dict[str, Job])

    def describe(self) -> agent_dispatch.AgentDispatch:
        described = agent_dispatch.AgentDispatch()
        described.CopyFrom(self.message)
        described.state.jobs.extend(job.message for job in self.jobs.values())
        return described


@define(eq=False)
class AgentDispatcher:
    """The dispatches of a server's rooms, and its workers.

    Args:
        clock: Returns the time, in seconds.
        remove_participant: Removes an agent from its room, both given by name.
    """

    _limits: ServerLimits
    _clock: Callable[[], float]
    _remove_participant: Callable[[str, str], None]
    _workers: dict[AgentWorker, None] = field(init=False, factory=dict[AgentWorker, None])
    # By the name of the room, and its id
    _dispatches: dict[str, dict[str, _Dispatch]] = field(
        init=False, factory=dict[str, dict[str, _Dispatch]]
    )

    # Rooms

    def on_made(self, room: ServerRoom) -> None:
        """Dispatch an agent without a name to a new room."""
        self._dispatches[room.name] = {}
        self._dispatch(room, agent_dispatch.AgentDispatch(room=room.name))

    def on_forgotten(self, room: ServerRoom) -> None:
        """End the jobs of a room that is gone."""
        for dispatch in self._dispatches.pop(room.name).values():
            self._terminate(dispatch)

    # Workers

    def add(self, worker: AgentWorker) -> None:
        """Add a worker, which gets jobs from now on.

        Raises:
            RefusedError: there are too many.
        """
        if len(self._workers) >= MAX_WORKERS:
            raise RefusedError(429, f"the server has {MAX_WORKERS} workers, which is its limit")
        self._workers[worker] = None

    def remove(self, worker: AgentWorker) -> None:
        """Remove a worker that is gone."""
        del self._workers[worker]
        worker.abandon_all()

    def close(self) -> None:
        """End the connections of all workers."""
        for worker in tuple(self._workers):
            worker.on_close()

    def offer(self, job: Job) -> None:
        """Offer a job to the next worker; if there is none, nobody does it."""
        name = job.message.agent_name
        candidates = [
            worker
            for worker in self._workers
            if worker.registration.agent_name == name
            and worker.registration.type == job.message.type
            and worker.is_available
            and worker not in job.tried
        ]
        if not candidates:
            logger.debug("no worker takes the job %s of agent %r", job.message.id, name)
            return
        chosen = min(candidates, key=lambda worker: (worker.load, len(worker.jobs)))
        chosen.offer(job, self._clock())

    # Dispatches

    def create(
        self, room: ServerRoom, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        """Dispatch an agent to a room.

        Raises:
            ValueError: something is too large.
            RefusedError: the room has too many dispatches.
        """
        check_size(
            "the name of an agent", utf8_length(request.agent_name), self._limits.max_name_bytes
        )
        check_description(request.metadata, request.attributes, self._limits)
        if len(self._dispatches[room.name]) >= MAX_DISPATCHES:
            raise RefusedError(429, f"room {room.name!r} has {MAX_DISPATCHES} dispatches")
        return self._dispatch(
            room,
            agent_dispatch.AgentDispatch(
                agent_name=request.agent_name,
                room=room.name,
                metadata=request.metadata,
                attributes=request.attributes,
            ),
        )

    def list_dispatches(
        self, room: str, dispatch_id: str = ""
    ) -> Iterable[agent_dispatch.AgentDispatch]:
        """Return the dispatches of a room, or the one with an id.

        Raises:
            LookupError: there is no such room.
        """
        found = self._of(room)
        if dispatch_id:
            found = {dispatch_id: found[dispatch_id]} if dispatch_id in found else {}
        return [dispatch.describe() for dispatch in found.values()]

    def delete(self, room: str, dispatch_id: str) -> agent_dispatch.AgentDispatch:
        """Delete a dispatch: its jobs end, and its agents leave.

        Raises:
            LookupError: there is no such room, or no such dispatch.
        """
        dispatches = self._of(room)
        if dispatch_id not in dispatches:
            raise LookupError(f"room {room!r} has no dispatch {dispatch_id[:64]!r}")
        dispatch = dispatches.pop(dispatch_id)
        self._terminate(dispatch)
        for job in dispatch.jobs.values():
            try:
                self._remove_participant(room, job.message.state.participant_identity)
            except LookupError:
                logger.debug("the agent of job %s is not in room %r", job.message.id, room)
        dispatch.message.state.deleted_at = time.time_ns()
        return dispatch.describe()

    def _of(self, room: str) -> dict[str, _Dispatch]:
        if room not in self._dispatches:
            raise LookupError(f"there is no room {room!r}")
        return self._dispatches[room]

    def _dispatch(
        self, room: ServerRoom, message: agent_dispatch.AgentDispatch
    ) -> agent_dispatch.AgentDispatch:
        message.id = make_sid("AD")
        message.state.created_at = time.time_ns()
        dispatch = self._dispatches[room.name][message.id] = _Dispatch(message)
        job = agent.Job(
            id=make_sid("AJ"),
            dispatch_id=message.id,
            type=agent.JobType.JT_ROOM,
            room=room.info(),
            metadata=message.metadata,
            agent_name=message.agent_name,
            attributes=message.attributes,
        )

        def on_assigned(job: Job) -> None:
            dispatch.jobs[job.message.id] = job

        self.offer(Job(job, on_assigned))
        return dispatch.describe()

    def _terminate(self, dispatch: _Dispatch) -> None:
        for job_id in dispatch.jobs:
            for worker in self._workers:
                worker.terminate(job_id)
