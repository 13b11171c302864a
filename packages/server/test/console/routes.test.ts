import { CarillonError } from "@carillon/protocol";
import { expect, test } from "vitest";
import { callerWith, fixture } from "../http/fakes.ts";

const nobody = {
  caller: () => {
    throw new CarillonError("UNAUTHENTICATED");
  },
};
const browser = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };

test("the page is given to any browser that goes there, and to nothing else without the right", async () => {
  const { app } = fixture({ auth: nobody });

  const page = await app.inject({ url: "/console", headers: browser });
  const call = await app.inject("/console");

  expect([page.statusCode, page.headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
  expect([call.statusCode, call.json().code]).toEqual([401, "UNAUTHENTICATED"]);
});

test.each(["/console/config", "/api/nodes", "/api/channels"])(
  "a browser gets nothing from %s without the right",
  async (url) => {
    const strangers = fixture({ auth: nobody });
    const users = fixture({ auth: { caller: () => callerWith("publish", "subscribe") } });

    expect((await strangers.app.inject({ url, headers: browser })).json()).toMatchObject({ code: "UNAUTHENTICATED" });
    expect((await users.app.inject({ url, headers: browser })).json()).toMatchObject({ code: "FORBIDDEN" });
  },
);

test("the page asks nothing of other servers, and runs nothing that isn't in its files", async () => {
  const { app } = fixture({ settings: { wsPort: 3001 } });
  const page = (await app.inject({ url: "/console", headers: browser })).body;
  const parts = [...page.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, url = ""]) => url);
  expect(parts.length).toBeGreaterThan(1);

  for (const url of [
    "/console",
    "/console/api.js",
    "/console/plots.js",
    "/console/tables.js",
    "/console/tail.js",
    ...parts,
  ]) {
    const response = await app.inject({ url, headers: browser });
    expect(response.statusCode, url).toBe(200);
    expect(response.headers["content-security-policy"]).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self';/,
    );
    expect(response.headers["content-security-policy"]).toContain("ws://*:3001");
    expect(response.body.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:\/\/[a-z]/);
    expect(response.body).not.toMatch(/\sstyle=|\son\w+="/);
  }
});

test("where sockets are on a port of their own, the page is told", async () => {
  expect((await fixture().app.inject("/console/config")).json()).toEqual({ wsPort: null });
  expect((await fixture({ settings: { wsPort: 3001 } }).app.inject("/console/config")).json()).toEqual({
    wsPort: 3001,
  });
});
