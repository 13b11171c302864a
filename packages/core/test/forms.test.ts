import type { Draft, JsonText } from "@carillon/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bounded, publicationFromNotify, refreshesFromEvent, refreshFrom } from "../src/index.ts";

const options = { namespaces: new Set(["trips", "users", "notifications"]), maxPayloadBytes: 100 };
const long = "x".repeat(101);
const ALL = { scope: "ALL" };

const withoutChannel = (draft: Draft | undefined) => {
  if (draft === undefined) return undefined;
  const { channel, ...rest } = draft;
  expect(channel).toBe("trips");
  return rest;
};

/** A message on `refresh.<ns>` or `<ns>.refresh`. `undefined`: counted and dropped. */
const refreshForms: [text: string, meaning: Omit<Draft, "channel"> | undefined][] = [
  // Everything here may have changed.
  ["", ALL],
  ["  \n", ALL],
  ["{}", ALL],
  [" { } ", ALL],
  ['{"scope":""}', ALL],
  ['""', ALL],
  ['{"type":"REFRESH"}', ALL],
  ['{"type":"REFRESH","scope":""}', ALL],
  ['{"scope":"","to":{"users":["1"]}}', { scope: "ALL", to: { users: ["1"] } }],
  // A scope as text.
  ["TRIP_APPROVED", { scope: "TRIP_APPROVED" }],
  [" TRIP_APPROVED\n", { scope: "TRIP_APPROVED" }],
  ['"TRIP_APPROVED"', { scope: "TRIP_APPROVED" }],
  ["trip:42.moved-1_a", { scope: "trip:42.moved-1_a" }],
  ["42", { scope: "42" }],
  ["1.0", { scope: "1.0" }],
  ["9007199254740993", { scope: "9007199254740993" }],
  ["007", { scope: "007" }],
  ["true", { scope: "true" }],
  ["x".repeat(128), { scope: "x".repeat(128) }],
  // An object.
  ['{"scope":"A"}', { scope: "A" }],
  ['{"type":"REFRESH","scope":"A"}', { scope: "A" }],
  ['{"type":"SOMETHING","scope":"A"}', { scope: "A" }],
  ['{"scope":"A","unknown":1}', { scope: "A" }],
  ['{"scope":"A","to":null}', { scope: "A" }],
  ['{"scope":"A","to":{}}', { scope: "A", to: {} }],
  [
    '{"scope":"A","to":{"users":[42,"b"],"except":{"sockets":["s"]}}}',
    { scope: "A", to: { users: ["42", "b"], except: { sockets: ["s"] } } },
  ],
  ['{"scope":"A","to":{"users":[]}}', { scope: "A", to: { users: [] } }],
  ['{"scope":"A","payload":{"n":1.0}}', { scope: "A", payload: '{"n":1.0}' as JsonText }],
  ['{"scope":"A","payload":null}', { scope: "A", payload: "null" as JsonText }],
  [`{"scope":"A","payload":"${long}"}`, { scope: "A" }],
  // NestJS' envelope around either.
  ['{"pattern":"trips.refresh","data":{"scope":"A"}}', { scope: "A" }],
  [
    '{"pattern":"trips.refresh","data":{"type":"REFRESH","scope":"A","to":{"roles":["x"]}}}',
    { scope: "A", to: { roles: ["x"] } },
  ],
  ['{"pattern":"trips.refresh","data":"A"}', { scope: "A" }],
  ['{"pattern":"trips.refresh","data":"{\\"scope\\":\\"A\\"}"}', { scope: "A" }],
  ['{"pattern":"trips.refresh","data":42}', { scope: "42" }],
  ['{"pattern":"trips.refresh","data":{"scope":"A"},"id":"7"}', { scope: "A" }],
  ['{"pattern":{"cmd":"trips.refresh"},"data":{"scope":"A"}}', { scope: "A" }],
  ['{"pattern":"trips.refresh","data":{}}', ALL],
  ['{"pattern":"trips.refresh","data":""}', ALL],
  ['{"pattern":"trips.refresh","data":null}', ALL],
  ['{"pattern":"trips.refresh"}', ALL],
  // Anything else.
  ["two words", undefined],
  ["é", undefined],
  ["x".repeat(129), undefined],
  ["{", undefined],
  ["null", undefined],
  ["[]", undefined],
  ['["A"]', undefined],
  ['{"type":"TRIP_APPROVED"}', undefined],
  ['{"foo":1}', undefined],
  ['{"to":{"users":["1"]}}', undefined],
  ['{"scope":null}', undefined],
  ['{"scope":42}', undefined],
  ['{"scope":"two words"}', undefined],
  ['{"scope":{"a":1}}', undefined],
  ['{"type":"refresh"}', undefined],
  ['{"scope":"A","to":"42"}', undefined],
  ['{"scope":"A","to":["42"]}', undefined],
  ['{"scope":"A","to":{"user":["42"]}}', undefined],
  ['{"scope":"A","to":{"users":"42"}}', undefined],
  ['{"scope":"A","to":{"users":[""]}}', undefined],
  ['{"scope":"A","to":{"rooms":["two words"]}}', undefined],
  ['{"pattern":"trips.refresh","data":[1]}', undefined],
  ['{"pattern":"trips.refresh","data":{"foo":1}}', undefined],
  ['{"pattern":"trips.refresh","data":{"pattern":"again","data":{"scope":"A"}}}', undefined],
  ['{"pattern":"trips.refresh","other":1}', undefined],
  [`${"[".repeat(100)}${"]".repeat(100)}`, undefined],
];

describe("a message on a refresh channel", () => {
  test.each(refreshForms)("%s", (text, meaning) => {
    expect(withoutChannel(refreshFrom("trips", text, options))).toEqual(meaning);
  });

  test.each(refreshForms)("the same by NOTIFY, in both spellings: %s", (text, meaning) => {
    for (const channel of ["refresh.trips", "trips.refresh"]) {
      expect(withoutChannel(publicationFromNotify(channel, text, options))).toEqual(meaning);
    }
  });

  test("recipients that can't be read never turn into everybody", () => {
    fc.assert(
      fc.property(fc.json(), (to) => {
        const draft = refreshFrom("trips", `{"scope":"A","to":${to}}`, options);

        if (draft !== undefined && draft.to === undefined) expect(JSON.parse(to)).toBeNull();
      }),
    );
  });
});

describe("a domain event", () => {
  const scopes = (name: string, text: string) =>
    refreshesFromEvent(name, text, ["trips"], options)?.map(({ scope }) => scope);

  test.each<[string, string, string | undefined]>([
    ["trip.status_changed", "", "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", "{}", "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", '{"id":42}', "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", "some words", "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", "[1,2]", "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", "null", "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", '{"scope":"A","type":"B"}', "A"],
    ["trip.status_changed", '{"type":"B"}', "B"],
    ["trip.status_changed", '{"scope":"","type":"B"}', "B"],
    ["trip.status_changed", '{"scope":null,"type":"B"}', "B"],
    ["trip.status_changed", '{"type":"two words"}', "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", '{"type":7}', "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", '{"scope":"two words"}', undefined],
    ["trip.status_changed", "APPROVED", "APPROVED"],
    ["trip.status_changed", '{"pattern":"trip.status_changed","data":{"type":"B"}}', "B"],
    ["trip.status_changed", '{"pattern":"trip.status_changed","data":{"id":42}}', "TRIP_STATUS_CHANGED"],
    ["trip.status_changed", '{"pattern":"zigzag","type":"B","data":{"scope":"C"}}', "B"],
    ["trip.status-changed.é!", "", "TRIP_STATUS_CHANGED_"],
    ["Trip", "", "TRIP"],
    ["", "", undefined],
    [`trip.${"x".repeat(300)}`, "", `TRIP_${"X".repeat(123)}`],
  ])("%s %s", (name, text, scope) => {
    expect(scopes(name, text)).toEqual(scope === undefined ? undefined : [scope]);
  });

  test("it refreshes every namespace that it is routed to, and no other", () => {
    const drafts = refreshesFromEvent(
      "user.moved",
      '{"to":{"users":[42]}}',
      ["users", "nowhere", "notifications"],
      options,
    );

    expect(drafts).toEqual([
      { channel: "users", scope: "USER_MOVED", to: { users: ["42"] } },
      { channel: "notifications", scope: "USER_MOVED", to: { users: ["42"] } },
    ]);
  });

  test.each([
    '{"to":{"users":"42"}}',
    '{"to":{"users":[""]}}',
    '{"to":{"users":["42"],"city":"Ulm"}}',
    '{"scope":"A","to":"everybody"}',
  ])("recipients that can't be read stop it: %s", (text) =>
    expect(refreshesFromEvent("trip.x", text, ["trips"], options)).toBeUndefined(),
  );

  test.each([
    '{"from":"PENDING","to":"APPROVED"}',
    '{"to":null}',
    '{"to":{}}',
    '{"to":{"city":"Ulm"}}',
    '{"to":["a"]}',
    '{"pattern":"trip.x","data":{"to":"APPROVED"}}',
  ])("a `to` that names no recipients is the event's own affair, and everybody hears it: %s", (text) => {
    expect(refreshesFromEvent("trip.x", text, ["trips"], options)).toEqual([{ channel: "trips", scope: "TRIP_X" }]);
  });
});

describe("a NOTIFY elsewhere", () => {
  test.each<[string, string, Draft | undefined]>([
    ["chat", '{"a":1.0}', { channel: "chat", payload: '{"a":1.0}' as JsonText }],
    ["chat", ' { "a" : 9007199254740993 } ', { channel: "chat", payload: '{"a":9007199254740993}' as JsonText }],
    ["chat", "plain text", { channel: "chat", payload: '"plain text"' as JsonText }],
    ["chat", "", { channel: "chat", payload: '""' as JsonText }],
    ["chat", " ", { channel: "chat", payload: '" "' as JsonText }],
    ["chat", "42", { channel: "chat", payload: "42" as JsonText }],
    ["chat", "null", { channel: "chat", payload: "null" as JsonText }],
    ["chat", "{}", { channel: "chat", payload: "{}" as JsonText }],
    ["chat", '"A"', { channel: "chat", payload: '"A"' as JsonText }],
    ["chat", '{"type":"REFRESH"}', { channel: "chat", payload: '{"type":"REFRESH"}' as JsonText }],
    ["chat", '{"scope":"A"}', { channel: "chat", scope: "A" }],
    [
      "chat",
      '{"scope":"A","payload":[1],"to":{"users":["1"]}}',
      { channel: "chat", scope: "A", payload: "[1]" as JsonText, to: { users: ["1"] } },
    ],
    ["chat", '{"scope":"A","to":{"nobody":[]}}', undefined],
    ["chat", '{"scope":"two words"}', { channel: "chat", payload: '{"scope":"two words"}' as JsonText }],
    [
      "chat",
      '{"pattern":"x","data":{"scope":"A"}}',
      { channel: "chat", payload: '{"pattern":"x","data":{"scope":"A"}}' as JsonText },
    ],
    ["trips", '{"a":1}', { channel: "trips", payload: '{"a":1}' as JsonText }],
    ["trips", '{"scope":"A"}', { channel: "trips", scope: "A" }],
    ["chat.refresh", "A", { channel: "chat.refresh", payload: '"A"' as JsonText }],
    ["chat", long, { channel: "chat", truncated: '{"bytes":103}' as JsonText }],
    ["two words", "1", undefined],
    ["", "1", undefined],
  ])("on %s: %s", (channel, text, draft) => {
    expect(publicationFromNotify(channel, text, options)).toEqual(draft);
  });
});

test("the payload's bound is in bytes, and its last byte fits", () => {
  expect(bounded(JSON.stringify("é".repeat(49)) as JsonText, options)).toHaveProperty("payload");
  expect(bounded(JSON.stringify("é".repeat(50)) as JsonText, options)).toEqual({ truncated: '{"bytes":102}' });
});

test("nothing that anybody could send throws, and what comes out can be published", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.tuple(fc.json(), fc.json(), fc.json()).map(([a, b, c]) => `{"scope":${a},"to":${b},"payload":${c}}`),
    fc.tuple(fc.json(), fc.json()).map(([a, b]) => `{"pattern":${a},"data":${b}}`),
    fc.tuple(fc.json(), fc.json()).map(([a, b]) => `{"type":${a},"__proto__":${b},"constructor":${a}}`),
  );
  const channel = fc.oneof(
    fc.constantFrom("chat", "trips", "refresh.trips", "trips.refresh"),
    fc.string({ unit: "binary", maxLength: 70 }),
  );
  fc.assert(
    fc.property(channel, text, (name, sent) => {
      const drafts = [
        refreshFrom("trips", sent, options),
        publicationFromNotify(name, sent, options),
        ...(refreshesFromEvent(name, sent, ["trips", "users"], options) ?? []),
      ].filter((draft) => draft !== undefined);

      for (const draft of drafts) {
        expect(draft.channel).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,62}$/);
        if (draft.scope !== undefined) expect(draft.scope).toMatch(/^[A-Za-z0-9_.:-]{1,128}$/);
        if (draft.payload !== undefined) {
          expect(() => JSON.parse(draft.payload!)).not.toThrow();
          expect(draft.payload).not.toMatch(/[\n\t]/);
          expect(Buffer.byteLength(draft.payload)).toBeLessThanOrEqual(100);
        }
      }
    }),
    { numRuns: 3000 },
  );
});
