import { useState } from "preact/hooks";
import { get, type Why } from "./api";
import { Json, Link, Problem, Time, go, useLoad } from "./parts";

function Row({ node, first }: { node: Why; first: boolean }) {
  const [open, setOpen] = useState(false);
  const run = node.subject.startsWith("run/") ? node.subject.slice(4) : undefined;
  return (
    <>
      <div class="why-node">
        <span class="arrow">{first ? "" : "←"}</span>
        <button class="plain" onClick={() => setOpen(!open)}>
          {node.text}
        </button>
        <span class="note">
          {node.type} · <Time at={node.time} /> · place {node.seq} {run && <Link href={`/runs/${run}`}>run</Link>}{" "}
          {node.type === "guard.decided" && <Link href={`/decisions/${node.seq}`}>decision</Link>}
        </span>
      </div>
      {open && <Json value={node.data} />}
    </>
  );
}

/** The chain of first causes, one below the other; further causes of a node hang below it. */
function Chain({ node, first, all }: { node: Why; first: boolean; all: boolean }) {
  const rows = [];
  let link: Why | undefined = node;
  while (link) {
    const current: Why = link;
    if (all || !current.plumbing) rows.push(<Row key={current.seq} node={current} first={first && current === node} />);
    const [next, ...others]: Why[] = current.because;
    for (const other of others) {
      rows.push(
        <div class="side" key={other.seq}>
          <Chain node={other} first={false} all={all} />
        </div>,
      );
    }
    link = next;
  }
  return <div>{rows}</div>;
}

export function WhyPage() {
  const asked = new URLSearchParams(location.search).get("of") ?? "";
  const [of, setOf] = useState(asked);
  const [all, setAll] = useState(false);
  const { value, problem } = useLoad(async () => (asked ? get<Why>("/api/why", { of: asked }) : undefined), asked);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    go(`/why?of=${encodeURIComponent(of)}`);
    location.reload();
  };
  return (
    <section>
      <form class="bar" onSubmit={submit}>
        <h1>Why</h1>
        <input value={of} placeholder="refund/A17" onInput={(event) => setOf(event.currentTarget.value)} />
        <button type="submit">Ask</button>
        <label>
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} /> every link
        </label>
      </form>
      <Problem text={problem} />
      {!asked && (
        <p class="hint">
          Name what happened: a step with its key (<code>refund/A17</code>), a run (<code>r_…</code>), an approval (
          <code>a_…</code>), or an event's place in the log. Its causes are shown back to the first.
        </p>
      )}
      {value && (
        <div class="why">
          <Chain node={value} first all={all} />
        </div>
      )}
    </section>
  );
}
