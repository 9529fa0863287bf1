// Programs of this project as servers of a test.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { within } from "./wait.js";

const { env } = process;
export const CHAT = env.CHAT ?? `${env.SOCKETHUB_EXAMPLES ?? "build/release/examples"}/chat`;
export const PHOENIX_APP = env.PHOENIX_APP ?? `${env.SOCKETHUB_APPS ?? "build/release/test"}/phoenix_app`;

// Starts it on a port that the kernel picks, or on `port`, where the one before was.
export async function startServer(program, { port = 0, options = [] } = {}) {
  const child = spawn(program, ["--port", port, ...options].map(String), { stdio: ["ignore", "pipe", "inherit"] });
  const kill = () => child.kill("SIGKILL"); // should a test fail with it running
  const ended = once(child, "exit").finally(() => process.off("exit", kill));
  process.on("exit", kill);
  const [line] = await within(Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    ended.then((why) => Promise.reject(new Error(`${program} ended: ${why}`))),
  ]), `the address of ${program}`);
  const match = /^listening on (https?:\/\/[^ ]+:(\d+))$/.exec(line);
  assert.ok(match, `unexpected first line: ${line}`);
  return {
    url: match[1],
    port: Number(match[2]),
    ended,
    signal: (name) => child.kill(name),
    async stop() {
      child.kill("SIGTERM");
      assert.deepEqual(await within(ended, `the end of ${program}`), [0, null], `${program} must end with status 0 on SIGTERM`);
    },
    async kill() {
      child.kill("SIGKILL");
      await within(ended, `the end of ${program}`);
    },
  };
}
