// The API's client: requests, problems as errors, server-sent events that resume.

import type { Decision } from "./guard";

export interface Problem {
  status: number;
  code: string;
  detail: string;
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

const KEY = "neuraxis-token";
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value: string) => sessionStorage.setItem(KEY, value),
};

function headers(more: Record<string, string> = {}): Record<string, string> {
  const secret = token.get();
  return secret ? { ...more, authorization: `Bearer ${secret}` } : more;
}

async function read<T>(response: Response): Promise<T> {
  if (response.ok) return (await response.json()) as T;
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  throw new ApiError({
    status: response.status,
    code: problem.code ?? `HTTP ${response.status}`,
    detail: problem.detail ?? response.statusText,
  });
}

export async function get<T>(path: string, query: Record<string, string | number | undefined> = {}): Promise<T> {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  const tail = search.size ? `?${search}` : "";
  return read<T>(await fetch(path + tail, { headers: headers() }));
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const options = { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body) };
  return read<T>(await fetch(path, options));
}

export async function put<T>(path: string, body: unknown): Promise<T> {
  const options = { method: "PUT", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body) };
  return read<T>(await fetch(path, options));
}

/** What is no JSON: a picture. */
export async function bytes(path: string): Promise<Blob> {
  const response = await fetch(path, { headers: headers() });
  return response.ok ? response.blob() : read<Blob>(response);
}

/** Follows server-sent events until `signal` aborts; a lost connection resumes after the last id. */
export async function follow(path: string, each: (data: unknown) => void, signal: AbortSignal): Promise<void> {
  let last: string | undefined;
  while (!signal.aborted) {
    try {
      const more: Record<string, string> = last === undefined ? {} : { "last-event-id": last };
      const response = await fetch(path, { headers: headers(more), signal });
      if (!response.ok || !response.body) throw new Error(response.statusText);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        buffer += chunk.value;
        const blocks = buffer.split("\n\n");
        buffer = blocks.pop() ?? "";
        for (const block of blocks) {
          const field = (name: string) =>
            block
              .split("\n")
              .filter((line) => line.startsWith(`${name}:`))
              .map((line) => line.slice(name.length + 1).trim())
              .join("\n");
          const data = field("data");
          last = field("id") || last;
          if (data) each(JSON.parse(data));
        }
      }
    } catch {
      // Aborted, or the server is away: the loop decides which.
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

export interface Run {
  id: string;
  agent: string;
  status: string;
  key?: string;
  created: string;
  updated: string;
  incarnation: number;
  waiting_for?: string;
  inbox?: string;
  error?: string;
  parent?: string;
}

export interface Step {
  n: number;
  scope: string;
  name: string;
  key?: string;
  kind: string;
  effect: string;
  status: string;
  attempts: number;
  revision: number;
  hash: string;
  args?: unknown;
  value?: unknown;
  error?: unknown;
  waiting_for?: string;
  note?: string;
  child?: string;
  started: string;
  ended?: string;
  incarnation?: number;
  seq: number;
}

export interface Approval {
  id: string;
  run: string;
  step: number;
  agent: string;
  call: string;
  why: string;
  status: string;
  who: string;
  escalate: string[];
  quorum: number;
  votes: string[];
  args: unknown;
  hash: string;
  edit: boolean;
  choices: string[];
  candidates: number[];
  message?: string;
  /** What policies decided about the call, where they asked. */
  guard?: Decision;
  created: string;
  deadline?: string;
  decided_by?: string;
  reason?: string;
  edited?: unknown;
}

export interface RunDetail extends Run {
  by?: string;
  input: unknown;
  result?: unknown;
  failure?: unknown;
  progress?: { name: string; time: string; detail: unknown }[];
  steps_total: number;
  next_step?: number;
  steps: Step[];
  approvals: Approval[];
  notes: string[];
  orphans: number[];
  reused?: number;
  version: number;
}

/** An event of a run, by its place in the run. */
export interface RunEvent {
  seq: number;
  version: number;
  type: string;
  time: string;
  /** Null once erased. */
  data: unknown;
}

export interface LogEvent {
  seq: number;
  id: string;
  type: string;
  subject: string;
  time: string;
  cause?: number;
  data?: unknown;
  erased: boolean;
}

export interface Why {
  seq: number;
  type: string;
  subject: string;
  time: string;
  text: string;
  data: unknown;
  because: Why[];
  plumbing?: boolean;
}

export interface ServerInfo {
  version: string;
  origin: string;
  events: number;
  principal: string;
  roles: string[];
}
