import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";

const listeners = new Set<() => void>();
window.addEventListener("popstate", () => listeners.forEach((listener) => listener()));

/** Goes to a page without loading the console anew. */
export function go(href: string) {
  history.pushState(null, "", href);
  listeners.forEach((listener) => listener());
}

export function usePath(): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const listener = () => setPath(location.pathname);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return path;
}

export function Link(props: { href: string; class?: string; children: ComponentChildren }) {
  const click = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(props.href);
  };
  return (
    <a href={props.href} class={props.class} onClick={click}>
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

export function Json({ value }: { value: unknown }) {
  return <pre class="json">{JSON.stringify(value, null, 2)}</pre>;
}

export function Problem({ text }: { text?: string }) {
  return text ? <p class="problem" role="alert">{text}</p> : null;
}

export const short = (id: string) => id.slice(0, 8);
