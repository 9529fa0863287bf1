// ws.mjs FOLDER PORT - ws as a server of topics, in the text format that bench/floor.c describes.
// FOLDER is where npm has installed it.
import { createRequire } from "node:module";

const [folder, port] = process.argv.slice(2);
const { Sender, WebSocketServer } = createRequire(`${folder}/`)("ws");
const SPACE = 0x20;
const TEXT = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: false };
const topics = new Map(); // name -> Set of connections

// One buffer with the header in it, for all that are to get it.
function frameOf(data) {
  return [Buffer.concat(Sender.frame(data, TEXT))];
}

function join(client, topic) {
  if (!topics.has(topic))
    topics.set(topic, new Set());
  topics.get(topic).add(client);
  client.topics.add(topic);
  client.send(`joined ${topic}`);
}

function forget(client, topic) {
  const members = topics.get(topic);
  members?.delete(client);
  if (members?.size === 0)
    topics.delete(topic);
}

function leave(client, topic) {
  forget(client, topic);
  client.topics.delete(topic);
  client.send(`left ${topic}`);
}

// `rest` is the topic, a space and the payload, which is what members get.
function publish(rest) {
  const members = topics.get(rest.toString("utf8", 0, rest.indexOf(SPACE)));
  if (members === undefined)
    return;
  const frame = frameOf(rest);
  for (const member of members)
    member._sender.sendFrame(frame);
}

function onMessage(data) {
  const space = data.indexOf(SPACE);
  const rest = data.subarray(space + 1);
  switch (data.toString("latin1", 0, space)) {
  case "pub": return publish(rest);
  case "echo": return this._sender.sendFrame(frameOf(rest));
  case "join": return join(this, rest.toString());
  case "leave": return leave(this, rest.toString());
  case "none": return undefined;
  default: return this.close(1008, "no such command");
  }
}

function onClose() {
  for (const topic of this.topics)
    forget(this, topic);
}

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(port),
  backlog: 4096,
  clientTracking: false,
  perMessageDeflate: false,
  skipUTF8Validation: true,
});
server.on("connection", (client) => {
  client.topics = new Set();
  client.on("message", onMessage);
  client.on("close", onClose);
  client.on("error", onClose);
});
