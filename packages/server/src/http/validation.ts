/** Zod schemas as Fastify's validators. A failure is a `CarillonError` whose code the schema chose, and whose text says where. */
import { CarillonError, ERRORS, type ErrorCode } from "@carillon/protocol";
import type { FastifySchemaCompiler } from "fastify";
import type { z } from "zod";

const MAX_ISSUES = 5;

export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema }) => {
  return (data) => {
    const result = schema.safeParse(data);
    return result.success ? { value: result.data } : { error: validationError(result.error) };
  };
};

export function validationError(error: z.ZodError): CarillonError {
  const told = error.issues.slice(0, MAX_ISSUES).map(sentence);
  const more = error.issues.length > MAX_ISSUES ? [`and ${error.issues.length - MAX_ISSUES} more`] : [];
  return new CarillonError(codeOf(error.issues[0]), [...told, ...more].join("; "));
}

function codeOf(issue: z.core.$ZodIssue | undefined): ErrorCode {
  const code: unknown = issue?.code === "custom" ? issue.params?.code : undefined;
  return typeof code === "string" && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "INVALID_REQUEST";
}

function sentence(issue: z.core.$ZodIssue): string {
  const path = issue.path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  const message = issue.message.slice(0, 200);
  return path === "" ? message : `${path.replace(/^\./, "")}: ${message}`;
}
