// phoenix.js in node, as it comes from npm: its versions, its transports, and what its callbacks say
// made into promises.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { load } from "./packages.js";
import { DEADLINE_MS, hear, within } from "./wait.js";

const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url)));
const { WebSocket } = load("ws");

// What a browser has and 1.5 asks for.
class XMLHttpRequest {
  headers = {};

  open(method, url) {
    Object.assign(this, { method, url });
  }

  setRequestHeader(name, value) {
    this.headers[name] = value;
  }

  async send(body) {
    const { method, url, headers, timeout } = this;
    const signal = timeout ? AbortSignal.timeout(timeout) : undefined;
    try {
      this.responseText = await (await fetch(url, { method, headers, body, signal })).text();
    } catch (error) {
      return error.name === "TimeoutError" ? this.ontimeout?.() : this.onerror();
    }
    this.readyState = 4;
    this.onreadystatechange();
  }
}

const newest = load("phoenix"); // does with fetch() what 1.5 can't
globalThis.self = { XMLHttpRequest }; // where 1.5 looks for it, while it is loaded
const oldest = load("phoenix-1.5");
delete globalThis.self;

// `bytes`: knows binary payloads. `token`: can send an authentication token. `fallback`: goes over to
// long poll by itself. `polls`: does that well, so that no frame overtakes another and its rooms are
// rejoined when its session has gone.
const versions = [
  { ...newest, name: `phoenix.js ${dependencies.phoenix}`, bytes: true, token: true, fallback: true, polls: true },
  { ...oldest, name: `phoenix.js ${dependencies["phoenix-1.5"].replace("npm:phoenix@", "")}` },
];

// The builds of them that make a page's `Phoenix`.
export const forPages = [
  { ...versions[0], file: `${path.dirname(load.resolve("phoenix"))}/phoenix.js` },
  { ...versions[1], file: load.resolve("phoenix-1.5") },
];

export const overWebsocket = versions.map((version) => ({ ...version, transport: WebSocket, websocket: true }));
// messages with bytes come as strings there, which no version of the client can read
export const overLongPoll = versions.map((version) => ({ ...version, transport: version.LongPoll, bytes: false }));

// For good: 1.5 would come back if it was about to, and goes on polling when its session has gone.
export function hangUp(socket) {
  socket.connect = socket.onConnOpen = () => {};
  if (socket.conn) socket.conn.poll = () => {};
  socket.channels.forEach((channel) => channel.joinPush.cancelTimeout());
  socket.disconnect();
}

// A socket that loses no time, disconnected when the test is over.
export function open(t, client, url, { path = "/socket", user, ...options } = {}) {
  const socket = new client.Socket(url.replace("http", "ws") + path, {
    transport: client.transport,
    params: user === undefined ? {} : { user },
    timeout: DEADLINE_MS,
    reconnectAfterMs: () => 10,
    rejoinAfterMs: () => 10,
    ...options,
  });
  t.after(() => hangUp(socket));
  socket.connect();
  return socket;
}

// The status and the response of what is first received; `words` are statuses beside the usual.
export function answer(push, ...words) {
  return within(new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout", ...words])
      push.receive(status, (response) => resolve({ status, response }));
  }));
}

export async function ok(push) {
  const { status, response } = await answer(push);
  assert.equal(status, "ok", JSON.stringify(response));
  return response;
}

// For what has no answer: its timer would only keep the test from ending.
export const tell = (channel, event, payload) => channel.push(event, payload, 30);

export async function join(socket, topic, params) {
  const channel = socket.channel(topic, params);
  await ok(channel.join());
  return channel;
}

// What leave() receives is the client's own word, given at once. This waits for the server's.
export async function leave(channel) {
  const seen = frames(channel.socket);
  const { ref } = channel.leave();
  for (;;) {
    const message = await seen.next();
    if (message.event === "phx_reply" && message.ref === ref)
      return assert.deepEqual(message.payload, { status: "ok", response: {} });
  }
}

export const heard = (channel, event) => hear((on) => channel.on(event, on), `${event} on ${channel.topic}`);
export const closes = (socket) => hear((on) => socket.onClose(on), "the close of a socket");
export const opens = (socket) => hear((on) => socket.onOpen(on), "an open socket");
export const frames = (socket) => hear((on) => socket.onMessage(on), "a message");

// A member whose Presence is followed. until(...wanted) waits until who() is that: each key with the
// `k` of its metas, "ada desk,phone", in the order of the alphabet.
export function appear(client, socket, topic, params) {
  const channel = socket.channel(topic, params);
  const presence = new client.Presence(channel);
  const syncs = hear((on) => presence.onSync(on), `a change of who is in ${topic}`);
  // copies: the client goes on to change what it shows
  const comings = hear((on) => presence.onJoin((key, current) => on(structuredClone({ key, current }))), "a join");
  const goings = hear((on) => presence.onLeave((key, current) => on(structuredClone({ key, current }))), "a leave");
  const who = () => presence.list((key, { metas }) => `${key} ${metas.map(({ k }) => k).sort()}`).sort();
  return {
    channel, presence, comings, goings, who,
    joined: ok(channel.join()),
    async until(...wanted) {
      while (JSON.stringify(who()) !== JSON.stringify(wanted.sort())) {
        await syncs.next().catch((error) => assert.deepEqual(who(), wanted, error.message));
      }
    },
  };
}
