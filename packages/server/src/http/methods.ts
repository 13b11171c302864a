import { CarillonError } from "@carillon/protocol";

/** Which methods each path has: what makes 405 with `Allow` out of Fastify's 404. */
export class RouteMethods {
  readonly #routes: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];

  /** `path` as Fastify writes it: `/api/channels/:channel/publications`, `/docs/*`. */
  add(path: string, methods: readonly string[]): void {
    if (path === "*") return; // the preflight route matches everything and says nothing about a path
    const segments = path.split("/").map((segment) => {
      if (segment === "*") return ".*";
      return segment.startsWith(":") ? "[^/]+" : RegExp.escape(segment);
    });
    this.#routes.push({ pattern: new RegExp(`^${segments.join("/")}$`), methods });
  }

  allowed(url: string): string[] {
    const path = url.split(/[?#]/, 1)[0] ?? "";
    const methods = this.#routes.filter((route) => route.pattern.test(path)).flatMap((route) => route.methods);
    return [...new Set(methods)].sort();
  }

  refusal(method: string, url: string): CarillonError {
    const allowed = this.allowed(url);
    if (allowed.length === 0 || allowed.includes(method)) return new CarillonError("NOT_FOUND");
    return new CarillonError("METHOD_NOT_ALLOWED", `this path takes ${allowed.join(", ")}`);
  }
}
