// The console in a real browser against the real binary: a run is started, shown, approved, explained.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { MAIL, POLICY, WRONG, call, open } from "./session.mjs";

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

/** What goes wrong in the page from now on. */
const watched = () => {
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => request.url().startsWith(url) || problems.push(`${request.url()} is not the server's`));
  return problems;
};

test("runs, their timeline, an approval, the journal and why", { timeout: 180_000 }, async () => {
  const problems = watched();
  await page.goto(url);
  const refund = page.locator("table.runs tr", { hasText: "redirect-and-refund" });
  await refund.first().waitFor({ timeout: 60_000 });
  await shot("runs");

  await page.getByRole("link", { name: "Approvals" }).click();
  const card = page.locator("article.approval.waiting", { hasText: "A17" });
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

/** No page is wider than a telephone's screen. */
const fits = async (name) => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `${name} is ${wide} px wider than a narrow screen`);
  await shot(`${name}-narrow`);
  await page.setViewportSize({ width: 1280, height: 900 });
};

test("the guard asks: its approval says why and from where; a policy denies: the decision is explained", { timeout: 180_000 }, async () => {
  const problems = watched();
  const { session, check, until } = await open(url);

  const asked = await check("bank/refund", WRONG);
  assert.equal(asked.decision, "ask");
  await page.goto(`${url}/approvals/${asked.approval}`);
  const card = page.locator("article.approval.waiting");
  await card.getByText("Why policies ask").waitFor({ timeout: 30_000 });
  assert.match(await card.locator(".asked .clauses").innerText(), /default@\d+\/untrusted-sink/);
  const iban = card.locator("table.origins tr", { hasText: "iban" });
  assert.match(await iban.innerText(), /GB33BUKB20201555555555[^]*untrusted[^]*mail\/read/);
  assert.match(await card.locator(".flip").innerText(), /would (pass|only ask) if iban came from/);
  await shot("approval-guard");
  await fits("approval-guard");

  await call(url, "/api/apply", { manifests: [POLICY] });
  const denied = await until("deny", "bank/refund", WRONG);

  // The list: newest first, filtered, and on to the explanation.
  await page.getByRole("link", { name: "Decisions" }).first().click();
  const rows = page.locator("table.decisions tbody tr");
  await rows.filter({ hasText: "accounts@1/iban-from-record" }).first().waitFor({ timeout: 30_000 });
  await page.getByLabel("Outcome").selectOption("deny");
  await page.getByLabel("Call").fill("bank/refund");
  await page.getByLabel("Call").press("Enter");
  await page.waitForFunction(() => {
    const all = [...document.querySelectorAll("table.decisions tbody tr")];
    return all.length > 0 && all.every((row) => row.textContent.includes("deny") && row.textContent.includes("bank/refund"));
  });
  await shot("decisions");
  await fits("decisions");
  await rows.first().getByRole("link", { name: "bank/refund" }).press("Enter");

  await page.locator("h1", { hasText: "bank/refund" }).waitFor();
  assert.match(await page.locator(".sentences").innerText(), /^DENY bank\/refund\.iban ← [^]*mail/);
  assert.match(await page.locator(".flip").innerText(), /would (pass|only ask) if iban came from shop\/find_order/);
  const row = page.locator("table.origins tr", { hasText: "iban" });
  assert.match(await row.innerText(), /untrusted/);
  await shot("decision");
  await fits("decision");

  // The evidence leads to the event that holds the value.
  await row.getByRole("link", { name: /^event \d+$/ }).first().click();
  const event = page.locator("article.event");
  await event.getByText(MAIL).first().waitFor({ timeout: 30_000 });
  await page.locator("tr.told", { hasText: "policy accounts@1/iban-from-record denied bank/refund" }).waitFor();
  await shot("run-guard");
  await fits("run-guard");

  await page.locator("tr.told a", { hasText: "iban-from-record" }).click();
  await page.locator(".clauses a", { hasText: "accounts@1/iban-from-record" }).click();
  await page.locator(".cedar .marked", { hasText: '@id("iban-from-record")' }).waitFor();
  const written = page.locator("table.tests tr", { hasText: "a mail's account" });
  await page.getByRole("button", { name: "run the tests" }).click();
  await written.getByText("passed").waitFor();
  await page.locator("table.decisions tr", { hasText: "bank/refund" }).waitFor();
  await shot("policy");
  await fits("policy");

  await page.getByRole("link", { name: "Policies" }).click();
  const policy = page.locator("table.policies tr", { hasText: "accounts" });
  assert.match(await policy.innerText(), /accounts\s+enforce\s+1\s+1\s+1/);
  await shot("policies");

  const named = await (await fetch(`${url}/api/guard/explain?of=${denied.id}`)).json();
  assert.equal(named.run, session);
  assert.deepEqual(problems, []);
});

test("models: versions, aliases swapped and rolled back, what was read with its picture", { timeout: 180_000 }, async () => {
  const problems = watched();
  // The same file, said to be another reader: a second version with its lineage.
  const form = new FormData();
  const read = (name) => readFileSync(new URL(`../../testdata/models/${name}`, import.meta.url));
  form.set("manifest", `${read("digits.yaml")}`.replace("reads one handwritten digit", "reads one digit"));
  form.set("model", new Blob([read("digits.onnx")]));
  const pulled = await fetch(`${url}/api/models/digits/versions?from=digits@1&method=relabelled`, { method: "POST", body: form });
  assert.equal(pulled.status, 200, await pulled.text());

  await page.goto(url);
  await page.getByRole("link", { name: "Models" }).click();
  const listed = page.locator("table.models tr", { hasText: "digits" });
  await listed.getByText("live → 1").waitFor({ timeout: 30_000 });
  await shot("models");
  await fits("models");
  await listed.getByRole("link", { name: "digits" }).click();

  const versions = page.locator("table.versions tbody tr");
  await versions.nth(1).waitFor();
  assert.match(await versions.nth(0).innerText(), /^2\s+relabelled\s+digits@1\s/);
  assert.match(await versions.nth(1).innerText(), /^1\s+live\s+original\s+digits\.onnx\s[^]*Apache-2\.0/);

  // What the camera's pictures were taken for, and those of which it was not sure.
  const answers = page.locator("table.answers tbody tr");
  await answers.nth(5).waitFor({ timeout: 30_000 });
  const drawn = () => {
    const all = [...document.querySelectorAll("table.answers img")];
    return all.length > 0 && all.every((image) => image.naturalWidth === 28 && image.naturalHeight === 28);
  };
  await page.waitForFunction(drawn, undefined, { timeout: 30_000 });
  await shot("model");
  await fits("model");
  await page.getByLabel("less sure than 0.7").check();
  const unsure = answers.filter({ hasText: "parcel/P93" });
  await unsure.waitFor({ timeout: 60_000 });
  assert.match(await unsure.innerText(), /8\s+0\.6\d[^]*parcel\/P93[^]*reflex\/read-door/);
  await page.waitForFunction(() => [...document.querySelectorAll("table.answers .sure")].every((sure) => sure.classList.contains("unsure")));
  await page.waitForFunction(drawn, undefined, { timeout: 30_000 });
  await shot("model-unsure");

  // Pixels are drawn too.
  const grey = { width: 28, height: 28, channels: 1, data: Buffer.alloc(784, 200).toString("base64") };
  await call(url, "/api/infer/digits@2", { inputs: { input: { pixels: grey } } });
  await page.getByLabel("less sure than 0.7").uncheck();
  await page.locator(".bar.section select").selectOption("2");
  await answers.filter({ hasText: "model/digits" }).locator("canvas").waitFor({ timeout: 30_000 });
  await page.waitForFunction(() => {
    const canvas = document.querySelector("table.answers canvas");
    return canvas?.width === 28 && canvas.getContext("2d").getImageData(14, 14, 1, 1).data[0] === 200;
  });

  // An alias is pointed elsewhere, and back.
  const live = page.locator("table.aliases tr", { hasText: "live" });
  await live.getByLabel("version of live").selectOption("2");
  await live.getByRole("button", { name: "point" }).click();
  await versions.filter({ hasText: "relabelled" }).getByText("live").waitFor({ timeout: 30_000 });
  assert.deepEqual((await (await fetch(`${url}/api/models/digits`)).json()).aliases, { live: 2 });
  await shot("model-swapped");
  await live.getByRole("button", { name: "back to 1" }).click();
  await versions.filter({ hasText: "original" }).getByText("live").waitFor({ timeout: 30_000 });
  assert.deepEqual((await (await fetch(`${url}/api/models/digits`)).json()).aliases, { live: 1 });

  await page.locator(".bar.section select").selectOption("");
  await answers.filter({ hasText: "parcel/" }).first().getByRole("link", { name: "why" }).click();
  await page.locator(".why .why-node", { hasText: "by digits@1 on" }).waitFor({ timeout: 30_000 });
  await page.locator(".why .why-node", { hasText: "digits@1 added by" }).waitFor();
  await shot("why-digit");
  assert.deepEqual(problems, []);
});
