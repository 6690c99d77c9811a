"""The WebSocket of a worker of LiveKit Agents."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import agent, models

from ... import concurrency
from ...concurrency import Backend
from ...errors import RefusedError
from ...links import LinkClosedError, MessageStream, open_framed_link
from ...links.framed import FramedLink
from ...protocol.logs import peer_logger
from ...tokens import Claims
from ...webrtc.signal_stream import SignalStream
from ..admission import Admission
from .dispatcher import AgentDispatcher
from .worker import AgentWorker

logger = peer_logger(__name__)

#: Seconds in which a worker has to register, as on LiveKit's server.
_REGISTER_TIMEOUT: Final = 10.0
#: Seconds between the looks for offers that a worker has not answered.
_LOOK_INTERVAL: Final = 1.0
#: The version of the protocol of workers.
_AGENT_PROTOCOL: Final = 1


async def serve_worker(
    admission: Admission,
    dispatcher: AgentDispatcher,
    websocket: MessageStream,
    claims: Claims,
    secret: str,
) -> None:
    """Serve a worker from its registration until its WebSocket ends.

    Args:
        claims: The claims of its token.
        secret: The secret that its token is signed with, and the tokens of its agents will be.
    """
    backend = concurrency.current()
    stream = SignalStream(websocket)
    limit = admission.limits.max_queue_bytes
    async with open_framed_link(stream, max_queue_bytes=limit) as link:
        try:
            registration = await _registration(backend, link)
            worker = AgentWorker(link, registration, claims.api_key, secret, dispatcher.offer)
            dispatcher.add(worker)
        except (RefusedError, LinkClosedError, DecodeError) as error:
            logger.info("a worker of agents did not register: %s", error)
            await link.aclose(getattr(error, "reason", "it did not register"))
            return
        server_info = models.ServerInfo(agent_protocol=_AGENT_PROTOCOL)
        server_info.MergeFrom(admission.server_info())
        response = agent.RegisterWorkerResponse(worker_id=worker.sid, server_info=server_info)
        worker.send(agent.ServerMessage(register=response))
        logger.info("worker %s of agent %r registered", worker.sid, registration.agent_name)
        why = ""
        try:
            why = await _serve(backend, link, worker)
        finally:
            dispatcher.remove(worker)
            logger.info("worker %s is gone: %s", worker.sid, why)
            await link.aclose(why)


async def _registration(backend: Backend, link: FramedLink) -> agent.RegisterWorkerRequest:
    with backend.move_on_after(_REGISTER_TIMEOUT):
        for frame in await link.receive():
            message = agent.WorkerMessage.FromString(frame.body)
            if message.HasField("register"):
                return message.register
        raise RefusedError(400, "its first message was not its registration")
    raise RefusedError(408, f"it did not register within {_REGISTER_TIMEOUT:g} s")


async def _serve(backend: Backend, link: FramedLink, worker: AgentWorker) -> str:
    """Handle the messages of a worker; return the reason of its end."""
    why = "the server shuts down"

    async def expire_offers() -> None:
        while True:
            await backend.sleep(_LOOK_INTERVAL)
            worker.expire_offers(backend.current_time())

    with backend.cancel_scope() as scope:
        worker.on_close = scope.cancel
        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(expire_offers)
            try:
                while True:
                    for frame in await link.receive():
                        worker.handle(agent.WorkerMessage.FromString(frame.body))
            except LinkClosedError as error:
                why = str(error)
            except DecodeError:
                why = "it sent a message that is no WorkerMessage"
    return why
