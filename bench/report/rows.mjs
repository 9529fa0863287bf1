// From the runs of a report, as run.sh leaves them in OUT/raw, to rows: one for each workload, server
// and variant, with what its rounds have measured and the ratios to the runs beside them.
import { existsSync, readFileSync } from "node:fs";
import { latencyOf, spread } from "./statistics.mjs";
import { WORKLOADS } from "./workloads.mjs";

const FAULTS = ["lost", "duplicate", "misrouted", "reordered", "corrupted", "protocol", "closed"];

function readText(path) {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : "";
}

// Lines of a key, a tab and a value.
export function readTable(path) {
  return readText(path).split("\n").filter(Boolean).map((line) => line.split("\t"));
}

// What load printed; `error` where it did not end well.
function readRun(raw, seq) {
  const said = readText(`${raw}/${seq}.err`);
  const error = /^exit status/m.test(said) ? said.replaceAll("\n", "; ") : "";
  try {
    return { ...JSON.parse(readText(`${raw}/${seq}.json`)), error };
  } catch {
    return { error: error || said || "it was not made" };
  }
}

const valueOf = (run, figure) => run?.figures?.[figure]?.median;

// value / value of the run that stood beside it, round by round.
function ratios(entries, results, figure, beside) {
  return spread(entries.flatMap((entry) => {
    const own = valueOf(results.get(entry.seq), figure);
    const other = valueOf(results.get(entry[beside]), figure);
    return own !== undefined && other > 0 ? [own / other] : [];
  }));
}

function figuresOf(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run.figures ?? {})));
  return Object.fromEntries([...names].map((name) =>
    [name, spread(runs.map((run) => valueOf(run, name)).filter((value) => value !== undefined))]));
}

function faultsOf(runs) {
  const sums = Object.fromEntries(FAULTS.map((name) =>
    [name, runs.reduce((sum, run) => sum + (run.faults?.[name] ?? 0), 0)]));
  return { ...sums, first: runs.map((run) => run.faults?.first || "").find(Boolean) ?? "" };
}

// What the server said of its settings when it started.
function limitsOf(raw, { server, serve, pinned }) {
  const key = [server, ...serve, ...(pinned ? [] : ["unpinned"])].join("");
  return readText(`${raw}/${key}.log`).split("\n").find((line) => line.startsWith("limits"));
}

function variantOf(entry) {
  const { load, keys } = entry;
  return Object.fromEntries(Object.entries({ conns: load.conns, topics: load.topics, window: load.window,
    rate: load.rate, payload: load.payload, publishers: load.publishers, ...keys })
    .filter(([, value]) => value !== undefined));
}

function rowOf(raw, workload, entries, results, cores) {
  const runs = entries.map(({ seq }) => results.get(seq));
  const good = runs.filter((run) => run.figures !== undefined);
  const [first] = entries;
  const plain = first.server === "hub" ? { format: "native", threads: 1, channels: 1 } : {};
  return {
    server: first.server,
    workload: workload.id,
    title: workload.title,
    sweep: Boolean(workload.sweep),
    keys: first.keys,
    ...plain,
    ...variantOf(first),
    rate: good[0]?.options.rate || undefined,
    figure: workload.figure,
    figures: figuresOf(good),
    ratio_to_floor: first.server === "floor" ? undefined : ratios(entries, results, workload.figure, "floor"),
    ratio_to_base: ratios(entries, results, workload.figure, "base"),
    latency_us: latencyOf(good.map((run) => run.latency_us?.buckets ?? [])),
    clean: runs.every((run) => run.clean === true && run.error === ""),
    faults: faultsOf(runs),
    failed: entries.filter(({ seq }) => results.get(seq).error !== "")
      .map(({ round, seq }) => ({ round, error: results.get(seq).error })),
    commit: good[0]?.commit,
    kernel: good[0]?.machine.kernel,
    cpu: good[0]?.machine.cpu,
    pinning: first.pinned ? `server on core ${cores.server}, load on core ${cores.load}` : "none",
    options: good[0]?.options,
    server_options: first.serve.join(" "),
    server_limits: limitsOf(raw, first),
    runs: good.length,
    notes: [...new Set(good.flatMap((run) => run.notes))],
  };
}

// Grouped by what tells rows apart, in the order of the first run of each.
function groupsOf(entries) {
  const groups = new Map();
  for (const entry of entries) {
    const key = JSON.stringify([entry.server, entry.keys]);
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  return [...groups.values()];
}

// Everything that is known of a report: {plan, rows, head, versions, missing}.
export function readReport(out) {
  const raw = `${out}/raw`;
  const plan = JSON.parse(readText(`${raw}/plan.json`));
  const head = Object.fromEntries(readTable(`${raw}/run.tsv`));
  const results = new Map(plan.runs.map(({ seq }) => [seq, readRun(raw, seq)]));
  const cores = { server: head.server_core, load: head.load_core };
  const place = ({ server }) => plan.servers.indexOf(server);
  const rows = WORKLOADS.flatMap((workload) =>
    groupsOf(plan.runs.filter((entry) => entry.workload === workload.id))
      .map((entries) => rowOf(raw, workload, entries, results, cores))
      .sort((a, b) => place(a) - place(b)));
  return { plan, rows, head, versions: readTable(`${raw}/servers.tsv`), missing: readTable(`${raw}/missing.tsv`) };
}
