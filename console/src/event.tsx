import { useEffect, useState } from "preact/hooks";
import { follow, type RunEvent } from "./api";
import { at, line, type Decision } from "./guard";
import { Json, Link, Time, go } from "./parts";

/** Most decisions of a run that its page keeps. */
const KEPT = 2000;

/** What the guard decided about a step, for its line in the timeline. */
export interface Told {
  seq: number;
  text: string;
  outcome: string;
  /** An allow that no clause spoke about: it needs no line of its own. */
  quiet: boolean;
}

/** Takes a decision of the run into account; other events are none of its business. */
export function told(lines: Map<number, Told[]>, event: RunEvent) {
  const data = event.data as { n: number; call: string; decision: Decision } | null;
  if (event.type !== "guard.decided" || !data) return;
  const { decision, n, call } = data;
  const quiet = decision.outcome === "allow" && decision.reasons.length === 0 && !decision.shadow?.length;
  const others = (lines.get(n) ?? []).filter((other) => other.seq !== event.seq);
  lines.set(n, [...others, { seq: event.seq, text: line(call, decision), outcome: decision.outcome, quiet }]);
  const [oldest] = lines.keys();
  if (lines.size > KEPT && oldest !== undefined) lines.delete(oldest);
}

export function ToldRow({ lines, columns }: { lines: Told[]; columns: number }) {
  return (
    <>
      {lines
        .filter((told) => !told.quiet)
        .map((told) => (
          <tr class="told" key={told.seq}>
            <td />
            <td colSpan={columns - 1} class={told.outcome}>
              <span aria-hidden="true">⚖ </span>
              <Link href={`/decisions/${told.seq}`}>{told.text}</Link>
            </td>
          </tr>
        ))}
    </>
  );
}

/** The value in an event's content, by what the run's events call it. */
const HOLDERS = ["value", "input", "result", "payload", "args"];

function held(data: unknown, pointer: string): unknown {
  for (const name of HOLDERS) {
    const found = at(at(data, `/${name}`), pointer);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** One event of a run, by its place in it: where a value was found that an argument holds. */
export function EventCard({ run, version, pointer }: { run: string; version: number; pointer?: string }) {
  const [event, setEvent] = useState<RunEvent>();
  useEffect(() => {
    const stop = new AbortController();
    setEvent(undefined);
    const first = (data: unknown) => {
      const found = data as RunEvent;
      if (!stop.signal.aborted && found.version === version) setEvent(found);
      stop.abort();
    };
    void follow(`/api/runs/${run}/events?after=${version - 1}`, first, stop.signal);
    return () => stop.abort();
  }, [run, version]);
  const step = at(event?.data, "/n");
  const value = event && pointer !== undefined ? held(event.data, pointer) : undefined;
  return (
    <article class="event">
      <div class="bar">
        <h2>Event {version} of the run</h2>
        {event && <b>{event.type}</b>}
        {event && <Time at={event.time} />}
        {typeof step === "number" && <Link href={`/runs/${run}?step=${step}`}>step {step}</Link>}
        {event && <Link href={`/why?of=${event.seq}`}>why</Link>}
        <span class="spacer" />
        <button onClick={() => go(`/runs/${run}`)}>close</button>
      </div>
      {!event && <p class="hint">Looking for it…</p>}
      {value !== undefined && (
        <>
          <p class="note">
            What stands at <code>{pointer || "its top"}</code>:
          </p>
          <Json value={value} />
        </>
      )}
      {event && event.data === null && <p class="hint">Its content was erased.</p>}
      {event && event.data !== null && (
        <details open={value === undefined}>
          <summary>The whole event</summary>
          <Json value={event.data} />
        </details>
      )}
    </article>
  );
}
