// What the pages say of decisions and policies: src/guard.ts and src/cedar.ts, which touch no document.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { transformWithEsbuild } from "vite";

const load = async (name) => {
  const path = fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));
  const { code } = await transformWithEsbuild(readFileSync(path, "utf8"), path, { sourcemap: false });
  return import(`data:text/javascript,${encodeURIComponent(code)}`);
};

const guard = await load("guard");
const cedar = await load("cedar");

const reason = { policy: "refunds@4", clause: "over-limit", outcome: "ask", text: "over 500 EUR", pointers: ["/cents"] };
const origin = (pointer, standing, sink = false) => ({ pointer, standing, sources: [], sink, evidence: [] });

test("a decision is a line", () => {
  const says = (outcome, reasons) => guard.line("pay/refund", { outcome, reasons });
  assert.equal(says("ask", [reason]), "policy refunds@4/over-limit asked about pay/refund");
  assert.equal(says("deny", [reason]), "policy refunds@4/over-limit denied pay/refund");
  assert.equal(says("allow", []), "policy allowed pay/refund");
});

test("a flip says what would have to come from where", () => {
  const flip = (outcome, ...changes) => guard.flipped({ outcome, changes });
  assert.equal(flip("allow", ["/iban", "shop/find_order"]), "would pass if iban came from shop/find_order");
  assert.equal(
    flip("ask", ["/iban", "shop/find_order"], ["/a~1b", "request"]),
    "would only ask if iban came from shop/find_order and a/b came from request",
  );
});

test("terms say who and how fast", () => {
  const said = (needs, within_ms) => guard.terms({ needs: needs.map(([quorum, ...who]) => ({ who, quorum })), within_ms });
  assert.equal(said([[1, "lead"]], 4 * 3_600_000), "lead within 4 h");
  assert.equal(said([[1, "lead", "ops"], [2, "security"]]), "lead or ops and 2 of security");
  assert.equal(said([[3]], 86_400_000 + 5_400_000), "3 of anyone within 1 d 1 h");
  assert.equal(said([[1]], 250), "anyone within 250 ms");
});

test("a pointer finds exactly what it names", () => {
  const args = { iban: "NL1", "a/b": { "~": [10, 20] }, empty: null };
  for (const [pointer, value] of [
    ["", args],
    ["/iban", "NL1"],
    ["/a~1b/~0/1", 20],
    ["/empty", null],
    ["/iban/0", undefined],
    ["/empty/x", undefined],
    ["/constructor", undefined],
    ["/a~1b/~0/2", undefined],
  ]) {
    assert.equal(guard.at(args, pointer), value, pointer);
  }
  assert.equal(guard.at("whole", ""), "whole");
});

test("arguments keep their order; of too many the weakest come first", () => {
  const origins = [origin("/a", "trusted"), origin("/b", "context"), origin("/c", "untrusted"), origin("/d", "untrusted", true)];
  const order = (most) => guard.ordered(origins, most).map((each) => each.pointer);
  assert.deepEqual(order(4), ["/a", "/b", "/c", "/d"]);
  assert.deepEqual(order(3), ["/d", "/c", "/b", "/a"]);
});

test("every standing has its own word, and a sign that tells weak from strong without colour", () => {
  const all = Object.values(guard.STANDINGS);
  assert.equal(new Set(all.map(({ word }) => word)).size, 7);
  for (const { sign, weak } of all) assert.equal(sign !== "✓", weak);
});

test("names of sources and policies", () => {
  assert.deepEqual(guard.bare("untrusted/mail/read"), { name: "mail/read", untrusted: true });
  assert.deepEqual(guard.bare("shop/find_order"), { name: "shop/find_order", untrusted: false });
  assert.deepEqual(guard.versioned("refunds@4"), { name: "refunds", revision: "4" });
  assert.equal(guard.place("/items/0/to"), "items/0/to");
  assert.equal(guard.place(""), "the text");
});

test("a policy spoke in a decision under its own name, also in shadow", () => {
  const decision = { reasons: [reason], shadow: [{ ...reason, policy: "trial@1" }] };
  assert.ok(guard.spoke(decision, "refunds"));
  assert.ok(guard.spoke(decision, "trial"));
  assert.ok(!guard.spoke(decision, "refund"));
});

test("clauses are counted and found as the server cuts them", () => {
  const text = [
    "// a comment; with a semicolon @id(\"no\")",
    "@id(\"one\")",
    "@reason(\"a text; with \\\" a semicolon\")",
    "forbid(principal, action, resource)",
    "  when { context.args.a == \";\" };",
    "",
    "@ask(\"lead\") @id(\"two\") forbid(principal, action, resource); permit(principal, action, resource)",
  ].join("\n");
  assert.deepEqual(cedar.clauses(text), [
    { id: "one", from: 2, to: 5 },
    { id: "two", from: 7, to: 7 },
    { from: 7, to: 7 },
  ]);
  assert.deepEqual(cedar.clauses(" \n// nothing\n"), []);
  const shipped = readFileSync(new URL("../../crates/nx-guard/src/policy/default.cedar", import.meta.url), "utf8");
  assert.deepEqual(
    cedar.clauses(shipped).map((clause) => clause.id),
    [...shipped.matchAll(/^@id\("([^"]+)"\)/gm)].map((found) => found[1]),
  );
});

test("a long text of clauses is read in one pass", () => {
  const text = '@id("a") forbid(principal, action, resource) when { context.args.a == "x" };\n'.repeat(20_000);
  assert.equal(cedar.clauses(text).length, 20_000);
  assert.deepEqual(cedar.clauses(`${'"\\'.repeat(100_000)}`).length, 1);
});
