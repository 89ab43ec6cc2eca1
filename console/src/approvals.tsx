import { useState } from "preact/hooks";
import { get, post, type Approval, type RunDetail } from "./api";
import type { Decision } from "./guard";
import { Arguments, Asked } from "./origins";
import { Json, Link, Problem, Status, Time, short, useInterval, useLoad } from "./parts";

const QUESTIONS: Record<string, string> = {
  call: "May this call be made?",
  changed: "The arguments changed since this step was recorded. What now?",
  in_doubt: "The worker was lost during this call. Did it take place?",
  new_once: "A new once-only call, while a recorded one is unused. What now?",
  standalone: "Your decision is asked.",
};

/** What each answer means, where the word alone may not say it. */
const MEANINGS: Record<string, string> = {
  reuse: "take the recorded value",
  run: "execute it now, with these arguments",
  complete: "it took place: give its value",
  not_done: "it did not take place: execute it again",
  fail: "fail the step",
};

/** The recorded steps that may stand for this one, each with its own button. */
function Candidates({ approval, reuse }: { approval: Approval; reuse: (step: number) => () => void }) {
  const step = (n: number) =>
    get<RunDetail>(`/api/runs/${approval.run}`, { after: n - 1, limit: 1 }).then((run) => run.steps[0]);
  const { value, problem } = useLoad(() => Promise.all(approval.candidates.map(step)), approval.id);
  return (
    <>
      <Problem text={problem} />
      {value?.map(
        (step) =>
          step && (
            <div class="candidate" key={step.n}>
              <div class="bar">
                <span class="note">
                  step {step.n}, recorded: <b>{step.name}</b> {step.key}
                </span>
                <Status status={step.status} />
                <span class="spacer" />
                <button class="reuse" title={MEANINGS.reuse} onClick={reuse(step.n)}>
                  reuse step {step.n}
                </button>
              </div>
              <Json value={{ arguments: step.args, value: step.value }} />
            </div>
          ),
      )}
    </>
  );
}

/** Where each argument came from, before somebody says yes to it. */
function CameFrom({ approval, guard, edited }: { approval: Approval; guard: Decision; edited: boolean }) {
  return (
    <>
      <details open={approval.status === "waiting"}>
        <summary>Where each argument came from</summary>
        <Arguments run={approval.run} origins={guard.origins} args={approval.args} />
      </details>
      <p class="note">
        <Link href={`/decisions/${approval.id}`}>the whole decision</Link>
        {edited && " · edited arguments are put before the policies again"}
      </p>
    </>
  );
}

export function ApprovalCard({ approval, changed }: { approval: Approval; changed: () => void }) {
  const [reason, setReason] = useState("");
  const [edited, setEdited] = useState<string>();
  const [given, setGiven] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const decide = (decision: string, more: Record<string, unknown> = {}) => async () => {
    // What the step gave is asked for before it is completed.
    if (decision === "complete" && given === undefined) return setGiven("null");
    try {
      const body: Record<string, unknown> = { decision, hash: approval.hash, ...more };
      if (decision === "complete" && given !== undefined) body.value = JSON.parse(given);
      if (reason) body.reason = reason;
      if (edited !== undefined && decision === "approve") body.args = JSON.parse(edited);
      await post(`/api/approvals/${approval.id}/decide`, body);
      setProblem(undefined);
      changed();
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  const waiting = approval.status === "waiting";
  // Where recorded steps can be named, each has its own button.
  const choices = approval.choices.filter((choice) => choice !== "reuse" || approval.candidates.length === 0);
  return (
    <article class={`approval ${approval.status}`}>
      <div class="bar">
        <h2>{approval.call}</h2>
        <Status status={approval.status} />
        <span class="spacer" />
        <span class="note">
          {approval.agent} <Link href={`/runs/${approval.run}`}>{short(approval.run)}</Link> · for <b>{approval.who}</b>
          {approval.deadline && (
            <>
              {" · until "}
              <Time at={approval.deadline} />
            </>
          )}
          {approval.quorum > 1 && ` · ${approval.votes.length} of ${approval.quorum} agree`}
        </span>
      </div>
      <p>{approval.message ?? QUESTIONS[approval.why] ?? approval.why}</p>
      <div class={approval.guard && "columns"}>
        <div>
          {edited === undefined ? (
            <Json value={approval.args} />
          ) : (
            <textarea rows={6} value={edited} onInput={(event) => setEdited(event.currentTarget.value)} aria-label="arguments" />
          )}
          <p class="hint">the decision is bound to these exact arguments: SHA-256 {approval.hash.slice(0, 24)}…</p>
        </div>
        {approval.guard && <Asked approval={approval} decision={approval.guard} />}
      </div>
      {approval.guard && <CameFrom approval={approval} guard={approval.guard} edited={edited !== undefined} />}
      {waiting && approval.candidates.length > 0 && (
        <Candidates approval={approval} reuse={(step) => decide("reuse", { step })} />
      )}
      {waiting && given !== undefined && (
        <label class="given">
          the value that the step gave, JSON; then press complete again
          <textarea rows={3} value={given} onInput={(event) => setGiven(event.currentTarget.value)} />
        </label>
      )}
      {waiting ? (
        <div class="bar">
          <input
            placeholder="reason, for the record"
            aria-label="reason, for the record"
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
          {choices.map((choice) => (
            <button key={choice} class={choice} title={MEANINGS[choice]} onClick={decide(choice)}>
              {choice.replace("_", " ")}
            </button>
          ))}
          {approval.edit && edited === undefined && (
            <button onClick={() => setEdited(JSON.stringify(approval.args, null, 2))}>edit</button>
          )}
        </div>
      ) : (
        <p class="note">
          {approval.decided_by && `by ${approval.decided_by}`} {approval.reason && `· ${approval.reason}`}
          {approval.edited !== undefined && ` · arguments edited: ${JSON.stringify(approval.edited)}`}
        </p>
      )}
      <Problem text={problem} />
    </article>
  );
}

export function ApprovalPage({ id }: { id: string }) {
  const { value, problem, reload } = useLoad(() => get<Approval>(`/api/approvals/${id}`), id);
  useInterval(reload, 1500);
  return (
    <section>
      <Problem text={problem} />
      {value && <ApprovalCard approval={value} changed={reload} />}
    </section>
  );
}

export function Approvals() {
  const [all, setAll] = useState(false);
  const { value, problem, reload } = useLoad(
    () => get<{ items: Approval[] }>("/api/approvals", { status: all ? "any" : undefined, limit: 100 }),
    String(all),
  );
  useInterval(reload, 1500);
  return (
    <section>
      <div class="bar">
        <h1>Approvals</h1>
        <label>
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} /> also decided
        </label>
      </div>
      <Problem text={problem} />
      {value?.items.map((approval) => <ApprovalCard key={approval.id} approval={approval} changed={reload} />)}
      {value && value.items.length === 0 && <p class="hint">{all ? "Nothing was asked yet." : "Nothing waits for a person."}</p>}
    </section>
  );
}
