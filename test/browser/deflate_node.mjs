// The echo example with compression, and ws: each parameter of the extension, and messages of many
// lengths that refer back to each other where that was agreed on.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/deflate_node.mjs
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { load } from "./packages.js";
import { startServer } from "./server.js";
import { within } from "./wait.js";

const WebSocket = load("ws");
const ECHO = `${process.env.SOCKETHUB_EXAMPLES ?? "build/release/examples"}/echo`;
const LENGTHS = [0, 1, 125, 126, 127, 1000, 65535, 65536, 300000];
let server;

before(async () => {
  server = await startServer(ECHO, { options: ["--deflate"] });
});

after(() => server?.stop());

const words = (length) => "over the lazy dog € ".repeat(Math.ceil(length / 20)).slice(0, length);

// Every message comes back, three times over. Returns what was agreed on.
async function exchange(perMessageDeflate) {
  const socket = new WebSocket(server.url.replace("http", "ws"), { perMessageDeflate });
  const [[response]] = await within(Promise.all([once(socket, "upgrade"), once(socket, "open")]), "the 101");
  for (let round = 0; round < 3; round++) {
    for (const length of LENGTHS) {
      const text = words(length);
      const answer = once(socket, "message");
      socket.send(text);
      const [data, isBinary] = await within(answer, `the echo of ${length} characters`);
      assert.equal(isBinary, false);
      assert.ok(data.toString() === text, `${length} characters come back`);
    }
  }
  socket.close();
  await within(once(socket, "close"), "the end");
  return response.headers["sec-websocket-extensions"];
}

const options = { threshold: 0 };

test("messages come back as the defaults of ws have it", async () => {
  assert.equal(await exchange(true), "permessage-deflate; server_no_context_takeover");
  await exchange(options);
});

test("without an offer nothing is compressed", async () => {
  assert.equal(await exchange(false), undefined);
});

test("a client may keep no context", async () => {
  assert.equal(await exchange({ ...options, clientNoContextTakeover: true, serverNoContextTakeover: true }),
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
});

for (let bits = 9; bits <= 15; bits++) {
  test(`windows of 2^${bits} bytes each way`, async () => {
    const agreed = await exchange({ ...options, serverMaxWindowBits: bits, clientMaxWindowBits: bits });
    assert.equal(agreed, "permessage-deflate; server_no_context_takeover; "
      + `server_max_window_bits=${bits}; client_max_window_bits=${bits}`);
  });
}
