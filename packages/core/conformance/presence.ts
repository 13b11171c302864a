import { describe, expect, test } from "vitest";
import type { Presence, PresentClient } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface PresenceSubject {
  /** `a` and so on; one where there is only one node. Their leases last for no more than two seconds. */
  readonly nodes: readonly Presence[];
  /** Makes the store lose what `a` put. Absent where it can't. */
  lose?(): Promise<void>;
  close?(): Promise<void>;
}

const phone: PresentClient = { installationId: "phone-é", foreground: false, sinceMs: 1_764_000_000_000 };
const tab: PresentClient = { foreground: true, sinceMs: 1_764_000_000_001 };
const silent: PresentClient = { foreground: undefined, sinceMs: 1_764_000_000_002 };

/** What every presence does. */
export function presenceConformance(name: string, make: () => Promise<PresenceSubject>): void {
  describe(`${name} as presence`, () => {
    const subject = closing(make);

    /** All of them alive. */
    async function cluster(): Promise<Required<Pick<PresenceSubject, "nodes">> & PresenceSubject & { a: Presence }> {
      const made = await subject();
      for (const node of made.nodes) await node.beat();
      return { ...made, a: made.nodes[0]! };
    }
    const put = (node: Presence, user: string, ...clients: PresentClient[]) => node.put(new Map([[user, clients]]));
    const drop = (node: Presence, user: string) => node.put(new Map([[user, undefined]]));

    test("a user's clients are read as they were put, and who has none is not there", async () => {
      const { a } = await cluster();

      await a.put(
        new Map([
          ["auth0|5é", [phone, tab, silent]],
          ["gone", []],
        ]),
      );

      const found = await a.read(["auth0|5é", "gone", "never"]);
      expect([...found]).toEqual([["auth0|5é", [phone, tab, silent].map((client) => ({ ...client, node: "a" }))]]);
    });

    test("the later put counts", async () => {
      const { a } = await cluster();
      await put(a, "u", phone, tab);

      await put(a, "u", { ...phone, foreground: true });

      expect((await a.read(["u"])).get("u")).toEqual([{ ...phone, foreground: true, node: "a" }]);
    });

    test("a user comes once, however often it is put, and leaves once", async () => {
      const { a } = await cluster();

      expect(await put(a, "u", tab)).toEqual({ came: ["u"], left: [] });
      expect(await put(a, "u", tab, phone)).toEqual({ came: [], left: [] });
      expect(await put(a, "u")).toEqual({ came: [], left: [] });
      expect(await drop(a, "u")).toEqual({ came: [], left: ["u"] });
      expect(await drop(a, "u")).toEqual({ came: [], left: [] });
      expect(await a.sweep()).toEqual([]);
    });

    test("a user between two clients comes back without having left", async () => {
      const { a } = await cluster();
      await put(a, "u", tab);

      await put(a, "u");

      expect(await a.read(["u"])).toEqual(new Map());
      expect(await put(a, "u", tab)).toEqual({ came: [], left: [] });
    });

    test("many users are put and read at once", async () => {
      const { a } = await cluster();
      const users = Array.from({ length: 1200 }, (_, i) => `user-${i}`);

      for (let at = 0; at < users.length; at += 500)
        await a.put(new Map(users.slice(at, at + 500).map((user) => [user, [tab]])));

      expect((await a.read(users)).size).toBe(1200);
    });

    test("the last node to go takes its users along", async () => {
      const { nodes, a } = await cluster();
      await put(a, "u", tab);
      await put(a, "between");
      for (const node of nodes.slice(1)) await node.leave(0);

      expect((await a.leave(60_000)).toSorted()).toEqual(["between", "u"]);
      expect(await a.read(["u"])).toEqual(new Map());
    });

    test("what was lost is noticed and put again", async () => {
      const { a, lose } = await cluster();
      if (lose === undefined) return;
      await put(a, "u", tab);
      await lose();

      expect(await put(a, "v", tab)).toBeUndefined();
      expect(await a.beat()).toBe(false);
      expect(await put(a, "u", tab)).toEqual({ came: ["u"], left: [] });

      expect(await a.beat()).toBe(true);
      expect(await a.read(["v"])).toEqual(new Map());
    });

    test("a user on two nodes is one, who leaves with the last client", async () => {
      const { nodes, a } = await cluster();
      const [, b] = nodes;
      if (b === undefined) return;

      expect(await put(a, "u", tab)).toEqual({ came: ["u"], left: [] });
      expect(await put(b, "u", phone)).toEqual({ came: [], left: [] });
      expect((await b.read(["u"])).get("u")?.toSorted((x, y) => x.node.localeCompare(y.node))).toEqual([
        { ...tab, node: "a" },
        { ...phone, node: "b" },
      ]);

      expect(await drop(a, "u")).toEqual({ came: [], left: [] });
      expect(await drop(b, "u")).toEqual({ came: [], left: ["u"] });
    });

    test("the users of nodes that died are gone after the lease, and each left once, except those who came back", async () => {
      const { nodes, a } = await cluster();
      const [, b, c] = nodes;
      if (b === undefined || c === undefined) return;
      const users = Array.from({ length: 1100 }, (_, i) => `user-${i}`);
      for (const at of [0, 500, 1000]) await b.put(new Map(users.slice(at, at + 500).map((user) => [user, [tab]])));
      await put(c, "on both", tab);
      await put(b, "on both", tab);

      await put(a, "user-7", tab);

      const left: string[] = [];
      await eventually(async () => {
        await a.beat();
        // Two at the same time, as nodes do.
        for (const some of await Promise.all([a.sweep(), a.sweep()])) left.push(...some);
        expect(await a.read([...users, "on both"])).toEqual(new Map([["user-7", [{ ...tab, node: "a" }]]]));
        expect(left.length).toBeGreaterThanOrEqual(1100);
      });
      expect(left.toSorted()).toEqual([...users.filter((user) => user !== "user-7"), "on both"].toSorted());
    });

    test("a node that was taken for dead puts its users again when it is back, and they come once", async () => {
      const { nodes, a } = await cluster();
      const [, b] = nodes;
      if (b === undefined) return;
      await put(b, "u", tab);
      await eventually(async () => {
        await a.beat();
        expect(await a.sweep()).toEqual(["u"]);
      });

      expect(await put(b, "v", tab)).toBeUndefined();
      expect(await b.beat()).toBe(false);
      expect(await put(b, "u", tab)).toEqual({ came: ["u"], left: [] });

      expect([...(await a.read(["u"])).keys()]).toEqual(["u"]);
    });

    test("a node that goes leaves its users to the others for as long as it says", async () => {
      const { nodes, a } = await cluster();
      const [, b] = nodes;
      if (b === undefined) return;
      await put(b, "moves", tab);
      await put(b, "leaves", tab);

      expect(await b.leave(300)).toEqual([]);
      expect(await put(a, "moves", tab)).toEqual({ came: [], left: [] });

      const left: string[] = [];
      await eventually(async () => {
        await a.beat();
        left.push(...(await a.sweep()));
        expect(left).toEqual(["leaves"]);
      });
    });
  });
}
