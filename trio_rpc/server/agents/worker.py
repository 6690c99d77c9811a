"""One worker of LiveKit Agents: its registration, and the jobs that it was offered and has."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from attrs import define, field
from livekit.protocol import agent, models

from ...links import Channel, Frame, LinkClosedError, LinkFullError
from ...links.framed import FramedLink
from ...protocol.logs import peer_logger
from ...tokens import AccessToken, VideoGrants
from ..rooms.member import make_sid

logger = peer_logger(__name__)

#: Seconds in which a worker has to answer an offer, as on LiveKit's server.
OFFER_TIMEOUT: Final = 10.0
#: The time in which an agent may join, as on LiveKit's server.
_TOKEN_LIFETIME: Final = timedelta(hours=1)
#: The attribute by which LiveKit's clients recognise an agent.
_AGENT_NAME: Final = "lk.agent_name"
_ALL_PERMISSIONS: Final = models.ParticipantPermission(
    can_subscribe=True, can_publish=True, can_publish_data=True, can_update_metadata=True
)
_ENDED: Final = (
    agent.JobStatus.JS_SUCCESS,
    agent.JobStatus.JS_FAILED,
    agent.JobStatus.JS_CANCELLED,
)


@define(eq=False)
class Job:
    """A job of a dispatch, from being offered to its end.

    Attributes:
        message: Its description for workers and administrators.
        tried: The workers that it was offered to.
        on_assigned: Called when a worker has taken it.
    """

    message: agent.Job
    on_assigned: Callable[[Job], None]
    tried: set[AgentWorker] = field(factory=set["AgentWorker"])

    def set_status(self, status: agent.JobStatus, error: str = "") -> None:
        """Record the progress of the job."""
        state = self.message.state
        state.status, state.error, state.updated_at = status, error, time.time_ns()
        if status in _ENDED:
            state.ended_at = state.updated_at


@define(eq=False)
class AgentWorker:
    """A worker that has registered.

    Args:
        link: The way to it.
        registration: Its request to register.
        api_key: The API key of its token.
        secret: The secret that its token is signed with.
        offer_elsewhere: Offers a job to another worker.

    Attributes:
        sid: Its id.
        load: Its load, from 0 to 1, as it says.
        is_available: Whether it takes jobs, as it says.
        jobs: The jobs that it has, by id.
        on_close: Ends its connection.
    """

    _link: FramedLink
    registration: agent.RegisterWorkerRequest
    _api_key: str
    _secret: str = field(repr=False)
    _offer_elsewhere: Callable[[Job], None]
    sid: str = field(init=False, factory=lambda: make_sid("AW"))
    load: float = field(init=False, default=0.0)
    is_available: bool = field(init=False, default=True)
    jobs: dict[str, Job] = field(init=False, factory=dict[str, Job])
    on_close: Callable[[], None] = field(init=False, default=lambda: None)
    # The jobs that it was offered, with the time by which it has to answer
    _offers: dict[str, tuple[Job, float]] = field(init=False, factory=dict[str, tuple[Job, float]])

    def send(self, message: agent.ServerMessage) -> None:
        """Queue a message; a worker that does not read gets no more."""
        with suppress(LinkClosedError, LinkFullError):
            self._link.send_nowait(Frame(Channel.SIGNAL, message.SerializeToString()))

    # Jobs

    def offer(self, job: Job, now: float) -> None:
        """Ask the worker whether it takes a job."""
        job.tried.add(self)
        job.message.state.worker_id = self.sid
        self._offers[job.message.id] = job, now + OFFER_TIMEOUT
        self.send(agent.ServerMessage(availability=agent.AvailabilityRequest(job=job.message)))

    def expire_offers(self, now: float) -> None:
        """Offer elsewhere what the worker has not answered."""
        late = [job for job, deadline in self._offers.values() if deadline <= now]
        for job in late:
            del self._offers[job.message.id]
            self._offer_elsewhere(job)

    def terminate(self, job_id: str) -> None:
        """Ask the worker to end a job."""
        if (job := self.jobs.pop(job_id, None)) is not None:
            job.set_status(agent.JobStatus.JS_SUCCESS)
            self.send(agent.ServerMessage(termination=agent.JobTermination(job_id=job_id)))

    def abandon_all(self) -> None:
        """Give up on a worker that is gone: its offers go elsewhere, and its jobs have failed."""
        offers, self._offers = self._offers, {}
        jobs, self.jobs = self.jobs, {}
        for job, _ in offers.values():
            self._offer_elsewhere(job)
        for job in jobs.values():
            job.set_status(agent.JobStatus.JS_FAILED, "the worker is gone")

    # From the worker

    def handle(self, message: agent.WorkerMessage) -> None:
        """Handle a message after the registration."""
        match message.WhichOneof("message"):
            case "availability":
                self._on_availability(message.availability)
            case "update_worker":
                self.load = message.update_worker.load
                self.is_available = (
                    message.update_worker.status == agent.WorkerStatus.WS_AVAILABLE
                    and not message.update_worker.draining
                )
            case "update_job":
                self._on_update(message.update_job)
            case "ping":
                timestamp = message.ping.timestamp
                pong = agent.WorkerPong(
                    last_timestamp=timestamp, timestamp=time.time_ns() // 1_000_000
                )
                self.send(agent.ServerMessage(pong=pong))
            case kind:
                logger.debug("ignored a message of kind %s of worker %s", kind, self.sid)

    def _on_availability(self, response: agent.AvailabilityResponse) -> None:
        job, _ = self._offers.pop(response.job_id, (None, 0.0))
        if job is None:
            logger.debug("worker %s answered an offer that it does not have", self.sid)
        elif response.terminate:
            job.set_status(agent.JobStatus.JS_SUCCESS)
        elif not response.available:
            self._offer_elsewhere(job)
        else:
            self._assign(job, response)

    def _assign(self, job: Job, response: agent.AvailabilityResponse) -> None:
        identity = response.participant_identity or f"agent-{job.message.id}"
        try:
            token = self._token(job, identity, response)
        except ValueError as error:
            logger.info("worker %s describes an agent that can't join: %s", self.sid, error)
            self._offer_elsewhere(job)
            return
        job.message.state.participant_identity = identity
        job.message.state.started_at = time.time_ns()
        job.set_status(agent.JobStatus.JS_RUNNING)
        self.jobs[job.message.id] = job
        job.on_assigned(job)
        assignment = agent.JobAssignment(job=job.message, token=token)
        self.send(agent.ServerMessage(assignment=assignment))

    def _token(self, job: Job, identity: str, response: agent.AvailabilityResponse) -> str:
        """Return the token with which the agent joins; raise `ValueError` if none would do."""
        allowed = _ALL_PERMISSIONS
        if self.registration.HasField("allowed_permissions"):
            allowed = self.registration.allowed_permissions
        grants = VideoGrants(
            room_join=True,
            room=job.message.room.name,
            agent=True,
            can_publish=allowed.can_publish,
            can_subscribe=allowed.can_subscribe,
            can_publish_data=allowed.can_publish_data,
            can_update_own_metadata=allowed.can_update_metadata,
            hidden=allowed.hidden,
        )
        attributes = {
            **response.participant_attributes,
            _AGENT_NAME: self.registration.agent_name,
        }
        return (
            AccessToken(self._api_key, self._secret)
            .with_identity(identity)
            .with_name(response.participant_name)
            .with_metadata(response.participant_metadata)
            .with_attributes(attributes)
            .with_kind("agent")
            .with_grants(grants)
            .with_ttl(_TOKEN_LIFETIME)
            .to_jwt()
        )

    def _on_update(self, update: agent.UpdateJobStatus) -> None:
        if (job := self.jobs.get(update.job_id)) is None:
            return
        job.set_status(update.status, update.error)
        if update.status in _ENDED:
            del self.jobs[update.job_id]
