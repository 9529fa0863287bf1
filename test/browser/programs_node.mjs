// Other programs publish: each command that bus/README.md prints for that, as it is printed, reaches
// the members of a room on two chats of examples/cluster.sh. A tool that Debian has not, or that need
// not be here, is a function which says the same to the broker.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/programs_node.mjs
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { promisify } from "node:util";
import { load } from "./packages.js";
import { hear, within } from "./wait.js";

const WebSocket = load("ws");
const root = new URL("../..", import.meta.url).pathname;
const printed = readFileSync(`${root}/bus/README.md`, "utf8").split("\n");

// What the commands take for granted: a broker at its usual port.
const TOOLS = `set -euo pipefail
  PORT=\${URL##*127.0.0.1:}; PORT=\${PORT%%/*}
  redis-cli() { command redis-cli -p "$PORT" "$@"; }
  nc() { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; cat >&3; until read -r line <&3 && [[ $line = PONG* ]]; do :; done; }
  nats() { printf 'CONNECT {}\\r\\nPUB %s %d\\r\\n%s\\r\\nPING\\r\\n' "$2" "\${#3}" "$3" | nc; }\n`;

async function startCluster(kind) {
  const child = spawn(`${root}/examples/cluster.sh`, [kind], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { SOCKETHUB_EXAMPLES: "build/release/examples", ...process.env },
  });
  const ended = once(child, "exit");
  const addresses = hear((line) => createInterface({ input: child.stdout }).on("line", line), "an address");
  const lines = hear((line) => createInterface({ input: child.stderr }).on("line", line), "a line of the cluster");
  const urls = [await addresses.next(), await addresses.next()];
  let broker;

  process.on("exit", () => child.kill("SIGTERM")); // should a test fail with it running
  while (!broker) [, broker] = /^what is said .* at (\S+)$/.exec(await lines.next()) ?? [];
  return {
    urls,
    broker,
    async stop() {
      child.kill("SIGTERM");
      assert.deepEqual(await within(ended, "the end of the cluster"), [0, null]);
    },
  };
}

async function enter(url) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/socket`);
  const frames = hear((frame) => socket.on("message", (data) => frame(JSON.parse(data))), "a frame");

  await within(once(socket, "open"), "the 101");
  socket.send(JSON.stringify({ topic: "room:42", event: "join", payload: {}, ref: "1" }));
  assert.equal((await frames.next()).payload.status, "ok");
  return { frames, close: () => socket.close() };
}

for (const [kind, tool, count] of [["redis", /^ {4}redis-cli PUBLISH /, 2], ["nats", /^ {4}(nats pub|printf 'CONNECT) /, 3],
  ["postgres", /^ {4}psql .*publish_json/, 2]]) {
  test(`what is printed for ${kind} reaches both chats`, async () => {
    const commands = printed.filter((line) => tool.test(line));
    const cluster = await startCluster(kind);
    const members = await Promise.all(cluster.urls.map(enter));

    assert.equal(commands.length, count);
    for (const command of commands) {
      await promisify(execFile)("bash", ["-c", TOOLS + command], { env: { ...process.env, URL: cluster.broker } });
      for (const { frames } of members)
        assert.deepEqual(await frames.next(), { topic: "room:42", event: "shout", payload: { text: "hello" } }, command);
    }
    members.forEach((member) => member.close());
    await cluster.stop();
  });
}
