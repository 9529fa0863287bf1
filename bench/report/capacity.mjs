// capacity.mjs RUN.json SHARE - publishes a second: that share of what the run's server would do if
// it were never idle.
import { readFileSync } from "node:fs";

const [path, share] = process.argv.slice(2);
const { figures } = JSON.parse(readFileSync(path, "utf8"));
console.log(Math.max(1, Math.round(figures.publishes_per_s.median / figures.server_busy.median * Number(share))));
