// Participants of LiveKit's SDK for Node.

import * as sdk from '@livekit/rtc-node';

import { serve, write } from './control.mjs';
import { Participant } from './participant.mjs';

const participants = new Map();

await serve(async (command) => {
  const { participant: identity } = command;
  if (command.do === 'join') participants.set(identity, new Participant(sdk, identity, write));
  return await participants.get(identity).obey(command);
});

await Promise.all([...participants.values()].map(({ room }) => room.disconnect()));
await sdk.dispose();
