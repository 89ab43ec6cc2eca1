// dist/ is what src/ builds to: builds anew into a temporary directory and compares.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = (dir) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath ?? entry.path, entry.name);
      return `${path.slice(dir.length + 1)} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
    })
    .sort()
    .join("\n");

const fresh = mkdtempSync(join(tmpdir(), "console-"));
await build({ root, logLevel: "error", build: { outDir: fresh, emptyOutDir: true } });
const [built, kept] = [files(fresh), files(join(root, "dist"))];
rmSync(fresh, { recursive: true });
if (built !== kept) {
  console.error(`console/dist is not what console/src builds to; run: npm --prefix console run build\n\nbuilt:\n${built}\n\nkept:\n${kept}`);
  process.exit(1);
}
console.log("console/dist is up to date");
