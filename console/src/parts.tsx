import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";

const listeners = new Set<() => void>();
window.addEventListener("popstate", () => listeners.forEach((listener) => listener()));

/** Goes to a page without loading the console anew. */
export function go(href: string) {
  history.pushState(null, "", href);
  scrollTo(0, 0);
  listeners.forEach((listener) => listener());
}

function useLocation(read: () => string): string {
  const [now, setNow] = useState(read);
  useEffect(() => {
    const listener = () => setNow(read());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return now;
}

export const usePath = () => useLocation(() => location.pathname);
/** What stands after the page's path: `?run=…`. */
export const useQuery = () => new URLSearchParams(useLocation(() => location.search));

export function Link(props: { href: string; class?: string; title?: string; current?: boolean; children: ComponentChildren }) {
  const click = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(props.href);
  };
  return (
    <a
      href={props.href}
      class={props.class}
      title={props.title}
      aria-current={props.current ? "page" : undefined}
      onClick={click}
    >
      {props.children}
    </a>
  );
}

/** Loads once and again on `reload`; keeps what it has while a new answer is on its way. */
export function useLoad<T>(load: () => Promise<T>, key: string): { value?: T; problem?: string; reload: () => void } {
  const [state, setState] = useState<{ value?: T; problem?: string }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let current = true;
    load()
      .then((value) => current && setState({ value }))
      .catch((error: unknown) => current && setState((old) => ({ ...old, problem: String((error as Error).message) })));
    return () => {
      current = false;
    };
  }, [key, turn]);
  const reload = useCallback(() => setTurn((old) => old + 1), []);
  return { ...state, reload };
}

/** Calls back every `ms` while the page is visible. */
export function useInterval(call: () => void, ms: number) {
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && call(), ms);
    return () => clearInterval(timer);
  }, [call, ms]);
}

export function Status({ status }: { status: string }) {
  return <span class={`status ${status}`}>{status.replace("_", " ")}</span>;
}

export function Time({ at }: { at: string }) {
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour12: false });
  // Swedish dates are those of ISO 8601.
  const today = date.toDateString() === new Date().toDateString();
  return (
    <time dateTime={at} title={at}>
      {today ? time : `${date.toLocaleDateString("sv-SE")} ${time}`}
    </time>
  );
}

/** Most characters of a value that are shown at once. */
const SHOWN = 20_000;

export function Json({ value }: { value: unknown }) {
  const [all, setAll] = useState(false);
  const text = JSON.stringify(value, null, 2) ?? "";
  if (all || text.length <= SHOWN) return <pre class="json" tabIndex={0}>{text}</pre>;
  return (
    <>
      <pre class="json" tabIndex={0}>{text.slice(0, SHOWN)}…</pre>
      <button onClick={() => setAll(true)}>show all {text.length} characters</button>
    </>
  );
}

/** A value in a line: cut, with a button that shows more of it. */
export function Cut({ value, most = 160 }: { value: unknown; most?: number }) {
  const [more, setMore] = useState(false);
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  if (text.length <= most) return <span class="value">{text}</span>;
  return (
    <span class="value">
      {text.slice(0, more ? SHOWN : most)}
      {(!more || text.length > SHOWN) && "…"}{" "}
      <button class="small" aria-expanded={more} onClick={() => setMore(!more)}>
        {more ? "less" : `${text.length} characters`}
      </button>
    </span>
  );
}

export function Problem({ text }: { text?: string }) {
  return text ? <p class="problem" role="alert">{text}</p> : null;
}

export const short = (id: string) => id.slice(0, 8);
