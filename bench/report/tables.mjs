// Rows as tables: in Markdown, and on a terminal.
import { WORKLOADS } from "./workloads.mjs";


const DIGITS = 3;

// 1234567 -> 1,234,567; 0.01234 -> 0.0123; nothing for what was not measured.
export function number(value) {
  if (value === undefined || Number.isNaN(value))
    return "";
  if (Math.abs(value) >= 100)
    return Math.round(value).toLocaleString("en-US");
  return Number(value.toPrecision(DIGITS)).toString();
}

const range = (spread) => spread && spread.values.length > 1 ? `${number(spread.min)}–${number(spread.max)}` : "";
const spreadText = (spread) => spread ? `${number(spread.median)} ${range(spread) && `(${range(spread)})`}`.trim() : "";
const figure = (name, scale = 1) => ({ figures }) => figures[name] && spreadText({
  ...figures[name],
  ...Object.fromEntries(["median", "min", "max"].map((key) => [key, figures[name][key] * scale])),
});
const middle = (name, scale = 1) => ({ figures }) => figures[name] && number(figures[name].median * scale);
const latency = (name) => ({ latency_us: all }) => all && number(all[name]);
const busy = ({ figures }) => figures.server_busy &&
  `${Math.round(figures.server_busy.median * 100)} / ${Math.round((figures.load_busy?.median ?? 0) * 100)}`;

export function variantText({ keys }) {
  return Object.entries(keys).filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

const WHO = [["server", (row) => row.server], ["variant", variantText]];
const RATIO = [
  ["× floor", (row) => spreadText(row.ratio_to_floor)],
  ["× first variant", (row) => spreadText(row.ratio_to_base)],
];
const CLEAN = [["clean", (row) => row.clean ? "yes" : "NO"]];
const COLUMNS = {
  server_cpu_us_per_delivery: [
    ["CPU µs per delivery", figure("server_cpu_us_per_delivery")],
    ...RATIO,
    ["of it system", middle("server_system_us_per_delivery")],
    ["deliveries/s", middle("deliveries_per_s")],
    ["joins/s", middle("joins_per_s")],
    ["writes per delivery", middle("writes_per_delivery")],
    ["deliveries per read of the load", middle("deliveries_per_load_read")],
    ["wake-ups per delivery", middle("wakeups_per_delivery")],
    ["p50 µs", latency("p50")], ["p99 µs", latency("p99")], ["p99.9 µs", latency("p999")],
    ["busy %, server / load", busy],
    ["RSS MiB", middle("server_rss_bytes", 1 / (1 << 20))],
  ],
  server_cpu_us_per_conn: [
    ["CPU µs per connection", figure("server_cpu_us_per_conn")],
    ...RATIO,
    ["connections/s", middle("connects_per_s")],
    ["busy %, server / load", busy],
  ],
  server_rss_bytes_per_conn: [
    ["bytes per connection", figure("server_rss_bytes_per_conn")],
    ["kernel's bytes, both ends", middle("kernel_bytes_per_conn")],
    ["RSS MiB", middle("server_rss_bytes", 1 / (1 << 20))],
  ],
};

// {head: [...], lines: [[...]]}, without the columns in which nothing stands.
export function tableOf(rows) {
  const columns = [...WHO, ...COLUMNS[rows[0].figure], ...CLEAN];
  const cells = rows.map((row) => columns.map(([, cell]) => cell(row) || ""));
  const used = columns.map((_, i) => cells.some((line) => line[i] !== ""));
  const keep = (line) => line.filter((_, i) => used[i]);
  return { head: keep(columns.map(([title]) => title)), lines: cells.map(keep) };
}

// A line for each workload, a column for each server: its plain variant's multiple of the floor.
export function overviewOf(rows, servers) {
  const others = servers.filter((server) => server !== "floor");
  const ours = WORKLOADS.filter(({ peers }) => peers === false).map(({ id }) => id);
  const workloads = [...new Map(rows.filter(({ sweep, workload }) => !sweep && !ours.includes(workload)).map((row) => [row.workload, row.title]))];
  const cell = (workload, server) => {
    const row = rows.find((candidate) => candidate.workload === workload && candidate.server === server);
    const text = row?.figure === "server_rss_bytes_per_conn" ? number(row.figures[row.figure]?.median)
      : number(row?.ratio_to_floor?.median);
    return row && !row.clean ? `${text}!` : text;
  };
  const floor = (workload) => {
    const row = rows.find((candidate) => candidate.workload === workload && candidate.server === "floor");
    return number(row?.figures[row.figure]?.median);
  };
  const lines = workloads.map(([workload, title]) =>
    [title, floor(workload), ...others.map((server) => cell(workload, server))]);
  return { head: ["multiple of the floor's CPU (idle: bytes)", "floor, µs", ...others],
    lines: lines.filter((line) => line.slice(1).some((text) => text !== "")) };
}

export function barsOf(bars) {
  const verdict = ({ met }) => met === undefined ? "not measured" : met ? "met" : "NOT MET";
  return { head: ["what the hub has to reach", "at most", "reached", ""],
    lines: bars.map((bar) => [bar.title, `${number(bar.most)} ${bar.unit}`, number(bar.value), verdict(bar)]) };
}

export function markdown({ head, lines }) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => i === 0 ? "---" : "--:")), ...lines.map(line)].join("\n");
}

export function plain({ head, lines }) {
  const all = [head, ...lines];
  const widths = head.map((_, i) => Math.max(...all.map((line) => line[i].length)));
  const align = (text, i) => i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]);
  return all.map((line) => line.map(align).join("  ").trimEnd()).join("\n");
}
