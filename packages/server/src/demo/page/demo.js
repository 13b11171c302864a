// The demo page: the stock Socket.IO client and nothing else. Whatever comes from outside is set as text, never as HTML.
import { identity, openInbox, report } from "/demo/inbox.js";
import { io } from "/demo/socket.io.js";

const MAX_EVENTS = 200;
const element = (id) => document.getElementById(id);
const config = await (await fetch("/demo/config")).json();
const gateway = config.wsPort === null ? "" : `${location.protocol}//${location.hostname}:${config.wsPort}`;

/** When a button was pressed, by the channel that will hear of it, to show how long the way was. */
const pressedAt = new Map();

for (const name of config.namespaces) {
  const socket = listen(`/${name}`, name);
  if (config.inbox && name === "notifications") report(socket);
}
listen("/channels", undefined, (socket) => {
  // In every connect handler: after a resume it is harmless, after a restart it is needed.
  for (const channel of config.channels) socket.emit("subscribe", { channel });
});

button("order", config.channels[1], () => post("/demo/orders"));
button("approve", config.namespaces[0], () => post("/demo/trips/approve"));
element("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  void press(event.submitter, config.channels[0], () => post("/demo/chat-messages", { text: element("text").value }));
});
element("clear").addEventListener("click", () => {
  element("events").replaceChildren();
  element("empty").hidden = false;
});
if (!config.buttons) {
  for (const control of document.querySelectorAll(".actions button, .chat button, .chat input"))
    control.disabled = true;
  outcome("The buttons work under AUTH=off only.", true);
}

if (config.inbox) openInbox(press).catch((error) => outcome(error.message, true));

function listen(path, channel, onConnect = () => {}) {
  const socket = io(`${gateway}${path}`, config.inbox ? { auth: identity } : {});
  const show = status(path, channel === undefined ? config.channels.join(", ") : "refreshes");

  socket.on("connect", () => {
    show("connected, catching up", false);
    onConnect(socket);
  });
  socket.on("ready", (ready) => show(`on node ${ready.node}${ready.recovered ? ", resumed" : ""}`, true));
  socket.on("disconnect", (reason) => show(`away (${reason}), coming back`, false));
  socket.on("connect_error", (error) => show(error.data?.code ?? `cannot connect (${error.message})`, false));
  socket.on("refresh", (refresh, id) => {
    const where = refresh.channel ?? channel;
    add(
      "refresh",
      where,
      refresh.payload === undefined ? refresh.scope : `${refresh.scope} ${json(refresh.payload)}`,
      id,
    );
  });
  socket.on("notification", (message, id) => {
    add("message", message.channel, json(message.payload ?? { truncated: message.truncated }), id, message.timestamp);
  });
  socket.on("gap", (gap, id) =>
    add("gap", gap.channels?.join(", ") ?? "all", "something may be missing: fetch again", id),
  );
  return socket;
}

function status(path, about) {
  const item = document.createElement("li");
  const name = part("code", "name", path);
  const state = part("span", "state", "connecting");
  name.title = about;
  item.append(part("span", "dot", ""), name, state);
  element("connections").append(item);
  return (text, live) => {
    item.classList.toggle("live", live);
    state.textContent = live ? `${about} · ${text}` : text;
  };
}

function add(kind, channel, text, id, timestamp) {
  const arrived = new Date();
  const item = document.createElement("li");
  item.className = `new ${kind}`;
  const time = part("time", "time", arrived.toLocaleTimeString(undefined, { hour12: false }));
  time.dateTime = arrived.toISOString();
  if (timestamp !== undefined) time.title = `published ${timestamp}`;
  const tail = part("code", "id", `${id ?? ""}${tookMs(channel)}`);
  item.append(time, part("span", "kind", `${kind} · ${channel}`), part("code", "body", text), tail);
  element("events").prepend(item);
  element("empty").hidden = true;
  while (element("events").childElementCount > MAX_EVENTS) element("events").lastElementChild.remove();
}

/** Only the page that pressed the button knows the time of the way. */
function tookMs(channel) {
  const pressed = pressedAt.get(channel);
  if (pressed === undefined) return "";
  pressedAt.delete(channel);
  return ` · ${Math.round(performance.now() - pressed)} ms`;
}

function part(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function json(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function button(id, channel, action) {
  element(id).addEventListener("click", (event) => press(event.currentTarget, channel, action));
}

async function press(control, channel, action) {
  control.disabled = true;
  pressedAt.set(channel, performance.now());
  try {
    const answer = await action();
    outcome(typeof answer === "string" ? answer : JSON.stringify(answer), false);
  } catch (error) {
    pressedAt.delete(channel);
    outcome(error.message, true);
  }
  control.disabled = false;
  control.focus();
}

/** The answer in a line, or an error with the reason that the node gives. */
async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  return `${response.status} ${JSON.stringify(answer)}`;
}

function outcome(text, failed) {
  element("outcome").textContent = text;
  element("outcome").classList.toggle("failed", failed);
}
