// What a person does on the chat's page in one room.

// A browser profile of their own, in the rooms of the address, with a name. `page` was opened for it.
export async function enter(page, url, name, rooms) {
  await page.goto(`${url}/#${rooms}`);
  await page.getByLabel("You are").fill(name);
  await page.getByLabel("You are").press("Enter");
  await joined(page);
  return page;
}

export const joined = (page) => page.locator("#panels section:not([hidden])[data-state=joined]").waitFor();

export async function say(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

export const panel = (page) => page.getByRole("tabpanel");
export const said = (page, text) => panel(page).locator(".said", { hasText: text });

// The list of a room, in the order shown; waits until it is that.
export const people = (page, ...names) => page.waitForFunction((wanted) =>
  [...document.querySelectorAll("#panels section:not([hidden]) .people li")].map((li) => li.textContent).join() === wanted,
  names.join());

// Between the page's websocket and the server, to say what the server would say in rare cases. To be
// called before the page is opened; resolves to what tells the page.
export async function intrude(page) {
  let tell;
  await page.routeWebSocket(/\/socket/, (socket) => {
    const server = socket.connectToServer();
    server.onMessage((message) => socket.send(message));
    tell = (message) => socket.send(JSON.stringify(message));
  });
  return (message) => tell(message);
}
