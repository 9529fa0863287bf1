// What is measured: workloads, who takes part in each, and in which variants. plan.mjs makes runs
// of it, report.mjs tables.
//
// A workload is
//   id, title       one row of tables for each server and variant
//   load            options of bench/load, without the dashes
//   figure          what counts, and what ratios are made of
//   floor           options of the floor that runs beside every other; absent: none does
//   peers           false: only the hub takes part
//   cannot          server -> why it does not offer this
//   deaf            server -> why its publishers cannot be members, as the hub's have to be
//   hub             variants of the hub; the first is the plain one
//   sweep           true: a point of a plot, less often repeated
//   once            true: one round in a quick run
//   long            true: each run takes as long as the profile says; a number: so many seconds
//   dear            true: peers take long, so a quick run has them in its first round alone
//   fresh           every run has a server of its own
//   settleMs        silence between joining and measuring
// A variant is
//   keys            what tells its row from the others
//   serve, load     options more, for hub_server and for load
//   speak           its wire format, native otherwise
//   base            true: the variants behind it are compared with it
//   pinned          false: the kernel may choose the cores

export const SERVERS = ["hub", "floor", "ws", "socket.io", "nchan", "nats-server", "mosquitto"];

const SINGLE = ["--mode", "single"];
const BATCHED = ["--mode", "batched"];
const COST = "server_cpu_us_per_delivery";
const NATIVE = { keys: { format: "native" } };
const FORMATS = [NATIVE, ...["1.0.0", "2.0.0"].map((speak) => ({ keys: { format: speak }, speak }))];
const LARGE = ["--message-bytes", "131072"]; // the default is 64 KiB for all of a message
const MANY_TOPICS = ["--topics", "1024"]; // the default is 128; who publishes is a member of all
const DEFAULTS = { keys: { format: "native", limits: "defaults" }, serve: ["--defaults", "--high-rates"] };

function threads(count, more = {}) {
  return { ...more, keys: { ...more.keys, threads: count }, serve: ["--threads", String(count)] };
}

const base = (variant) => ({ ...variant, base: true });
// Who publishes hears it, as with the hub: where topics are small, that is a good part of the deliveries.
const HEARS = { "publishers-join": true };
const DEAF = { nchan: "publishers are other connections than subscribers" };
const fanout = { workload: "fanout", conns: 1000, topics: 1, publishers: 1, payload: 128, window: 1 };
const delivery = { figure: COST, floor: SINGLE, hub: [NATIVE] };

const DELIVERIES = [
  { ...delivery, id: "fanout-1", title: "1 topic x 1,000 members, 128 B, 1 publish outstanding", load: fanout,
    hub: [...FORMATS, DEFAULTS] },
  { ...delivery, id: "fanout-64", title: "1 topic x 1,000 members, 128 B, 64 publishes outstanding",
    load: { ...fanout, window: 64 }, floor: BATCHED, hub: FORMATS },
  { ...delivery, id: "publishers-64", title: "1 topic x 1,000 members, 128 B, 64 publishers, 64 outstanding",
    load: { ...fanout, ...HEARS, publishers: 64, window: 64 }, floor: BATCHED, dear: true, deaf: DEAF },
  { ...delivery, id: "rooms", title: "1,000 topics x 10 members, 128 B, 1 publish outstanding",
    load: { ...fanout, ...HEARS, workload: "rooms", conns: 10000, topics: 1000 }, dear: true,
    deaf: { ...DEAF, "nats-server": "load subscribes with one id for each connection" },
    hub: [{ ...NATIVE, serve: MANY_TOPICS }] },
  { ...delivery, id: "echo", title: "own reply, 100 connections, 128 B",
    load: { workload: "echo", conns: 100, topics: 100, payload: 128, window: 100 }, dear: true,
    cannot: { nchan: "subscribers and publishers are different connections" } },
  { ...delivery, id: "payload-16k", title: "1 topic x 1,000 members, 16 KiB, 1 publish outstanding",
    load: { ...fanout, payload: 16384 }, dear: true },
];

// The floor that stands beside 64 outstanding is the batched one.
const SWEEPS = [
  ...[10, 100, 10000].map((conns) => ({ id: `members-${conns}`, title: `1 topic x ${conns} members, 128 B`,
    load: { ...fanout, ...HEARS, conns }, deaf: DEAF })),
  ...[48, 1024, 65536].map((payload) => ({ id: `payload-${payload}`, title: `1 topic x 1,000 members, ${payload} B`,
    load: { ...fanout, payload }, hub: payload < 65536 ? [NATIVE] : [{ ...NATIVE, serve: LARGE }] })),
  ...[4, 16, 256].map((window) => ({ id: `window-${window}`,
    title: `1 topic x 1,000 members, 128 B, ${window} publishes outstanding`,
    load: { ...fanout, window }, floor: BATCHED })),
].map((workload) => ({ ...delivery, ...workload, sweep: true }));

const LATENCY = { ...delivery, id: "latency", title: "1 topic x 1,000 members, 128 B, 20 publishes a second",
  load: { ...fanout, window: undefined, rate: 20 }, long: true, dear: true };

const idle = { workload: "idle", topics: 1000, conns: 10000 };
const IDLE = [
  { id: "idle", title: "10,000 idle members in topics of 10: resident memory per connection", load: idle },
  { id: "idle-1000", title: "1,000 idle members in topics of 10", load: { ...idle, conns: 1000, topics: 100 },
    sweep: true, settleMs: 1000 },
  { id: "idle-3000", title: "3,000 idle members in topics of 10", load: { ...idle, conns: 3000, topics: 300 },
    sweep: true, settleMs: 1000 },
].map((workload) => ({ figure: "server_rss_bytes_per_conn", floor: SINGLE, hub: [NATIVE], fresh: true,
  settleMs: 5000, ...workload }));

const connect = { workload: "connect", conns: 5000, topics: 500 };
const CONNECT = [
  { id: "connect-5000", title: "5,000 connections connect and join", load: connect },
  { id: "connect-10000", title: "10,000 connections connect and join",
    load: { ...connect, conns: 10000, topics: 1000 } },
].map((workload) => ({ figure: "server_cpu_us_per_conn", floor: SINGLE, hub: [NATIVE], fresh: true, dear: true,
  ...workload }));

const OURS = [
  { id: "patterns", title: "joins beside 1,000 patterns, and beside 1", load: connect,
    figure: "server_cpu_us_per_conn", peers: false, floor: SINGLE,
    hub: [base({ keys: { channels: 1 } }), { keys: { channels: 1000 }, serve: ["--channels", "1000"] }] },
  { id: "threads-open", title: "2 threads and 1, open loop at 40 % of one thread's capacity, unpinned",
    figure: COST, peers: false, long: true, capacity: 0.4,
    load: { ...fanout, window: undefined, rate: "capacity" },
    hub: [base(threads(1, { pinned: false })), threads(2, { pinned: false })] },
  ...[1, 64].map((window) => ({ id: `threads-${window}`, figure: COST, peers: false,
    title: `2 threads and 1 on one core, ${window} outstanding`, floor: window === 1 ? SINGLE : BATCHED,
    load: { ...fanout, window }, hub: [base(threads(1)), threads(2)] })),
];

// Enough for the outboxes of those that do not read to fill up.
const slow = { ...fanout, window: undefined, rate: 100, payload: 16384 };
const DISTURBED = [
  { id: "slow", title: "100 of 1,000 members stop reading, 16 KiB, 100 publishes a second", figure: COST, peers: false,
    load: { ...slow, workload: "slow" }, floor: null, long: 4, once: true,
    hub: [base({ keys: { slow: 0 }, load: { workload: "fanout" } }), { keys: { slow: 100 }, load: { slow: 100 } }] },
  { ...delivery, id: "churn", title: "1 topic x 1,000 members, 500 joins and leaves a second beside the fan-out",
    load: { ...fanout, workload: "churn", "churn-rate": 500, "churn-conns": 100 },
    cannot: { nchan: "who leaves closes the connection" }, dear: true },
];

export const WORKLOADS = [...DELIVERIES, ...CONNECT, ...IDLE, ...OURS, LATENCY, ...DISTURBED, ...SWEEPS];

// How much of it: rounds, and milliseconds of each run. `coldMs` warms up a peer that has just started, `shrink` divides connections and topics,
// `shortest` shortens what asks for seconds, `ownFloor` gives each run a floor of its own, `dearOnce` is
// what `dear` and `once` above are about.
export const PROFILES = {
  full: { rounds: 5, sweepRounds: 3, memoryRounds: 5, warmupMs: 200, coldMs: 1000, durationMs: 500, longMs: 1500,
    ownFloor: true },
  quick: { rounds: 3, sweepRounds: 1, memoryRounds: 1, warmupMs: 30, coldMs: 400, durationMs: 150, longMs: 700, settleMs: 500,
    dearOnce: true,
    leaveOut: ["connect-10000", "idle-1000", "idle-3000", "payload-48", "payload-65536", "members-10000", "window-4",
      "window-256"] },
  smoke: { rounds: 1, sweepRounds: 1, memoryRounds: 1, warmupMs: 10, durationMs: 30, longMs: 60, settleMs: 10, shortest: true,
    shrink: 50, leaveOut: ["connect-10000", "idle-3000", "idle-1000", "members-10000", "payload-65536", "window-256"] },
};
