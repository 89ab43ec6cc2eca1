import { useState } from "preact/hooks";
import { get, type Why } from "./api";
import { Json, Link, Problem, Time, go, useLoad } from "./parts";

function Node({ node, first }: { node: Why; first: boolean }) {
  const [open, setOpen] = useState(false);
  const run = node.subject.startsWith("run/") ? node.subject.slice(4) : undefined;
  return (
    <li>
      <div class="why-node">
        <span class="arrow">{first ? "" : "←"}</span>
        <button class="plain" onClick={() => setOpen(!open)}>
          {node.text}
        </button>
        <span class="note">
          {node.type} · <Time at={node.time} /> · place {node.seq} {run && <Link href={`/runs/${run}`}>run</Link>}
        </span>
      </div>
      {open && <Json value={node.data} />}
      {node.because.length > 0 && (
        <ul>
          {node.because.map((cause) => (
            <Node key={cause.seq} node={cause} first={false} />
          ))}
        </ul>
      )}
    </li>
  );
}

export function WhyPage() {
  const asked = new URLSearchParams(location.search).get("of") ?? "";
  const [of, setOf] = useState(asked);
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
        <input value={of} placeholder="refund/A17, r_…, a_…, a place in the log" onInput={(event) => setOf(event.currentTarget.value)} />
        <button type="submit">Ask</button>
      </form>
      <Problem text={problem} />
      {value && (
        <ul class="why">
          <Node node={value} first />
        </ul>
      )}
    </section>
  );
}
