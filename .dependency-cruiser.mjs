/** Who may import whom. Packages depend downward only, and reach each other through index.ts. */
const mayImport = {
  protocol: [],
  core: ["protocol"],
  redis: ["core", "protocol"],
  postgres: ["core", "protocol"],
  push: ["core", "protocol"],
  server: ["push", "postgres", "redis", "core", "protocol"],
  client: ["protocol"],
  cli: ["client", "protocol", "redis", "postgres", "server"],
  testkit: [],
  snippets: [],
};

const downward = Object.entries(mayImport).map(([name, below]) => ({
  name: `${name}-depends-downward`,
  comment: `packages/${name} may import ${below.join(", ") || "no other package"}; its tests the testkit too.`,
  severity: "error",
  from: { path: `^packages/${name}/src/` },
  to: { path: "^packages/", pathNot: `^packages/(${[name, ...below].join("|")})/` },
}));

export default {
  forbidden: [
    ...downward,
    {
      name: "known-packages",
      comment: "A new package needs a line in mayImport above.",
      severity: "error",
      from: { path: "^packages/", pathNot: `^packages/(${Object.keys(mayImport).join("|")})/` },
      to: {},
    },
    {
      name: "through-the-index",
      comment:
        "A package reaches another through its index.ts; the conformance suites of the ports have one of their own.",
      severity: "error",
      from: { path: "^packages/([^/]+)/" },
      to: {
        path: "^packages/",
        pathNot: ["^packages/$1/", "^packages/[^/]+/src/index\\.ts$", "^packages/core/conformance/index\\.ts$"],
      },
    },
    {
      name: "through-the-index-from-outside",
      comment: "So do the scripts and the load tests.",
      severity: "error",
      from: { path: "^(scripts|loadtest)/" },
      to: { path: "^packages/", pathNot: "^packages/[^/]+/src/index\\.ts$" },
    },
    {
      name: "the-cli-loads-servers-late",
      comment: "Publishing something must not load a whole node: `await import(…)` where a command needs one.",
      severity: "error",
      from: { path: "^packages/cli/src/" },
      to: { path: "^packages/(redis|postgres|server)/", dynamic: false, dependencyTypesNot: ["type-only"] },
    },
    {
      name: "the-client-takes-types-alone",
      comment: "What runs in a browser brings nothing of the server's with it, such as zod.",
      severity: "error",
      from: { path: "^packages/client/src/" },
      to: { path: "^packages/protocol/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "no-tests-in-sources",
      comment: "What a package ships never imports what tests it.",
      severity: "error",
      from: { path: "^packages/[^/]+/src/" },
      to: { path: "^packages/[^/]+/test/" },
    },
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "resolvable",
      comment: "What a page imports from its server is not a file of ours.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true, pathNot: "^/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: ["^loadtest/k6/", "^packages/client/dist/"] }, // k6 has modules of its own; what is built is no source
    tsPreCompilationDeps: true, // imports of types count
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
