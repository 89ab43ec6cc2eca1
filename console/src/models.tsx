import { get } from "./api";
import { Link, Problem, useInterval, useLoad } from "./parts";

/** A version of a model, and how it is served now. */
export interface Version {
  version: number;
  sha256: string;
  bytes: number;
  licence: string;
  source?: string;
  from?: { artifact: string; version: number; method: string };
  place: number;
  serving: { loaded: boolean; engine?: string; batches: boolean; waiting: number; answered: number; refused: number };
}

export interface Model {
  name: string;
  description?: string;
  aliases: Record<string, number>;
  /** Where each alias pointed before, the latest last. */
  history: Record<string, number[]>;
  versions: Version[];
}

export function size(bytes: number): string {
  if (bytes < 10_000) return `${bytes} B`;
  return bytes < 10_000_000 ? `${Math.round(bytes / 1000)} kB` : `${Math.round(bytes / 1_000_000)} MB`;
}

/** How a version came to be, in a word. */
export const variant = (version: Version) => version.from?.method ?? "original";

export function Models() {
  const { value, problem, reload } = useLoad(() => get<{ items: Model[] }>("/api/models"), "models");
  useInterval(reload, 3000);
  return (
    <section>
      <div class="bar">
        <h1>Models</h1>
      </div>
      <Problem text={problem} />
      {value && value.items.length > 0 && (
        <div class="wide">
          <table class="models stacked">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Aliases</th>
                <th scope="col">Versions</th>
                <th scope="col">Newest</th>
                <th scope="col">Loaded</th>
                <th scope="col">Answered</th>
              </tr>
            </thead>
            <tbody>
              {value.items.map((model) => {
                const newest = model.versions.at(-1);
                const loaded = model.versions.filter((version) => version.serving.loaded);
                const answered = loaded.reduce((sum, version) => sum + version.serving.answered, 0);
                return (
                  <tr key={model.name}>
                    <td>
                      <Link href={`/models/${model.name}`}>{model.name}</Link>
                    </td>
                    <td data-label="Aliases">
                      {Object.entries(model.aliases)
                        .map(([alias, version]) => `${alias} → ${version}`)
                        .join(", ")}
                    </td>
                    <td data-label="Versions">{model.versions.length}</td>
                    <td data-label="Newest">
                      {newest && `${newest.version}: ${variant(newest)}, ${size(newest.bytes)}, ${newest.licence}`}
                    </td>
                    <td data-label="Loaded">
                      {loaded.map((version) => `${version.version} on ${version.serving.engine}`).join(", ")}
                    </td>
                    <td data-label="Answered">{answered}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {value && value.items.length === 0 && (
        <p class="hint">
          No models yet. <code>neuraxis model pull NAME --from FILE.onnx --licence Apache-2.0</code> adds one.
        </p>
      )}
    </section>
  );
}
