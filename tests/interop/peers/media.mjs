// A participant of LiveKit's SDK for browsers that plays and hears tones, and shows and sees colours.

import { Participant } from '/participant.mjs';

const WIDTH = 320;
const HEIGHT = 240;
// Milliseconds that are skipped of what comes in.
const SKIPPED = 1500;
// The largest window of an analyser: two thirds of a second.
const SAMPLES = 32768;
// Decibels.
const SILENT = -60;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class MediaParticipant extends Participant {
  listen() {
    super.listen();
    const { RoomEvent } = this.sdk;
    this.tracks = new Map();
    // What ends the source of each track of ours, by that.
    this.ends = new Map();
    this.room.on(RoomEvent.TrackSubscribed, (track, { trackName }, { identity }) => {
      this.tracks.set(identity, track);
      this.event('subscribed', { who: identity, name: trackName });
    });
    this.room.on(RoomEvent.TrackUnpublished, ({ trackName }, { identity }) =>
      this.event('unpublished', { who: identity, name: trackName }),
    );
  }

  async publish(stream, options, end) {
    const [track] = stream.getTracks();
    const publication = await this.room.localParticipant.publishTrack(track, options);
    this.ends.set(track, end);
    return publication.trackSid;
  }

  async do_play({ name, hertz }) {
    const sound = new AudioContext();
    const oscillator = new OscillatorNode(sound, { frequency: hertz });
    const { stream } = oscillator.connect(sound.createMediaStreamDestination());
    oscillator.start();
    const options = { name, source: this.sdk.Track.Source.Microphone };
    return await this.publish(stream, options, () => sound.close());
  }

  async do_show({ name, colour }) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [WIDTH, HEIGHT];
    const context = canvas.getContext('2d');
    context.fillStyle = `rgb(${colour})`;
    const paint = () => context.fillRect(0, 0, WIDTH, HEIGHT);
    paint();
    // Nothing is sent of a picture that is not painted again.
    const painting = setInterval(paint, 100);
    const options = { name, source: this.sdk.Track.Source.Camera, simulcast: false };
    return await this.publish(canvas.captureStream(), options, () => clearInterval(painting));
  }

  async do_unpublish({ sid }) {
    const me = this.room.localParticipant;
    const { track } = [...me.trackPublications.values()].find((each) => each.trackSid === sid);
    await me.unpublishTrack(track);
    await this.ends.get(track.mediaStreamTrack)();
    this.ends.delete(track.mediaStreamTrack);
  }

  // The frequency of somebody's tone; 0 for silence.
  async do_hear({ who }) {
    const track = this.tracks.get(who);
    // Without an element that plays it, nothing is decoded.
    const element = track.attach();
    element.muted = true;
    const sound = new AudioContext();
    const source = sound.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
    const options = { fftSize: SAMPLES, smoothingTimeConstant: 0 };
    const analyser = source.connect(new AnalyserNode(sound, options));
    await pause(SKIPPED);
    // By their loudness, since what is late leaves gaps.
    const frequencies = new Float32Array(SAMPLES / 2);
    analyser.getFloatFrequencyData(frequencies);
    await sound.close();
    track.detach(element);
    const loudest = frequencies.indexOf(Math.max(...frequencies));
    return frequencies[loudest] > SILENT ? (loudest * sound.sampleRate) / SAMPLES : 0;
  }

  // The colour in the middle of somebody's picture.
  async do_see({ who }) {
    const track = this.tracks.get(who);
    const element = track.attach();
    await pause(SKIPPED);
    const context = new OffscreenCanvas(WIDTH, HEIGHT).getContext('2d');
    context.drawImage(element, 0, 0, WIDTH, HEIGHT);
    track.detach(element);
    const { data } = context.getImageData(WIDTH / 2, HEIGHT / 2, 1, 1);
    return [...data.slice(0, 3)];
  }
}
