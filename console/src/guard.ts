// What the guard answers, and the words that it is shown in. No page: nothing here touches the document.

export type Outcome = "allow" | "ask" | "deny";
export type Standing = "reference" | "request" | "trusted" | "own" | "ambiguous" | "context" | "untrusted";

export interface Evidence {
  source: string;
  event?: number;
  pointer: string;
  how: string;
}

export interface Origin {
  pointer: string;
  standing: Standing;
  sources: string[];
  sink: boolean;
  readers?: string[];
  evidence: Evidence[];
}

export interface Reason {
  policy: string;
  clause: string;
  outcome: Outcome;
  text: string;
  pointers: string[];
  failed?: boolean;
}

export interface Flip {
  outcome: Outcome;
  changes: [string, string][];
}

export interface Ask {
  needs: { who: string[]; quorum: number }[];
  within_ms?: number;
}

export interface Decision {
  outcome: Outcome;
  reasons: Reason[];
  ask?: Ask;
  origins: Origin[];
  shadow?: Reason[];
  flip?: Flip;
  policies: string;
}

export interface Leak {
  pointer: string;
  evidence: Evidence;
  readers: string[];
}

export interface DecisionView {
  id: string;
  seq: number;
  time: string;
  run: string;
  step: number;
  agent: string;
  principal: string;
  call: string;
  effect: string;
  args: unknown;
  hash: string;
  outcome: Outcome;
  decision: Decision;
  leaks: Leak[];
  text: string;
}

/** How a value stands: a sign and a word that need no colour, and what it means. */
export const STANDINGS: Record<Standing, { sign: string; word: string; means: string; weak: boolean }> = {
  reference: { sign: "✓", word: "by reference", means: "put in by the server from a trusted value", weak: false },
  request: { sign: "✓", word: "asked for", means: "stands in the request", weak: false },
  trusted: { sign: "✓", word: "trusted", means: "a trusted source vouches for it", weak: false },
  own: { sign: "✓", word: "the model's own", means: "nothing untrusted was read before", weak: false },
  ambiguous: { sign: "~", word: "doubtful", means: "trusted, and something untrusted names it too", weak: true },
  context: { sign: "?", word: "unclear", means: "stands nowhere, and something untrusted was read", weak: true },
  untrusted: { sign: "✗", word: "untrusted", means: "stands in untrusted values only", weak: true },
};

/** From the weakest: what a reader wants to see first where there is not room for all. */
const WEAKEST: Standing[] = ["untrusted", "context", "ambiguous", "own", "trusted", "request", "reference"];

const HOW: Record<string, string> = {
  value: "the same value",
  number: "the same number",
  date: "the same date",
  words: "its words",
  phrase: "the same phrase",
  reference: "by reference",
  plan: "in the plan",
};

const UNTRUSTED = "untrusted/";

/** `/iban` as `iban`, `/items/0/to` as `items/0/to`. */
export function place(pointer: string): string {
  return pointer === "" ? "the text" : pointer.replace(/^\//, "").replaceAll("~1", "/").replaceAll("~0", "~");
}

/** A source without the mark of those that nobody vouches for. */
export function bare(source: string): { name: string; untrusted: boolean } {
  const untrusted = source.startsWith(UNTRUSTED);
  return { name: untrusted ? source.slice(UNTRUSTED.length) : source, untrusted };
}

export function how(evidence: Evidence): string {
  return HOW[evidence.how] ?? "";
}

/** `refunds@4` as name and revision. */
export function versioned(policy: string): { name: string; revision?: string } {
  const [name = policy, revision] = policy.split("@");
  return { name, revision };
}

/** `would pass if iban came from shop/find_order`. */
export function flipped(flip: Flip): string {
  const changes = flip.changes.map(([pointer, source]) => `${place(pointer)} came from ${source}`);
  return `${flip.outcome === "allow" ? "would pass if" : "would only ask if"} ${changes.join(" and ")}`;
}

/** `3 h`, `1 d 2 h`. */
function span(ms: number): string {
  const units: [string, number][] = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];
  const parts: string[] = [];
  let rest = ms;
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ") || `${ms} ms`;
}

/** `lead and 2 of security within 4 h`. */
export function terms(ask: Ask): string {
  const needs = ask.needs.map(({ who, quorum }) => {
    const names = who.length === 0 ? "anyone" : who.join(" or ");
    return quorum === 1 ? names : `${quorum} of ${names}`;
  });
  return needs.join(" and ") + (ask.within_ms === undefined ? "" : ` within ${span(ask.within_ms)}`);
}

const DID: Record<Outcome, string> = { allow: "allowed", ask: "asked about", deny: "denied" };

/** `policy refunds@4/over-limit asked about pay/refund`. */
export function line(call: string, decision: Pick<Decision, "outcome" | "reasons">): string {
  const first = decision.reasons[0];
  const rule = first ? ` ${first.policy}/${first.clause}` : "";
  return `policy${rule} ${DID[decision.outcome] ?? decision.outcome} ${call}`;
}

/** What stands at an RFC 6901 pointer; undefined where nothing does. */
export function at(value: unknown, pointer: string): unknown {
  if (pointer === "") return value;
  let here = value;
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (here === null || typeof here !== "object" || !Object.hasOwn(here, name)) return undefined;
    here = (here as Record<string, unknown>)[name];
  }
  return here;
}

/** Where each argument came from; the weakest first where there are more than `most`. */
export function ordered(origins: Origin[], most: number): Origin[] {
  if (origins.length <= most) return origins;
  const rank = (origin: Origin) => WEAKEST.indexOf(origin.standing) * 2 + (origin.sink ? 0 : 1);
  return [...origins].sort((a, b) => rank(a) - rank(b));
}

/** Whether a policy of this name spoke, or would have in shadow. */
export function spoke(decision: Decision, name: string): boolean {
  return [...decision.reasons, ...(decision.shadow ?? [])].some((reason) => versioned(reason.policy).name === name);
}
