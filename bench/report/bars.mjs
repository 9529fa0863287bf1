// What the hub has to reach, and whether it did.

const MIB = 1 << 20;
const isHub = ({ server }) => server === "hub";
// The hub as it is without options.
const isPlain = (row) => isHub(row) && row.format === "native" && row.limits === undefined;

const ofRatio = (name) => (row) => row[name]?.median;
const ofFigure = (name) => (row) => row.figures[name]?.median;

function p99Ratio(row, rows) {
  const calm = rows.find((other) => other.workload === row.workload && other.keys.slow === 0);
  return row.latency_us && calm?.latency_us ? row.latency_us.p99 / calm.latency_us.p99 : undefined;
}

// What the memory of a server grew by at its peak beside the same one whose members all read, for each that does not.
function outboxMiB(row, rows) {
  const calm = rows.find((other) => other.workload === row.workload && other.keys.slow === 0);
  const grown = ofFigure("server_rss_peak_bytes")(row) - ofFigure("server_rss_peak_bytes")(calm ?? row);
  return Number.isNaN(grown) ? undefined : grown / MIB / row.options.slow;
}

const floorBar = (workload, title, most) => ({ workload, title, most, unit: "x floor", value: ofRatio("ratio_to_floor") });
const baseBar = (workload, title, most, base, pick) =>
  ({ workload, title, most, unit: `x ${base}`, value: ofRatio("ratio_to_base"), pick });

const BARS = [
  floorBar("fanout-1", "1 topic x 1,000 members, 128 B, 1 outstanding", 1.05),
  floorBar("fanout-64", "the same, 64 outstanding", 1.3),
  floorBar("publishers-64", "64 publishers, 64 outstanding", 1.3),
  floorBar("rooms", "1,000 topics x 10 members, 1 outstanding", 1.05),
  floorBar("echo", "own reply, 100 connections", 1.05),
  floorBar("payload-16k", "16 KiB payload, 1 outstanding", 1.05),
  { workload: "idle", title: "idle joined connection, 10,000 of them", most: 640, unit: "B",
    value: ofFigure("server_rss_bytes_per_conn") },
  floorBar("connect-5000", "connect and join, 5,000", 1.3),
  floorBar("connect-10000", "connect and join, 10,000", 1.3),
  baseBar("patterns", "connect and join beside 1,000 patterns", 1.3, "1 pattern", { channels: 1000 }),
  baseBar("threads-open", "2 threads, open loop", 1.1, "1 thread", { threads: 2 }),
  baseBar("threads-1", "2 threads on one core, 1 outstanding", 1.2, "1 thread", { threads: 2 }),
  baseBar("threads-64", "2 threads on one core, 64 outstanding", 1.2, "1 thread", { threads: 2 }),
  { workload: "slow", title: "p99 of the others while 100 of 1,000 stop reading", most: 1.5, unit: "x without",
    value: p99Ratio, pick: (row) => row.keys.slow > 0 },
  { workload: "slow", title: "memory for each that stops reading", most: 1.1, unit: "MiB", value: outboxMiB,
    pick: (row) => row.keys.slow > 0 },
];

function matches(row, pick = {}) {
  return typeof pick === "function" ? pick(row)
    : Object.entries(pick).every(([key, value]) => row.keys[key] === value);
}

// [{title, most, unit, value, met}]; value is undefined where it was not measured.
export function judge(rows) {
  return BARS.map(({ workload, title, most, unit, value, pick }) => {
    const row = rows.find((candidate) => candidate.workload === workload && isPlain(candidate) && matches(candidate, pick));
    const reached = row && value(row, rows);
    return { title, most, unit, value: reached, met: reached === undefined ? undefined : reached <= most };
  });
}
