// phoenix.js from npm, unmodified, in node: its newest and its oldest version, over websocket and
// over long poll, against test/phoenix_app.c with one worker and with two.
//
//     SOCKETHUB_APPS=build/release/test node test/browser/phoenix_node.mjs
//
// The cases of a group run at the same time: each has rooms and users of its own, and a server of its
// own if it is to be stopped. That something does not come is known when something later has come.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { answer, appear, closes, frames, hangUp, heard, join, leave, ok, open, opens, overLongPoll, overWebsocket, tell } from "./phoenix_client.js";
import { startProxy } from "./proxy.js";
import { PHOENIX_APP, startServer } from "./server.js";
import { DEADLINE_MS } from "./wait.js";

const bytes = (...values) => Uint8Array.from(values).buffer;
const start = (threads, port) => startServer(PHOENIX_APP, { port, options: ["--threads", threads] });

async function control(server, what) {
  const { status } = await fetch(`${server.url}/ctl/${what}`, { method: "POST" });
  assert.equal(status, 200);
}

const unable = ({ websocket, polls }) => !websocket && !polls && "its posts may overtake one another, and a session's end is not noticed";

let names = 0;
const unique = (kind) => `${kind}${++names}`;
const room = () => unique("room:");

function group(client, threads, cases) {
  const transport = client.websocket ? "websocket" : "long poll";
  describe(`${client.name} over ${transport}`, { concurrency: true }, () => {
    let server;
    before(async () => { server = await start(threads); });
    after(() => server.stop());
    cases({
      client, threads,
      get server() { return server; },
      connect: (t, options) => open(t, client, server.url, options),
    });
  });
}

function connecting(on) {
  const { client, connect } = on;

  test("the parameters of the socket and of the join arrive", async (t) => {
    const user = "Zoë & Bo/+ 100%?";
    const socket = connect(t, { user });
    const payload = { list: [1, 2.5, null, true], text: "\u0000 \" \\ ü 🙂", nested: { empty: {} } };
    assert.deepEqual(await ok(socket.channel("room:reply", payload).join()), { echo: payload, user });
    const nobody = connect(t);
    assert.deepEqual(await ok(nobody.channel("room:reply").join()), { echo: {}, user: null });
  });

  test("a refused connection is tried again until it is let in, with parameters of the day", async (t) => {
    const refusals = [{ deny: "plain" }, { deny: "reason" }];
    const socket = connect(t, { params: () => refusals.shift() ?? { user: "in" } });
    assert.deepEqual(await ok(socket.channel("room:reply").join()), { echo: {}, user: "in" });
    assert.equal(refusals.length, 0);
  });

  test("what was pushed before there was a connection is answered when there is one", async (t) => {
    const socket = connect(t);
    const channel = socket.channel(room());
    const joined = channel.join();
    const pushed = channel.push("echo", { early: true });
    assert.deepEqual(await ok(joined), {});
    assert.deepEqual(await ok(pushed), { early: true });
  });

  test("a socket that is disconnected stays so", async (t) => {
    const socket = connect(t);
    const channel = await join(socket, room());
    const closed = closes(socket);
    await new Promise((resolve) => socket.disconnect(resolve, 4000, "enough"));
    assert.equal(socket.connectionState(), "closed");
    if (client.websocket) assert.equal((await closed.next()).code, 4000);
    socket.connect(); // by hand, then
    assert.deepEqual(await ok(channel.push("echo", { again: 1 })), { again: 1 });
  });

  test("who is told to disconnect comes back and rejoins, and nobody else notices", { skip: unable(client) }, async (t) => {
    const user = unique("user");
    const [one, two, other] = [connect(t, { user }), connect(t, { user }), connect(t, { user: `${user}x` })];
    const topic = room();
    const channels = await Promise.all([one, two, other].map((socket) => join(socket, topic)));
    const closed = [one, two, other].map(closes);
    const errors = channels.map((channel) => {
      const all = [];
      channel.onError((error) => all.push(error));
      return all;
    });
    await control(on.server, `disconnect?user=${user}`);
    for (const event of await Promise.all([closed[0].next(), closed[1].next()]))
      if (client.websocket) assert.equal(event.code, 1001);
    for (const channel of channels) assert.deepEqual(await ok(channel.push("echo", { back: 1 })), { back: 1 });
    assert.equal(closed[2].all.length, 0);
    assert.deepEqual(errors.map((all) => all.length), [1, 1, 0]);
  });

  test("a server that is stopped and started again finds its clients back in their rooms", async (t) => {
    const own = await start(on.threads);
    t.after(() => own.kill());
    const sockets = ["a", "b", "c"].map((user) => open(t, client, own.url, { user }));
    const topic = room();
    const channels = await Promise.all(sockets.map((socket) => join(socket, topic)));
    const closed = sockets.map(closes);
    const news = channels.map((channel) => heard(channel, "new_msg"));
    await own.stop();
    const codes = (await Promise.all(closed.map((close) => close.next()))).map((event) => event?.code);
    if (client.websocket) assert.deepEqual(codes, [1012, 1012, 1012]);
    const kept = channels[0].push("echo", { kept: "while away" });
    const again = await start(on.threads, own.port);
    t.after(() => again.stop());
    assert.deepEqual(await ok(kept), { kept: "while away" });
    for (const channel of channels) assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
    await ok(channels[2].push("new_msg_reply", { from: "c" }));
    for (const each of news) assert.deepEqual(await each.next(), { from: "c" });
    assert.ok(news.every(({ all }) => all.length === 1), "a member too many");
  });

  test("a server that dies without a word is found again", async (t) => {
    const own = await start(on.threads);
    const socket = open(t, client, own.url);
    const channel = await join(socket, room());
    const closed = closes(socket);
    await own.kill();
    const event = await closed.next();
    if (client.websocket) assert.equal(event.code, 1006);
    const again = await start(on.threads, own.port);
    t.after(() => again.stop());
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
  });
}

function joining({ client, connect }) {
  test("a refused join gives the reason, and the connection goes on", async (t) => {
    const socket = connect(t, { rejoinAfterMs: () => DEADLINE_MS });
    const refusals = {
      "room:secret": "unauthorized",
      "room:crashjoin": "join crashed",
      "room:badreturn": "join crashed",
      "room:pushinjoin": "join crashed",
      "nowhere": "unmatched topic",
      "exactly": "unmatched topic",
      "room": "unmatched topic",
    };
    for (const [topic, reason] of Object.entries(refusals)) {
      const channel = socket.channel(topic);
      assert.deepEqual(await answer(channel.join()), { status: "error", response: { reason } }, topic);
      assert.equal(channel.state, "errored");
      await leave(channel);
    }
    await Promise.all(["exact", "room:", "room:ü🙂"].map((topic) => join(socket, topic)));
    assert.equal(socket.isConnected(), true);
  });

  test("a refused join is tried again, with parameters of the day", async (t) => {
    const socket = connect(t);
    let tries = 0;
    const channel = socket.channel("room:secret", () => ({ tries: ++tries }));
    const refused = channel.join();
    const reasons = [];
    await new Promise((resolve) => refused.receive("error", ({ reason }) => reasons.push(reason) === 3 && resolve()));
    assert.deepEqual(reasons, Array(3).fill("unauthorized"));
    assert.equal(tries, 3);
    channel.leave();
  });

  test("what the server pushes after a join comes after its reply", async (t) => {
    const channel = connect(t, { user: "ada" }).channel("room:after");
    const order = [];
    const pushed = heard(channel, "after_join");
    channel.on("after_join", () => order.push("push"));
    await ok(channel.join().receive("ok", () => order.push("reply")));
    assert.deepEqual(await pushed.next(), { user: "ada" });
    assert.deepEqual(order, ["reply", "push"]);
  });

  test("who has left hears nothing more and may come again", async (t) => {
    const topic = room();
    const socket = connect(t);
    const channel = await join(socket, topic);
    const other = await join(connect(t), topic);
    const news = heard(channel, "new_msg");
    const closed = heard(channel, "phx_close");
    await leave(channel);
    await closed.next();
    assert.equal(channel.state, "closed");
    await ok(other.push("new_msg_reply", {}));
    const again = await join(socket, topic);
    const later = heard(again, "new_msg");
    await ok(other.push("new_msg_reply", { n: 2 }));
    assert.deepEqual(await later.next(), { n: 2 });
    assert.deepEqual([news.all, later.all.length], [[], 1]);
  });

  test("a topic left before its join was answered can be joined at once", { skip: unable(client) }, async (t) => {
    const topic = room();
    const socket = connect(t);
    await join(socket, room());
    const hasty = socket.channel(topic);
    hasty.join();
    hasty.leave();
    const channel = await join(socket, topic);
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
    assert.equal(hasty.state, "closed");
  });

  test("a second channel of a topic on one socket takes the place of the first", { skip: unable(client) }, async (t) => {
    const topic = room();
    const socket = connect(t);
    const first = await join(socket, topic);
    const closed = heard(first, "phx_close");
    const second = await join(socket, topic);
    await closed.next();
    assert.equal(first.state, "closed");
    const news = heard(second, "new_msg");
    await ok(second.push("new_msg_reply", { once: true }));
    assert.deepEqual(await news.next(), { once: true });
    assert.deepEqual(await ok(second.push("echo", {})), {});
    assert.deepEqual([news.all.length, second.state], [1, "joined"]);
  });

  test("a channel learns of its end when its topic is joined anew behind its back", async (t) => {
    const topic = room();
    const socket = connect(t);
    const channel = await join(socket, topic);
    const closed = heard(channel, "phx_close");
    const seen = frames(socket);
    const joinRef = channel.joinRef();
    socket.push({ topic, event: "phx_join", payload: {}, ref: "900", join_ref: "900" });
    await closed.next();
    assert.equal(channel.state, "closed");
    const [reply, close] = [await seen.next(), await seen.next()];
    assert.deepEqual([reply.event, reply.ref, reply.join_ref], ["phx_reply", "900", "900"]);
    assert.deepEqual([close.event, close.join_ref], ["phx_close", joinRef]);
  });

  test("the hundred-and-first topic is refused until one is left", async (t) => {
    const socket = connect(t, { rejoinAfterMs: () => DEADLINE_MS });
    const channels = await Promise.all(Array.from({ length: 100 }, () => join(socket, room())));
    const extra = socket.channel(room());
    assert.deepEqual(await answer(extra.join()), { status: "error", response: { reason: "too many channels joined" } });
    await Promise.all([extra, channels[50]].map(leave));
    await join(socket, room());
    assert.deepEqual(await ok(channels[99].push("echo", { n: 99 })), { n: 99 });
  });
}

function pushing({ client, connect }) {
  test("a push is answered by ok, by error, or by a word of the application's", async (t) => {
    const channel = await join(connect(t), room());
    const answers = {
      echo: { status: "ok", response: { n: 1 } },
      err: { status: "error", response: { reason: "bad" } },
      okonly: { status: "ok", response: {} },
      erronly: { status: "error", response: {} },
      scalar: { status: "ok", response: "scalar" },
      listreply: { status: "ok", response: [1, 2] },
      custom: { status: "whatever", response: { a: 1 } },
    };
    for (const [event, wanted] of Object.entries(answers))
      assert.deepEqual(await answer(channel.push(event, { n: 1 }), "whatever"), wanted, event);
  });

  test("answers find their pushes, however many are on the way", async (t) => {
    const socket = connect(t);
    const channels = await Promise.all([room(), room(), room()].map((topic) => join(socket, topic)));
    const numbers = Array.from({ length: 150 }, (_, n) => n);
    const answers = await Promise.all(numbers.map((n) => ok(channels[n % 3].push("echo", { n }))));
    assert.deepEqual(answers.map(({ n }) => n), numbers);
  });

  test("a push without an answer times out, and an answer after that is nobody's", async (t) => {
    const channel = await join(connect(t), room());
    assert.equal((await answer(channel.push("noreply", {}, 30))).status, "timeout");
    const late = channel.push("async", {}, 1);
    const answers = [];
    for (const status of ["ok", "error", "timeout"]) late.receive(status, () => answers.push(status));
    assert.deepEqual(await ok(channel.push("async", {})), { late: true });
    assert.deepEqual(answers, ["timeout"]);
    assert.equal(channel.state, "joined");
  });

  test("a reply made later comes later and holds up nothing", async (t) => {
    const channel = await join(connect(t), room());
    const order = [];
    await Promise.all([
      ok(channel.push("async", {}).receive("ok", ({ late }) => order.push(late))),
      ok(channel.push("echo", {}).receive("ok", () => order.push("echo"))),
    ]);
    // where posts may overtake one another, both are answered, and that is all
    assert.deepEqual(unable(client) ? order.sort() : order, unable(client) ? [true, "echo"].sort() : ["echo", true]);
  });

  test("a slow event delays its own channel alone", { skip: unable(client) }, async (t) => {
    const socket = connect(t);
    const [slow, quick] = [await join(socket, room()), await join(socket, room())];
    const order = [];
    await Promise.all([
      ok(slow.push("slow", { ms: 300 }).receive("ok", ({ slept }) => order.push(slept))),
      ok(slow.push("echo", {}).receive("ok", () => order.push("behind it"))),
      ok(quick.push("echo", {}).receive("ok", () => order.push("beside it"))),
    ]);
    assert.deepEqual(order, ["beside it", 300, "behind it"]);
  });

  test("a push, a broadcast and a reply come in the order they were made", async (t) => {
    const channel = await join(connect(t), room());
    const order = [];
    for (const event of ["pushed", "bcast"]) channel.on(event, ({ n }) => order.push(`${event} ${n}`));
    await ok(channel.push("pushthenreply", { n: 1 }).receive("ok", () => order.push("reply")));
    assert.deepEqual(order, ["pushed 1", "bcast 1", "reply"]);
  });

  for (const event of ["crash", "kill", "stopbad", "no such event"]) {
    test(`a channel whose member ends by "${event}" rejoins by itself, and its pushes work`, async (t) => {
      const user = unique("user");
      const socket = connect(t, { user });
      const neighbour = await join(socket, room());
      const troubled = heard(neighbour, "phx_error");
      let joins = 0;
      const channel = socket.channel("room:reply", () => ({ joins: ++joins }));
      const echoes = [];
      await ok(channel.join().receive("ok", ({ echo }) => echoes.push(echo.joins)));
      const errors = heard(channel, "phx_error");
      tell(channel, event, {});
      await errors.next();
      assert.equal(channel.state, "errored");
      assert.deepEqual(await ok(channel.push("echo", { again: true })), { again: true });
      assert.deepEqual(await ok(neighbour.push("echo", { n: 1 })), { n: 1 });
      assert.deepEqual([echoes, errors.all.length, troubled.all], [[1, 2], 1, []]);
    });
  }

  for (const event of ["stop", "stopshutdown", "stopreply"]) {
    test(`a channel whose member ends by "${event}" is closed for good`, async (t) => {
      let rejoins = 0;
      const socket = connect(t, { rejoinAfterMs: () => ++rejoins });
      const topic = room();
      const channel = await join(socket, topic);
      const closed = heard(channel, "phx_close");
      const replied = [];
      const push = event === "stopreply" ? channel.push(event, {}) : tell(channel, event, {});
      push.receive("ok", (response) => replied.push(response));
      await closed.next();
      assert.deepEqual(replied, event === "stopreply" ? [{ bye: true }] : []);
      assert.equal(channel.state, "closed");
      const next = await join(socket, topic);
      assert.deepEqual(await ok(next.push("echo", { n: 1 })), { n: 1 });
      assert.deepEqual([rejoins, channel.state, closed.all.length], [0, "closed", 1]);
    });
  }
}

function spreading(on) {
  const { client, connect } = on;

  test("a broadcast reaches everybody, broadcast_from all but the sender, in order", { skip: unable(client) }, async (t) => {
    const topic = room();
    const channels = await Promise.all(Array.from({ length: 8 }, () => join(connect(t), topic)));
    const elsewhere = heard(await join(connect(t), room()), "new_msg");
    const all = channels.map((channel) => heard(channel, "new_msg"));
    const others = channels.map((channel) => heard(channel, "new_msg_from"));
    for (let n = 0; n < 10; n++) {
      tell(channels[0], "new_msg", { n });
      tell(channels[0], "new_msg_from", { n });
    }
    // a broadcast of each, after it its reply: then all that was sent to that one has come
    for (const each of [...all, ...others.slice(1)])
      for (let n = 0; n < 10; n++) assert.deepEqual(await each.next(), { n });
    await Promise.all(channels.map((channel) => ok(channel.push("echo", {}))));
    assert.ok(all.every((each) => each.all.length === 10));
    assert.deepEqual([others[0].all, elsewhere.all], [[], []]);
  });

  test("an intercepted broadcast is made anew for each member", async (t) => {
    const topic = room();
    const users = ["a", "b", "c"];
    const channels = await Promise.all(users.map((user) => join(connect(t, { user }), topic)));
    const shouts = channels.map((channel) => heard(channel, "shout"));
    tell(channels[0], "shout", { text: "hi" });
    const got = await Promise.all(shouts.map((each) => each.next()));
    assert.deepEqual(got, users.map((user) => ({ text: "hi", intercepted_by: user })));
  });

  test("a broadcast from outside any channel reaches the members", async (t) => {
    const topic = room();
    const channels = await Promise.all(Array.from({ length: 4 }, () => join(connect(t), topic)));
    const news = channels.map((channel) => heard(channel, "news"));
    await control(on.server, `broadcast?topic=${topic}&event=news&data=${encodeURIComponent("a \"b\" ü")}`);
    for (const each of news) assert.deepEqual(await each.next(), { data: "a \"b\" ü" });
  });

  test("a push to one is heard by nobody else", async (t) => {
    const topic = room();
    const [one, other] = [await join(connect(t), topic), await join(connect(t), topic)];
    const [mine, theirs] = [heard(one, "pushed"), heard(other, "pushed")];
    tell(one, "pushback", { n: 1 });
    assert.deepEqual(await mine.next(), { n: 1 });
    await ok(one.push("new_msg_reply", {}));
    await ok(other.push("echo", {}));
    assert.deepEqual(theirs.all, []);
  });
}

function websocketsOnly({ client, connect }) {
  test("heartbeats are answered and keep a connection that says nothing else", async (t) => {
    const socket = connect(t, { path: "/short", heartbeatIntervalMs: 450 }); // closes who is silent for 2 s
    const closed = closes(socket);
    const channel = await join(socket, room());
    const seen = frames(socket);
    for (let beat = 1; beat <= 6; beat++) {
      const { topic, event, payload, join_ref: joinRef } = await seen.next();
      assert.deepEqual([topic, event, payload], ["phoenix", "phx_reply", { status: "ok", response: {} }]);
      assert.equal(joinRef, null);
    }
    assert.deepEqual([closed.all, channel.state], [[], "joined"]);
  });

  test("who is silent for too long is closed, and comes back", async (t) => {
    const socket = connect(t, { path: "/short" });
    const [closed, opened] = [closes(socket), opens(socket)];
    const channel = await join(socket, room());
    const { code } = await closed.next();
    assert.ok([1001, 1002].includes(code), `${code}`); // 1000 would mean: do not come back
    await opened.next();
    await opened.next();
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
  });

  test("a message larger than the endpoint takes ends the connection, which comes back", async (t) => {
    const socket = connect(t, { path: "/small" });
    const closed = closes(socket);
    const channel = await join(socket, room());
    tell(channel, "echo", { text: "x".repeat(2000) });
    assert.equal((await closed.next()).code, 1009);
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
  });

  test("clients of both wire formats meet in a room", async (t) => {
    const topic = room();
    const first = {
      vsn: "1.0.0",
      encode: (message, done) => done(JSON.stringify(message)),
      decode: (text, done) => done(JSON.parse(text)),
    };
    const old = await join(connect(t, { ...first, user: "old" }), topic);
    const young = await join(connect(t, { user: "young" }), topic);
    for (const [from, to] of [[old, young], [young, old]]) {
      const news = heard(to, "new_msg");
      assert.deepEqual(await ok(from.push("new_msg_reply", { n: 1 })), {});
      assert.deepEqual(await news.next(), { n: 1 });
    }
    const errors = heard(old, "phx_error");
    tell(old, "crash", {});
    await errors.next();
    assert.deepEqual(await ok(old.push("echo", { n: 2 })), { n: 2 });
    const closed = heard(old, "phx_close");
    await leave(old);
    await closed.next();
  });

  if (client.bytes) {
    test("bytes are pushed, answered, broadcast, and refused as bytes", async (t) => {
      const topic = room();
      const channel = await join(connect(t), topic);
      const other = await join(connect(t), topic);
      const [pushed, mine, theirs] = [heard(channel, "binpushed"), heard(channel, "binbcast"), heard(other, "binbcast")];
      const large = Uint8Array.from({ length: 1 << 20 }, (_, n) => n * 7).buffer;
      for (const payload of [bytes(0, 1, 254, 255), bytes(), large]) {
        assert.deepEqual(await ok(channel.push("binecho", payload)), payload);
        assert.deepEqual(await answer(channel.push("binerr", payload)), { status: "error", response: payload });
        tell(channel, "binpush", payload);
        assert.deepEqual(await pushed.next(), payload);
        tell(channel, "binbcast", payload);
        assert.deepEqual(await mine.next(), payload);
        assert.deepEqual(await theirs.next(), payload);
      }
      tell(channel, "binbcast_from", bytes(9));
      assert.deepEqual(await theirs.next(), bytes(9));
      assert.deepEqual(await ok(channel.push("echo", { text: true })), { text: true });
      assert.equal(mine.all.length, 3);
    });

    test("a topic and an event that are no ASCII go with bytes as well", async (t) => {
      const channel = await join(connect(t), `${room()}ü🙂`);
      const pushed = heard(channel, "binpushed");
      tell(channel, "binpush", bytes(1, 2));
      assert.deepEqual(await pushed.next(), bytes(1, 2));
    });

    test("a ping is answered", async (t) => {
      const socket = connect(t);
      await join(socket, room());
      assert.equal(typeof await new Promise((resolve) => socket.ping(resolve)), "number");
    });
  }

  if (client.token) {
    // its base64 has a "+", as the client uses the ordinary alphabet and not the one for URLs
    for (const token of ["secret", "a", "SFMyNTY.g2gDYQ-x_y==", "~~~>"]) {
      test(`the authentication token ${token} arrives`, async (t) => {
        const socket = connect(t, { path: "/auth", authToken: token });
        assert.deepEqual(await ok(socket.channel("room:token").join()), { token });
      });
    }

    test("without an authentication token there is none, and elsewhere none is looked for", async (t) => {
      for (const path of ["/auth", "/socket"])
        assert.deepEqual(await ok(connect(t, { path }).channel("room:token").join()), { token: null });
    });

    test("the authentication token is that of the day when the client comes back", async (t) => {
      const user = unique("user");
      let tokens = 0;
      const socket = connect(t, { path: "/auth", user, authToken: () => `token${++tokens}` });
      const channel = socket.channel("room:token");
      const got = [];
      await ok(channel.join().receive("ok", ({ token }) => got.push(token)));
      socket.conn.close();
      await ok(channel.push("echo", {}));
      assert.deepEqual(got, ["token1", "token2"]);
    });
  }
}

function fallingBack(on) {
  const { client, connect } = on;

  if (!client.fallback) return;
  const remembered = () => {
    const items = new Map();
    return { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => items.set(key, value), items };
  };

  for (const [what, onUpgrade] of [["refused", (socket) => socket.destroy()], ["never answered", () => {}]]) {
    test(`where a websocket is ${what} the client goes over to long poll`, async (t) => {
      const proxy = await startProxy(t, on.server, onUpgrade);
      const sessionStorage = remembered();
      const socket = open(t, client, proxy.url, { longPollFallbackMs: 200, sessionStorage });
      const topic = room();
      const channel = await join(socket, topic);
      const news = heard(channel, "new_msg");
      const direct = await join(connect(t), topic);
      await ok(direct.push("new_msg_reply", { n: 1 }));
      assert.deepEqual(await news.next(), { n: 1 });
      assert.deepEqual(await ok(channel.push("echo", { n: 2 })), { n: 2 });
      assert.equal(socket.transport, client.LongPoll);
      assert.deepEqual([...sessionStorage.items.values()], ["true"]);
      assert.equal(proxy.upgrades.length, 1);
    });
  }

  test("where a websocket works the client stays with it", async (t) => {
    const socket = connect(t, { longPollFallbackMs: 5000, sessionStorage: remembered() });
    const channel = await join(socket, room());
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
    assert.equal(socket.transport, client.transport);
  });
}

function presence(on) {
  const { client, connect } = on;

  const topicOf = () => unique("presence:");
  const enter = (t, user, topic, k) => appear(client, connect(t, { user }), topic, { k });

  test("who comes knows at once who is there, and those learn who comes", async (t) => {
    const topic = topicOf();
    const ada = enter(t, "ada", topic, "desk");
    await ada.until("ada desk");
    const ben = enter(t, "ben", topic, "phone");
    await Promise.all([ada, ben].map((each) => each.until("ada desk", "ben phone")));
    // one's own join may come twice, in the state and as news, but is new once
    assert.deepEqual(ada.comings.all.filter(({ current }) => !current).map(({ key }) => key), ["ada", "ben"]);
    assert.equal(ada.presence.state.ben.metas[0].online_at, 1700000000);
    assert.deepEqual([ada.goings.all, ben.goings.all], [[], []]);
  });

  test("who leaves, and whose connection ends, is gone", async (t) => {
    const topic = topicOf();
    const [ada, ben] = [enter(t, "ada", topic, "desk"), enter(t, "ben", topic, "phone")];
    const socket = connect(t, { user: "cyd" });
    const cyd = appear(client, socket, topic, { k: "tv" });
    await Promise.all([ada, ben, cyd].map((each) => each.until("ada desk", "ben phone", "cyd tv")));
    await leave(ben.channel);
    await ada.until("ada desk", "cyd tv");
    hangUp(socket);
    await ada.until("ada desk");
    assert.deepEqual(ada.goings.all.map(({ key, current }) => [key, current.metas.length]), [["ben", 0], ["cyd", 0]]);
  });

  test("one with two devices is one, until both are gone", async (t) => {
    const topic = topicOf();
    const ben = enter(t, "ben", topic, "tv");
    const phone = enter(t, "ada", topic, "phone");
    await phone.until("ada phone", "ben tv");
    const desk = enter(t, "ada", topic, "desk");
    await Promise.all([ben, phone, desk].map((each) => each.until("ada desk,phone", "ben tv")));
    const refs = ben.presence.state.ada.metas.map((meta) => meta.phx_ref);
    assert.equal(new Set(refs).size, 2);
    await leave(phone.channel);
    await Promise.all([ben, desk].map((each) => each.until("ada desk", "ben tv")));
    await leave(desk.channel);
    await ben.until("ben tv");
    assert.deepEqual(ben.goings.all.map(({ key, current }) => [key, current.metas.length]), [["ada", 1], ["ada", 0]]);
  });

  // A client puts what is news last, so what is in its first state must not be news as well.
  test("the devices of one stand in the order of their coming", async (t) => {
    const topic = topicOf();
    const devices = ["1", "2", "3", "4", "5", "6"];
    const all = [];
    for (const k of devices) {
      all.push(enter(t, "ada", topic, k));
      await Promise.all(all.map((each) => each.until(`ada ${devices.slice(0, all.length)}`)));
    }
    for (const { presence: { state } } of all) assert.deepEqual(state.ada.metas.map(({ k }) => k), devices);
  });

  test("an update replaces what is known of one, who has not been away", async (t) => {
    const topic = topicOf();
    const [ada, ben] = [enter(t, "ada", topic, "desk"), enter(t, "ben", topic, "phone")];
    await Promise.all([ada, ben].map((each) => each.until("ada desk", "ben phone")));
    const [{ phx_ref: before }] = ben.presence.state.ada.metas;
    assert.deepEqual(await ok(ada.channel.push("update", { k: "away", mood: "tired" })), {});
    await Promise.all([ada, ben].map((each) => each.until("ada away", "ben phone")));
    const [{ phx_ref: now, phx_ref_prev: previous, ...meta }] = ben.presence.state.ada.metas;
    assert.deepEqual(meta, { k: "away", mood: "tired" });
    assert.notEqual(now, before);
    assert.equal(previous, before);
    assert.equal(ben.comings.all.at(-1).key, "ada");
  });

  test("who is untracked is a member still, and sees the own leave", async (t) => {
    const topic = topicOf();
    const [ada, ben] = [enter(t, "ada", topic, "desk"), enter(t, "ben", topic, "phone")];
    await Promise.all([ada, ben].map((each) => each.until("ada desk", "ben phone")));
    assert.deepEqual(await ok(ada.channel.push("untrack", {})), {});
    await Promise.all([ada, ben].map((each) => each.until("ben phone")));
    await ok(ben.channel.push("update", { k: "tv" }));
    await ada.until("ben tv");
    assert.equal(ada.channel.state, "joined");
  });

  test("the server's list is what the clients have made of its messages", async (t) => {
    const topic = topicOf();
    const users = ["ada", "ben", "ada", "cyd", "dan", "ben", "eve", "fay"];
    const all = users.map((user, n) => enter(t, user, topic, `${n}`));
    await Promise.all(all.map((each) => each.joined));
    await Promise.all(all.slice(3, 6).map((each) => leave(each.channel)));
    await ok(all[6].channel.push("update", { k: "6b" }));
    const wanted = ["ada 0,2", "ben 1", "eve 6b", "fay 7"];
    const stayed = [0, 1, 2, 6, 7].map((n) => all[n]);
    await Promise.all(stayed.map((each) => each.until(...wanted)));
    for (const { channel } of stayed) {
      const list = Object.entries(await ok(channel.push("list", {})));
      assert.deepEqual(list.map(([key, { metas }]) => `${key} ${metas.map(({ k }) => k).sort()}`).sort(), wanted);
    }
  });

  test("a crash takes one away for a moment", async (t) => {
    const topic = topicOf();
    const [ada, ben] = [enter(t, "ada", topic, "desk"), enter(t, "ben", topic, "phone")];
    await Promise.all([ada, ben].map((each) => each.until("ada desk", "ben phone")));
    tell(ada.channel, "no such event", {});
    assert.equal((await ben.goings.next()).key, "ada");
    await Promise.all([ada, ben].map((each) => each.until("ada desk", "ben phone")));
  });

  test("after a restart of the server everybody knows who has come back", { skip: unable(client) }, async (t) => {
    const own = await start(on.threads);
    t.after(() => own.kill());
    const topic = topicOf();
    const all = ["ada", "ben", "cyd", "dan"].map((user) => appear(client, open(t, client, own.url, { user }), topic, { k: "x" }));
    await Promise.all(all.map((each) => each.until("ada x", "ben x", "cyd x", "dan x")));
    await own.stop();
    hangUp(all[3].channel.socket);
    const again = await start(on.threads, own.port);
    t.after(() => again.stop());
    await Promise.all(all.slice(0, 3).map((each) => each.until("ada x", "ben x", "cyd x")));
  });
}

for (const threads of [1, 2]) {
  describe(`workers: ${threads}`, { concurrency: 2 }, () => {
    for (const client of [...overWebsocket, ...overLongPoll]) {
      group(client, threads, (on) => {
        for (const cases of [connecting, joining, pushing, spreading, presence]) cases(on);
        if (client.websocket) [websocketsOnly, fallingBack].forEach((cases) => cases(on));
      });
    }
  });
}
