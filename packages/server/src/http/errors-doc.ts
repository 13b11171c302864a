/** Prints `docs/errors.md` from the table of errors: `node packages/server/src/http/errors-doc.ts`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type CarillonError, ERRORS, type ErrorCode } from "@carillon/protocol";

export const ERRORS_DOC = fileURLToPath(new URL("../../../../docs/errors.md", import.meta.url));

export function errorsDoc(): string {
  const rows = (Object.keys(ERRORS) as ErrorCode[]).map((code) => {
    const kind: CarillonError["kind"] = ERRORS[code];
    return `| \`${code}\` | ${kind.status} | ${kind.retryable ? "yes" : "no"} | ${kind.closeCode ?? ""} | ${kind.title} |`;
  });
  return `# Errors

Every expected failure has one of these codes, wherever it shows: in a REST answer, a Socket.IO acknowledgement or connect error,
or a WebSocket frame. Decide by the code; texts may change.

REST answers are RFC 9457 problem documents (\`application/problem+json\`):

\`\`\`json
{
  "type": "urn:carillon:error:INVALID_SCOPE",
  "title": "Not a scope",
  "status": 422,
  "detail": "a scope has only A-Z a-z 0-9 _ . : - ; character 2 is \\" \\"",
  "code": "INVALID_SCOPE",
  "requestId": "0c0e3b0e-6d0c-4d1b-9a39-4d5f2c1f0a55"
}
\`\`\`

\`requestId\` is also in the \`x-request-id\` header and in the node's log. 429 and 503 have \`Retry-After\`, 405 has \`Allow\`.
Acknowledgements are \`{ "ok": false, "error": { "code", "message" } }\`. "Retry" says whether the same request can succeed later
without being changed. Close codes of [/ws](clients/plain-websocket.md#the-end) from 4000 mean stay away, from 4100 come back later,
from 4200 come back now; 4000 and 4100 themselves stand for codes without one of their own.

| code | status | retry | close code | what it means |
| --- | --- | --- | --- | --- |
${rows.join("\n")}

This page is printed from \`packages/protocol/src/errors.ts\` by \`node packages/server/src/http/errors-doc.ts\`.
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(ERRORS_DOC, errorsDoc());
