// Does bench/report make the right tables of what load has printed? The fixture is a report of three
// rounds in which the machine was half as fast beside ws, and ws lost two messages.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const program = path.join(here, "../../bench/report/report.mjs");
const out = mkdtempSync(path.join(tmpdir(), "bench-report-"));
process.on("exit", () => rmSync(out, { recursive: true }));
cpSync(path.join(here, "fixture"), out, { recursive: true });

// in a folder without programs, gnuplot is not among them
const { status, stdout, stderr } = spawnSync(process.execPath, [program, out], { encoding: "utf8", env: { PATH: out } });
assert.equal(stderr, "");
assert.equal(status, 1, "a run that is not clean is told by the exit status");

const rows = JSON.parse(readFileSync(`${out}/results.json`, "utf8"));
const row = (server) => rows.find((candidate) => candidate.server === server);
assert.deepEqual(rows.map(({ server }) => server), ["hub", "floor", "ws"]);
const close = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);

// each ratio is to the floor beside it: 2.2 / 2, 4 / 4, 3.6 / 3
close(row("hub").ratio_to_floor.median, 1.1);
close(row("hub").ratio_to_floor.min, 1);
close(row("hub").ratio_to_floor.max, 1.2);
// 6 / 4, 10 / 8, 18 / 6, and not the ratio of the medians
close(row("ws").ratio_to_floor.median, 1.5);
close(row("ws").ratio_to_floor.max, 3);
assert.equal(row("floor").ratio_to_floor, undefined);
assert.deepEqual(row("hub").figures.server_cpu_us_per_delivery.values, [2.2, 4, 3.6]);
close(row("hub").figures.server_cpu_us_per_delivery.median, 3.6);
assert.equal(row("floor").runs, 6);

// one histogram of all rounds
assert.deepEqual(row("hub").latency_us.buckets, [[100, 294], [200, 6]]);
assert.equal(row("hub").latency_us.p50, 100);
assert.equal(row("hub").latency_us.p99, 200);
assert.equal(row("ws").latency_us.p90, 100);

for (const [key, value] of Object.entries({ workload: "fanout-1", conns: 1000, window: 1, payload: 128, format: "native",
  threads: 1, clean: true, commit: "0123456789ab", pinning: "server on core 0, load on core 1" }))
  assert.equal(row("hub")[key], value, key);
assert.equal(row("ws").clean, false);
assert.equal(row("ws").faults.lost, 2);
assert.deepEqual(row("ws").failed, [{ round: 2, error: "exit status 1" }]);

const report = readFileSync(`${out}/report.md`, "utf8");
for (const text of [
  "| hub | format native | 3.6 (2.2–4) | 1.1 (1–1.2) |",
  "| ws |  | 10 (6–18) | 1.5 (1.25–3) |",
  "| 1 topic x 1,000 members, 128 B, 1 outstanding | 1.05 x floor | 1.1 | NOT MET |",
  "not measured",
  "- mosquitto: **not measured**, no such package",
  "- nchan: echo is not offered, it has none",
  "message 12 did not come",
  "  - round 2: exit status 1",
  "gnuplot is not installed",
])
  assert.ok(report.includes(text), `the report lacks: ${text}\n${report}`);
assert.match(stdout, /^1 topic x 1,000 members, 128 B, 1 publish outstanding +4 +1\.1 +1\.5!$/m);
assert.match(stdout, /^not clean: fanout-1, ws $/m);
assert.ok(!existsSync(`${out}/latency.svg`));
console.log("the report says what its runs do");
