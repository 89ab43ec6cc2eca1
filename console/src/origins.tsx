import { useState } from "preact/hooks";
import { get, type Approval } from "./api";
import { STANDINGS, at, bare, flipped, how, ordered, place, terms, versioned } from "./guard";
import type { Decision, DecisionView, Evidence, Flip, Leak, Origin, Outcome, Reason, Standing } from "./guard";
import { Cut, Link, useLoad } from "./parts";

/** Most arguments shown at once; a call has up to thousands of them. */
const ROWS = 50;
/** Most sources that are named for one of them. */
const SOURCES = 8;

const SIGNS: Record<Outcome, string> = { allow: "✓", ask: "?", deny: "✗" };

export function OutcomeBadge({ outcome }: { outcome: Outcome }) {
  return (
    <span class={`status outcome ${outcome}`}>
      <span aria-hidden="true">{SIGNS[outcome]}</span> {outcome}
    </span>
  );
}

function Stands({ standing }: { standing: Standing }) {
  const known = STANDINGS[standing];
  if (!known) return <>{standing}</>;
  return (
    <>
      <span class={known.weak ? `standing ${standing}` : "standing good"}>
        <span aria-hidden="true">{known.sign}</span> {known.word}
      </span>
      <div class="note">{known.means}</div>
    </>
  );
}

export function Source({ source }: { source: string }) {
  const { name, untrusted } = bare(source);
  return (
    <span class="id" title={untrusted ? "nobody vouches for it" : undefined}>
      {name}
      {untrusted && <span class="note"> (untrusted)</span>}
    </span>
  );
}

/** Where a value was found; an event's number leads to what the run recorded there. */
export function Found({ run, evidence }: { run: string; evidence: Evidence }) {
  const { name } = bare(evidence.source);
  if (name === "context") return <span class="note">found nowhere in what was read</span>;
  const query = new URLSearchParams({ event: String(evidence.event), at: evidence.pointer });
  return (
    <span>
      <span class="id">
        {name} {evidence.pointer}
      </span>{" "}
      {evidence.event !== undefined && <Link href={`/runs/${run}?${query}`}>event {evidence.event}</Link>}{" "}
      <span class="note">{how(evidence)}</span>
    </span>
  );
}

function Row({ run, origin, args }: { run: string; origin: Origin; args: unknown }) {
  // Sources that stand in the evidence already are not said twice.
  const seen = new Set(origin.evidence.map((evidence) => bare(evidence.source).name));
  const others = origin.sources.filter((source) => !seen.has(bare(source).name));
  const few = others.slice(0, SOURCES);
  return (
    <tr class={STANDINGS[origin.standing]?.weak ? "weak" : undefined}>
      <th scope="row">
        <span class="id">{place(origin.pointer)}</span>
        {origin.sink && (
          <div class="note" title="the call acts on it: nothing untrusted may choose it">
            sink
          </div>
        )}
      </th>
      <td data-label="Value">
        <Cut value={at(args, origin.pointer)} />
      </td>
      <td data-label="Stands">
        <Stands standing={origin.standing} />
      </td>
      <td data-label="Comes from">
        <ul class="plain">
          {origin.evidence.map((evidence, n) => (
            <li key={n}>
              <Found run={run} evidence={evidence} />
            </li>
          ))}
          {few.length > 0 && (
            <li>
              <span class="note">{seen.has("context") ? "may come from" : "and"} </span>
              {few.map((source, n) => (
                <>
                  {n > 0 && ", "}
                  <Source source={source} />
                </>
              ))}
              {others.length > SOURCES && <span class="note"> and {others.length - SOURCES} more</span>}
            </li>
          )}
        </ul>
        {origin.readers && <div class="note">may be read by {origin.readers.join(", ") || "nobody"}</div>}
      </td>
    </tr>
  );
}

/** The arguments of a call: value, how it stands, where it came from. */
export function Arguments({ run, origins, args }: { run: string; origins: Origin[]; args: unknown }) {
  const [most, setMost] = useState(ROWS);
  if (origins.length === 0) return <p class="hint">The call has no arguments.</p>;
  return (
    <>
      <div class="wide">
        <table class="origins stacked">
          <thead>
            <tr>
              <th scope="col">Argument</th>
              <th scope="col">Value</th>
              <th scope="col">Stands</th>
              <th scope="col">Comes from</th>
            </tr>
          </thead>
          <tbody>
            {ordered(origins, ROWS)
              .slice(0, most)
              .map((origin) => (
                <Row key={origin.pointer} run={run} origin={origin} args={args} />
              ))}
          </tbody>
        </table>
      </div>
      {origins.length > most && (
        <div class="pages">
          <button onClick={() => setMost(most + ROWS)}>more arguments</button>
          <span class="note">
            {most} of {origins.length}, those that are trusted least first
          </span>
        </div>
      )}
    </>
  );
}

/** `refunds@4/over-limit`, leading to the clause. */
export function Rule({ reason }: { reason: Reason }) {
  const { name, revision } = versioned(reason.policy);
  const query = new URLSearchParams({ clause: reason.clause });
  if (revision) query.set("revision", revision);
  return (
    <Link href={`/policies/${encodeURIComponent(name)}?${query}`} class="id">
      {reason.policy}/{reason.clause}
    </Link>
  );
}

/** A text with what stands in backticks set as code. */
function Words({ text }: { text: string }) {
  return <>{text.split("`").map((part, n) => (n % 2 === 1 ? <code key={n}>{part}</code> : part))}</>;
}

export function Clauses({ reasons, shadow }: { reasons: Reason[]; shadow?: boolean }) {
  return (
    <ul class="clauses">
      {reasons.map((reason) => (
        <li key={`${reason.policy}/${reason.clause}`}>
          <OutcomeBadge outcome={reason.outcome} /> {shadow && <span class="note">in shadow </span>}
          <Rule reason={reason} />
          <div>
            <Words text={reason.text} />
            {reason.pointers.length > 0 && <span class="note"> · looked at {reason.pointers.map(place).join(", ")}</span>}
          </div>
        </li>
      ))}
    </ul>
  );
}

export function Flipped({ flip }: { flip?: Flip }) {
  return flip ? (
    <p class="flip">
      {flipped(flip)} <span class="note">by the policies of now</span>
    </p>
  ) : null;
}

export function Leaks({ run, leaks }: { run: string; leaks: Leak[] }) {
  if (leaks.length === 0) return null;
  return (
    <ul class="clauses">
      {leaks.map((leak, n) => (
        <li key={n}>
          <b class="id">{place(leak.pointer)}</b> holds what only {leak.readers.join(", ") || "nobody"} may read:{" "}
          <Found run={run} evidence={leak.evidence} />
        </li>
      ))}
    </ul>
  );
}

/** Why policies ask: for an approval, beside what is to be approved. What would change it is worked out when it is asked for. */
export function Asked({ approval, decision }: { approval: Approval; decision: Decision }) {
  const { value } = useLoad(() => get<DecisionView>("/api/guard/explain", { of: approval.id }), approval.id);
  return (
    <div class="asked">
      <h3>Why policies ask</h3>
      <Clauses reasons={decision.reasons} />
      <Leaks run={approval.run} leaks={value?.leaks ?? []} />
      {decision.ask && <p class="note">released by {terms(decision.ask)}</p>}
      <Flipped flip={value?.decision.flip} />
    </div>
  );
}
