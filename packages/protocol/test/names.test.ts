import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type CarillonError,
  canonicalChannel,
  channelSchema,
  compilePattern,
  isChannelName,
  isPrincipalId,
  isScope,
  parseChannel,
  parseEntityRoom,
  parseJson,
  parsePrincipalId,
  parseScope,
  publicationBody,
  refreshBody,
  scopeSchema,
} from "../src/index.ts";

const namespaces = new Set(["trips", "users", "notifications"]);
const none = new Set<string>();
const alphabet = "ABCXYZabcxyz0189_.:-";

/** Names, near-names and anything at all. */
const anyText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 140 }),
  fc.string({ unit: fc.constantFrom(...alphabet, " ", "é", "\n", "/", "*"), maxLength: 8 }),
  fc.string({ unit: "binary", maxLength: 140 }),
);
const anyValue = fc.oneof(anyText, fc.anything(), fc.integer(), fc.double());

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as CarillonError).code;
  }
}

/** The rule of docs/names.md in other words than the code's. */
function fits(text: string, max: number, start: boolean): boolean {
  const characters = [...text];
  if (characters.length < 1 || characters.length > max) return false;
  if (start && ".:-".includes(characters[0]!)) return false;
  return characters.every(
    (c) => (c >= "A" && c <= "Z") || (c >= "a" && c <= "z") || (c >= "0" && c <= "9") || "_.:-".includes(c),
  );
}

describe("channels", () => {
  test.each(["chat", "a", "_", "0", "order.created", "a:b-c_d.E", "refresh.", "x".repeat(63)])(
    "%s is a channel",
    (name) => {
      expect(parseChannel(name, namespaces)).toBe(name);
    },
  );

  test.each(["", ".a", ":a", "-a", "a b", "a/b", "a*", "chät", "a\n", "\n", "a\u0000", "x".repeat(64), "😀"])(
    "%j is none, with the documented code",
    (name) => {
      expect(codeOf(() => parseChannel(name, namespaces))).toBe("INVALID_CHANNEL");
      expect(isChannelName(name)).toBe(false);
    },
  );

  test("case counts", () => {
    expect(parseChannel("Chat", namespaces)).not.toBe(parseChannel("chat", namespaces));
  });

  test.each([
    ["refresh.trips", "trips"],
    ["trips.refresh", "trips"],
    ["trips", "trips"],
    ["refresh.chat", "refresh.chat"],
    ["chat.refresh", "chat.refresh"],
    ["refresh.trips.refresh", "refresh.trips.refresh"],
    ["Refresh.trips", "Refresh.trips"],
    ["refresh", "refresh"],
  ])("%s is the channel %s", (spelling, name) => {
    expect(parseChannel(spelling, namespaces)).toBe(name);
    expect(canonicalChannel(spelling, namespaces)).toBe(name);
  });

  test("the rule is the contract's for every text", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(isChannelName(text)).toBe(fits(text, 63, true));
      }),
    );
  });
});

describe("rooms", () => {
  test.each(["trip:42", "a", "x".repeat(128), "user", "users:1"])("%s can be joined", (name) => {
    expect(parseEntityRoom(name)).toBe(name);
  });

  test.each(["user:42", "role:admin", "tenant:acme", "user:"])("%s is never joinable", (name) => {
    expect(codeOf(() => parseEntityRoom(name))).toBe("FORBIDDEN");
  });

  test.each(["", ".a", "-a", ":a", "a b", "x".repeat(129)])("%j is no room", (name) => {
    expect(codeOf(() => parseEntityRoom(name))).toBe("INVALID_ROOM");
  });
});

describe("scopes", () => {
  test.each(["TRIP_APPROVED", "ALL", "-", ".", ":a", "x".repeat(128)])("%s is a scope", (scope) => {
    expect(parseScope(scope)).toBe(scope);
  });

  test.each(["", "a b", "é", "x".repeat(129), 42, null, undefined, {}])("%j is none", (scope) => {
    expect(codeOf(() => parseScope(scope))).toBe("INVALID_SCOPE");
  });

  test("the rule is the contract's for every text", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(isScope(text)).toBe(fits(text, 128, false));
      }),
    );
  });
});

describe("ids of users, roles and tenants", () => {
  test.each(["42", "auth0|5f", "a@b.example", "ü", "x".repeat(128), "é".repeat(64), " ", "user:1"])(
    "%s is an id",
    (id) => {
      expect(parsePrincipalId(id)).toBe(id);
    },
  );

  test.each(["", "a\u0000", "a\n", "\u007f", "a\u0085", "x".repeat(129), "é".repeat(65), "\ud800", null, true, [], {}])(
    "%j is none",
    (id) => {
      expect(codeOf(() => parsePrincipalId(id))).toBe("INVALID_ID");
    },
  );
});

describe("numbers as names", () => {
  test.each([
    [42, "42"],
    [0, "0"],
    [Number.MAX_SAFE_INTEGER, "9007199254740991"],
    [parseJson("9007199254740993"), "9007199254740993"],
    [parseJson("1533947986218845197"), "1533947986218845197"],
  ])("%j is %s wherever it enters", (value, name) => {
    const body = refreshBody.parse({ scope: "A", to: { users: [value], rooms: [value] } });

    expect(parseChannel(value, none)).toBe(name);
    expect(channelSchema.parse(value)).toBe(name);
    expect(parseEntityRoom(value)).toBe(name);
    expect(parsePrincipalId(value)).toBe(name);
    expect(body.to).toEqual({ users: [name], rooms: [name] });
  });

  test.each([1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300, parseJson("1.0"), parseJson("1e3"), parseJson("-0")])(
    "%j names nothing",
    (value) => {
      expect(codeOf(() => parseChannel(value, none))).toBe("INVALID_CHANNEL");
      expect(codeOf(() => parseEntityRoom(value))).toBe("INVALID_ROOM");
      expect(codeOf(() => parsePrincipalId(value))).toBe("INVALID_ID");
      expect(channelSchema.safeParse(value).success).toBe(false);
    },
  );

  test("a double that may have lost digits on its way is refused", () => {
    const sent = JSON.parse("1533947986218845197");

    expect(codeOf(() => parseEntityRoom(sent))).toBe("INVALID_ROOM");
    expect(codeOf(() => parsePrincipalId(sent))).toBe("INVALID_ID");
  });
});

test("what one side accepts no other side refuses", () => {
  fc.assert(
    fc.property(anyValue, (value) => {
      // A schema's numbers come from parseJson, which keeps those that a double can't hold.
      if (typeof value === "number" && !Number.isSafeInteger(value)) return;
      const channel = codeOf(() => parseChannel(value, none)) === undefined;
      expect(channelSchema.safeParse(value).success).toBe(channel);
      expect(publicationBody.safeParse({ channel: value, scope: "A" }).success).toBe(channel);
      if (typeof value === "string") expect(isChannelName(value)).toBe(channel);

      const scope = codeOf(() => parseScope(value)) === undefined;
      expect(isScope(value)).toBe(scope);
      expect(scopeSchema.safeParse(value).success).toBe(scope);
      expect(refreshBody.safeParse({ scope: value }).success).toBe(scope);

      const room = codeOf(() => parseEntityRoom(value)) !== "INVALID_ROOM";
      expect(refreshBody.safeParse({ scope: "A", to: { rooms: [value] } }).success).toBe(room);
      expect(refreshBody.safeParse({ scope: "A", to: { except: { rooms: [value] } } }).success).toBe(room);

      const id = codeOf(() => parsePrincipalId(value)) === undefined;
      if (typeof value === "string") expect(isPrincipalId(value)).toBe(id);
      for (const to of [{ users: [value] }, { roles: [value] }, { tenants: [value] }, { except: { users: [value] } }]) {
        expect(refreshBody.safeParse({ scope: "A", to }).success).toBe(id);
      }
    }),
    { numRuns: 2000 },
  );
});

test("a refused name's message is short and says what is wrong", () => {
  const message = (name: string) => {
    try {
      parseChannel(name, none);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };

  expect(message("a b")).toContain('character 2 is " "');
  expect(message("x".repeat(64))).toContain("this one has 64");
  expect(message("-a")).toContain('does not start with "-"');
  expect(message("é".repeat(1_000_000)).length).toBeLessThan(200);
});

describe("patterns", () => {
  test.each([
    ["*", "anything", true],
    ["chat", "chat", true],
    ["chat", "chats", false],
    ["orders.*", "orders.created", true],
    ["orders.*", "orders", false],
    ["orders.*", "ordersXcreated", false],
    ["*.refresh", "trips.refresh", true],
    ["a*b*c", "a--b--c", true],
    ["a*b*c", "ac", false],
    ["a*a", "a", false],
    ["a*bc*bc", "abc", false],
    ["admin|manager", "manager", true],
    ["admin|manager", "admin|manager", false],
    ["x|orders.*", "orders.1", true],
    ["", "", true],
    ["", "a", false],
    [".*", "a", false],
    ["*", "a\nb", true],
  ])("%j and %j: %j", (pattern, name, matches) => {
    expect(compilePattern(pattern)(name)).toBe(matches);
  });

  test("it is the regular expression that it looks like", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 8 });
    const glob = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "*", "|"), maxLength: 8 });
    fc.assert(
      fc.property(glob, text, (pattern, name) => {
        const source = pattern
          .split("|")
          .map((part) => part.split("*").map(RegExp.escape).join(".*"))
          .join("|");

        expect(compilePattern(pattern)(name)).toBe(new RegExp(`^(?:${source})$`).test(name));
      }),
      { numRuns: 2000 },
    );
  });

  test("many stars cost no more than few", () => {
    const matches = compilePattern(`${"*a".repeat(60)}*b`);
    const startedMs = performance.now();

    expect(matches("a".repeat(128))).toBe(false);

    expect(performance.now() - startedMs).toBeLessThan(50);
  });
});
