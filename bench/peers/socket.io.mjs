// socket.io.mjs FOLDER PORT - Socket.IO with rooms as topics: "join" and "leave" are answered
// "joined" and "left", "pub" reaches the room as "msg", "echo" its sender. FOLDER is where npm has
// installed it.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [folder, port] = process.argv.slice(2);
const { Server } = createRequire(`${folder}/`)("socket.io");
const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

// Otherwise the first request of each client stays in memory.
io.engine.on("connection", (transport) => {
  transport.request = null;
});
io.on("connection", (client) => {
  client.on("join", (topic) => {
    client.join(topic);
    client.emit("joined", topic);
  });
  client.on("leave", (topic) => {
    client.leave(topic);
    client.emit("left", topic);
  });
  client.on("pub", (topic, payload) => io.to(topic).emit("msg", topic, payload));
  client.on("echo", (topic, payload) => client.emit("msg", topic, payload));
});
http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
