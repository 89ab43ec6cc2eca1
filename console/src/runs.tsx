import { useState } from "preact/hooks";
import { get, type Run } from "./api";
import { Link, Problem, Status, Time, short, useInterval, useLoad } from "./parts";

const STATUSES = ["", "queued", "running", "waiting", "compensating", "completed", "failed", "cancelled"];

export function Runs() {
  const [status, setStatus] = useState("");
  const [inbox, setInbox] = useState(false);
  const [cursor, setCursor] = useState<string>();
  const query = { status: status || undefined, inbox: inbox ? "any" : undefined, cursor, limit: 50 };
  const { value, problem, reload } = useLoad(
    () => get<{ items: Run[]; next?: string }>("/api/runs", query),
    JSON.stringify(query),
  );
  useInterval(reload, 1000);
  return (
    <section>
      <div class="bar">
        <h1>Runs</h1>
        <label>
          Status{" "}
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
            {STATUSES.map((name) => (
              <option key={name} value={name}>
                {name || "any"}
              </option>
            ))}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={inbox} onChange={(event) => setInbox(event.currentTarget.checked)} /> needs a person
        </label>
      </div>
      <Problem text={problem} />
      <div class="wide">
        <table class="runs">
          <thead>
            <tr>
              <th>Run</th>
              <th>Agent</th>
              <th>Key</th>
              <th>Status</th>
              <th>Created</th>
              <th>Note</th>
            </tr>
          </thead>
          <tbody>
            {value?.items.map((run) => (
              <tr key={run.id}>
                <td>
                  <Link href={`/runs/${run.id}`} class="id">
                    {short(run.id)}
                  </Link>
                </td>
                <td class="nowrap">{run.agent}</td>
                <td class="id cut" title={run.key}>
                  {run.key}
                </td>
                <td>
                  <Status status={run.status} />
                </td>
                <td>
                  <Time at={run.created} />
                </td>
                <td class="note">{run.error ?? run.waiting_for ?? ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {value && value.items.length === 0 && <p class="hint">No runs here.</p>}
      <div class="pages">
        {cursor && <button onClick={() => setCursor(undefined)}>newest</button>}
        {value?.next && <button onClick={() => setCursor(value.next)}>older</button>}
      </div>
    </section>
  );
}
