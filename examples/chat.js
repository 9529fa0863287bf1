// The chat's half of the conversation, in the hub's native wire format. Link keeps one websocket
// alive; Room is one topic and the elements that show it. What others send is shown by textContent
// alone, so it stays text whatever it looks like.
"use strict";

const HEARTBEAT_MS = 25000; // the hub ends a connection that says nothing for 60 s
const ANSWER_MS = 8000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15000;
const LINES_KEPT = 500;
const SAME_BREATH_MS = 120000;
const PEOPLE_SHOWN = 30;

class Link {
  constructor(url, handlers) {
    Object.assign(this, { url, ...handlers, waiting: new Map(), lastRef: 0, failures: 0 });
    this.connect();
  }

  get isOpen() {
    return this.ws?.readyState === WebSocket.OPEN;
  }

  connect() {
    if (this.ws) return;
    clearTimeout(this.retry);
    const ws = (this.ws = new WebSocket(this.url));
    this.deadline = setTimeout(() => this.lose(), ANSWER_MS);
    ws.onopen = () => {
      clearTimeout(this.deadline);
      this.beat = setInterval(() => this.heartbeat(), HEARTBEAT_MS);
      this.onopen();
    };
    ws.onmessage = (frame) => this.receive(JSON.parse(frame.data));
    ws.onclose = () => this.lose();
  }

  // A dead network does not close a websocket for minutes; a missing answer tells sooner.
  heartbeat() {
    this.deadline = setTimeout(() => this.lose(), ANSWER_MS);
    this.request("hub", "heartbeat").catch(() => {}).then(() => clearTimeout(this.deadline));
  }

  // Each failure doubles the wait, and half of it is chance, lest all pages return at once.
  lose() {
    const ws = this.ws;
    if (!ws) return;
    this.ws = ws.onopen = ws.onmessage = ws.onclose = null;
    ws.close();
    clearTimeout(this.deadline);
    clearInterval(this.beat);
    for (const call of this.waiting.values()) call.reject(new Error("the connection was lost"));
    this.waiting.clear();
    const wait = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.failures++);
    this.retry = setTimeout(() => this.connect(), wait * (0.5 + Math.random() / 2));
    this.onlose();
  }

  // Promises the response of the reply.
  request(topic, event, payload = {}) {
    return new Promise((resolve, reject) => {
      if (!this.isOpen) return reject(new Error("not connected"));
      const ref = String(++this.lastRef);
      this.waiting.set(ref, { resolve, reject });
      this.ws.send(JSON.stringify({ topic, event, payload, ref }));
    });
  }

  receive({ topic, event, payload, ref }) {
    this.failures = 0; // not at onopen: a hub that hangs up at once must not be hammered
    if (event !== "reply") return this.onevent(topic, event, payload);
    const call = this.waiting.get(ref);
    this.waiting.delete(ref);
    const { status, response } = payload;
    if (status === "ok") call?.resolve(response);
    else call?.reject(new Error(response?.detail?.reason ?? response?.message ?? status));
  }
}

const $ = (id) => document.getElementById(id);
const rooms = new Map(); // by name, in the order of their tabs
let active = null;
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });

class Room {
  constructor(name) {
    Object.assign(this, { name, topic: `room:${name}`, whoTopic: `who:${name}`, unread: 0, last: null });
    Object.assign(this, { sent: new Set(), people: new Map() });
    this.tab = $("tab").content.firstElementChild.cloneNode(true);
    this.panel = $("panel").content.firstElementChild.cloneNode(true);
    this.lines = this.panel.querySelector(".lines");
    this.newer = this.panel.querySelector(".newer");
    this.list = this.panel.querySelector(".people");
    this.tab.querySelector(".title").textContent = this.tab.title = name;
    this.panel.querySelector("h2").textContent = name;
    this.panel.setAttribute("aria-label", `Room ${name}`);
    this.tab.onclick = () => show(this);
    this.panel.querySelector(".leave").onclick = () => leave(this);
    this.newer.onclick = () => this.scrollDown();
    this.lines.onscroll = () => { if (this.isAtEnd) this.newer.hidden = true; };
    this.setState("waiting");
    $("tabs").append(this.tab);
    $("panels").append(this.panel);
  }

  get isAtEnd() {
    return this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
  }

  scrollDown() {
    this.lines.scrollTop = this.lines.scrollHeight;
    this.newer.hidden = true;
  }

  setState(state, note = "") {
    this.state = this.panel.dataset.state = state;
    this.panel.querySelector(".note").textContent = note;
    updateSend();
  }

  async join() {
    this.setState("joining");
    try {
      await link.request(this.topic, "join");
      this.setState("joined");
      await link.request(this.whoTopic, "join", { name: $("name").value });
    } catch (error) {
      if (link.isOpen && this.state !== "joined") this.setState("refused", `You cannot enter: ${error.message}.`);
    }
  }

  rename() {
    if (this.state === "joined") link.request(this.whoTopic, "rename", { name: $("name").value }).catch(() => {});
  }

  // The whole list, and then what changes of it; a connection is a key and has one meta.
  onPresence(event, payload) {
    if (event === "presence_state") this.people = new Map(Object.entries(payload));
    for (const key of Object.keys(payload.leaves ?? {}))
      if (!payload.joins[key]) this.people.delete(key);
    for (const [key, presence] of Object.entries(payload.joins ?? {})) this.people.set(key, presence);
    this.showPeople();
  }

  showPeople() {
    const { "*": counts, ...people } = Object.fromEntries(this.people);
    const names = Object.values(people).map(({ metas }) => metas?.[0]?.name)
      .map((name) => typeof name === "string" && name.trim() ? name.slice(0, 32) : "somebody")
      .sort((left, right) => left.localeCompare(right));
    const shown = names.slice(0, PEOPLE_SHOWN);
    const more = (counts?.metas[0].keys ?? names.length) - shown.length;
    this.list.replaceChildren(...shown.map(nameTag));
    if (more > 0) this.list.append(moreTag(more));
  }

  // The mark comes back with the broadcast: names are not unique, and nobody else can know it yet.
  async say(text) {
    const mark = Math.random().toString(36).slice(2);
    this.sent.add(mark);
    try {
      await link.request(this.topic, "shout", { name: $("name").value, text, mark });
    } catch (error) {
      this.sent.delete(mark);
      this.addEvent(`Perhaps not delivered (${error.message}): ${text}`);
    }
  }

  // Anybody can send anything by hand, so nothing is taken for granted here.
  onShout(payload) {
    const { name, text, mark } = payload ?? {};
    const who = typeof name === "string" && name.trim() ? name.slice(0, 32) : "somebody";
    const mine = this.sent.delete(mark);
    const said = typeof text === "string" ? text : JSON.stringify(payload);
    const author = `${mine} ${who}`;
    const again = this.last?.author === author && Date.now() - this.last.time < SAME_BREATH_MS;
    this.last = { author, time: Date.now() };
    this.add(said, { who, mine, again });
    if (this === active && !document.hidden) return;
    this.unread++;
    updateUnread(this);
  }

  addEvent(text) {
    this.last = null;
    this.add(text, { event: true });
  }

  add(text, { who = "", ...kinds }) {
    const line = $("line").content.firstElementChild.cloneNode(true);
    const follow = this.isAtEnd || kinds.mine;
    const now = new Date();
    for (const kind in kinds) line.classList.toggle(kind, kinds[kind]);
    line.querySelector(".who").textContent = who;
    line.querySelector(".who").style.setProperty("--hue", hue(who));
    line.querySelector("time").textContent = clock.format(now);
    line.querySelector("time").dateTime = now.toISOString();
    line.querySelector(".said").textContent = text;
    this.lines.append(line);
    if (this.lines.children.length > LINES_KEPT) this.lines.firstElementChild.remove();
    if (follow) this.scrollDown();
    else this.newer.hidden = false;
  }
}

function nameTag(name) {
  const tag = document.createElement("li");
  tag.textContent = tag.title = name;
  tag.style.setProperty("--hue", hue(name));
  return tag;
}

function moreTag(count) {
  const tag = document.createElement("li");
  tag.className = "more";
  tag.textContent = `and ${count} more`;
  return tag;
}

function hue(name) {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 3600;
  return sum / 10;
}

function updateSend() {
  $("send").disabled = active?.state !== "joined" || !$("text").value.trim();
}

function updateUnread(room) {
  const badge = room.tab.querySelector(".unread");
  badge.hidden = room.unread === 0;
  badge.textContent = room.unread || "";
  badge.setAttribute("aria-label", `${room.unread} unread`);
  const total = [...rooms.values()].reduce((sum, { unread }) => sum + unread, 0);
  document.title = total ? `(${total}) SocketHub chat` : "SocketHub chat";
}

// A browser may refuse to store anything; then a reload forgets the name, and that is all.
function store(key, value) {
  try { sessionStorage[key] = localStorage[key] = value; } catch { /* refused */ }
}

function stored(key) {
  try { return sessionStorage[key] ?? localStorage[key]; } catch { return undefined; }
}

// The address names the rooms, so that a reload, a bookmark and a link all lead back to them.
function remember() {
  const names = [...rooms.keys()].map(encodeURIComponent).join(",");
  history.replaceState(null, "", `#${names}`);
  store("rooms", names);
  if (active) store("active", active.name);
}

function namesIn(list) {
  const names = list.split(",").map((part) => { try { return decodeURIComponent(part); } catch { return ""; } });
  return names.filter((name) => new RegExp(`^(?:${$("room").pattern})$`, "u").test(name));
}

function show(room) {
  for (const other of rooms.values()) {
    const chosen = other === room;
    other.panel.hidden = !chosen;
    other.tab.setAttribute("aria-selected", chosen);
    other.tab.tabIndex = chosen ? 0 : -1;
  }
  active = room;
  updateSend();
  $("text").disabled = !room;
  remember();
  if (!room) return;
  room.unread = 0;
  updateUnread(room);
  room.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  room.scrollDown();
}

function enter(name) {
  const room = rooms.get(name) ?? new Room(name);
  if (!rooms.has(name)) {
    rooms.set(name, room);
    if (link?.isOpen) room.join();
  }
  show(room);
}

function leave(room) {
  for (const topic of room.state === "refused" ? [] : [room.topic, room.whoTopic])
    link.request(topic, "leave").catch(() => {});
  rooms.delete(room.name);
  room.tab.remove();
  room.panel.remove();
  updateUnread(room);
  show(room === active ? [...rooms.values()].at(-1) ?? null : active);
  $(active ? "text" : "room").focus();
}

function showLink(state, text) {
  $("link").dataset.state = state;
  if ($("link").textContent !== text) $("link").textContent = text; // said aloud when it changes
}

function onopen() {
  showLink("open", "Connected");
  for (const room of rooms.values()) room.join();
}

function onlose() {
  showLink("lost", "Not connected, trying again");
  for (const room of rooms.values()) {
    room.setState("waiting");
    room.onPresence("presence_state", {});
  }
}

// The chat keeps no messages, so there is nothing to fetch; all that a page can do is say so. Behind a
// break between servers ("bus") nobody knows whether anything was lost.
function gapText({ reason }) {
  return reason === "bus" ? "Some messages may have been lost on the way." : "Some messages were lost on the way.";
}

function onevent(topic, event, payload) {
  const room = rooms.get(topic.slice(topic.indexOf(":") + 1));
  if (event.startsWith("presence_")) room?.onPresence(event, payload);
  else if (topic !== room?.topic) return;
  else if (event === "shout") room?.onShout(payload);
  else if (event === "gap") room?.addEvent(gapText(payload));
  else if (event === "close" || event === "error") room?.setState("refused", "The room was closed.");
}

$("enter").onsubmit = (submit) => {
  submit.preventDefault();
  enter($("room").value);
  $("room").value = "";
  $("text").focus();
};
$("say").onsubmit = (submit) => {
  submit.preventDefault();
  if ($("send").disabled) return;
  active.say($("text").value.trim());
  $("text").value = "";
  updateSend();
};
$("text").oninput = updateSend;
$("text").onkeydown = (key) => {
  if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
  key.preventDefault();
  $("say").requestSubmit();
};
$("tabs").onkeydown = (key) => {
  const list = [...rooms.values()];
  const at = list.indexOf(active);
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: list.length - 1 }[key.key];
  if (!list[next]) return;
  key.preventDefault();
  show(list[next]);
  active.tab.focus();
};
$("name").onchange = () => {
  $("name").value = $("name").value.trim() || stored("name");
  store("name", $("name").value);
  for (const room of rooms.values()) room.rename();
};
window.ononline = () => link.connect();
window.onhashchange = () => namesIn(location.hash.slice(1)).forEach(enter);
document.onvisibilitychange = () => {
  if (document.hidden || !active) return;
  active.unread = 0;
  updateUnread(active);
  link.connect();
};

let link = null;
const wanted = namesIn(location.hash.slice(1) || stored("rooms") || "lobby");
const last = stored("active");
store("name", stored("name") || `Guest ${Math.floor(100 + Math.random() * 900)}`);
$("name").value = stored("name");
wanted.forEach(enter);
if (rooms.has(last)) show(rooms.get(last));
const url = new URL("socket", location.href);
url.protocol = url.protocol.replace("http", "ws");
url.hash = "";
link = new Link(url, { onopen, onlose, onevent });
$("text").focus();
