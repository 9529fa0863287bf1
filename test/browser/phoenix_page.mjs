// phoenix.js from npm, unmodified, in the tabs of a real browser against test/phoenix_app.c: its newest
// and its oldest version.
//
//     SOCKETHUB_APPS=build/release/test node test/browser/phoenix_page.mjs
//
// The page is of another origin than the server, http://localhost with another port, so that the
// browser asks for what an origin may do, and the server asks where the page is from.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { forPages } from "./phoenix_client.js";
import { startProxy } from "./proxy.js";
import { PHOENIX_APP, startServer } from "./server.js";
import { launch, openTab, troubles } from "./tabs.js";

const OPTIONS = { options: ["--threads", 2] }; // so that tabs may be on one worker or on two
let browser, pages;
let server = await startServer(PHOENIX_APP, OPTIONS);

// In the page: one socket, one channel, and all that they have said. Bytes go in and out as arrays.
function inPage() {
  const plain = (payload) => payload instanceof ArrayBuffer ? [...new Uint8Array(payload)] : payload;
  const promise = (push) => new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"])
      push.receive(status, (response) => resolve({ status, response: plain(response) }));
  });

  window.connect = (url, { longPoll, ...options }) => {
    const hasty = { reconnectAfterMs: () => 20, rejoinAfterMs: () => 20, timeout: 15000 };
    window.news = [];
    window.closes = [];
    window.socket = new Phoenix.Socket(url, { ...hasty, ...options, transport: longPoll ? Phoenix.LongPoll : WebSocket });
    socket.onClose((event) => closes.push(event?.code));
    socket.connect();
  };
  window.join = (topic, params) => {
    window.channel = socket.channel(topic, params);
    for (const event of ["new_msg", "binbcast", "shout"])
      channel.on(event, (payload) => news.push(JSON.stringify([event, plain(payload)])));
    window.presence = new Phoenix.Presence(channel);
    window.present = () => presence.list((key, { metas }) => `${key} ${metas.map(({ k }) => k)}`).sort().join("; ");
    return promise(channel.join());
  };
  window.push = (event, payload) =>
    promise(channel.push(event, Array.isArray(payload) ? Uint8Array.from(payload).buffer : payload));
}

const join = (page, topic, params = {}) => page.evaluate(([topic, params]) => window.join(topic, params), [topic, params]);
const push = (page, event, payload) => page.evaluate(([event, payload]) => window.push(event, payload), [event, payload]);
const send = (page, event, payload) => page.evaluate(([event, payload]) => void window.push(event, payload), [event, payload]);
const hears = (page, event, payload) =>
  page.waitForFunction((line) => news.includes(line), JSON.stringify([event, payload]));
const sees = (page, ...people) => page.waitForFunction((wanted) => present() === wanted, people.join("; "));
const ok = (response) => ({ status: "ok", response });

before(async () => {
  browser = await launch();
  pages = createServer(({ url }, response) => {
    const client = forPages[Number(url.slice(-1))];
    const [type, body] = url.startsWith("/client") ? ["text/javascript", readFileSync(client.file)] :
      ["text/html", `<!doctype html><title>${client.name}</title><link rel="icon" href="data:,"><script src="/client${url.slice(-1)}"></script>`];
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
});

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(troubles.splice(0), []);
});

after(async () => {
  await browser?.close();
  pages?.close();
  await server.stop();
});

let rooms = 0;
const room = () => `room:${++rooms}`;

forPages.forEach((client, number) => describe(client.name, () => {
  // A tab of its own browser profile that is connected, through `port` if not to the server itself.
  async function visit(user, { path = "/socket", port = server.port, ...options } = {}) {
    const page = await openTab(browser, user);
    await page.addInitScript(inPage);
    await page.goto(`http://localhost:${pages.address().port}/page${number}`);
    await page.evaluate(([url, options]) => connect(url, options),
      [`ws://localhost:${port}${path}`, { params: { user }, ...options }]);
    return page;
  }

  const visitBoth = (...users) => Promise.all(users.map((user) => visit(user)));

  async function talk(one, other) {
    for (const [from, to] of [[one, other], [other, one]]) {
      const said = { text: `ü 🙂 ${Math.random()}` };
      assert.deepEqual(await push(from, "new_msg_reply", said), ok({}));
      await Promise.all([hears(from, "new_msg", said), hears(to, "new_msg", said)]);
    }
  }

  test("two tabs join a room and hear one another", async () => {
    const [ada, ben] = await visitBoth("ada", "ben");
    assert.deepEqual(await join(ada, "room:reply", { n: 1 }), ok({ echo: { n: 1 }, user: "ada" }));
    assert.deepEqual(await join(ada, "room:secret"), { status: "error", response: { reason: "unauthorized" } });
    const topic = room();
    for (const page of [ada, ben]) assert.deepEqual(await join(page, topic), ok({}));
    await talk(ada, ben);
    await send(ada, "shout", { text: "hi" });
    await hears(ben, "shout", { text: "hi", intercepted_by: "ben" });
  });

  test("bytes cross from tab to tab", { skip: !client.bytes && "it has no binary payloads" }, async () => {
    const [ada, ben] = await visitBoth("ada", "ben");
    const topic = room();
    for (const page of [ada, ben]) await join(page, topic);
    const bytes = [0, 1, 127, 128, 254, 255];
    assert.deepEqual(await push(ada, "binecho", bytes), ok(bytes));
    await send(ada, "binbcast", bytes);
    await Promise.all([ada, ben].map((page) => hears(page, "binbcast", bytes)));
  });

  test("both tabs are back in their room when the server is", async () => {
    const [ada, ben] = await visitBoth("ada", "ben");
    const topic = room();
    for (const page of [ada, ben]) await join(page, topic);
    await server.stop();
    for (const page of [ada, ben]) await page.waitForFunction(() => closes.length > 0 && channel.state === "errored");
    assert.equal(await ada.evaluate(() => closes[0]), 1012);
    server = await startServer(PHOENIX_APP, { port: server.port, ...OPTIONS });
    for (const page of [ada, ben]) await page.waitForFunction(() => channel.state === "joined");
    await talk(ada, ben);
  });

  test("both tabs see who is there", async () => {
    const [ada, ben] = await visitBoth("ada", "ben");
    const topic = `presence:${room()}`;
    await join(ada, topic, { k: "desk" });
    await join(ben, topic, { k: "phone" });
    await Promise.all([ada, ben].map((page) => sees(page, "ada desk", "ben phone")));
    await push(ben, "update", { k: "away" });
    await Promise.all([ada, ben].map((page) => sees(page, "ada desk", "ben away")));
    await ben.reload(); // nobody says goodbye: the connection ends
    await sees(ada, "ada desk");
  });

  test("two tabs talk over long poll, and see who is there", async () => {
    const ada = await visit("ada", { longPoll: true });
    const ben = await visit("ben", { longPoll: true });
    const topic = room();
    for (const page of [ada, ben]) assert.deepEqual(await join(page, topic), ok({}));
    await talk(ada, ben);
    const crowd = `presence:${topic}`;
    await join(ada, crowd, { k: "desk" });
    await join(ben, crowd, { k: "phone" });
    await Promise.all([ada, ben].map((page) => sees(page, "ada desk", "ben phone")));
  });

  test("a tab whose websockets are blocked goes over to long poll", { skip: !client.fallback && "it has no fallback" }, async (t) => {
    const proxy = await startProxy(t, server, (socket) => socket.destroy());
    const ada = await visit("ada", { port: proxy.port, longPollFallbackMs: 1000 });
    const ben = await visit("ben");
    const topic = room();
    for (const page of [ada, ben]) assert.deepEqual(await join(page, topic), ok({}));
    await talk(ada, ben);
    assert.equal(proxy.upgrades.length, 1);
    assert.ok(await ada.evaluate(() => socket.transport === Phoenix.LongPoll));
  });

  test("a tab shows its authentication token", { skip: !client.token && "it has no tokens" }, async () => {
    const ada = await visit("ada", { path: "/auth", authToken: "~~~>" }); // a "+" in its base64
    assert.deepEqual(await join(ada, "room:token"), ok({ token: "~~~>" }));
  });
}));
