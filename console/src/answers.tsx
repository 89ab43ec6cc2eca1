import { useEffect, useRef, useState } from "preact/hooks";
import { bytes, get } from "./api";
import type { Model } from "./models";
import { Link, Problem, Time, short, useInterval, useLoad } from "./parts";

interface Input {
  name: string;
  media: string;
  bytes: number;
  sha256: string;
  /** Of pixels: rows, columns, channels. */
  shape?: number[];
  kept: boolean;
}

interface Decision {
  decision: number;
  time: string;
  subject: string;
  version: number;
  alias?: string;
  variant: string;
  engine: string;
  label?: string;
  confidence?: number;
  by: string;
  took_us: number;
  inputs: Input[];
}

/** Below it a model is called unsure. */
const UNSURE = 0.7;
/** Longest side of pixels that are drawn. */
const MAX_SIDE = 2048;
/** Largest picture that is fetched for a list. */
const MAX_BYTES = 4 << 20;

const isPicture = (input: Input) => ["image/png", "image/jpeg", "pixels"].includes(input.media);

/** Grey or coloured bytes on a canvas. */
function draw(canvas: HTMLCanvasElement, data: Uint8Array, [rows, columns, channels]: number[]) {
  const context = canvas.getContext("2d");
  if (!context || !rows || !columns || !channels || rows > MAX_SIDE || columns > MAX_SIDE) return;
  canvas.width = columns;
  canvas.height = rows;
  const image = context.createImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) {
    const from = at * channels;
    const grey = data[from] ?? 0;
    image.data.set(channels < 3 ? [grey, grey, grey, 255] : [grey, data[from + 1] ?? 0, data[from + 2] ?? 0, 255], at * 4);
  }
  context.putImageData(image, 0, 0);
}

const asUrl = (blob: Blob) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

/** What a model was given, where it is a picture that was kept. */
function Picture({ model, decision, input, place }: { model: string; decision: number; input: Input; place: number }) {
  const [url, setUrl] = useState<string>();
  const [gone, setGone] = useState(false);
  const canvas = useRef<HTMLCanvasElement>(null);
  const shown = isPicture(input) && input.kept && input.bytes <= MAX_BYTES;
  useEffect(() => {
    if (!shown) return;
    let current = true;
    bytes(`/api/models/${model}/decisions/${decision}/inputs/${place}`)
      .then(async (blob) => {
        if (input.media !== "pixels") {
          const found = await asUrl(blob);
          if (current) setUrl(found);
        } else if (canvas.current && input.shape) {
          draw(canvas.current, new Uint8Array(await blob.arrayBuffer()), input.shape);
        }
      })
      .catch(() => current && setGone(true));
    return () => {
      current = false;
    };
  }, [model, decision, place, shown]);
  const said = `${input.media}, ${input.bytes} bytes, sha256 ${input.sha256}`;
  if (!shown || gone) return <span class="note" title={said}>{gone ? "erased" : input.kept ? input.media : "digest alone"}</span>;
  if (input.media === "pixels") return <canvas class="given-picture" ref={canvas} title={said} />;
  return <img class="given-picture" src={url} alt="what was given" title={said} />;
}

function Sure({ confidence }: { confidence?: number }) {
  if (confidence === undefined) return <span class="note">–</span>;
  const wide = Math.max(0, Math.min(1, confidence)) * 100;
  return (
    <span class={confidence < UNSURE ? "sure unsure" : "sure"}>
      <svg class="bar-chart" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">
        <rect class="all" width="100" height="14" />
        <rect width={wide} height="14" class={confidence < UNSURE ? "waiting" : ""} />
      </svg>
      {confidence.toFixed(2)}
    </span>
  );
}

/** Who asked: a run, a reflex, a person. */
function By({ by }: { by: string }) {
  if (!by.startsWith("run/")) return <>{by}</>;
  const run = by.slice(4);
  return <Link href={`/runs/${run}`}>run {short(run)}</Link>;
}

function Row({ model, view }: { model: Model; view: Decision }) {
  const input = view.inputs[0];
  return (
    <tr>
      <td class="picture">
        {input && <Picture model={model.name} decision={view.decision} input={input} place={0} />}
      </td>
      <td data-label="Answer">
        <b class="answer">{view.label ?? "…"}</b>
      </td>
      <td data-label="Sure">
        <Sure confidence={view.confidence} />
      </td>
      <td data-label="Version" class="nowrap">
        {view.version} <span class="note">{view.variant}</span>
      </td>
      <td data-label="About" class="id">
        {view.subject}
      </td>
      <td data-label="Asked by">
        <By by={view.by} />
      </td>
      <td data-label="Took" class="ms">
        {(view.took_us / 1000).toFixed(1)} ms
      </td>
      <td data-label="When" class="nowrap">
        <Time at={view.time} />
      </td>
      <td>
        <Link href={`/why?of=${view.decision}`}>why</Link>
      </td>
    </tr>
  );
}

/** What a model decided lately, with what it was given. */
export function Answers({ model }: { model: Model }) {
  const [version, setVersion] = useState("");
  const [unsure, setUnsure] = useState(false);
  const [cursor, setCursor] = useState<number>();
  const query = { version: version || undefined, below: unsure ? UNSURE : undefined, cursor, limit: 20 };
  const path = `/api/models/${model.name}/decisions`;
  const load = () => get<{ items: Decision[]; next?: number }>(path, query);
  const { value, problem, reload } = useLoad(load, JSON.stringify([path, query]));
  useInterval(reload, 3000);
  return (
    <>
      <div class="bar section">
        <h2>Decisions</h2>
        <label>
          Version{" "}
          <select
            value={version}
            onChange={(event) => {
              setCursor(undefined);
              setVersion(event.currentTarget.value);
            }}
          >
            <option value="">any</option>
            {model.versions.map((each) => (
              <option key={each.version}>{each.version}</option>
            ))}
          </select>
        </label>
        <label>
          <input
            type="checkbox"
            checked={unsure}
            onChange={(event) => {
              setCursor(undefined);
              setUnsure(event.currentTarget.checked);
            }}
          />{" "}
          less sure than {UNSURE}
        </label>
      </div>
      <Problem text={problem} />
      {value && value.items.length > 0 && (
        <div class="wide">
          <table class="answers stacked">
            <thead>
              <tr>
                <th scope="col">Given</th>
                <th scope="col">Answer</th>
                <th scope="col">Sure</th>
                <th scope="col">Version</th>
                <th scope="col">About</th>
                <th scope="col">Asked by</th>
                <th scope="col">Took</th>
                <th scope="col">When</th>
                <th scope="col" />
              </tr>
            </thead>
            <tbody>
              {value.items.map((view) => (
                <Row key={view.decision} model={model} view={view} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {value && value.items.length === 0 && (
        <p class="hint">{value.next ? "None in this part of the log; look at older ones." : "No decisions here."}</p>
      )}
      <div class="pages">
        {cursor !== undefined && <button onClick={() => setCursor(undefined)}>newest</button>}
        {value?.next !== undefined && <button onClick={() => setCursor(value.next)}>older</button>}
      </div>
    </>
  );
}
