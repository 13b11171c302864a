// An application as it would be written: a list that TanStack Query fetches and Carillon keeps right, and hooks.
import { createClient } from "@carillon/client";
import { CarillonProvider, useRefresh, useRoom, useStatus, useSubscription } from "@carillon/client/react";
import { bindQueryClient } from "@carillon/client/tanstack-query";
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

const { url } = await (await fetch("/config")).json();
const client = createClient({
  url,
  auth: { user: "42" },
  socket: { transports: ["websocket"], reconnectionDelayMax: 500 },
});
const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity, retry: false } } });
bindQueryClient(client, queryClient, { trips: ["trips"] });

function Trips() {
  const { data = [] } = useQuery({
    queryKey: ["trips"],
    queryFn: () => fetch("/trips").then((answer) => answer.json()),
  });
  return (
    <ul id="trips">
      {data.map(({ id, name }) => (
        <li key={id}>{name}</li>
      ))}
    </ul>
  );
}

function Events() {
  const status = useStatus();
  const [events, setEvents] = useState([]);
  const add = (event) => setEvents((before) => [...before, event]);
  useRefresh("users", "USER_*", ({ scope }) => add(scope));
  useRoom("team:7", { namespace: "users" });
  useSubscription("chat", ({ text }) => add(text), { onGap: () => add("gap") });
  return (
    <>
      <p id="status">{status.state}</p>
      <p id="node">{status.node}</p>
      <p id="events">{events.join(" ")}</p>
    </>
  );
}

function App() {
  const [open, setOpen] = useState(true);
  return (
    <QueryClientProvider client={queryClient}>
      <CarillonProvider client={client}>
        <Trips />
        <button type="button" onClick={() => setOpen(!open)}>
          events
        </button>
        {open && <Events />}
      </CarillonProvider>
    </QueryClientProvider>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
