import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, post } from "./api";
import { clauses } from "./cedar";
import { DecisionTable, type Decisions } from "./decisions";
import { spoke, type Decision } from "./guard";
import { OutcomeBadge } from "./origins";
import { Cut, Problem, useLoad, useQuery } from "./parts";
import { Mode, type Policy, type PolicyTest } from "./policies";

/** Most lines of a policy, and most of its tests, shown at once. */
const LINES = 500;
const TESTS = 100;
/** Newest decisions that are looked through for those of a policy. */
const LOOKED_AT = 200;

/** The text with the numbers of its lines; the clause that was asked for is marked. */
function Cedar({ text, clause }: { text: string; clause?: string }) {
  const marked = clause === undefined ? undefined : clauses(text).find((found) => found.id === clause);
  const [all, setAll] = useState(false);
  const first = useRef<HTMLSpanElement>(null);
  useEffect(() => first.current?.scrollIntoView({ block: "center" }), [text, clause]);
  const lines = text.trimEnd().split("\n");
  // The marked clause is shown however far down it stands.
  const most = all ? lines.length : Math.max(LINES, marked?.to ?? 0);
  return (
    <>
      <pre class="cedar" tabIndex={0} aria-label="Cedar">
        {lines.slice(0, most).map((line, n) => {
          const here = marked !== undefined && n + 1 >= marked.from && n + 1 <= marked.to;
          return (
            <span key={n} class={here ? "line marked" : "line"} ref={n + 1 === marked?.from ? first : undefined}>
              {line}
              {"\n"}
            </span>
          );
        })}
      </pre>
      {lines.length > most && <button onClick={() => setAll(true)}>show all {lines.length} lines</button>}
    </>
  );
}

interface Result {
  test: string;
  passed: boolean;
  found: Decision;
}

/** Runs the tests of the namespace's policies on the server; those of this one. */
async function run(name: string): Promise<Result[]> {
  const { items } = await post<{ items: { policy: string; tests: Result[] }[] }>("/api/policies/test", {});
  return items.find(({ policy }) => policy === name)?.tests ?? [];
}

function Came({ result }: { result?: Result }) {
  if (!result) return null;
  if (result.passed) return <span class="standing good">✓ passed</span>;
  return <span class="standing untrusted">✗ found {result.found.outcome}</span>;
}

function Tests({ policy, tests }: { policy: string; tests: PolicyTest[] }) {
  const [all, setAll] = useState(false);
  const [results, setResults] = useState<Result[]>();
  const [problem, setProblem] = useState<string>();
  const start = () =>
    run(policy)
      .then((found) => {
        setResults(found);
        setProblem(undefined);
      })
      .catch((error: Error) => setProblem(error.message));
  if (tests.length === 0) return <p class="hint">It has no tests.</p>;
  return (
    <>
      <Problem text={problem} />
      <div class="wide">
        <table class="tests stacked">
          <thead>
            <tr>
              <th scope="col">Test</th>
              <th scope="col">Call</th>
              <th scope="col">Arguments</th>
              <th scope="col">Come from</th>
              <th scope="col">Expected</th>
            </tr>
          </thead>
          <tbody>
            {tests.slice(0, all ? tests.length : TESTS).map((test, n) => (
              <tr key={n}>
                <td>{test.name ?? n + 1}</td>
                <td data-label="Call">{test.call}</td>
                <td data-label="Arguments">{test.args && <Cut value={test.args} />}</td>
                <td data-label="Come from">
                  {Object.entries(test.from ?? {}).map(([name, sources]) => (
                    <div key={name} class="id">
                      {name} ← {sources.join(", ")}
                    </div>
                  ))}
                </td>
                <td data-label="Expected">
                  <OutcomeBadge outcome={test.expect} /> <Came result={results?.[n]} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="pages">
        <button onClick={start}>run the tests</button>
        {!all && tests.length > TESTS && <button onClick={() => setAll(true)}>show all {tests.length} tests</button>}
      </div>
    </>
  );
}

function Spoke({ name }: { name: string }) {
  const load = () => get<Decisions>("/api/guard/decisions", { limit: LOOKED_AT });
  const { value, problem } = useLoad(load, name);
  const items = value?.items.filter((view) => spoke(view.decision, name));
  return (
    <>
      <h2>Recent decisions</h2>
      <Problem text={problem} />
      {items && items.length > 0 && <DecisionTable items={items} />}
      {items && items.length === 0 && <p class="hint">It spoke in none of the newest {LOOKED_AT} decisions.</p>}
    </>
  );
}

/** The resource; nothing where there is none of that name. */
async function policy(name: string): Promise<Policy | null> {
  try {
    return await get<Policy>(`/api/resources/Policy/${encodeURIComponent(name)}`);
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 404) return null;
    throw error;
  }
}

export function PolicyPage({ name }: { name: string }) {
  const query = useQuery();
  const { value, problem } = useLoad(() => policy(name), name);
  const revision = String(value?.metadata.generation ?? 1);
  const asked = query.get("revision");
  return (
    <section class="policy">
      <div class="bar">
        <h1>{name}</h1>
        {value && <Mode mode={value.spec.mode} />}
        {value && <span class="note">revision {revision}</span>}
      </div>
      <Problem text={problem} />
      {value && asked !== null && asked !== revision && (
        <p class="note">Revision {asked} decided; this is revision {revision}.</p>
      )}
      {value && <Cedar text={value.spec.cedar} clause={query.get("clause") ?? undefined} />}
      {value && <h2>Tests</h2>}
      {value && <Tests policy={name} tests={value.spec.tests ?? []} />}
      {value === null && (
        <p class="hint">
          {name === "default"
            ? "This is the policy that ships with the server; no policy of this name was applied."
            : "There is no policy of this name now."}
        </p>
      )}
      {value !== undefined && <Spoke name={name} />}
    </section>
  );
}
