// Debian's Chromium, or the one that CHROMIUM names. Pictures go to SCREENSHOTS, else to a folder in
// SOCKETHUB_ARTIFACTS, else nowhere.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { load } from "./packages.js";
import { DEADLINE_MS } from "./wait.js";

const { env } = process;
const CHROMIUM = env.CHROMIUM ?? "/usr/bin/chromium";
const SCREENSHOTS = env.SCREENSHOTS ?? (env.SOCKETHUB_ARTIFACTS && `${env.SOCKETHUB_ARTIFACTS}/screenshots`);
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const troubles = []; // what no page may have said

export function launch() {
  if (SCREENSHOTS) mkdirSync(SCREENSHOTS, { recursive: true });
  return load("playwright-core").chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: 60000 });
}

// A tab of somebody with a browser profile of their own. It may ask nobody but this machine.
export async function openTab(browser, name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.on("pageerror", (error) => troubles.push(`${name}: ${error}`));
  page.on("dialog", (dialog) => troubles.push(`${name}: dialog ${dialog.message()}`));
  page.on("request", (request) => {
    if (!/^(data:|https?:\/\/(127\.0\.0\.1|localhost):)/.test(request.url())) troubles.push(`${name}: asked for ${request.url()}`);
  });
  return page;
}

export async function picture(page, name) {
  if (SCREENSHOTS) await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}
