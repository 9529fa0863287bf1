// load("ws"): a package of package.json. NODE_PACKAGES names another folder than this one in whose
// node_modules they are.
import { createRequire } from "node:module";
import path from "node:path";

const folder = process.env.NODE_PACKAGES;

export const load = createRequire(folder ? `${path.resolve(folder)}/` : import.meta.url);
