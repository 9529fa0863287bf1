// What stands between some clients and their server: it passes requests on, and upgrades not.
import { createServer, request } from "node:http";
import { once } from "node:events";

// `onUpgrade(socket)` decides what becomes of them: destroyed, or left without an answer.
export async function startProxy(t, server, onUpgrade) {
  const upgrades = [];
  const proxy = createServer((from, to) => {
    const { method, url, headers } = from;
    const onward = request(server.url + url, { method, headers }, (response) => {
      to.writeHead(response.statusCode, response.headers);
      response.pipe(to);
    });
    onward.on("error", () => to.destroy());
    to.on("close", () => onward.destroy());
    from.pipe(onward);
  });
  proxy.on("upgrade", (from, socket) => {
    upgrades.push(socket);
    onUpgrade(socket);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    proxy.closeAllConnections();
    upgrades.forEach((socket) => socket.destroy());
  });
  return { port: proxy.address().port, url: `http://127.0.0.1:${proxy.address().port}`, upgrades };
}
