import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { tempDir } from "@carillon/testkit";
import { beforeEach, expect, test } from "vitest";
import { carillon } from "./support.ts";

let home: string;
let file: string;

beforeEach(() => {
  home = tempDir("home");
  file = join(home, ".config", "carillon", "config.json");
  mkdirSync(dirname(file), { recursive: true });
});

const SECRET = "a-secret-of-more-than-32-characters!";
const profiles = (content: object, mode = 0o600) => {
  writeFileSync(file, JSON.stringify(content));
  chmodSync(file, mode);
};
const subOf = (token: string) => JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).sub;

test("an option goes before the environment, and that before the profile", async () => {
  profiles({ default: "a", profiles: { a: { url: "http://127.0.0.1:1/profile" }, b: { url: "http://127.0.0.2:1" } } });
  const urlOf = async (args: string[], env = {}) =>
    (await carillon(["publish", "chat", "1", ...args], { env: { HOME: home, ...env } })).err;

  const seen = await Promise.all([
    urlOf([]),
    urlOf(["--profile", "b"]),
    urlOf([], { CARILLON_PROFILE: "b" }),
    urlOf([], { CARILLON_URL: "http://127.0.0.3:1" }),
    urlOf(["--url", "http://127.0.0.4:1"], { CARILLON_URL: "http://127.0.0.3:1" }),
  ]);

  expect(seen.map((text) => /at (\S+)/.exec(text)?.[1])).toEqual([
    "http://127.0.0.1:1",
    "http://127.0.0.2:1",
    "http://127.0.0.2:1",
    "http://127.0.0.3:1",
    "http://127.0.0.4:1",
  ]);
});

test("a profile that others can read is warned of, and used", async () => {
  profiles({ default: "a", profiles: { a: { jwtSecret: SECRET } } }, 0o644);

  const { code, out, err } = await carillon(["token", "--sub", "42"], { env: { HOME: home } });

  expect(code).toBe(0);
  expect(subOf(out)).toBe("42");
  expect(err).toBe(`warning: others can read ${file}, where secrets may be: chmod 600 ${file}\n`);
});

test("a secret may stand in a file of its own", async () => {
  writeFileSync(join(home, "secret"), `${SECRET}\n`);

  const { out } = await carillon(["token", "--jwt-secret", `@${join(home, "secret")}`], { env: { HOME: home } });
  const other = await carillon(["token", "--jwt-secret", `@${join(home, "none")}`], { env: { HOME: home } });

  expect(subOf(out)).toBe("dev");
  expect(other).toMatchObject({ code: 2, out: "" });
});

test.each([
  ["text", "is not JSON"],
  ["{}", 'no object "profiles"'],
  [`{"profiles":{"a":{"kye":"${SECRET}"}}}`, 'unknown "kye"'],
  [`{"profiles":{"a":{"key":["${SECRET}"]}}}`, '"key" in profile "a" that is not text'],
  ['{"profiles":{"a":{}}}', 'no profile "wanted"'],
])("a profile file of %s is told, with what it should be and without a secret", async (content, told) => {
  writeFileSync(file, content, { mode: 0o600 });

  const { code, err } = await carillon(["publish", "chat", "1", "--profile", "wanted"], { env: { HOME: home } });

  expect(code).toBe(2);
  expect(err).toContain(told);
  expect(err).toContain("fix:");
  expect(err).not.toContain(SECRET);
});
