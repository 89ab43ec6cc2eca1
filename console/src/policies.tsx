import { useState } from "preact/hooks";
import { get } from "./api";
import { clauses } from "./cedar";
import { Link, Problem, Time, useInterval, useLoad } from "./parts";

export interface PolicyTest {
  name?: string;
  call: string;
  args?: Record<string, unknown>;
  from?: Record<string, string[]>;
  expect: "allow" | "ask" | "deny";
}

export interface Policy {
  metadata: { name: string; generation?: number; created?: string };
  spec: { mode?: string; cedar: string; tests?: PolicyTest[] };
}

export function Mode({ mode = "enforce" }: { mode?: string }) {
  const means = mode === "shadow" ? "it says what it would decide, and decides nothing" : "it decides";
  return (
    <span class={`status mode ${mode}`} title={means}>
      {mode}
    </span>
  );
}

export function Policies() {
  const [cursor, setCursor] = useState<string>();
  const load = () => get<{ items: Policy[]; next?: string }>("/api/resources/Policy", { limit: 100, cursor });
  const { value, problem, reload } = useLoad(load, String(cursor));
  useInterval(reload, 5000);
  return (
    <section>
      <div class="bar">
        <h1>Policies</h1>
      </div>
      <Problem text={problem} />
      {value && value.items.length > 0 && (
        <div class="wide">
          <table class="policies stacked">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Mode</th>
                <th scope="col">Revision</th>
                <th scope="col">Clauses</th>
                <th scope="col">Tests</th>
                <th scope="col">Since</th>
              </tr>
            </thead>
            <tbody>
              {value.items.map(({ metadata, spec }) => (
                <tr key={metadata.name}>
                  <td>
                    <Link href={`/policies/${metadata.name}`}>{metadata.name}</Link>
                  </td>
                  <td data-label="Mode">
                    <Mode mode={spec.mode} />
                  </td>
                  <td data-label="Revision">{metadata.generation ?? 1}</td>
                  <td data-label="Clauses">{clauses(spec.cedar).length}</td>
                  <td data-label="Tests">{spec.tests?.length ?? 0}</td>
                  <td data-label="Since">{metadata.created && <Time at={metadata.created} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {value && !value.items.some((policy) => policy.metadata.name === "default") && !cursor && !value.next && (
        <p class="hint">
          The policy <Link href="/policies/default">default</Link> that ships decides too, until one of that name is applied.
        </p>
      )}
      <div class="pages">
        {cursor && <button onClick={() => setCursor(undefined)}>first</button>}
        {value?.next && <button onClick={() => setCursor(value.next)}>more</button>}
      </div>
    </section>
  );
}
