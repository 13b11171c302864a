// The console: asks this node every two seconds, and shows what it says of the cluster.
import { get, useToken } from "/console/api.js";
import { plot, rates, short } from "/console/plots.js";
import { table } from "/console/tables.js";
import { tail } from "/console/tail.js";

const ASK_EVERY_MS = 2000;
/** A node says how it is as often; one that missed two is about to be taken for dead. */
const SILENT_MS = 5000;
const element = (id) => document.getElementById(id);

let wsPort = null;
/** The channel that is shown live, and what ends that. */
let live;
let lastNodes = [];
let lastChannels = [];

const ratesOf = rates();
const plots = {
  publications: plot(element("publications")),
  deliveries: plot(element("deliveries")),
  gapsTold: plot(element("gaps")),
};
const showNodes = table(element("nodes"), ({ name }) => name, nodeCells);
const showChannels = table(element("channels"), ({ channel }) => channel, channelCells);

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(element("token").value.trim());
  void open();
});
element("stop").addEventListener("click", () => follow(undefined));
void open();

async function open() {
  try {
    ({ wsPort } = await get("/console/config"));
  } catch (error) {
    if (error.status === 401 || error.status === 403) return signIn(error.message);
    away(error);
    return void setTimeout(open, ASK_EVERY_MS);
  }
  element("token").value = "";
  element("sign-in").hidden = true;
  element("main").hidden = false;
  await ask();
}

function signIn(reason) {
  // Before anybody gave a token there is nothing to complain about.
  element("refused").textContent = element("token").value === "" && element("main").hidden ? "" : reason;
  element("status").textContent = "For operators.";
  element("main").hidden = true;
  element("sign-in").hidden = false;
  element("token").focus();
  follow(undefined);
}

async function ask() {
  try {
    const [{ nodes, complete }, channels] = await Promise.all([get("/api/nodes"), get("/api/channels?limit=20")]);
    show(nodes, channels);
    const known = `${plural(nodes.length, "node")}, ${plural(channels.total, "channel")}`;
    element("status").textContent = complete ? known : `${known}. The bus is away: this node answers for itself alone.`;
    document.body.classList.toggle("stale", !complete);
  } catch (error) {
    if (error.status === 401 || error.status === 403) return signIn(error.message);
    away(error);
  }
  setTimeout(ask, ASK_EVERY_MS);
}

/** What was known last stays there, and doesn't look fresh. */
function away(error) {
  element("status").textContent = `No answer (${error.message}), asking again.`;
  document.body.classList.add("stale");
}

function show(nodes, { channels }) {
  lastNodes = nodes;
  lastChannels = channels;
  const now = ratesOf(nodes);
  for (const [key, draw] of Object.entries(plots)) draw(now[key]);
  showNodes(nodes);
  showChannels(channels);
  element("no-channels").hidden = channels.length > 0;
  element("channels-table").hidden = channels.length === 0;
}

function nodeCells(node) {
  const clients = Object.values(node.transports).reduce((sum, count) => sum + count, 0);
  const newest = Math.max(...lastNodes.map(({ reportedAt }) => Date.parse(reportedAt)));
  const silentMs = newest - Date.parse(node.reportedAt);
  return [
    { text: node.name, title: node.host },
    stateCell(node, silentMs),
    { text: short(clients), title: counts(node.transports), className: "number" },
    { text: short(node.users), className: "number" },
    { text: node.position ?? "none yet", className: "id" },
    { text: short(node.behind), className: node.behind > 0 ? "number warn" : "number" },
    { text: node.leases.join(", ") || "none", className: node.leases.length === 0 ? "muted" : "" },
    {
      text: `${Math.round(node.eventLoopLagMs.p99)} ms`,
      title: `at most ${node.eventLoopLagMs.max} ms`,
      className: "number",
    },
    { text: `${Math.round(node.memory.rssBytes / 2 ** 20)} MiB`, className: "number" },
    { text: duration(newest - Date.parse(node.startedAt)), title: `since ${node.startedAt}`, className: "number" },
    { text: node.version },
  ];
}

function stateCell({ state, readiness, problems }, silentMs) {
  if (silentMs > SILENT_MS) return { text: `silent for ${Math.round(silentMs / 1000)} s`, className: "bad" };
  const title = counts(problems);
  if (state !== "ready") return { text: state, title, className: "warn" };
  if (readiness === "ok") return { text: "ready", className: "good" };
  return { text: readiness, title, className: readiness === "down" ? "bad" : "warn" };
}

function channelCells({ channel, subscribers, perSecond }) {
  return [
    { text: channel, press: () => follow(channel), pressed: live?.channel === channel },
    { text: short(subscribers), className: "number" },
    { text: short(perSecond), className: "number" },
  ];
}

function follow(channel) {
  live?.stop();
  const position = lastNodes.reduce((last, node) => (node.behind === 0 ? node.position : last), null);
  live = channel === undefined ? undefined : { channel, stop: tail(channel, wsPort, position) };
  const hadFocus = document.activeElement === element("stop");
  element("stop").hidden = live === undefined;
  if (hadFocus) element("channels").querySelector("button")?.focus();
  showChannels(lastChannels);
}

function plural(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function counts(record) {
  return Object.entries(record)
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
}

function duration(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.max(Math.round(ms / 1000), 0)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / 1440)} d`;
}
