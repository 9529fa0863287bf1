// The chat's page in a real browser: two tabs, two rooms, a reload, a restarted server, a phone.
//
//     SOCKETHUB_EXAMPLES=build/release/examples node test/browser/chat.mjs
//
// Nothing here sleeps: every wait is for something, with a deadline.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { enter, intrude, joined, panel, people, said, say } from "./chat_page.js";
import { CHAT, startServer } from "./server.js";
import { launch, openTab, picture, troubles } from "./tabs.js";

let browser, server;

// One person: a browser profile of their own, in the rooms of the address, with a name.
async function visit(name, rooms, options) {
  return enter(await openTab(browser, name, options), server.url, name, rooms);
}

const tab = (page, room) => page.getByRole("tab", { name: room });

before(async () => {
  browser = await launch();
  server = await startServer(CHAT);
});

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(troubles.splice(0), []);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("a message crosses to its room and to no other", async () => {
  const ada = await visit("Ada", "lobby,tea");
  const ben = await visit("Ben", "lobby,tea");
  await tab(ada, "tea").click();
  await tab(ben, "lobby").click();
  await say(ada, "the kettle is on");
  await said(ada, "the kettle is on").waitFor();
  assert.equal(await ada.locator("li.mine").count(), 1);

  // Ben sits in the lobby: a badge tells him, and the words are in the tea room alone
  await tab(ben, "tea").getByText("1").waitFor();
  assert.equal(await panel(ben).locator(".said").count(), 0);
  assert.equal(await ben.title(), "(1) SocketHub chat");
  await tab(ben, "tea").click();
  await said(ben, "the kettle is on").waitFor();
  assert.equal(await panel(ben).locator(".who").first().textContent(), "Ada");
  assert.equal(await ben.locator("li.mine").count(), 0);
  assert.equal(await ben.title(), "SocketHub chat");

  await say(ben, "coming");
  await said(ada, "coming").waitFor();
  await picture(ada, "two-people");
});

test("everybody sees who is in the room, under their name of the day", async () => {
  const ada = await visit("Ada", "tea,lobby");
  await tab(ada, "tea").click();
  const ben = await visit("Ben", "tea");
  const cyd = await visit("Cyd", "tea");
  await Promise.all([ada, ben, cyd].map((page) => people(page, "Ada", "Ben", "Cyd")));
  await ben.getByLabel("You are").fill("Zoe");
  await ben.getByLabel("You are").press("Enter");
  await Promise.all([ada, ben, cyd].map((page) => people(page, "Ada", "Cyd", "Zoe")));
  await picture(ada, "who-is-here");
  await cyd.close();
  await people(ada, "Ada", "Zoe");
  await panel(ben).getByRole("button", { name: "Leave" }).click();
  await people(ada, "Ada");
  await tab(ada, "lobby").click();
  await people(ada, "Ada");
});

test("HTML in a message, a name and a room stays text", async () => {
  const html = "<img src=x onerror=alert(1)><script>alert(2)<\u002fscript><b>bold</b>";
  const eve = await visit("<i>Eve</i>", "lobby");
  const ben = await visit("Ben", "lobby");
  await say(eve, html);
  await said(ben, "onerror").waitFor();
  assert.equal(await said(ben, "onerror").textContent(), html);
  assert.equal(await panel(ben).locator(".who").first().textContent(), "<i>Eve</i>");
  assert.equal(await ben.locator("#panels :is(img, script, b, i)").count(), 0);
});

test("a reload rejoins the same rooms under the same name", async () => {
  const ada = await visit("Ada", "lobby,tea");
  await tab(ada, "tea").click();
  await ada.reload();
  await joined(ada);
  assert.equal(await ada.getByRole("tab", { selected: true }).textContent(), "tea");
  assert.equal(await ada.getByRole("tab").count(), 2);
  assert.equal(await ada.getByLabel("You are").inputValue(), "Ada");
  const ben = await visit("Ben", "tea");
  await say(ben, "welcome back");
  await said(ada, "welcome back").waitFor();
});

test("a room is entered and left by hand, and the private one refuses with its reason", async () => {
  const ada = await visit("Ada", "lobby");
  await ada.getByLabel("Room to join").fill("private");
  await ada.getByLabel("Room to join").press("Enter");
  await panel(ada).getByText("You cannot enter: private.").waitFor();
  assert.ok(await ada.getByRole("button", { name: "Send" }).isDisabled());
  await picture(ada, "refused");
  await panel(ada).getByRole("button", { name: "Leave" }).click();
  await joined(ada);
  assert.deepEqual(await ada.getByRole("tab").allTextContents(), ["lobby"]);
  assert.match(ada.url(), /#lobby$/);
});

test("the rooms are walked with the keyboard alone", async () => {
  const ada = await visit("Ada", "lobby,tea,garden");
  await tab(ada, "garden").click();
  await ada.keyboard.press("Home");
  assert.equal(await ada.getByRole("tab", { selected: true }).textContent(), "lobby");
  await ada.keyboard.press("ArrowRight");
  assert.equal(await ada.getByRole("tab", { selected: true }).textContent(), "tea");
  assert.equal(await ada.evaluate(() => document.activeElement.textContent), "tea");
});

test("the page tells what was lost from what only may have been", async () => {
  const page = await openTab(browser, "Ada");
  const tell = await intrude(page);
  const gap = (reason, missed) => tell({ topic: "room:lobby", event: "gap", payload: { reason, missed } });
  await enter(page, server.url, "Ada", "lobby");
  gap("bus", 0);
  await panel(page).getByText("Some messages may have been lost on the way.").waitFor();
  assert.equal(await panel(page).getByText("Some messages were lost on the way.").count(), 0);
  gap("lost", 1);
  await panel(page).getByText("Some messages were lost on the way.").waitFor();
});

test("the page says that the server is gone, keeps what was typed, and comes back", async () => {
  const ada = await visit("Ada", "lobby", { viewport: { width: 360, height: 640 } });
  const ben = await visit("Ben", "lobby");
  await server.stop();
  await ada.locator("#link[data-state=lost]").waitFor();
  await ada.getByText("Not connected, trying again").waitFor();
  await say(ada, "still here?");
  assert.equal(await ada.getByLabel("Message").inputValue(), "still here?");
  await picture(ada, "not-connected");

  server = await startServer(CHAT, { port: server.port });
  await Promise.all([joined(ada), joined(ben)]);
  await ada.getByText("Connected", { exact: true }).waitFor();
  await ada.getByRole("button", { name: "Send" }).click();
  await said(ben, "still here?").waitFor();
});

for (const colorScheme of ["light", "dark"]) {
  test(`it fits a phone and a desk, ${colorScheme}`, async () => {
    const long = "a long word ".repeat(12) + "https://example.org/" + "x".repeat(300);
    const phone = await visit("Ada", "lobby,tea,a-room-with-a-rather-long-name,garden",
      { viewport: { width: 360, height: 740 }, colorScheme });
    const desk = await visit("Grace Hopper", "lobby", { colorScheme });
    await tab(phone, "lobby").click();
    await say(phone, "Hello from the phone.");
    await said(desk, "Hello from the phone.").waitFor();
    await say(desk, "Hello! How is the weather out there?");
    await say(desk, "We have rain.");
    await say(phone, long);
    await say(desk, "I see.");
    for (const page of [phone, desk]) {
      await said(page, "I see.").waitFor();
      const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(widths[0] <= widths[1], `scrolls sideways: ${widths}`);
      const lines = await panel(page).locator(".lines").evaluate((ol) => [ol.scrollWidth, ol.clientWidth]);
      assert.ok(lines[0] <= lines[1], `a message is too wide: ${lines}`);
      assert.ok(await page.getByRole("button", { name: "Send" }).isVisible());
    }
    await picture(phone, `phone-${colorScheme}`);
    await picture(desk, `desk-${colorScheme}`);
  });
}
