// The chat over TLS, with stacks that are not ours: Chromium's page and websocket, and node's https
// and npm's ws. The certificate is replaced while they talk.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/chat_tls.mjs
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { load } from "./packages.js";
import { enter, said, say } from "./chat_page.js";
import { CHAT, startServer } from "./server.js";
import { launch, openTab, picture, troubles } from "./tabs.js";
import { hear, within } from "./wait.js";

const folder = mkdtempSync(path.join(tmpdir(), "sockethub-tls-"));
const file = (name) => path.join(folder, name);
let browser, server;

function makeCertificate(name) {
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "-keyout", file(`${name}.key`), "-out", file(`${name}.pem`)], { stdio: "ignore" });
}

// What the server shows to who comes now.
async function shownName() {
  const socket = tls.connect({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false });
  await within(once(socket, "secureConnect"), "a handshake");
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
}

before(async () => {
  makeCertificate("first");
  makeCertificate("second");
  browser = await launch();
  server = await startServer(CHAT, { options: ["--tls-cert", file("first.pem"), "--tls-key", file("first.key")] });
});

after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(folder, { recursive: true });
});

async function visit(name) {
  return enter(await openTab(browser, name, { ignoreHTTPSErrors: true }), server.url, name, "lobby");
}

test("browsers talk over wss while the certificate is replaced", async () => {
  const ada = await visit("Ada");
  const ben = await visit("Ben");
  await say(ada, "is this private?");
  await said(ben, "is this private?").waitFor();

  assert.equal(await shownName(), "first");
  renameSync(file("second.pem"), file("first.pem"));
  renameSync(file("second.key"), file("first.key"));
  server.signal("SIGHUP");
  while (await shownName() !== "second"); // each a turn of the server's loop, at the least
  await say(ben, "it is");
  await said(ada, "it is").waitFor();
  const cleo = await visit("Cleo"); // who got the new one
  await say(cleo, "hello");
  await said(ada, "hello").waitFor();
  await picture(ada, "tls");
  assert.deepEqual(troubles.splice(0), []);
});

test("node fetches over https and npm's ws speaks wss, large messages too", async () => {
  const get = https.get(`${server.url}/health`, { rejectUnauthorized: false });
  const [response] = await within(once(get, "response"), "an answer");
  assert.equal(response.statusCode, 200);
  response.resume();

  const socket = new (load("ws"))(`wss://127.0.0.1:${server.port}/socket`, { rejectUnauthorized: false });
  const messages = hear((heard) => socket.on("message", heard), "a message");
  const next = async () => JSON.parse(await messages.next());
  await within(once(socket, "open"), "the handshake");
  const send = (event, payload, ref) => socket.send(JSON.stringify({ topic: "room:node", event, payload, ref }));
  send("join", {}, "1");
  assert.equal((await next()).payload.status, "ok");
  for (const size of [1, 20000, 60000]) {
    const text = "z".repeat(size);
    send("shout", { text }, "2");
    assert.equal((await next()).payload.text, text);
    assert.equal((await next()).payload.status, "ok");
  }
  socket.close(1000);
  const [code] = await within(once(socket, "close"), "the close");
  assert.equal(code, 1000);
});
