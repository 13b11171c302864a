import type { Draft, GapDraft, JsonText } from "@carillon/protocol";
import { array, assert, constantFrom, integer, json, option, property, record, string, uniqueArray } from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBroadcast, decodeRecord, encodeRecord } from "../src/record.ts";

const name = string({ unit: constantFrom(..."abcXYZ019_"), minLength: 1, maxLength: 20 });
const id = string({ unit: "grapheme", minLength: 1, maxLength: 20 });
const list = option(uniqueArray(id, { minLength: 1, maxLength: 4 }), { nil: undefined });
const text = json().map((value) => JSON.stringify(JSON.parse(value)) as JsonText);

const drafts = record(
  {
    channel: name,
    scope: name,
    payload: text,
    truncated: text,
    from: id,
    to: record({ users: list, roles: list, tenants: list, rooms: list, except: record({ users: list }) }),
  },
  { requiredKeys: ["channel"] },
).map((draft) => JSON.parse(JSON.stringify(draft)) as Draft);
const gaps = option(array(name, { maxLength: 5 }), { nil: undefined }).map(
  (channels): GapDraft => ({ gap: channels === undefined ? {} : { channels } }),
);

describe("a record", () => {
  test("comes back as it was", () => {
    void assert(
      property(drafts, (draft) => {
        const { id: _id, timestampMs: _at, ...rest } = decodeRecord(encodeRecord(draft), { epoch: 1, n: 2 }, 3);
        expect(rest).toEqual(draft);
      }),
    );
    void assert(
      property(gaps, (gap) => {
        expect(decodeRecord(encodeRecord(gap), { epoch: 1, n: 2 }, 3)).toEqual({ id: "1-2", timestampMs: 3, ...gap });
      }),
    );
  });

  test("is one line with at most one tab, whatever is in it", () => {
    void assert(property(drafts, (draft) => /^[^\n\t]*(\t[^\n\t]*)?$/.test(encodeRecord(draft))));
  });

  test("keeps the digits of a payload", () => {
    const payload = '{"n":9007199254740993,"x":1.10}' as JsonText;

    expect(decodeRecord(encodeRecord({ channel: "a", payload }), { epoch: 1, n: 1 }, 0)).toMatchObject({ payload });
  });

  test("refuses a payload that is not compact JSON", () => {
    expect(() => encodeRecord({ channel: "a", payload: "{\n}" as JsonText })).toThrow(TypeError);
  });

  test("that can't be read is a gap on every channel", () => {
    const unreadable = ["", "{", "[]", '{"c":5}', '{"c":".bad"}', '{"c":"a","s":1}', '{"g":["."]}', "null\t1"];

    for (const line of unreadable)
      expect(decodeRecord(line, { epoch: 1, n: 1 }, 0)).toEqual({ id: "1-1", timestampMs: 0, gap: {} });
  });
});

describe("a broadcast", () => {
  test("holds its records in order, numbered from its first", () => {
    void assert(
      property(array(drafts, { minLength: 1, maxLength: 20 }), integer({ min: 1, max: 1e12 }), (all, first) => {
        const broadcast = decodeBroadcast(`C17-${first} 99\n${all.map(encodeRecord).join("\n")}`);

        expect(broadcast).toEqual({
          epoch: 17,
          first,
          entries: all.map((draft, index) => ({ ...draft, id: `17-${first + index}`, timestampMs: 99 })),
        });
      }),
    );
  });

  test("is nothing else", () => {
    for (const message of ["", "C", "C1-1", "C1-1 1", "C1-1 x\n{}", "H1-1 1\n{}", "C-1-1 1\n{}"]) {
      expect(decodeBroadcast(message)).toBeUndefined();
    }
  });

  test("never throws, whatever was published", () => {
    void assert(property(string({ unit: "binary" }), (noise) => void decodeBroadcast(`C1-1 1\n${noise}`)));
  });
});
