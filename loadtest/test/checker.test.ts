import { describe, expect, test } from "vitest";
import { check } from "../chaos/checker/check.ts";
import type { ClientHistory, HistoryEvent, Publication } from "../chaos/checker/histories.ts";
import { client, down, gap, heard, id, joined, published, ready, subscribed, tick, up } from "./histories.ts";

describe("a history without faults", () => {
  test("counts what was delivered, and finds nothing", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), heard("a.1", 2)]));

    expect(verdict).toMatchObject({ owed: 2, delivered: 2, told: 0, gaps: 0, falseGaps: 0 });
    expect(faults(verdict)).toEqual([]);
  });

  test("a resume that brings what was missed is no fault", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("a.2", 3)];
    const events = [up(), ready(0), heard("a.0", 1), down(), up(), heard("a.1", 2), ready(2), heard("a.2", 3)];

    const verdict = judge(publications, client(events));

    expect(verdict.delivered).toBe(3);
    expect(faults(verdict)).toEqual([]);
  });

  test("what was published before the client listened is not owed", () => {
    const publications = [published("a.0", 1)];

    const verdict = judge(publications, client([up(), ready(1)], { owedFrom: tick() }));

    expect(verdict.owed).toBe(0);
  });

  test("what nobody promised and nobody heard is not owed", () => {
    const publications = [published("r.0", undefined, { promised: false })];

    const { clients, vanished, vanishedUntold } = check(publications, [client([up(), ready(0)])]);

    expect(clients[0]?.owed).toBe(0);
    expect(vanished).toHaveLength(1);
    expect(vanishedUntold).toBe(1);
  });

  test("what was refused is not owed", () => {
    const verdict = judge([published("a.0", undefined, { outcome: "refused" })], client([up(), ready(0)]));

    expect(verdict.owed).toBe(0);
  });
});

describe("loss", () => {
  test("an accepted publication that never came is lost in silence", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("a.2", 3)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), heard("a.2", 3)]));

    expect(verdict.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
  });

  test("a resume that claims to be whole does not cover what it left out", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), down(), up(), ready(2, true)]));

    expect(verdict.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
  });

  test("what one client heard is owed to all others, whether it was promised or not", () => {
    const publications = [published("r.0", undefined, { promised: false })];
    const lucky = client([up(), ready(0), heard("r.0", 1)]);

    const { clients } = check(publications, [lucky, client([up(), ready(0)], { client: "c1" })]);

    expect(clients[1]?.lost.map(({ tag }) => tag)).toEqual(["r.0"]);
  });

  test("what was promised and heard by nobody is lost", () => {
    const verdict = judge([published("p.0", undefined)], client([up(), ready(0)]));

    expect(verdict.lost).toHaveLength(1);
  });

  test("a client that never listened again loses the rest", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), down()]));

    expect(verdict.lost).toHaveLength(1);
  });

  test("of equal refreshes the latest must be heard", () => {
    const equal = { equalScope: "EQUAL.0" };
    const publications = [published("e.0", 1, equal), published("e.1", 2, equal), published("e.2", 3, equal)];
    const hears = (n: number) =>
      client([up(), ready(0), { ...heard("", n), tag: undefined, equalScope: "EQUAL.0" } as never]);

    const stale = judge(publications, hears(2));
    const latest = judge(publications, hears(3));

    expect(stale.lost.map(({ tag }) => tag)).toEqual(["e.2"]);
    expect(latest.lost).toEqual([]);
  });
});

describe("gaps", () => {
  test("a gap covers what lies between the client's last id and its position", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("a.2", 3)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), gap(2), heard("a.2", 3)]));

    expect(verdict).toMatchObject({ delivered: 2, told: 1, gaps: 1, falseGaps: 0 });
    expect(verdict.lost).toEqual([]);
  });

  test("a later gap does not cover what was already passed over", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("a.2", 3)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.1", 2), gap(3)]));

    expect(verdict.lost.map(({ tag }) => tag)).toEqual(["a.0"]);
  });

  test("a gap does not cover what comes after its position", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), gap(1)]));

    expect(verdict.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
  });

  test("a gap for other channels covers nothing", () => {
    const publications = [published("a.0", 1)];

    const verdict = judge(publications, client([up(), ready(0), gap(1, ["chat"])]));

    expect(verdict.lost).toHaveLength(1);
    expect(verdict.falseGaps).toBe(1);
  });

  test("a gap in a new epoch covers the end of the old one", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];
    const events = [up(), ready(0), heard("a.0", 1), { ...gap(0), id: id(0, 2) }];

    const verdict = judge(publications, client(events));

    expect(verdict.told).toBe(1);
    expect(verdict.lost).toEqual([]);
  });

  test("before ready a gap speaks of all that the connection missed", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("a.2", 3)];
    const events = [up(), ready(0), heard("a.0", 1), down(), up(), heard("a.2", 3), gap(3), ready(3)];

    const verdict = judge(publications, client(events));

    expect(verdict.lost).toEqual([]);
    expect(verdict.told).toBe(1);
  });

  test("a gap at the client's own position speaks of what its subscription missed", () => {
    const publications = [published("a.0", 1), published("a.1", 2), published("b.0", 3, { channel: "chat" })];
    const events = [
      up(),
      ready(0),
      heard("a.0", 1),
      down(),
      up(),
      ready(2),
      heard("b.0", 3, { channel: "chat" }),
      gap(3, ["trips"]),
    ];

    const verdict = judge(publications, client(events, { channels: ["trips", "chat"] }));

    expect(verdict.lost).toEqual([]);
    expect(verdict.told).toBe(1);
  });

  test("a gap on a channel that is subscribed to again speaks of all since the connection that had it", () => {
    const publications = [
      ...[published("a.0", 1), published("a.1", 2), published("b.0", 3, { channel: "chat" })],
      published("a.2", 4, { outcome: "unknown", promised: false }),
    ];
    const again = (...last: HistoryEvent[]) =>
      judge(
        publications,
        client(
          [
            ...[up(), ready(0, true, ["trips", "chat"]), heard("a.0", 1), down()],
            ...[up(), gap(1), ready(1, false, []), down()],
            ...[up(), gap(1), ready(1, false, []), subscribed("chat"), heard("b.0", 3, { channel: "chat" }), ...last],
          ],
          { channels: ["trips", "chat"] },
        ),
      );

    const told = again(gap(4, ["trips"]), subscribed("trips"));
    const toldAfterAck = again(subscribed("trips"), gap(4, ["trips"]));
    const tooLate = again(subscribed("trips"), heard("a.2", 4), gap(5, ["trips"]));

    expect(told).toMatchObject({ lost: [], told: 1 });
    expect(toldAfterAck).toMatchObject({ lost: [], told: 1 });
    expect(tooLate.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
  });

  test("a gap while a room is joined again speaks of what it missed, whatever was heard meanwhile", () => {
    const rooms = ["trip:1"];
    const publications = [published("a.0", 1), published("a.1", 2, { to: { rooms } }), published("a.2", 3)];
    const again = (...last: HistoryEvent[]) =>
      judge(
        publications,
        client(
          [
            up(),
            ready(0, true, ["trips"], rooms),
            heard("a.0", 1),
            down(),
            up(),
            gap(1),
            ready(1, false),
            heard("a.2", 3),
            ...last,
          ],
          { rooms },
        ),
      );

    const told = again(gap(4), joined("trip:1"));
    const tooLate = again(joined("trip:1"), gap(4));

    expect(told).toMatchObject({ lost: [], told: 1 });
    expect(tooLate.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
  });

  test("a gap that covers nothing is a false one", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), gap(1), heard("a.1", 2)]));

    expect(verdict).toMatchObject({ gaps: 1, falseGaps: 1 });
  });

  test("a gap tells of a NOTIFY that nobody heard", () => {
    const publications = [published("n.0", undefined, { promised: false })];
    const told = client([up(), ready(0), gap(1)]);

    const { vanished, vanishedUntold, clients } = check(publications, [told]);

    expect(vanished).toHaveLength(1);
    expect(vanishedUntold).toBe(0);
    expect(clients[0]?.falseGaps).toBe(0);
  });
});

describe("twice", () => {
  test("an id that comes again is found", () => {
    const publications = [published("a.0", 1), published("a.1", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), heard("a.1", 2), heard("a.0", 1)]));

    expect(verdict.doubledIds).toHaveLength(1);
    expect(verdict.inversions).toHaveLength(0);
  });

  test("an id that comes again after a resume is found", () => {
    const publications = [published("a.0", 1)];

    const verdict = judge(
      publications,
      client([up(), ready(0), heard("a.0", 1), down(), up(), heard("a.0", 1), ready(1)]),
    );

    expect(verdict.doubledIds).toHaveLength(1);
  });

  test("a publication under a second id is found", () => {
    const publications = [published("a.0", 1)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 1), heard("a.0", 2)]));

    expect(verdict.doubledIds).toHaveLength(0);
    expect(verdict.doubledPublications).toHaveLength(1);
  });

  test("without ids a publication that comes again is found", () => {
    const publications = [published("a.0", undefined)];

    const verdict = judge(publications, client([up(), heard("a.0", undefined), heard("a.0", undefined)]));

    expect(verdict.doubledPublications).toHaveLength(1);
  });

  test("a repetition because the id had not come yet is kept apart", () => {
    const publications = [published("a.0", 1)];
    const events = [up(), ready(0), heard("a.0", undefined), down(), up(), heard("a.0", 1), ready(1)];

    const verdict = judge(publications, client(events));

    expect(verdict.repeatedUnnamed).toHaveLength(1);
    expect(verdict.doubledPublications).toHaveLength(0);
  });
});

describe("order", () => {
  test("a lower id after a higher one is found", () => {
    const publications = [published("a.0", 1), published("b.0", 2)];

    const verdict = judge(publications, client([up(), ready(0), heard("b.0", 2), heard("a.0", 1)]));

    expect(verdict.inversions).toHaveLength(1);
  });

  test("what should have come before ready's position is found", () => {
    const verdict = judge([published("a.0", 1)], client([up(), ready(1), heard("a.0", 1)]));

    expect(verdict.inversions).toHaveLength(1);
  });

  test("a position that moves back is found", () => {
    const publications = [published("a.0", 5)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.0", 5), down(), up(), gap(3), ready(3)]));

    expect(verdict.inversions).toHaveLength(2);
  });

  test("what one publisher sent one after another is found in another order even without ids", () => {
    const publications = [published("a.0", undefined), published("a.1", undefined)];

    const verdict = judge(publications, client([up(), heard("a.1", undefined), heard("a.0", undefined)]));

    expect(verdict.inversions).toHaveLength(1);
  });

  test("what its publisher had no answer for may come late", () => {
    const publications = [published("a.0", undefined, { outcome: "unknown" }), published("a.1", 1)];

    const verdict = judge(publications, client([up(), ready(0), heard("a.1", 1), heard("a.0", 2)]));

    expect(faults(verdict)).toEqual([]);
  });

  test("a replay by since stands outside of the order", () => {
    const publications = [published("a.0", 1), published("b.0", 2)];
    const events = [up(), ready(0), heard("b.0", 2), heard("a.0", 1, { replayed: true })];

    const verdict = judge(publications, client(events));

    expect(faults(verdict)).toEqual([]);
  });
});

describe("who may hear", () => {
  test("what is meant for other users or rooms is not owed, and heard it is a fault", () => {
    const publications = [
      published("a.0", 1, { to: { users: ["u9"] } }),
      published("a.1", 2, { to: { rooms: ["trip:9"] } }),
      published("a.2", 3, { to: { rooms: ["trip:1"] } }),
    ];
    const events = [up(), ready(0), heard("a.0", 1), heard("a.2", 3)];

    const verdict = judge(publications, client(events, { rooms: ["trip:1"] }));

    expect(verdict.owed).toBe(1);
    expect(verdict.overheard).toHaveLength(1);
  });
});

describe("the stock stack", () => {
  test("a reconnect that was not recovered tells of what was sent while it was away, and of nothing else", () => {
    const events = [up(), heard("a.0", undefined)];
    const first = published("a.0", undefined);
    const silent = published("a.1", undefined, { sentAt: tick(), answeredAt: tick() });
    for (let ms = 0; ms < 1_000; ms++) tick();
    events.push(heard("a.2", undefined), down());
    const away = published("a.3", undefined);
    events.push(up(), gap(undefined));

    const verdict = judge(
      [first, silent, published("a.2", undefined, { sentAt: 0, answeredAt: 0 }), away],
      client(events),
    );

    expect(verdict.lost.map(({ tag }) => tag)).toEqual(["a.1"]);
    expect(verdict.told).toBe(1);
  });
});

test("the longest wait is from the sending to the hearing, or to the gap that told of it", () => {
  const quick = published("a.0", 1);
  const missed = published("a.1", 2);
  const events = [up(), ready(0), heard("a.0", 1)];
  for (let ms = 0; ms < 500; ms++) tick();
  events.push(gap(2));

  const verdict = judge([quick, missed], client(events));

  expect(verdict.longestWaitMs).toBeGreaterThan(500);
});

function judge(publications: Publication[], history: ClientHistory) {
  const [verdict] = check(publications, [history]).clients;
  if (verdict === undefined) throw new Error("no verdict");
  return verdict;
}

function faults(verdict: ReturnType<typeof judge>): unknown[] {
  const { lost, doubledIds, doubledPublications, inversions, overheard } = verdict;
  return [...lost, ...doubledIds, ...doubledPublications, ...inversions, ...overheard];
}
