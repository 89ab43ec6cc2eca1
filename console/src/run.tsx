import { useEffect, useRef, useState } from "preact/hooks";
import { follow, get, post, type LogEvent, type RunDetail, type RunEvent, type Step } from "./api";
import { ApprovalCard } from "./approvals";
import { EventCard, ToldRow, told, type Told } from "./event";
import { Json, Link, Problem, Status, Time, go, short, useInterval, useLoad, useQuery } from "./parts";

/** `31 ms`, `6.1 s`, `15 min 3 s`. */
function lasted(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function duration(step: Step): number {
  return step.ended ? new Date(step.ended).getTime() - new Date(step.started).getTime() : 0;
}

function Bar({ step, from, span }: { step: Step; from: number; span: number }) {
  const start = new Date(step.started).getTime() - from;
  const length = step.ended ? duration(step) : span - start;
  const x = (100 * start) / span;
  return (
    <svg class="bar-chart" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect class={step.status} x={Math.min(x, 99)} y="2" width={Math.max((100 * length) / span, 0.6)} height="6" rx="1" />
    </svg>
  );
}

/** Columns of the table of steps. */
const COLUMNS = 7;

interface Row {
  step: Step;
  from: number;
  span: number;
  told: Told[];
  focused: boolean;
}

function StepRow({ step, from, span, told, focused }: Row) {
  const [open, setOpen] = useState(false);
  const row = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (!focused) return;
    setOpen(true);
    row.current?.scrollIntoView({ block: "center" });
  }, [focused]);
  const quiet = told.every((one) => one.quiet) ? told.at(-1) : undefined;
  return (
    <>
      <tr ref={row} class={focused ? "step focused" : "step"} onClick={() => setOpen(!open)}>
        <td class="n">{step.n}</td>
        <td>
          {step.scope && <span class="scope">{step.scope}/</span>}
          {/* The row takes the click; the button is for the keyboard. */}
          <button class="plain" aria-expanded={open}>
            {step.name}
          </button>
          {step.key && <span class="id"> {step.key}</span>}
        </td>
        <td>{step.kind === "code" || step.kind === "tool" ? step.effect : step.kind}</td>
        <td>
          <Status status={step.status} />
          {step.attempts > 1 && <span class="note"> try {step.attempts}</span>}
        </td>
        <td class="timeline">
          <Bar step={step} from={from} span={span} />
        </td>
        <td class="ms">{step.ended ? lasted(duration(step)) : ""}</td>
        <td class="note">
          {step.note ?? step.waiting_for ?? (quiet && <Link href={`/decisions/${quiet.seq}`}>allowed by policy</Link>)}
        </td>
      </tr>
      <ToldRow lines={told} columns={COLUMNS} />
      {open && (
        <tr class="detail">
          <td colSpan={COLUMNS}>
            {step.args !== undefined && <Json value={{ arguments: step.args }} />}
            {step.value !== undefined && <Json value={{ value: step.value }} />}
            {step.error != null && <Json value={{ error: step.error }} />}
            <p class="hint">
              arguments' hash {step.hash.slice(0, 16)}… · revision {step.revision} · incarnation {step.incarnation ?? "?"} · log
              place {step.seq} {step.child && <Link href={`/runs/${step.child}`}>child run</Link>}
            </p>
          </td>
        </tr>
      )}
    </>
  );
}

interface Line {
  time: string;
  level: string;
  step?: string;
  message: string;
}

/** What the run's worker logged, the first thousand batches of lines. */
function Log({ id, version }: { id: string; version: number }) {
  const query = { subject: `run/${id}`, type: "run.logged", limit: 1000 };
  const { value } = useLoad(() => get<{ items: LogEvent[] }>("/api/events", query), `${id} ${version}`);
  const lines = (value?.items ?? []).flatMap((event) => (event.data as { lines?: Line[] } | undefined)?.lines ?? []);
  if (lines.length === 0) return null;
  return (
    <>
      <h2 class="section">Log</h2>
      <div class="wide">
        <table class="log">
          <tbody>
            {lines.map((line, place) => (
              <tr key={place}>
                <td class="n">
                  <Time at={line.time} />
                </td>
                <td class={`level ${line.level}`}>{line.level}</td>
                <td class="note">{line.step}</td>
                <td class="message">{line.message}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

export function RunPage({ id }: { id: string }) {
  const query = useQuery();
  const [step, event] = [Number(query.get("step")), Number(query.get("event"))];
  const [after, setAfter] = useState<number>();
  const lines = useRef(new Map<number, Told[]>());
  const load = () => get<RunDetail>(`/api/runs/${id}`, { after });
  const { value: run, problem, reload } = useLoad(load, `${id} ${after}`);
  const [done, setDone] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    let due = false;
    lines.current = new Map();
    const news = (event: unknown) => {
      told(lines.current, event as RunEvent);
      if (due) return;
      due = true;
      setTimeout(() => {
        due = false;
        reload();
      }, 150);
    };
    void follow(`/api/runs/${id}/events`, news, stop.signal);
    return () => stop.abort();
  }, [id]);
  // A step that stands on another page than the one that is shown.
  const elsewhere = run !== undefined && step > 0 && step <= run.steps_total && !run.steps.some(({ n }) => n === step);
  useEffect(() => {
    if (elsewhere) setAfter(step - 1);
  }, [elsewhere, step]);
  // How far a step is makes no event.
  useInterval(() => run?.status === "running" && reload(), 2000);
  if (!run) return <Problem text={problem} />;
  const act = (verb: string, body: unknown) => () =>
    post(`/api/runs/${run.id}/${verb}`, body)
      .then(() => setDone(undefined))
      .catch((error: Error) => setDone(error.message))
      .finally(reload);
  const turn = (to?: number) => () => {
    // Else the step that the address names would bring its page back.
    if (step > 0) go(`/runs/${run.id}`);
    setAfter(to);
  };
  const from = new Date(run.created).getTime();
  const ends = run.steps.map((step) => new Date(step.ended ?? step.started).getTime());
  const over = ["completed", "failed", "cancelled"].includes(run.status);
  const span = Math.max(1, Math.max(over ? from : Date.now(), ...ends) - from);
  return (
    <section>
      <div class="bar">
        <h1>
          {run.agent} <span class="id">{run.key}</span>
        </h1>
        <Status status={run.status} />
        <span class="spacer" />
        {lines.current.size > 0 && (
          <Link href={`/decisions?run=${run.id}`} class="button">
            Decisions
          </Link>
        )}
        <Link href={`/why?of=${run.id}`} class="button">
          Why
        </Link>
        {!over && <button onClick={act("cancel", { reason: "cancelled in the console" })}>Cancel</button>}
        {run.status === "failed" && <button onClick={act("retry", {})}>Retry</button>}
      </div>
      <Problem text={done ?? problem} />
      <p class="facts">
        <span class="id">{run.id}</span> · started <Time at={run.created} /> by {run.by ?? "?"} · incarnation {run.incarnation}
        {run.parent && (
          <>
            {" · child of "}
            <Link href={`/runs/${run.parent}`}>{short(run.parent)}</Link>
          </>
        )}
        {run.waiting_for && ` · waits for ${run.waiting_for}`}
      </p>
      {event > 0 && <EventCard run={run.id} version={event} pointer={query.get("at") ?? undefined} />}
      {run.progress?.map((progress) => (
        <p class="facts" key={progress.name}>
          … {progress.name} <code>{JSON.stringify(progress.detail)}</code> at <Time at={progress.time} />
        </p>
      ))}
      {run.approvals
        .filter((approval) => approval.status === "waiting")
        .map((approval) => (
          <ApprovalCard key={approval.id} approval={approval} changed={reload} />
        ))}
      <div class="wide">
        <table class="steps">
          <thead>
            <tr>
              <th>#</th>
              <th>Step</th>
              <th>Effect</th>
              <th>Status</th>
              <th class="timeline">Timeline</th>
              <th>Time</th>
              <th>Note</th>
            </tr>
          </thead>
          <tbody>
            {run.steps.map((one) => (
              <StepRow
                key={one.n}
                step={one}
                from={from}
                span={span}
                told={lines.current.get(one.n) ?? []}
                focused={one.n === step}
              />
            ))}
          </tbody>
        </table>
      </div>
      {run.steps.length === 0 && <p class="hint">No step is recorded.</p>}
      <div class="pages">
        {(run.steps[0]?.n ?? 1) > 1 && <button onClick={turn(0)}>from the first step</button>}
        {run.next_step !== undefined && <button onClick={turn(run.next_step)}>later steps</button>}
        {after !== undefined && <button onClick={turn()}>newest steps</button>}
      </div>
      {run.notes.map((note) => (
        <p class="note" key={note}>
          {note}
        </p>
      ))}
      {run.orphans.length > 0 && <p class="note">recorded but no longer asked for: steps {run.orphans.join(", ")}</p>}
      <Log id={run.id} version={run.version} />
      <div class="columns">
        <div>
          <h2>Input</h2>
          <Json value={run.input} />
        </div>
        {over && (
          <div>
            <h2>{run.failure != null ? "Failure" : "Result"}</h2>
            <Json value={run.failure ?? run.result ?? null} />
          </div>
        )}
      </div>
    </section>
  );
}
