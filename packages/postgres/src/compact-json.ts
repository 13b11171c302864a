import { type JsonText, MAX_JSON_DEPTH } from "@carillon/protocol";

/**
 * Postgres's JSON text on one line without the spaces that it prints, digit for digit. It is known to be valid, so this only copies: a
 * parse and a print of each row would be most of the work of reading the outbox. `undefined` when it nests too deep for those behind us.
 */
export function compactPostgresJson(text: string): JsonText | undefined {
  let compact = "";
  let copied = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22) i = endOfString(text, i);
    else if (char <= 0x20) {
      compact += text.slice(copied, i);
      copied = i + 1;
    } else if (char === 0x7b || char === 0x5b) {
      if (++depth > MAX_JSON_DEPTH) return undefined;
    } else if (char === 0x7d || char === 0x5d) depth--;
  }
  return (copied === 0 ? text : compact + text.slice(copied)) as JsonText;
}

/** The index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
