#!/bin/bash
# smoke.sh FOLDER - does bench/run.sh come to its end, with everything that it promises? FOLDER has
# its programs. It counts, it judges no speed, and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
export SOCKETHUB_BENCH=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

bench/run.sh --smoke --no-install --peers floor,hub --out "$out" >"$out.log" 2>&1 || {
    cat "$out.log"
    exit 1
}
rm "$out.log"
node - "$out" <<'END'
const assert = require("node:assert/strict");
const { existsSync, readFileSync } = require("node:fs");
const out = process.argv[2];
const rows = JSON.parse(readFileSync(`${out}/results.json`, "utf8"));
const report = readFileSync(`${out}/report.md`, "utf8");
const hubs = rows.filter(({ server }) => server === "hub");

assert.deepEqual([...new Set(rows.map(({ server }) => server))].sort(), ["floor", "hub"]);
for (const workload of ["fanout-1", "fanout-64", "publishers-64", "rooms", "echo", "payload-16k", "idle", "connect-5000",
  "patterns", "threads-open", "threads-1", "threads-64", "latency", "slow", "churn"])
  assert.ok(hubs.some((row) => row.workload === workload), `nothing of ${workload}`);
for (const row of rows) {
  assert.ok(row.clean && row.runs >= 1, `${row.workload} of ${row.server} is not clean: ${JSON.stringify(row.failed)}`);
  assert.ok(row.figures[row.figure]?.values.length === row.runs, `${row.workload} of ${row.server} lacks ${row.figure}`);
}
assert.deepEqual(hubs.filter(({ workload }) => workload === "fanout-1").map(({ format }) => format),
  ["native", "1.0.0", "2.0.0", "native"]);
for (const row of hubs.filter(({ workload }) => ["fanout-1", "fanout-64", "rooms"].includes(workload)))
  assert.ok(row.ratio_to_floor.median > 0);
assert.ok(hubs.find(({ workload, threads }) => workload === "threads-open" && threads === 2).ratio_to_base.median > 0);
for (const title of ["## Overview", "## What the hub has to reach", "## Not clean"])
  assert.ok(report.includes(title), `the report lacks ${title}`);
if (!report.includes("gnuplot is not installed"))
  for (const name of ["cost-by-members", "cost-by-payload", "cost-by-window", "cost-by-threads", "latency"])
    assert.ok(existsSync(`${out}/${name}.svg`), `${name}.svg is missing`);
END
status=0
bench/run.sh --peers floor,nobody --out "$out" 2>"$out/why" || status=$?
if [ $status != 2 ] || ! grep -q "'nobody'" "$out/why"; then
    echo "an unknown peer ends with $status: $(cat "$out/why")" >&2
    exit 1
fi
