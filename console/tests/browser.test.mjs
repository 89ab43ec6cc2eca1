// The console in a real browser against the real binary: a run is started, shown, approved, explained.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const BINARY = process.env.NEURAXIS_BIN;
const dir = mkdtempSync(join(tmpdir(), "nx-console-"));
let server, url, browser, page;

const chromiumPath = () => {
  const found = spawnSync("sh", ["-c", "command -v chromium || command -v chromium-browser || command -v google-chrome"]);
  return found.stdout.toString().trim();
};

const ready = (child) =>
  new Promise((resolve, reject) => {
    let text = "";
    const look = (chunk) => {
      text += chunk;
      const found = /^ready (\S+)$/m.exec(text);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.on("exit", (code) => reject(new Error(`the server ended with ${code}:\n${text}`)));
  });

before(async () => {
  const args = ["up", "--data", join(dir, "data"), "--listen", "127.0.0.1:0", "--example", "parcels"];
  server = spawn(BINARY, args, { cwd: dir });
  url = await ready(server);
  browser = await chromium.launch({
    executablePath: chromiumPath(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
});

after(async () => {
  await browser?.close();
  server?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

const shot = async (name) => {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
};

test("runs, their timeline, an approval, the journal and why", { timeout: 180_000 }, async () => {
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));

  await page.goto(url);
  const refund = page.locator("table.runs tr", { hasText: "redirect-and-refund" });
  await refund.first().waitFor({ timeout: 60_000 });
  await shot("runs");

  await page.getByRole("link", { name: "Approvals" }).click();
  const card = page.locator("article.approval.waiting").first();
  await card.waitFor({ timeout: 60_000 });
  await shot("approvals");
  const runLink = card.locator("a").first();
  const run = (await runLink.getAttribute("href")).split("/").pop();
  await card.getByPlaceholder("reason").fill("checked with the customer");
  await card.getByRole("button", { name: "approve" }).click();
  await page.waitForFunction(
    (id) => !document.querySelector(`article.approval.waiting a[href="/runs/${id}"]`),
    run,
    { timeout: 60_000 },
  );

  await page.goto(`${url}/runs/${run}`);
  await page.locator("h1", { hasText: "redirect-and-refund" }).waitFor();
  await page.locator(".status.completed").first().waitFor({ timeout: 60_000 });
  await page.locator("table.steps tr.step").first().click();
  await page.locator("tr.detail pre").first().waitFor();
  await shot("run");

  await page.getByRole("link", { name: "Why" }).last().click();
  await page.locator(".why .why-node").nth(1).waitFor({ timeout: 30_000 });
  await shot("why");

  await page.getByRole("link", { name: "Journal" }).click();
  await page.locator("table.journal tr.step").nth(5).waitFor({ timeout: 30_000 });
  await shot("journal");

  assert.deepEqual(problems, []);
});
