// What is published on one channel, as it comes: by the stock client, or by asking again where an API key opened the page.
import { get, hasKey, socketToken } from "/console/api.js";
import { io } from "/console/socket.io.js";

const MAX_SHOWN = 100;
const ASK_EVERY_MS = 2000;
const element = (id) => document.getElementById(id);

/** Shows `channel` until the returned function is called. */
export function tail(channel, wsPort, position) {
  element("tail").replaceChildren();
  say(`${channel}: connecting`);
  const stop = hasKey() ? ask(channel, position) : listen(channel, wsPort);
  return () => {
    stop();
    say("Choose a channel to see what is published there.");
  };
}

function listen(channel, wsPort) {
  const gateway = wsPort === null ? "" : `${location.protocol}//${location.hostname}:${wsPort}`;
  const token = socketToken();
  const socket = io(`${gateway}/channels`, { forceNew: true, auth: token === undefined ? {} : { token } });
  socket.on("connect", () => {
    socket.emit("subscribe", { channel }, (answer) => {
      say(answer.ok ? `${channel}: live` : `${channel}: ${answer.error.code}: ${answer.error.message}`);
    });
  });
  socket.on("disconnect", (reason) => say(`${channel}: away (${reason}), coming back`));
  socket.on("connect_error", (error) => say(`${channel}: ${error.data?.code ?? error.message}`));
  socket.on("refresh", ({ scope, payload }, id) => show(id, scope, payload));
  socket.on("notification", ({ payload, truncated, from }, id) => {
    show(id, from === undefined ? "message" : `from ${from}`, payload ?? { truncated });
  });
  socket.on("gap", (_gap, id) => show(id, "gap", "something may be missing before this"));
  return () => socket.disconnect();
}

function ask(channel, position) {
  let since = position;
  let stopped = false;
  const once = async () => {
    try {
      const path = `/api/channels/${encodeURIComponent(channel)}/publications?limit=100`;
      const page = await get(since === null ? path : `${path}&since=${since}`);
      if (stopped) return;
      since = page.id;
      if (page.gap) show(page.id, "gap", "something may be missing before this");
      for (const { id, scope = "message", payload, truncated } of page.publications)
        show(id, scope, payload ?? (truncated === undefined ? undefined : { truncated }));
      say(`${channel}: every ${ASK_EVERY_MS / 1000} s`);
    } catch (error) {
      say(`${channel}: ${error.message}`);
    }
    if (!stopped) setTimeout(once, ASK_EVERY_MS);
  };
  void once();
  return () => {
    stopped = true;
  };
}

/** Whatever comes from outside is set as text, never as HTML. */
function show(id, kind, payload) {
  const item = document.createElement("li");
  if (kind === "gap") item.className = "gap";
  const text = payload === undefined ? "" : typeof payload === "string" ? payload : JSON.stringify(payload);
  item.append(
    part("time", new Date().toLocaleTimeString(undefined, { hour12: false })),
    part("strong", kind),
    part("code", text),
    part("code", id ?? "", "muted"),
  );
  element("tail").prepend(item);
  while (element("tail").childElementCount > MAX_SHOWN) element("tail").lastElementChild.remove();
}

function part(tag, text, className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}

function say(text) {
  element("tail-state").textContent = text;
}
