import { useEffect, useRef, useState } from "preact/hooks";
import { follow, get, type LogEvent } from "./api";
import { Json, Link, Time } from "./parts";

/** Most events kept on the page. */
const KEPT = 500;

function Row({ event }: { event: LogEvent }) {
  const [open, setOpen] = useState(false);
  const run = event.subject.startsWith("run/") ? event.subject.slice(4) : undefined;
  return (
    <>
      <tr class="step" onClick={() => setOpen(!open)}>
        <td class="n">{event.seq}</td>
        <td>
          <Time at={event.time} />
        </td>
        <td>
          <b>{event.type}</b>
        </td>
        <td class="id">{run ? <Link href={`/runs/${run}`}>{event.subject}</Link> : event.subject}</td>
        <td class="note nowrap">{event.cause === undefined ? "" : `← ${event.cause}`}</td>
        <td class="note data">{event.erased ? "erased" : (JSON.stringify(event.data) ?? "").slice(0, 200)}</td>
      </tr>
      {open && (
        <tr class="detail">
          <td colSpan={6}>
            <Json value={event} />
            <Link href={`/why?of=${event.seq}`}>why</Link>{" "}
            {event.type === "guard.decided" && <Link href={`/decisions/${event.seq}`}>decision</Link>}
          </td>
        </tr>
      )}
    </>
  );
}

export function Journal() {
  const [events, setEvents] = useState<LogEvent[]>([]);
  const [kind, setKind] = useState("");
  // What is being typed outlives the events that come in.
  const [typed, setTyped] = useState(kind);
  const [paused, setPaused] = useState(false);
  const hold = useRef(false);
  hold.current = paused;
  useEffect(() => {
    const stop = new AbortController();
    setEvents([]);
    let waiting: LogEvent[] = [];
    const flush = setInterval(() => {
      if (hold.current || waiting.length === 0) return;
      const news = waiting.reverse();
      waiting = [];
      setEvents((old) => [...news, ...old].slice(0, KEPT));
    }, 250);
    void get<{ head: number }>("/api/events", { limit: 1 }).then(({ head }) => {
      const query = new URLSearchParams({ from: String(Math.max(0, head - 200)) });
      if (kind) query.set("type", kind);
      const each = (event: unknown) => {
        waiting.push(event as LogEvent);
        if (waiting.length > KEPT) waiting.shift();
      };
      return follow(`/api/events/stream?${query}`, each, stop.signal);
    });
    return () => {
      clearInterval(flush);
      stop.abort();
    };
  }, [kind]);
  return (
    <section>
      <div class="bar">
        <h1>Journal</h1>
        <label>
          Type starts with{" "}
          <input
            value={typed}
            placeholder="step."
            onInput={(event) => setTyped(event.currentTarget.value)}
            onChange={(event) => setKind(event.currentTarget.value.trim())}
          />
        </label>
        <label>
          <input type="checkbox" checked={paused} onChange={(event) => setPaused(event.currentTarget.checked)} /> pause
        </label>
      </div>
      <div class="wide">
        <table class="journal">
          <thead>
            <tr>
              <th>Place</th>
              <th>Time</th>
              <th>Type</th>
              <th>Subject</th>
              <th>Cause</th>
              <th>Data</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <Row key={event.seq} event={event} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
