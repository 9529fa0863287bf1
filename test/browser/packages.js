// load("ws"): a package of package.json, from where test/run.sh installs them. NODE_PACKAGES names
// another folder in whose node_modules they are.
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const folder = process.env.NODE_PACKAGES ?? fileURLToPath(new URL("../../build/browser", import.meta.url));

export const load = createRequire(`${path.resolve(folder)}/`);
