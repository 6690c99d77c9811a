// A participant of LiveKit's JavaScript SDKs: the same for Node and for the browser, whose SDKs
// differ in some names.

const METHODS = [
  'echo',
  'describe',
  'size',
  'repeat',
  'fail',
  'crash',
  'hang',
  'number',
  'stream',
];

export class Participant {
  // `sdk` is the SDK's module; `write` takes the messages to the test.
  constructor(sdk, identity, write) {
    this.sdk = sdk;
    this.identity = identity;
    this.write = write;
    this.room = new sdk.Room();
    this.listen();
  }

  event(event, fields) {
    this.write({ participant: this.identity, event, ...fields });
  }

  listen() {
    const { RoomEvent, DisconnectReason, DataPacket_Kind, DataPacketKind } = this.sdk;
    const reliable = DataPacket_Kind?.RELIABLE ?? DataPacketKind.KIND_RELIABLE;
    const on = (event, callback) => this.room.on(event, callback);
    on(RoomEvent.ParticipantConnected, (who) => this.event('sees', { who: who.identity }));
    on(RoomEvent.ParticipantDisconnected, (who) => this.event('lost', { who: who.identity }));
    if (RoomEvent.ParticipantActive) {
      on(RoomEvent.ParticipantActive, (who) => this.event('active', { who: who.identity }));
    }
    on(RoomEvent.Disconnected, (reason) =>
      this.event('disconnected', { reason: DisconnectReason[reason] }),
    );
    // The browser's SDK passes the old metadata, Node's the new.
    on(RoomEvent.ParticipantMetadataChanged, (_, who) =>
      this.event('metadata', { who: who.identity, value: who.metadata }),
    );
    on(RoomEvent.ParticipantNameChanged, (name, who) =>
      this.event('name', { who: who.identity, value: name }),
    );
    on(RoomEvent.ParticipantAttributesChanged, (changed, who) =>
      this.event('attributes', { who: who.identity, value: { ...changed } }),
    );
    on(RoomEvent.DataReceived, (payload, who, kind, topic) =>
      this.event('data', {
        who: who?.identity ?? null,
        payload: new TextDecoder().decode(payload),
        topic: topic ?? '',
        reliable: kind === reliable,
      }),
    );
    this.room.registerTextStreamHandler('text', async (reader, { identity }) =>
      this.event('text', { who: identity, text: await reader.readAll() }),
    );
  }

  // Methods

  async echo({ payload }) {
    return payload;
  }

  async describe({ requestId, callerIdentity, payload, responseTimeout }) {
    return JSON.stringify({
      id: requestId,
      caller: callerIdentity,
      payload,
      response_timeout: responseTimeout / 1000,
    });
  }

  async size({ payload }) {
    return String(new TextEncoder().encode(payload).length);
  }

  async repeat({ payload }) {
    return 'x'.repeat(Number(payload));
  }

  async fail() {
    throw new this.sdk.RpcError(4321, 'out of milk', '{"left": 0}');
  }

  async crash() {
    throw new Error('a secret');
  }

  async hang({ callerIdentity }) {
    this.event('invoked', { who: callerIdentity });
    await new Promise(() => {});
  }

  async number() {
    return 42;
  }

  // Streams besides the answer, right or wrong; without an answer it never ends.
  async stream({ requestId, callerIdentity, payload }) {
    const { streams, answer } = JSON.parse(payload);
    for (const { topic, writes, times, ends } of streams) {
      const writer = await this.room.localParticipant.streamText({
        topic: `trio_rpc.${topic}`,
        attributes: { 'lk.rpc_request_id': requestId },
        destinationIdentities: [callerIdentity],
      });
      for (let time = 0; time < times; time++) {
        for (const text of writes) await writer.write(text);
      }
      if (ends) await writer.close();
    }
    if (answer === null) await new Promise(() => {});
    return answer;
  }

  // Commands

  async do_join({ url, token }) {
    const listening = Boolean(this.room.registerRpcMethod);
    if (listening) this.register(this.room);
    await this.room.connect(url, token);
    // In Node's SDK there is nothing to register with before.
    if (!listening) this.register(this.room.localParticipant);
    for (const identity of this.room.remoteParticipants.keys()) {
      this.event('sees', { who: identity });
    }
  }

  // How many seconds the first call takes, from when the room is joined.
  async do_join_and_call({ url, token, to }) {
    await this.do_join({ url, token });
    const joined = performance.now();
    await this.do_call({ to, method: 'echo', payload: '', response_timeout: 20 });
    return (performance.now() - joined) / 1000;
  }

  register(registry) {
    for (const method of METHODS) {
      registry.registerRpcMethod(method, (data) => this[method](data));
    }
  }

  async do_leave() {
    await this.room.disconnect();
  }

  async do_call({ to, method, payload, response_timeout }) {
    return await this.room.localParticipant.performRpc({
      destinationIdentity: to,
      method,
      payload,
      responseTimeout: response_timeout * 1000,
    });
  }

  async do_publish({ payload, to, reliable, topic }) {
    await this.room.localParticipant.publishData(new TextEncoder().encode(payload), {
      reliable,
      topic,
      destinationIdentities: [to], // in the browser
      destination_identities: [to], // in Node
    });
  }

  async do_send_text({ text, to }) {
    await this.room.localParticipant.sendText(text, {
      topic: 'text',
      destinationIdentities: [to],
    });
  }

  async do_set_metadata({ metadata }) {
    const me = this.room.localParticipant;
    await (me.setMetadata ?? me.updateMetadata).call(me, metadata);
  }

  async do_set_name({ name }) {
    const me = this.room.localParticipant;
    await (me.setName ?? me.updateName).call(me, name);
  }

  async do_set_attributes({ attributes }) {
    await this.room.localParticipant.setAttributes(attributes);
  }

  async do_reconnect_fully() {
    await this.room.simulateScenario('full-reconnect');
  }

  async do_participants() {
    return Object.fromEntries(
      [...this.room.remoteParticipants].map(([identity, { name, metadata, attributes }]) => [
        identity,
        { name: name ?? '', metadata: metadata ?? '', attributes: { ...attributes } },
      ]),
    );
  }

  // What a command comes to, as the answer to it.
  async obey(command) {
    try {
      return { result: (await this[`do_${command.do}`](command)) ?? null };
    } catch (error) {
      if (!(error instanceof this.sdk.RpcError)) return { failure: String(error) };
      const { code, message, data } = error;
      return { error: { code, message, data: data || null } };
    }
  }
}
