// The chat's half of the conversation as phoenix.js has it: its Socket keeps the connection, one of its
// Channels is the room, and both come back by themselves. What others send is shown by textContent
// alone, so it stays text whatever it looks like.
import { Presence, Socket } from "./phoenix.js";

const LINES_KEPT = 500;
const PEOPLE_SHOWN = 30;
const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const url = new URL("socket", location.href);
const socket = new Socket(`${url.origin.replace("http", "ws")}${url.pathname}`, { longPollFallbackMs: 2500 });
let room = null;

// The chat keeps no messages, so there is nothing to fetch; all that a page can do is say so. Behind a
// break between servers ("bus") nobody knows whether anything was lost.
function gapText({ reason }) {
  return reason === "bus" ? "Some messages may have been lost on the way." : "Some messages were lost on the way.";
}

// One room at a time: its channel, and the elements that show it.
class Room {
  constructor(name) {
    Object.assign(this, { name, topic: `room:${name}`, sent: new Set() });
    this.panel = $("panel").content.firstElementChild.cloneNode(true);
    this.lines = this.panel.querySelector(".lines");
    this.list = this.panel.querySelector(".people");
    this.panel.querySelector("h2").textContent = name;
    this.panel.setAttribute("aria-label", `Room ${name}`);
    $("in").replaceChildren(this.panel);
    this.setState("waiting", "");
    this.channel = this.join();
    this.who = this.watch();
  }

  // The callbacks of a join are called for each rejoin, too.
  join() {
    const channel = socket.channel(this.topic);
    channel.on("shout", (payload) => this.onShout(payload));
    channel.on("gap", (gap) => this.add(gapText(gap), { event: true }));
    channel.onError(() => this.setState("waiting", ""));
    channel.onClose(() => { if (this.state !== "refused") this.setState("closed", "The room was closed."); });
    channel.join()
      .receive("ok", () => this.setState("joined", `You have joined ${this.topic}.`))
      .receive("error", ({ reason }) => {
        this.setState("refused", `You cannot enter: ${reason}.`);
        channel.leave(); // else it would try again and again
      });
    return channel;
  }

  // Who is in the room is told on a topic of its own. The parameters of a rejoin are those of its day.
  watch() {
    const who = socket.channel(`who:${this.name}`, () => ({ name: $("name").value }));
    const presence = new Presence(who);
    presence.onSync(() => this.showPeople(presence));
    who.join().receive("error", () => who.leave());
    return who;
  }

  rename() {
    this.who.push("rename", { name: $("name").value });
  }

  leave() {
    this.channel.leave();
    this.who.leave();
  }

  showPeople(presence) {
    const counts = presence.state["*"];
    const names = presence.list((key, { metas: [first] }) => ({ key, name: first?.name }))
      .filter(({ key }) => key !== "*")
      .map(({ name }) => typeof name === "string" && name.trim() ? name.slice(0, 32) : "somebody")
      .sort((left, right) => left.localeCompare(right));
    const shown = names.slice(0, PEOPLE_SHOWN);
    const more = (counts?.metas[0].keys ?? names.length) - shown.length;
    this.list.replaceChildren(...shown.map((name) => tag(name, "")));
    if (more > 0) this.list.append(tag(`and ${more} more`, "more"));
  }

  setState(state, note) {
    this.state = this.panel.dataset.state = state;
    this.panel.querySelector(".note").textContent = note;
    updateSend();
  }

  // The mark comes back with the broadcast: names are not unique, and nobody else can know it yet.
  say(text) {
    const mark = Math.random().toString(36).slice(2);
    const fail = (why) => {
      this.sent.delete(mark);
      this.add(`Perhaps not delivered (${why}): ${text}`, { event: true });
    };
    this.sent.add(mark);
    this.channel.push("shout", { name: $("name").value, text, mark })
      .receive("error", () => fail("refused"))
      .receive("timeout", () => fail("no answer"));
  }

  // Anybody can send anything by hand, so nothing is taken for granted here.
  onShout(payload) {
    const { name, text, mark } = payload ?? {};
    const who = typeof name === "string" && name.trim() ? name.slice(0, 32) : "somebody";
    this.add(typeof text === "string" ? text : JSON.stringify(payload), { who, mine: this.sent.delete(mark) });
  }

  add(text, { who = "", ...kinds }) {
    const line = $("line").content.firstElementChild.cloneNode(true);
    const { scrollHeight, scrollTop, clientHeight } = this.lines;
    const follow = kinds.mine || scrollHeight - scrollTop - clientHeight < 40;
    const now = new Date();
    for (const kind in kinds) line.classList.toggle(kind, kinds[kind]);
    line.querySelector(".who").textContent = who;
    line.querySelector("time").textContent = clock.format(now);
    line.querySelector("time").dateTime = now.toISOString();
    line.querySelector(".said").textContent = text;
    this.lines.append(line);
    if (this.lines.children.length > LINES_KEPT) this.lines.firstElementChild.remove();
    if (follow) this.lines.scrollTop = this.lines.scrollHeight;
  }
}

function tag(text, kind) {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = item.title = text;
  return item;
}

function updateSend() {
  $("send").disabled = room?.state !== "joined" || !$("text").value.trim();
}

// The address names the room, as on the ordinary page, whose first room is taken.
function nameIn(list) {
  let name = "";
  try { name = decodeURIComponent(list.split(",")[0]); } catch { /* no name, then */ }
  return new RegExp(`^(?:${$("room").pattern})$`, "u").test(name) ? name : "lobby";
}

function enter(name) {
  if (name === room?.name) return;
  room?.leave();
  room = new Room(name);
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  updateSend();
}

function showLink(state, text) {
  $("link").dataset.state = state;
  if ($("link").textContent !== text) $("link").textContent = text; // said aloud when it changes
}

// A browser may refuse to store anything; then a reload forgets the name, and that is all.
function store(name) {
  try { sessionStorage.name = localStorage.name = name; } catch { /* refused */ }
}

function stored() {
  try { return sessionStorage.name ?? localStorage.name; } catch { return undefined; }
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
  room.say($("text").value.trim());
  $("text").value = "";
  updateSend();
};
$("text").oninput = updateSend;
$("text").onkeydown = (key) => {
  if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
  key.preventDefault();
  $("say").requestSubmit();
};
$("name").onchange = () => {
  $("name").value = $("name").value.trim() || stored();
  store($("name").value);
  room.rename();
};
window.onhashchange = () => enter(nameIn(location.hash.slice(1)));

socket.onOpen(() => showLink("open", "Connected"));
socket.onClose(() => showLink("lost", "Not connected, trying again"));
socket.onError(() => showLink("lost", "Not connected, trying again"));
socket.connect();
store(stored() || `Guest ${Math.floor(100 + Math.random() * 900)}`);
$("name").value = stored();
enter(nameIn(location.hash.slice(1)));
$("text").focus();
