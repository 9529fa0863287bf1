// plan.mjs OUT PROFILE SERVER... - which runs are to be made, in which order. Prints steps for
// run.sh, a line each with tabs between its words, and writes OUT/raw/plan.json, which tells
// report.mjs what each run was for:
//   start KEY SERVER yes|no OPTIONS     starts a server; pinned or not
//   capacity SEQ SHARE                  publishes a second: that share of what run SEQ had room for
//   run SEQ KEY yes|no SPEAK OPTIONS    loads it; SPEAK is - for what the server speaks
//   stop KEY
//   say TEXT
import { writeFileSync } from "node:fs";
import { PROFILES, SERVERS, WORKLOADS } from "./workloads.mjs";

const [out, profileName, ...servers] = process.argv.slice(2);
const profile = PROFILES[profileName];
const runs = [];

function step(...words) {
  console.log(words.join("\t"));
}

function roundsOf(workload) {
  if (workload.settleMs !== undefined)
    return workload.sweep ? 1 : profile.memoryRounds;
  if (workload.once && profile.dearOnce)
    return 1;
  return workload.sweep ? profile.sweepRounds : profile.rounds;
}

function durationOf({ long }) {
  if (typeof long === "number" && !profile.shortest)
    return 1000 * long;
  return long ? profile.longMs : profile.durationMs;
}

const shrunk = (count) => count && Math.ceil(count / (profile.shrink ?? 1));

function loadOf(workload, variant) {
  const load = { ...workload.load, ...variant.load };
  if (variant.server in (workload.deaf ?? {}))
    delete load["publishers-join"];
  for (const name of ["conns", "topics", "slow", "churn-conns"])
    load[name] = shrunk(load[name]);
  if (workload.settleMs !== undefined)
    load["settle-ms"] = profile.settleMs ?? workload.settleMs;
  else if (load.workload !== "connect")
    Object.assign(load, { "warmup-ms": variant.cold ? profile.coldMs ?? profile.warmupMs : profile.warmupMs,
      "duration-ms": durationOf(workload) });
  return load;
}

// Who takes part besides the floor: the hub in its variants, then each peer that offers this.
function contendersOf(workload, round) {
  const absent = workload.peers === false || (profile.dearOnce && workload.dear && round > 1);
  const peers = absent ? [] : servers.filter((name) => name !== "hub" && name !== "floor");
  return [
    ...(servers.includes("hub") ? workload.hub.map((variant) => ({ server: "hub", ...variant })) : []),
    ...peers.filter((server) => !(server in (workload.cannot ?? {})))
      .filter((server) => workload.settleMs === undefined || SERVERS.includes(server)).map((server) => ({ server, keys: {} })),
  ];
}

const keyOf = ({ server, serve = [], pinned = true }) => [server, ...serve, ...(pinned ? [] : ["unpinned"])].join("");

// Servers that are running.
const alive = new Set();

function stopAll() {
  alive.forEach((key) => step("stop", key));
  alive.clear();
}

function run(workload, contender, round) {
  const key = keyOf(contender);
  // what compiles as it runs begins slowly
  const load = loadOf(workload, { ...contender, cold: !alive.has(key) && !["hub", "floor"].includes(contender.server) });
  const pinned = contender.pinned !== false;
  const entry = { seq: runs.length + 1, workload: workload.id, server: contender.server, keys: contender.keys, round,
    load, serve: contender.serve ?? [], pinned };
  if (!alive.has(key)) {
    step("start", key, contender.server, pinned ? "yes" : "no", entry.serve.join(" "));
    alive.add(key);
  }
  runs.push(entry);
  const options = Object.entries(load).filter(([, value]) => value !== undefined);
  step("run", entry.seq, key, pinned ? "yes" : "no", contender.speak ?? "-",
    options.map(([name, value]) => value === true ? `--${name}` : `--${name} ${value}`).join(" "));
  if (workload.fresh)
    stopAll();
  return entry;
}

// Each run has a floor as its neighbour: F a F b F c, or, where time is short, a F b c F d. The order
// turns round by round, so that nobody is always the first. Memory needs no neighbour: one floor is enough.
function roundOf(workload, contenders, round) {
  const withFloor = Boolean(workload.floor) && servers.includes("floor");
  const list = round % 2 === 0 && !contenders.some(({ base }) => base) ? [...contenders].reverse() : contenders;
  const size = workload.settleMs !== undefined ? list.length : profile.ownFloor && !workload.sweep ? 1 : 2;
  let base;
  for (let i = 0; i < Math.max(list.length, 1); i += Math.max(size, 1)) {
    const group = list.slice(i, i + size);
    const before = group.slice(0, size - 1).map((contender) => run(workload, contender, round));
    const floor = withFloor
      ? run(workload, { server: "floor", keys: { mode: workload.floor[1] }, serve: workload.floor }, round)
      : undefined;
    const behind = group.slice(size - 1).map((contender) => run(workload, contender, round));
    [...before, ...behind].forEach((entry, at) => {
      Object.assign(entry, { floor: floor?.seq, base: group[at].base ? undefined : base });
      base = group[at].base ? entry.seq : base;
    });
  }
}

function planWorkload(workload) {
  const contenders = contendersOf(workload, 1);
  if (contenders.length === 0 && !(servers.includes("floor") && workload.peers !== false))
    return;
  step("say", workload.title);
  if (workload.capacity !== undefined) {
    const load = { ...workload.load, rate: undefined, window: 1 };
    step("capacity", run({ ...workload, id: "capacity", load, long: false }, { server: "hub", keys: {} }, 0).seq, workload.capacity);
  }
  for (let round = 1; round <= roundsOf(workload); ++round)
    roundOf(workload, contendersOf(workload, round), round);
  stopAll();
}

const chosen = WORKLOADS.filter(({ id }) => !profile.leaveOut?.includes(id));
chosen.forEach(planWorkload);
const notOffered = chosen.flatMap(({ id, cannot = {} }) => Object.entries(cannot)
  .filter(([server]) => servers.includes(server)).map(([server, why]) => ({ workload: id, server, why })));
writeFileSync(`${out}/raw/plan.json`, JSON.stringify({
  profile: { name: profileName, ...profile },
  servers: [...servers].sort((a, b) => (SERVERS.indexOf(a) + 99) % 99 - (SERVERS.indexOf(b) + 99) % 99),
  notOffered,
  runs,
}, null, 1));
