// The plots, made by gnuplot of the rows.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";

const COST = "server_cpu_us_per_delivery";
const COLORS = { hub: "#d62728", floor: "#555555", ws: "#1f77b4", "socket.io": "#2ca02c", nchan: "#9467bd",
  "nats-server": "#ff7f0e", mosquitto: "#8c564b" };
const OTHER_COLORS = ["#17becf", "#e377c2", "#bcbd22"];
const KIB = 1024;

// Connections of the plain fan-out: a report that was made in a moment has fewer.
const usualConns = (rows) => rows.find(({ workload }) => workload === "fanout-1")?.conns;

// A row of the simplest case but for `along`: one topic, 128 B, one publish outstanding. Of the hub's
// variants the plain one, of the floor's the one that stood beside it.
function isPoint(row, along, conns) {
  const usual = { topics: 1, payload: 128, window: 1, conns, publishers: 1 };
  const plain = row.server !== "hub" || (row.format === "native" && row.keys.limits === undefined &&
    row.keys.threads === undefined);
  return plain && row.options?.workload === "fanout" && row.options.rate === 0 && row.figures[COST] !== undefined &&
    Object.entries(usual).every(([key, value]) => key === along || row[key] === value);
}

function pointsAlong(rows, along, server) {
  const points = rows.filter((row) => row.server === server && isPoint(row, along, usualConns(rows)));
  // with one publish outstanding both floors do the same: one point for each x
  const byX = new Map(points.map((row) => [row[along], [row[along], row.figures[COST].median]]));
  return [...byX.values()].sort((a, b) => a[0] - b[0]);
}

function costPlot(rows, servers, along, more) {
  return { ylabel: "server CPU, µs per delivery", logscale: "xy", ...more,
    lines: servers.map((server) => ({ server, points: pointsAlong(rows, along, server) })) };
}

// A column of bars for each way of loading, one bar for each number of threads.
function threadsPlot(rows) {
  const ways = [["threads-open", "open loop, 40 %, any core"], ["threads-1", "1 outstanding, one core"],
    ["threads-64", "64 outstanding, one core"]];
  return { file: "cost-by-threads", title: "Cost of a delivery by threads (hub)", xlabel: "threads",
    ylabel: "server CPU, µs per delivery", logscale: "y", xrange: "[0.8:2.2]", xtics: "1,1,2",
    lines: ways.map(([workload, title]) => ({ server: title, points: rows
      .filter((row) => row.workload === workload && row.server === "hub" && row.figures[COST])
      .map((row) => [row.keys.threads, row.figures[COST].median]) })) };
}

// Percentiles from the histogram: x grows by a factor of ten with each nine.
function latencyPlot(rows, servers) {
  const of = (server) => rows.find((row) => row.workload === "latency" && row.server === server)?.latency_us;
  const points = (latency) => {
    const total = latency.buckets.reduce((sum, [, count]) => sum + count, 0);
    let seen = 0;
    return latency.buckets.map(([upper, count]) => [1 / (1 - (seen += count) / (total + 1)), upper])
      .filter(([x]) => x >= 1.05);
  };
  return { file: "latency", title: "Latency at 20 publishes a second to 1,000 members", xlabel: "percentile",
    ylabel: "latency, µs", logscale: "xy", marks: false,
    xtics: '("50" 2, "90" 10, "99" 100, "99.9" 1000, "99.99" 10000)',
    lines: servers.map((server) => ({ server, points: of(server) ? points(of(server)) : [] })) };
}

function memoryPlot(rows, servers) {
  return { file: "memory-by-connections", title: "Resident memory by idle, joined connections", xlabel: "connections",
    ylabel: "MiB more than without", logscale: "xy",
    lines: servers.map((server) => ({ server, points: rows
      .filter((row) => row.server === server && row.options?.workload === "idle" &&
        row.figures.server_rss_bytes_per_conn?.median > 0)
      .map((row) => [row.conns, row.conns * row.figures.server_rss_bytes_per_conn.median / KIB / KIB])
      .sort((a, b) => a[0] - b[0]) })) };
}

function script(plot, path) {
  const lines = plot.lines.filter(({ points }) => points.length > 0);
  const style = ({ server }, i) => {
    const color = COLORS[server] ?? OTHER_COLORS[i % OTHER_COLORS.length];
    const width = server === "hub" ? 3 : 1.5;
    return `lc rgb "${color}" lw ${width}${plot.marks === false ? "" : ` pt ${5 + 2 * (i % 5)} ps 0.6`}`;
  };
  const kind = plot.marks === false ? "lines" : "linespoints";
  return [
    ...lines.map(({ points }, i) => `$line${i} << END\n${points.map((point) => point.join(" ")).join("\n")}\nEND`),
    `set terminal svg size 800,500 font "sans,13" background rgb "white"`,
    `set output "${path}"`,
    `set title "${plot.title}"`,
    `set xlabel "${plot.xlabel}"`, `set ylabel "${plot.ylabel}"`,
    "set key outside right top", "set grid lc rgb \"#dddddd\"", "set border 3", "set tics nomirror",
    `set logscale ${plot.logscale}`,
    plot.xrange ? `set xrange ${plot.xrange}` : "",
    plot.xtics ? `set xtics ${plot.xtics}` : "",
    `plot ${lines.map((line, i) => `$line${i} with ${kind} title "${line.server}" noenhanced ${style(line, i)}`).join(", ")}`,
    "",
  ].join("\n");
}

// Returns [{file, title}] of those that were made, or why there are none.
export function drawPlots(out, rows, servers) {
  const plots = [
    costPlot(rows, servers, "conns", { file: "cost-by-members", title: "Cost of a delivery by members of the topic",
      xlabel: "members" }),
    costPlot(rows, servers, "payload", { file: "cost-by-payload", title: "Cost of a delivery by size of the payload",
      xlabel: "bytes" }),
    costPlot(rows, servers, "window", { file: "cost-by-window", title: "Cost of a delivery by publishes outstanding",
      xlabel: "publishes outstanding" }),
    threadsPlot(rows), latencyPlot(rows, servers), memoryPlot(rows, servers),
  ].filter(({ lines }) => lines.some(({ points }) => points.length > 0));
  const made = [];
  for (const plot of plots) {
    const path = `${out}/raw/${plot.file}.gnuplot`;
    writeFileSync(path, script(plot, `${out}/${plot.file}.svg`));
    const { error, status, stderr } = spawnSync("gnuplot", [path], { encoding: "utf8" });
    if (error?.code === "ENOENT")
      return { made, why: "gnuplot is not installed" };
    if (status !== 0)
      return { made, why: `gnuplot: ${stderr.trim().split("\n").at(-1)}` };
    made.push({ file: `${plot.file}.svg`, title: plot.title });
  }
  return { made };
}
