import { useEffect, useState } from "preact/hooks";
import { ApiError, get, token, type ServerInfo } from "./api";
import { ApprovalPage, Approvals } from "./approvals";
import { DecisionPage } from "./decision";
import { DecisionsPage } from "./decisions";
import { Journal } from "./journal";
import { ModelPage } from "./model";
import { Models } from "./models";
import { Link, usePath } from "./parts";
import { Policies } from "./policies";
import { PolicyPage } from "./policy";
import { RunPage } from "./run";
import { Runs } from "./runs";
import { WhyPage } from "./why";

function Page({ path }: { path: string }) {
  const [top, second, ...more] = path.split("/").filter(Boolean).map(decodeURIComponent);
  if (top === "runs" && second) return <RunPage id={second} />;
  if (top === "decisions") return second ? <DecisionPage of={[second, ...more].join("/")} /> : <DecisionsPage />;
  if (top === "policies") return second ? <PolicyPage name={second} /> : <Policies />;
  if (top === "models") return second ? <ModelPage name={second} /> : <Models />;
  if (top === "approvals" && second) return <ApprovalPage id={second} />;
  if (top === "approvals") return <Approvals />;
  if (top === "journal") return <Journal />;
  if (top === "why") return <WhyPage />;
  if (top === undefined || top === "runs") return <Runs />;
  return <p class="problem">There is no page {path}.</p>;
}

function SignIn({ problem, done }: { problem: string; done: () => void }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    token.set(String(new FormData(event.target as HTMLFormElement).get("token") ?? "").trim());
    done();
  };
  return (
    <main class="sign-in">
      <h1>Neuraxis</h1>
      <p class="problem">{problem}</p>
      <form onSubmit={submit}>
        <label>
          Token
          <input name="token" type="password" autocomplete="off" required />
        </label>
        <button type="submit">Sign in</button>
      </form>
      <p class="hint">
        An administrator makes tokens with <code>neuraxis token create NAME --role viewer</code>.
      </p>
    </main>
  );
}

/** Why the server let nobody in, for a person at a browser. */
function refusal(error: unknown): string {
  if (!(error instanceof ApiError)) return "The server does not answer.";
  if (error.problem.status !== 401) return error.message;
  return token.get() ? "The server does not know this token." : "This server wants a token.";
}

export function App() {
  const path = usePath();
  const [server, setServer] = useState<ServerInfo>();
  const [problem, setProblem] = useState<string>();
  const load = () =>
    get<ServerInfo>("/api/server")
      .then((info) => {
        setServer(info);
        setProblem(undefined);
      })
      .catch((error: unknown) => setProblem(refusal(error)));
  useEffect(() => void load(), []);
  if (problem && !server) return <SignIn problem={problem} done={load} />;
  const tab = (href: string, name: string) => {
    const active = path.startsWith(href) || (href === "/runs" && path === "/");
    return (
      <Link href={href} class={active ? "tab active" : "tab"} current={active}>
        {name}
      </Link>
    );
  };
  return (
    <>
      <header>
        <Link href="/runs" class="brand">
          <img src="/icon.svg" alt="" width="26" height="26" /> Neuraxis
        </Link>
        <nav>
          {tab("/runs", "Runs")}
          {tab("/approvals", "Approvals")}
          {tab("/decisions", "Decisions")}
          {tab("/policies", "Policies")}
          {tab("/models", "Models")}
          {tab("/journal", "Journal")}
          {tab("/why", "Why")}
        </nav>
        <span class="server">
          {server && `${server.version} · ${server.principal} · log ${server.origin.slice(0, 8)}`}
        </span>
      </header>
      <main>
        <Page path={path} />
      </main>
    </>
  );
}
