// The inbox of the demo's one user: this window is one of their devices, a phone that nobody looks at is another.

const USER = "demo";
const PHONE = "demo-phone";
const MAX_ENTRIES = 10;
/** After the time that a device has to report an event, and a moment for the decision. */
const LOOK_AGAIN_MS = [3000, 6000];

const element = (id) => document.getElementById(id);
// Not by `crypto.randomUUID`, which pages have over HTTPS and on this machine only.
sessionStorage.installationId ??= `window-${Math.random().toString(36).slice(2)}`;
const windowId = sessionStorage.installationId;

/** What connections of this window say about it. */
export const identity = { user: USER, installationId: windowId };

/** `press(button, channel, action)` runs an action with its outcome shown. */
export async function openInbox(press) {
  element("inbox").hidden = false;
  element("notify").addEventListener("click", (event) =>
    press(event.currentTarget, "notifications", () =>
      call("POST", "/api/notify", {
        userIds: [USER],
        type: "SYSTEM_ALERT",
        title: "Something happened",
        body: `at ${new Date().toLocaleTimeString(undefined, { hour12: false })}`,
      }),
    ),
  );
  element("read-all").addEventListener("click", () => void call("POST", "/api/inbox/read-all", {}));
  await Promise.all([
    call("PUT", `/api/devices/${windowId}`, { token: `token-of-${windowId}`, platform: "web" }),
    call("PUT", `/api/devices/${PHONE}`, { token: `token-of-${PHONE}`, platform: "android" }),
  ]);
  await show();
}

/** Says when somebody looks at this window, and which events are shown in it. */
export function report(socket) {
  const visible = () => document.visibilityState === "visible";
  const state = () => socket.emit("state", { foreground: visible() });
  socket.on("connect", state);
  document.addEventListener("visibilitychange", state);
  socket.on("refresh", async ({ payload }) => {
    await show();
    for (const ms of LOOK_AGAIN_MS) setTimeout(show, ms);
    if (payload?.eventId !== undefined && visible()) socket.emit("seen", { ids: [payload.eventId] });
  });
}

async function show() {
  const [{ entries }, { unread }, { attempts }] = await Promise.all([
    call("GET", `/api/inbox?archived=false&limit=${MAX_ENTRIES}`),
    call("GET", "/api/inbox/counts"),
    call("GET", `/api/push/attempts?userId=${USER}&limit=200`),
  ]);
  element("unread").textContent = unread === 0 ? "" : `${unread} unread`;
  element("inbox-empty").hidden = entries.length > 0;
  const pushes = Map.groupBy(attempts, (attempt) => attempt.eventId);
  element("entries").replaceChildren(...entries.map((entry) => row(entry, pushes.get(entry.id) ?? [])));
}

function row(entry, attempts) {
  const item = document.createElement("li");
  item.classList.toggle("unread", entry.readAt === null);
  const read = part("button", "quiet", entry.readAt === null ? "Mark as read" : "Mark as unread");
  read.type = "button";
  read.addEventListener("click", () =>
    call("POST", `/api/inbox/${entry.readAt === null ? "read" : "unread"}`, { ids: [entry.id] }),
  );
  item.append(part("strong", "title", entry.title), part("span", "text", entry.body), read);
  item.append(part("span", "pushes", attempts.length === 0 ? "no push" : attempts.map(told).join(", ")));
  return item;
}

function told({ installationId, outcome }) {
  const device =
    installationId === PHONE ? "the phone" : installationId === windowId ? "this window" : "another window";
  return outcome === "not_sent" ? `would have been pushed to ${device}` : `push to ${device}: ${outcome}`;
}

function part(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { "x-carillon-user": USER, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
  return answer;
}
