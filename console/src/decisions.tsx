import { useState } from "preact/hooks";
import { get } from "./api";
import type { DecisionView } from "./guard";
import { OutcomeBadge, Rule } from "./origins";
import { Link, Problem, Time, go, short, useInterval, useLoad, useQuery } from "./parts";

export interface Decisions {
  items: DecisionView[];
  next?: string;
}

function Row({ view }: { view: DecisionView }) {
  const { reasons, shadow } = view.decision;
  const [first, ...others] = reasons;
  return (
    <tr>
      <td>
        <Link href={`/decisions/${view.seq}`} class="badge" title={`explain ${view.id}`}>
          <OutcomeBadge outcome={view.outcome} />
        </Link>
      </td>
      <td data-label="Call">
        <Link href={`/decisions/${view.seq}`}>{view.call}</Link>
      </td>
      <td data-label="Rule">
        {first ? <Rule reason={first} /> : <span class="note">no rule speaks against it</span>}
        {others.length > 0 && <span class="note"> and {others.length} more</span>}
        {shadow?.[0] && <div class="note">in shadow: {shadow[0].outcome}, {shadow[0].policy}/{shadow[0].clause}</div>}
      </td>
      <td data-label="Agent">
        {view.agent}{" "}
        <Link href={`/runs/${view.run}?step=${view.step}`} class="id">
          {short(view.run)}
        </Link>
      </td>
      <td data-label="For">{view.principal}</td>
      <td data-label="When">
        <Time at={view.time} />
      </td>
    </tr>
  );
}

export function DecisionTable({ items }: { items: DecisionView[] }) {
  return (
    <div class="wide">
      <table class="decisions stacked">
        <thead>
          <tr>
            <th scope="col">Outcome</th>
            <th scope="col">Call</th>
            <th scope="col">Rule</th>
            <th scope="col">Agent</th>
            <th scope="col">For</th>
            <th scope="col">When</th>
          </tr>
        </thead>
        <tbody>
          {items.map((view) => (
            <Row key={view.seq} view={view} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function DecisionsPage() {
  const run = useQuery().get("run") ?? undefined;
  const [outcome, setOutcome] = useState("");
  const [call, setCall] = useState("");
  // What is being typed outlives the list's reloading.
  const [typed, setTyped] = useState("");
  const [cursor, setCursor] = useState<string>();
  const query = { outcome: outcome || undefined, call: call || undefined, run, cursor, limit: 50 };
  const { value, problem, reload } = useLoad(() => get<Decisions>("/api/guard/decisions", query), JSON.stringify(query));
  useInterval(reload, 1500);
  // Another filter begins at the newest.
  const changed = (set: (value: string) => void) => (event: { currentTarget: HTMLInputElement | HTMLSelectElement }) => {
    setCursor(undefined);
    set(event.currentTarget.value.trim());
  };
  return (
    <section>
      <div class="bar">
        <h1>Decisions</h1>
        <label>
          Outcome{" "}
          <select value={outcome} onChange={changed(setOutcome)}>
            <option value="">any</option>
            <option>allow</option>
            <option>ask</option>
            <option>deny</option>
          </select>
        </label>
        <label>
          Call{" "}
          <input
            value={typed}
            placeholder="pay/refund"
            onInput={(event) => setTyped(event.currentTarget.value)}
            onChange={changed(setCall)}
          />
        </label>
        {run && (
          <span class="note">
            of run <Link href={`/runs/${run}`}>{short(run)}</Link>{" "}
            <button class="small" onClick={() => go("/decisions")}>
              all runs
            </button>
          </span>
        )}
      </div>
      <Problem text={problem} />
      {value && value.items.length > 0 && <DecisionTable items={value.items} />}
      {value && value.items.length === 0 && (
        <p class="hint">{value.next ? "None in this part of the log; look at older ones." : "No decisions here."}</p>
      )}
      <div class="pages">
        {cursor && <button onClick={() => setCursor(undefined)}>newest</button>}
        {value?.next && <button onClick={() => setCursor(value.next)}>older</button>}
      </div>
    </section>
  );
}
