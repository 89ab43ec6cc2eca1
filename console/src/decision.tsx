import { get, type Approval, type RunDetail } from "./api";
import { terms, type DecisionView } from "./guard";
import { Arguments, Clauses, Flipped, Leaks, OutcomeBadge } from "./origins";
import { Json, Link, Problem, Status, Time, short, useLoad } from "./parts";

/** The question that a person was asked about the call, if the run holds one. */
async function asked(view: DecisionView): Promise<Approval | undefined> {
  const run = await get<RunDetail>(`/api/runs/${view.run}`, { limit: 1 });
  return run.approvals.filter((approval) => approval.step === view.step).pop();
}

function Question({ view }: { view: DecisionView }) {
  const { value, problem } = useLoad(() => asked(view), String(view.seq));
  return (
    <>
      <Problem text={problem} />
      {value && (
        <>
          {" · "}
          <Link href={`/approvals/${value.id}`}>approval</Link> <Status status={value.status} />
          {value.decided_by && ` by ${value.decided_by}`}
        </>
      )}
    </>
  );
}

function Facts({ view }: { view: DecisionView }) {
  return (
    <p class="facts">
      <span class="id">{view.id}</span> · {view.agent} for <b>{view.principal}</b> · <Time at={view.time} /> ·{" "}
      {view.effect} · <Link href={`/runs/${view.run}?step=${view.step}`}>step {view.step}</Link> of run{" "}
      <Link href={`/runs/${view.run}`}>{short(view.run)}</Link>
      {view.outcome === "ask" && <Question view={view} />}
    </p>
  );
}

function Rules({ view }: { view: DecisionView }) {
  const { reasons, shadow, ask, flip } = view.decision;
  return (
    <>
      <h2>Clauses that spoke</h2>
      {reasons.length > 0 ? <Clauses reasons={reasons} /> : <p class="hint">None: what no clause forbids is permitted.</p>}
      {ask && <p class="note">released by {terms(ask)}</p>}
      <Flipped flip={flip} />
      {shadow && shadow.length > 0 && <Clauses reasons={shadow} shadow />}
    </>
  );
}

/** One decision, explained: `of` is a place in the log, a step (`r_…/3`), a run or an approval. */
export function DecisionPage({ of }: { of: string }) {
  const { value: view, problem } = useLoad(() => get<DecisionView>("/api/guard/explain", { of }), of);
  if (!view) return <Problem text={problem} />;
  return (
    <section class="decision">
      <div class="bar">
        <h1>{view.call}</h1>
        <OutcomeBadge outcome={view.outcome} />
        <span class="spacer" />
        <Link href={`/decisions?run=${view.run}`} class="button">
          All of this run
        </Link>
        <Link href={`/why?of=${view.seq}`} class="button">
          Why
        </Link>
      </div>
      <Facts view={view} />
      <div class={`sentences ${view.outcome}`}>
        {view.text
          .trim()
          .split("\n")
          .map((sentence, n) => (
            <p key={n}>{sentence}</p>
          ))}
      </div>
      <h2>Where each argument came from</h2>
      <Arguments run={view.run} origins={view.decision.origins} args={view.args} />
      {view.leaks.length > 0 && <h2>What may not get there</h2>}
      <Leaks run={view.run} leaks={view.leaks} />
      <Rules view={view} />
      <details>
        <summary>The exact arguments</summary>
        <Json value={view.args} />
      </details>
      <p class="hint">
        arguments' SHA-256 {view.hash.slice(0, 24)}… · policies {view.decision.policies.slice(0, 24)}… · log place {view.seq} ·{" "}
        <code>neuraxis explain {view.id}</code>
      </p>
    </section>
  );
}
