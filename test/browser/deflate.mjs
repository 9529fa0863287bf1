// The chat with compression in a real browser, which offers it with every websocket: what is agreed
// on, and long messages both ways through the page and beside it.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/deflate.mjs
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CHAT, startServer } from "./server.js";
import { launch, openTab, troubles } from "./tabs.js";

let browser, server;

before(async () => {
  browser = await launch();
  server = await startServer(CHAT, { options: ["--deflate"] });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function counter(page, name) {
  const text = await page.evaluate(() => fetch("/metrics").then((response) => response.text()));
  return Number(new RegExp(`^sockethub_${name} (\\d+)$`, "m").exec(text)[1]);
}

// Joins a room by hand, shouts this text, and returns what was agreed on and what came back of it.
function shout(text) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/socket`);
    const say = (event, payload, ref) => socket.send(JSON.stringify({ topic: "room:1", event, payload, ref }));
    socket.onopen = () => say("join", {}, "1");
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
    socket.onmessage = ({ data }) => {
      const { event, ref, payload } = JSON.parse(data);
      if (ref === "1") say("shout", { text }, "2");
      if (event === "shout") resolve({ extensions: socket.extensions, text: payload.text });
    };
  });
}

test("the browser offers it, and messages are compressed both ways", async () => {
  const page = await openTab(browser, "Ada");
  const text = "the kettle is on € ".repeat(500);
  await page.goto(server.url);
  const heard = await page.evaluate(shout, text);
  assert.equal(heard.extensions, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  assert.ok(heard.text === text);
  assert.ok(await counter(page, "inflates_total") >= 2);
  assert.ok(await counter(page, "deflates_total") >= 1);
  assert.ok(await counter(page, "deflate_bytes_out_total") < await counter(page, "deflate_bytes_in_total") / 10);
  assert.deepEqual(troubles, []);
});
