// report.mjs OUT - makes results.json, report.md and the plots of the runs in OUT/raw, and prints the
// overview. Exit status 1 when a run was not clean.
import { writeFileSync } from "node:fs";
import { judge } from "./bars.mjs";
import { drawPlots } from "./plots.mjs";
import { readReport } from "./rows.mjs";
import { barsOf, markdown, overviewOf, plain, tableOf, variantText } from "./tables.mjs";

const [out] = process.argv.slice(2);
const report = readReport(out);
const { plan, rows, head, versions, missing } = report;

function headText() {
  const { kernel, cpu } = rows.find((row) => row.kernel) ?? {};
  const { name, rounds, durationMs } = plan.profile;
  const limits = rows.find((row) => row.server === "hub" && row.server_limits && row.server_options === "")?.server_limits;
  return [
    "# Benchmarks",
    "",
    `- command: \`${head.command}\` (${name}: ${rounds} rounds, ${durationMs} ms a run), ${head.seconds} s`,
    `- commit: ${head.commit}, ${head.date}`,
    `- machine: ${cpu ?? "unknown"}, ${head.cores} cores, ${kernel ?? "unknown"}, ${head.system}`,
    `- servers on core ${head.server_core}, load on core ${head.load_core}, nofile ${head.nofile}`,
    ...versions.map(([server, version]) => `- ${server}: ${version}`),
    ...missing.map(([server, why]) => `- ${server}: **not measured**, ${why}`),
    ...plan.notOffered.map(({ server, workload, why }) => `- ${server}: ${workload} is not offered, ${why}`),
    ...(limits ? [`- the hub's ${limits}`] : []),
    "",
    "A figure is the median of its rounds, with the least and the greatest behind it. `× floor` is the median of the",
    "ratios to the floor that ran beside each. bench/README.md says what is measured, and how each server is set up.",
  ].join("\n");
}

function workloadText(title, of) {
  return [`## ${title}`, "", markdown(tableOf(of))].join("\n");
}

function plotsText({ made, why }) {
  return ["## Plots", "", ...made.map(({ file, title }) => `![${title}](${file})`),
    ...(why ? [`Left out: ${why}.`] : [])].join("\n");
}

// What went wrong, and what limits what the figures say.
function remarksText() {
  const name = (row) => [`${row.title}, ${row.server}`, variantText(row)].filter(Boolean).join(", ");
  const unclean = rows.filter((row) => !row.clean).flatMap((row) => [
    `- ${name(row)}: ${row.faults.first || "no fault of a message"}`,
    ...row.failed.map(({ round, error }) => `  - round ${round}: ${error}`),
  ]);
  const notes = rows.flatMap((row) => row.notes.map((note) => `- ${name(row)}: ${note}`));
  return [
    "## Not clean", "", ...(unclean.length > 0 ? unclean : ["Nothing: each message came once, in order, to whom it was for."]),
    "", "## What the load generator remarked", "", ...(notes.length > 0 ? notes : ["Nothing."]),
  ].join("\n");
}

const bars = judge(rows);
const plots = drawPlots(out, rows, plan.servers);
const titles = [...new Set(rows.map((row) => row.title))];
writeFileSync(`${out}/results.json`, `${JSON.stringify(rows, null, 1)}\n`);
writeFileSync(`${out}/report.md`, [
  headText(),
  `## Overview\n\n${markdown(overviewOf(rows, plan.servers))}`,
  `## What the hub has to reach\n\n${markdown(barsOf(bars))}`,
  plotsText(plots),
  ...titles.map((title) => workloadText(title, rows.filter((row) => row.title === title))),
  remarksText(),
  "",
].join("\n\n"));

console.log(`${plain(overviewOf(rows, plan.servers))}\n\n${plain(barsOf(bars))}\n`);
if (plots.why)
  console.log(`plots are left out: ${plots.why}`);
const unclean = rows.filter((row) => !row.clean);
unclean.forEach((row) => console.log(`not clean: ${row.workload}, ${row.server} ${variantText(row)}`));
console.log(`${rows.length} rows of ${rows.reduce((sum, { runs }) => sum + runs, 0)} runs: ${out}/report.md`);
process.exitCode = unclean.length > 0 ? 1 : 0;
