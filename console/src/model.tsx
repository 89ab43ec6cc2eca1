import { useState } from "preact/hooks";
import { get, post, put } from "./api";
import { type Model, type Version, size, variant } from "./models";
import { Answers } from "./answers";
import { Link, Problem, useInterval, useLoad } from "./parts";

/** An alias: where it points, where it may point, and back to where it pointed. */
function Alias({ model, alias, changed }: { model: Model; alias: string; changed: () => void }) {
  const now = model.aliases[alias];
  const [wanted, setWanted] = useState<number>();
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const before = model.history[alias]?.at(-1);
  const path = `/api/models/${model.name}/aliases/${alias}`;
  const act = (call: () => Promise<Model>) => async () => {
    setBusy(true);
    setProblem(undefined);
    await call()
      .then(() => {
        setWanted(undefined);
        changed();
      })
      .catch((error: unknown) => setProblem(String((error as Error).message)));
    setBusy(false);
  };
  const target = wanted ?? now;
  return (
    <tr>
      <td>
        <b>{alias}</b>
        {alias === "live" && <span class="note"> what the bare name means</span>}
      </td>
      <td data-label="Points to">
        <select
          aria-label={`version of ${alias}`}
          value={String(target)}
          onChange={(event) => setWanted(Number(event.currentTarget.value))}
        >
          {model.versions.map((version) => (
            <option key={version.version} value={String(version.version)}>
              {version.version} ({variant(version)})
            </option>
          ))}
        </select>{" "}
        <button disabled={busy || target === now} onClick={act(() => put<Model>(path, { version: target }))}>
          point
        </button>
      </td>
      <td data-label="Before">
        {before === undefined ? (
          <span class="note">nothing</span>
        ) : (
          <>
            {model.history[alias]?.join(", ")}{" "}
            <button disabled={busy} onClick={act(() => post<Model>(`${path}/rollback`, {}))}>
              back to {before}
            </button>
          </>
        )}
        <Problem text={problem} />
      </td>
    </tr>
  );
}

function Row({ model, version }: { model: Model; version: Version }) {
  const aliases = Object.entries(model.aliases).filter(([, points]) => points === version.version);
  const { from, serving } = version;
  return (
    <tr>
      <td class="nowrap">
        <b>{version.version}</b>{" "}
        {aliases.map(([alias]) => (
          <span class="status enforce" key={alias}>
            {alias}
          </span>
        ))}
      </td>
      <td data-label="Variant">{variant(version)}</td>
      <td data-label="From">
        {from ? (
          <Link href={`/models/${from.artifact}`}>
            {from.artifact}@{from.version}
          </Link>
        ) : (
          version.source
        )}
      </td>
      <td data-label="Size">{size(version.bytes)}</td>
      <td data-label="SHA-256" class="id" title={version.sha256}>
        {version.sha256.slice(0, 12)}…
      </td>
      <td data-label="Licence">{version.licence}</td>
      <td data-label="Served">
        {serving.loaded ? `${serving.engine}${serving.batches ? ", in batches" : ""}` : "not loaded"}
      </td>
      <td data-label="Answered">{serving.answered}</td>
      <td>
        <Link href={`/why?of=${version.place}`}>why</Link>
      </td>
    </tr>
  );
}

export function ModelPage({ name }: { name: string }) {
  const { value: model, problem, reload } = useLoad(() => get<Model>(`/api/models/${name}`), name);
  useInterval(reload, 3000);
  return (
    <section class="model">
      <div class="bar">
        <h1>{name}</h1>
        {model?.description && <span class="note">{model.description}</span>}
      </div>
      <Problem text={problem} />
      {model && (
        <>
          <div class="wide">
            <table class="versions stacked">
              <thead>
                <tr>
                  <th scope="col">Version</th>
                  <th scope="col">Variant</th>
                  <th scope="col">From</th>
                  <th scope="col">Size</th>
                  <th scope="col">SHA-256</th>
                  <th scope="col">Licence</th>
                  <th scope="col">Served</th>
                  <th scope="col">Answered</th>
                  <th scope="col">
                    <span class="note">Added</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {[...model.versions].reverse().map((version) => (
                  <Row key={version.version} model={model} version={version} />
                ))}
              </tbody>
            </table>
          </div>
          <h2>Aliases</h2>
          <div class="wide">
            <table class="aliases stacked">
              <thead>
                <tr>
                  <th scope="col">Alias</th>
                  <th scope="col">Points to</th>
                  <th scope="col">Pointed before to</th>
                </tr>
              </thead>
              <tbody>
                {Object.keys(model.aliases).map((alias) => (
                  <Alias key={alias} model={model} alias={alias} changed={reload} />
                ))}
              </tbody>
            </table>
          </div>
          <Answers model={model} />
        </>
      )}
    </section>
  );
}
