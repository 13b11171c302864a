import { freePort } from "@carillon/testkit";
import { expect, test } from "vitest";
import { carillon } from "./support.ts";

const COMMANDS = "publish refresh notify tail watch unwatch token doctor nodes channels push serve".split(" ");

test("the help names every command", async () => {
  const { code, out } = await carillon(["--help"]);

  expect(code).toBe(0);
  const named = [...out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name);
  expect(named).toEqual(expect.arrayContaining(COMMANDS));
});

test.each(COMMANDS)("the help of %s has examples that call it", async (command) => {
  const { code, out } = await carillon([command, "--help"]);

  expect(code).toBe(0);
  expect(out).toMatch(new RegExp(`Examples:\\n(.*\\n)*.*carillon ${command}`));
});

test.each([
  [["nonsense"], "unknown command"],
  [["publish"], "missing required argument"],
  [["publish", "chat", "1", "--nonsense"], "unknown option"],
  [["publish", "no channel", "1"], "character 3"],
  [["publish", "chat", "{id:7}"], "not JSON"],
  [["publish", "chat"], "empty"],
  [["publish", "chat", "1", "--url", "localhost:3000"], "not the URL of a node"],
  [["watch", "orders"], "no database"],
  [["watch", "'", "--dry-run"], "a channel name has only"],
  [["notify", "A", "--title", "a", "--body", "b"], "say whom"],
  [["push", "nonsense"], "unknown command"],
  [["token"], "no secret to sign with"],
  [["token", "--ttl", "5"], "not a time"],
])("%j is a mistake in the command line: exit code 2 and what is wrong", async (args, told) => {
  const { code, out, err } = await carillon(args);

  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain(told);
});

test("only a command that has --text offers it for what is not JSON", async () => {
  const published = await carillon(["publish", "chat", "{id:7}"]);
  const refreshed = await carillon(["refresh", "trips", "ALL", "--payload", "{id:7}"]);

  expect(published.err).toContain("or say --text");
  expect(refreshed.err).toContain("quote it for the shell");
  expect(refreshed.err).not.toContain("--text");
});

test("without a node a call fails soon and says how to name one", async () => {
  const url = `http://127.0.0.1:${await freePort()}`;

  const { code, err } = await carillon(["refresh", "trips", "--url", url, "--key", "top-secret"]);

  expect(code).toBe(1);
  expect(err).toContain(`nothing answers at ${url} (connect ECONNREFUSED 127.0.0.1:`);
  expect(err).toContain("fix: start a node");
  expect(err).not.toContain("top-secret");
});

test.each([
  [["orders"], "select carillon.watch('orders'::regclass, 'orders');"],
  [["app.Orders"], "select carillon.watch('app.Orders'::regclass, 'orders');"],
  [['app."Order"'], `select carillon.watch('app."Order"'::regclass, 'Order');`],
  [
    ["orders", "--channel", "shop", "--columns", "id,it's", "--to-user", "customer"],
    "select carillon.watch('orders'::regclass, 'shop', columns => array['id', 'it''s'], to_user => 'customer');",
  ],
])("watch %j --dry-run prints its SQL", async (args, sql) => {
  const { code, out } = await carillon(["watch", ...args, "--dry-run"]);

  expect({ code, out }).toEqual({ code: 0, out: `${sql}\n` });
});
