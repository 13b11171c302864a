import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { loadSettings } from "../../src/settings/load.ts";
import { documentsOf, root, textOf } from "./files.ts";

const folder = "infra/kubernetes";
const schema = JSON.parse(textOf(`${folder}/schema.json`)) as { kinds: Record<string, string>; $defs: object };
const ajv = new Ajv2020({ strict: false, allErrors: true }).addSchema({ $id: "kubernetes", $defs: schema.$defs });
const files = readdirSync(join(root, folder)).filter((name) => name.endsWith(".yaml") && name !== "kustomization.yaml");
const objects = files.flatMap((file) =>
  documentsOf(`${folder}/${file}`).map((object) => ({
    file,
    object,
    name: `${file}: ${object.kind} ${object.metadata.name}`,
  })),
);

// biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
function faultsOf(object: any): string[] {
  const kind = schema.kinds[`${object.apiVersion} ${object.kind}`];
  if (kind === undefined) return [`schema.json knows no ${object.apiVersion} ${object.kind}`];
  const validate = ajv.getSchema(`kubernetes${kind}`)!;
  return validate(object)
    ? []
    : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

function find(kind: string, name: string) {
  return objects.find(({ object }) => object.kind === kind && object.metadata.name === name)?.object;
}

test("the schema refuses what the API would", () => {
  const wrong = structuredClone(find("Deployment", "carillon-gateway"));
  wrong.spec.template.spec.containers[0].readOnlyRootFileSystem = true;

  expect(faultsOf(wrong).join()).toContain("/spec/template/spec/containers/0 must NOT have additional properties");
});

describe("manifests", () => {
  test.each(objects)("$name has the shape that the API takes", ({ object }) => {
    expect(faultsOf(object)).toEqual([]);
  });

  test("kustomize is given every file, and the ingress as an example", () => {
    const [{ resources }] = documentsOf(`${folder}/kustomization.yaml`);

    expect([...resources, "ingress.yaml"].toSorted()).toEqual(files.toSorted());
  });

  test("what an object names is there", () => {
    const deployments = objects.filter(({ object }) => object.kind === "Deployment").map(({ object }) => object);
    const apps = deployments.map(({ spec }) => spec.template.metadata.labels.app);
    for (const { object } of objects) {
      const { selector, scaleTargetRef } = object.spec ?? {};
      const app = (selector?.matchLabels ?? selector)?.app;
      if (app !== undefined) expect(apps).toContain(app);
      if (scaleTargetRef !== undefined)
        expect(deployments.map(({ metadata }) => metadata.name)).toContain(scaleTargetRef.name);
    }
    const backend = find("Ingress", "carillon").spec.rules[0].http.paths[0].backend.service;
    expect(find("Service", backend.name).spec.ports[0].name).toBe(backend.port.name);
  });
});

describe("nodes", () => {
  const { data } = find("ConfigMap", "carillon");
  const secrets = { REDIS_URL: "redis://redis", DATABASE_URL: "postgres://postgres/app", JWT_SECRET: "x".repeat(32) };

  test.each(["carillon-gateway", "carillon-workers"])("%s start with these settings", (name) => {
    const [container] = find("Deployment", name).spec.template.spec.containers;
    const { env } = container;
    const own = Object.fromEntries(
      env.map((variable: { name: string; value: string }) => [variable.name, variable.value]),
    );

    expect(loadSettings({ ...data, ...secrets, ...own }).warnings).toEqual([]);
    expect(container.ports.map(({ containerPort }: { containerPort: number }) => containerPort)).toEqual([
      3000,
      Number(data.METRICS_PORT),
    ]);
  });

  test.each(["carillon-gateway", "carillon-workers"])("%s may finish draining before they are killed", (name) => {
    const { terminationGracePeriodSeconds, containers } = find("Deployment", name).spec.template.spec;
    const preStop = containers[0].lifecycle?.preStop.sleep.seconds ?? 0;

    expect(terminationGracePeriodSeconds).toBeGreaterThanOrEqual(preStop + Number(data.DRAIN_TIMEOUT_S) + 5);
  });

  test("the autoscaler leaves room for a dead node's clients", () => {
    const { metrics, minReplicas } = find("HorizontalPodAutoscaler", "carillon-gateway").spec;
    const perNode = Number(metrics[0].pods.target.averageValue);
    const { maxConnections } = loadSettings({ ...data, ...secrets });

    expect((perNode * minReplicas) / (minReplicas - 1)).toBeLessThan(maxConnections);
  });
});

test("the front's two substitutions still fit nginx.conf", () => {
  const lines = textOf("nginx.conf").split("\n");

  expect(lines.filter((line) => line.includes("resolver 127.0.0.11 "))).toHaveLength(1);
  expect(lines.filter((line) => line.includes("server api:3000 "))).toHaveLength(3);
  expect(textOf("nginx.conf")).toContain("include /etc/nginx/carillon.d/*.conf;");
});
