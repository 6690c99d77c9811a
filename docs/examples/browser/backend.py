"""A backend that takes orders from a page, and has each confirmed there before it cooks."""

import json
import os

import trio

from trio_rpc import AccessToken, Room, RpcInvocationData, VideoGrants

room = Room()


@room.register_rpc_method("order")
async def order(data: RpcInvocationData) -> str:
    dish = json.loads(data.payload)["dish"]
    answer = await room.local_participant.perform_rpc(
        destination_identity=data.caller_identity,
        method="confirm",
        payload=json.dumps({"question": f"Cook {dish} for four?"}),
        response_timeout=30,
    )
    if not json.loads(answer)["confirmed"]:
        return json.dumps({"news": "Nothing was ordered."})
    print(f"Cooking {dish} for {data.caller_identity}", flush=True)
    return json.dumps({"news": f"The {dish} is on the stove."})


async def main() -> None:
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken().with_identity("backend").with_grants(grants).to_jwt()
    async with room.connect(os.environ["LIVEKIT_URL"], token):
        print("Waiting for orders", flush=True)
        await trio.sleep_forever()


trio.run(main)
