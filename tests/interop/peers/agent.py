"""An agent of LiveKit Agents without a model, whose tools are called by the test.

    python agent.py dev

It is run by a Python of its own, which has livekit-agents and not this library.
"""

# livekit-agents is not installed where types are checked.
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import json
from typing import Any

from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    WorkerOptions,
    cli,
    function_tool,
    get_job_context,
)

NAME = "helper"


class Helper(Agent):
    """An agent that asks the participant whom it was sent to."""

    def __init__(self, participant: str) -> None:
        super().__init__(instructions="none: there is no model")
        self.participant = participant

    @function_tool
    async def locate(self, question: str) -> str:
        """Return where the participant is."""
        return await self.call("locate", question)

    async def call(self, method: str, payload: str) -> str:
        room = get_job_context().room
        return await room.local_participant.perform_rpc(
            destination_identity=self.participant, method=method, payload=payload
        )


async def entrypoint(context: JobContext) -> None:
    await context.connect()
    helper = Helper(context.job.metadata)
    session: AgentSession[None] = AgentSession()
    await session.start(helper, room=context.room)

    @context.room.local_participant.register_rpc_method("call_tool")
    async def call_tool(data: Any) -> str:
        request = json.loads(data.payload)
        [tool] = [each for each in helper.tools if each.info.name == request["name"]]
        return str(await tool(**request["arguments"]))

    await helper.call("ready", "")


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint, agent_name=NAME))
