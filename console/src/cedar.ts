// The clauses of a policy's text: enough of Cedar's grammar to count and to find them, and no more.

export interface Clause {
  /** Its `@id`, where it has one. */
  id?: string;
  /** Lines, from 1, both included. */
  from: number;
  to: number;
}

/** A comment, a text, a bracket or semicolon, an end of line; whatever else matters not. */
const TOKEN = /\/\/[^\n]*|"(?:\\[^]|[^"\\])*"?|[()[\]{};\n]|@id\b|[^\s"/()[\]{};@]+|[^]/g;

/** Cuts the text at the semicolons outside brackets, as the server does. */
export function clauses(text: string): Clause[] {
  const found: Clause[] = [];
  let [number, depth, wantsId] = [1, 0, false];
  let clause: Clause | undefined;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "\n") number += 1;
    if (/^\s$|^\/\//.test(token)) continue;
    clause ??= { from: number, to: number };
    clause.to = number;
    if ("([{".includes(token)) depth += 1;
    else if (")]}".includes(token)) depth = Math.max(0, depth - 1);
    else if (token === "@id") wantsId = true;
    else if (token.startsWith('"')) {
      if (wantsId && clause.id === undefined) clause.id = token.slice(1, -1);
      wantsId = false;
      // A text may hold ends of lines.
      number += token.split("\n").length - 1;
      clause.to = number;
    } else if (token === ";" && depth === 0) {
      found.push(clause);
      clause = undefined;
    }
  }
  if (clause) found.push(clause);
  return found;
}
