import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadSettings } from "../../src/settings/load.ts";
import { SCHEMA } from "../../src/settings/schema.ts";
import { documentsOf, root, textOf } from "./files.ts";

const [compose] = documentsOf("docker-compose.yml");
// biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
const services = Object.entries(compose.services) as [string, Record<string, any>][];
const api = compose.services.api;

/** `${NAME:-default}` as it is without any .env; the innermost first. */
function withoutEnv(text: string): string {
  const replaced = text.replace(/\$\{\w+:-([^${}]*)\}/, "$1");
  return replaced === text ? text : withoutEnv(replaced);
}

describe("compose", () => {
  test.each(services)("%s is bounded, hardened and reached from this machine only", (_name, service) => {
    expect(service).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
    expect(service.mem_limit).toBeDefined();
    for (const port of service.ports ?? []) expect(withoutEnv(port)).toMatch(/^127\.0\.0\.1:/);
    expect(service.image).toMatch(/:[\w.${}:-]+$/);
  });

  test("nginx shares no network with Redis and Postgres", () => {
    const { nginx, redis, postgres } = compose.services;
    const behind = new Set([...redis.networks, ...postgres.networks]);

    expect(nginx.networks.filter((network: string) => behind.has(network))).toEqual([]);
    expect(compose.networks.back.internal).toBe(true);
  });

  test("the nodes start with what it sets, open as long as nothing is set to check callers with", () => {
    const env = Object.fromEntries(
      Object.entries(api.environment as Record<string, string>).map(([name, value]) => [name, withoutEnv(value)]),
    );
    const settings = loadSettings({ ...env, AUTH: "off" });

    expect(settings).toMatchObject({ host: "0.0.0.0", port: 3000, stickyRoute: "auto", trustProxy: 1, warnings: [] });
    expect(Number.parseInt(withoutEnv(api.stop_grace_period), 10)).toBeGreaterThanOrEqual(settings.drainTimeoutS + 5);
  });

  test.each([
    [{}, "off"],
    [{ JWT_SECRET: "secret" }, undefined],
    [{ API_KEYS_FILE: "/run/secrets/keys" }, undefined],
    [{ JWT_SECRET: "" }, "off"],
    [{ AUTH: "on" }, "on"],
  ])("with %o in .env, AUTH is %s", (given: Record<string, string>, expected) => {
    const script = join(root, "infra/docker/open-unless-configured.mjs");
    const { stdout } = spawnSync(process.execPath, ["--import", script, "-p", "process.env.AUTH"], {
      env: given,
      encoding: "utf8",
    });

    expect(stdout.trim()).toBe(String(expected));
  });

  test(".env.example names only settings that exist, and changes nothing as it is", () => {
    const lines = textOf(".env.example").split("\n");
    const names = lines.flatMap((line) => /^#?\s?([A-Z][A-Z_]+)=/.exec(line)?.[1] ?? []);
    const own = [...textOf("docker-compose.yml").matchAll(/\$\{(\w+):-/g)].map(([, name]) => name);

    expect(names.length).toBeGreaterThan(5);
    expect(names.filter((name) => !(name in SCHEMA) && !own.includes(name))).toEqual([]);
    expect(lines.filter((line) => line !== "" && !line.startsWith("#"))).toEqual([]);
  });
});

describe("image", () => {
  const dockerfile = textOf("infra/docker/Dockerfile");

  test("is based on tags, without a syntax line, and starts Node itself as an unprivileged user", () => {
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);

    expect(bases).toEqual(["node:24-trixie-slim", "node:24-trixie-slim"]);
    expect(dockerfile).not.toMatch(/^#\s*syntax=/m);
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toMatch(/^CMD \["node", "packages\/server\/src\/main\.ts"\]$/m);
  });

  test("the lab makes exactly the images that are asked for", () => {
    const made = [.../(?:[A-Z]+_IMAGE=\S+ ?)+/.exec(textOf("infra/lab/lab.sh"))![0].matchAll(/_IMAGE=(\S+)/g)].map(
      ([, image]) => image,
    );
    const asked = services
      .filter(([, { profiles, build }]) => profiles === undefined && build === undefined)
      .map(([, { image }]) => image);

    expect(new Set(made)).toEqual(new Set([...asked, "node:24-trixie-slim"]));
  });

  test("every package that nodes run on goes into it", () => {
    const ignored = textOf(".dockerignore")
      .split("\n")
      .flatMap((line) => /^packages\/(\w+)$/.exec(line)?.[1] ?? []);

    expect(ignored.filter((name) => name !== "testkit")).toEqual([]);
    expect(readdirSync(join(root, "packages"))).toContain("server");
  });
});
