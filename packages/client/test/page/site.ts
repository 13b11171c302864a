/** The application's own server: its page, bundled as applications do it, and what the page fetches. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "rolldown";

export interface Site {
  readonly url: string;
  /** How often the list was fetched. */
  readonly fetches: number;
  close(): Promise<void>;
}

export async function startSite(carillonUrl: () => string, trips: () => Promise<unknown[]>): Promise<Site> {
  const { output } = await build({
    input: fileURLToPath(new URL("app.jsx", import.meta.url)),
    platform: "browser",
    logLevel: "silent",
    write: false,
    transform: { define: { "process.env.NODE_ENV": '"production"' }, jsx: "react-jsx" },
    output: { codeSplitting: false },
  });
  let fetches = 0;
  const server = createServer(async (request, response) => {
    const send = (type: string, body: string) => response.setHeader("content-type", type).end(body);
    if (request.url === "/app.js") return send("text/javascript", output[0].code);
    if (request.url === "/config") return send("application/json", JSON.stringify({ url: carillonUrl() }));
    if (request.url === "/trips") {
      fetches++;
      return send("application/json", JSON.stringify(await trips()));
    }
    return send("text/html", '<!doctype html><div id="root"></div><script type="module" src="/app.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get fetches() {
      return fetches;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
