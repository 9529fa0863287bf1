// The chat's page through phoenix.js beside its ordinary one: two tabs, one room, two wire formats.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/chat_phoenix.mjs
import assert from "node:assert/strict";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { intrude } from "./chat_page.js";
import { load } from "./packages.js";
import { CHAT, startServer } from "./server.js";
import { launch, openTab, picture, troubles } from "./tabs.js";

const OPTIONS = { options: ["--threads", 2, "--phoenix", `${path.dirname(load.resolve("phoenix"))}/phoenix.mjs`] };
let browser, server;

async function visit(name, address, options) {
  const page = await openTab(browser, name, options);
  await page.goto(server.url + address);
  await page.getByLabel("You are").fill(name);
  await page.getByLabel("You are").press("Enter");
  return page;
}

const panel = (page) => page.locator("section:not([hidden])");
const joined = (page) => page.locator("section:not([hidden])[data-state=joined]").waitFor();
const said = (page, text) => panel(page).locator(".said", { hasText: text });

async function say(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

// One on each page, in one room.
async function visitBoth(room, options) {
  const ada = await visit("Ada", `/phoenix#${room}`, options);
  const ben = await visit("Ben", `/#${room}`);
  await Promise.all([joined(ada), joined(ben)]);
  return [ada, ben];
}

async function talk(ada, ben) {
  for (const [from, to, name] of [[ada, ben, "Ada"], [ben, ada, "Ben"]]) {
    const text = `${name} says ${Math.random()}`;
    await say(from, text);
    await Promise.all([said(from, text).waitFor(), said(to, text).waitFor()]);
    assert.equal(await to.locator("li:not(.mine)", { hasText: text }).locator(".who").textContent(), name);
    assert.equal(await from.locator("li.mine", { hasText: text }).count(), 1);
  }
}

before(async () => {
  browser = await launch();
  server = await startServer(CHAT, OPTIONS);
});

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(troubles.splice(0), []);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("the page tells what was lost from what only may have been", async () => {
  const page = await openTab(browser, "Ada");
  const tell = await intrude(page);
  const gap = (reason, missed) => tell([null, null, "room:lobby", "gap", { reason, missed }]);
  await page.goto(`${server.url}/phoenix#lobby`);
  await joined(page);
  gap("bus", 0);
  await panel(page).getByText("Some messages may have been lost on the way.").waitFor();
  assert.equal(await panel(page).getByText("Some messages were lost on the way.").count(), 0);
  gap("lost", 1);
  await panel(page).getByText("Some messages were lost on the way.").waitFor();
});

test("the two pages talk in one room", async () => {
  const [ada, ben] = await visitBoth("tea");
  await panel(ada).getByText("You have joined room:tea.").waitFor();
  await ada.getByText("Connected", { exact: true }).waitFor();
  await talk(ada, ben);
  await picture(ada, "phoenix");
});

const people = (page, ...names) => page.waitForFunction((wanted) =>
  [...document.querySelectorAll("section:not([hidden]) .people li")].map((li) => li.textContent).join() === wanted,
  names.join());

test("each page shows who is on the other", async () => {
  const [ada, ben] = await visitBoth("tea");
  await Promise.all([ada, ben].map((page) => people(page, "Ada", "Ben")));
  await ada.getByLabel("You are").fill("Ida");
  await ada.getByLabel("You are").press("Enter");
  await Promise.all([ada, ben].map((page) => people(page, "Ben", "Ida")));
  await picture(ada, "phoenix-who");
  await ben.close();
  await people(ada, "Ida");
});

test("HTML in a message stays text", async () => {
  const html = "<img src=x onerror=alert(1)><b>bold</b>";
  const [ada, ben] = await visitBoth("html");
  await say(ben, html);
  await said(ada, "onerror").waitFor();
  assert.equal(await said(ada, "onerror").textContent(), html);
  assert.equal(await ada.locator("section :is(img, b)").count(), 0);
});

test("another room is entered and the first is left, and the private one refuses", async () => {
  const [ada, ben] = await visitBoth("tea");
  const room = ada.getByLabel("Room to join");
  await room.fill("garden");
  await room.press("Enter");
  await panel(ada).getByText("You have joined room:garden.").waitFor();
  await say(ben, "is Ada here?");
  await said(ben, "is Ada here?").waitFor();
  const other = await visit("Ben", "/#garden");
  await joined(other);
  await talk(ada, other);
  assert.equal(await panel(ada).locator(".said").count(), 2);
  assert.match(ada.url(), /#garden$/);

  await room.fill("private");
  await room.press("Enter");
  await panel(ada).getByText("You cannot enter: private.").waitFor();
  await ada.getByLabel("Message").fill("hello?");
  assert.ok(await ada.getByRole("button", { name: "Send" }).isDisabled());
});

test("both pages come back when the server does, on a phone, too", async () => {
  const [ada, ben] = await visitBoth("tea", { viewport: { width: 360, height: 640 }, colorScheme: "dark" });
  await server.stop();
  await ada.getByText("Not connected, trying again").waitFor();
  assert.ok(await ada.getByRole("button", { name: "Send" }).isDisabled());
  server = await startServer(CHAT, { port: server.port, ...OPTIONS });
  await Promise.all([joined(ada), joined(ben)]);
  await talk(ada, ben);
  const widths = await ada.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(widths[0] <= widths[1], `scrolls sideways: ${widths}`);
  await picture(ada, "phoenix-phone");
});

test("without phoenix.js its page says so, and the ordinary one is as ever", async () => {
  await server.stop();
  server = await startServer(CHAT, { port: server.port });
  const page = await openTab(browser, "Ada");
  await page.goto(`${server.url}/phoenix`);
  await page.getByText("phoenix.js is missing").waitFor();
  await picture(page, "phoenix-missing");
  await joined(await visit("Ben", "/#tea"));
});
