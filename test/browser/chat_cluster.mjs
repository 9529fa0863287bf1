// Two chats on one broker, as examples/cluster.sh starts them: what is said on the page of one appears
// on the page of the other, and each knows who is there.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/chat_cluster.mjs
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, afterEach, before, test } from "node:test";
import { enter, people, said, say } from "./chat_page.js";
import { launch, openTab, troubles } from "./tabs.js";
import { within } from "./wait.js";

const CLUSTER = new URL("../../examples/cluster.sh", import.meta.url).pathname;

let browser;

before(async () => {
  browser = await launch();
});

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(troubles.splice(0), []);
});

after(async () => {
  await browser?.close();
});

async function startCluster(kind) {
  const child = spawn(CLUSTER, [kind], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { SOCKETHUB_EXAMPLES: "build/release/examples", ...process.env },
  });
  const ended = once(child, "exit");
  const urls = [];

  process.on("exit", () => child.kill("SIGTERM")); // should a test fail with it running
  for await (const line of createInterface({ input: child.stdout })) {
    assert.match(line, /^http:\/\/127\.0\.0\.1:\d+$/);
    if (urls.push(line) === 2) break;
  }
  assert.equal(urls.length, 2, `${kind}: no two addresses`);
  return {
    urls,
    async stop() {
      child.kill("SIGTERM");
      assert.deepEqual(await within(ended, "the end of the cluster"), [0, null]);
    },
  };
}

async function visit(url, name) {
  return enter(await openTab(browser, name), url, name, "lobby");
}

for (const kind of ["redis", "nats", "postgres"]) {
  test(`two chats on ${kind} are one`, async () => {
    const cluster = await startCluster(kind);
    const ada = await visit(cluster.urls[0], "Ada");
    const ben = await visit(cluster.urls[1], "Ben");

    await people(ada, "Ada", "Ben");
    await people(ben, "Ada", "Ben");
    await say(ada, "the kettle is on");
    await said(ben, "the kettle is on").waitFor();
    await say(ben, "coming");
    await said(ada, "coming").waitFor();
    assert.equal(await said(ben, "coming").count(), 1);
    await ada.close();
    await people(ben, "Ben");
    await ben.close();
    await cluster.stop();
  });
}
