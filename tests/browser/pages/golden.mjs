// The part of the page that hashes and verifies, on the golden vectors: node --test golden.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as log from "../../../common/templates/verify.js";

const golden = (name) => JSON.parse(readFileSync(new URL(`../../vectors/golden/${name}.json`, import.meta.url)));
const { consistency_proofs, entries, inclusion_proofs, log_id, trees } = golden("log");
const rootAt = (size) => log.bytesOfHash(trees.find((tree) => tree.tree_size === size).root_hash);
const flipped = (bytes) => bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte));

test("values are written as they are signed", () => {
  for (const { canonical, input } of golden("canonical").accepted) {
    assert.equal(log.canonical(JSON.parse(input)), canonical);
  }
});

test("an entry that is shown hashes to what the log says", async () => {
  for (const entry of entries) {
    const leaf = log.leafOf(JSON.parse(entry.leaf));
    assert.equal(await log.hashText(leaf), entry.entry_hash);
    assert.equal(`sha256:${log.hexOfBytes(await log.leafHash(leaf))}`, entry.leaf_hash);
  }
  assert.equal(entries[0].entry_hash, log_id);
});

test("the operator's signature fits its head and no other", async () => {
  const der = log.derOfPem(golden("keys")[0].public_key);
  for (const { json } of golden("tree-heads")) {
    assert.ok(await log.isSigned(json, der));
    for (const change of [{ tree_size: 99 }, { timestamp: "2026-01-15T10:30:02.006Z" }, { chain_head: null }]) {
      assert.ok(!(await log.isSigned({ ...json, ...change }, der)), JSON.stringify(change));
    }
  }
});

test("an inclusion proof leads to the root, and with one bit changed elsewhere", async () => {
  for (const { hashes, leaf_index, tree_size } of inclusion_proofs) {
    const leaf = await log.leafHash(log.leafOf(JSON.parse(entries[leaf_index].leaf)));
    const path = hashes.map(log.bytesOfBase64);
    const root = rootAt(tree_size);
    assert.deepEqual(await log.rootOf(leaf_index, tree_size, leaf, path), root);
    for (const at of path.keys()) {
      const lie = path.map((hash, place) => (place === at ? flipped(hash) : hash));
      assert.notDeepEqual(await log.rootOf(leaf_index, tree_size, leaf, lie), root);
    }
    assert.equal(await log.rootOf(leaf_index, tree_size, leaf, [...path, root]), null);
    assert.equal(await log.rootOf(tree_size, tree_size, leaf, path), null);
  }
});

test("a consistency proof fits its two trees alone", async () => {
  for (const { first, hashes, second } of consistency_proofs) {
    const proof = hashes.map(log.bytesOfBase64);
    const [before, after] = [rootAt(first), rootAt(second)];
    assert.ok(await log.isConsistent(first, second, before, after, proof));
    assert.ok(!(await log.isConsistent(first, second, flipped(before), after, proof)));
    assert.ok(!(await log.isConsistent(first, second, before, flipped(after), proof)));
    if (proof.length > 0) {
      assert.ok(!(await log.isConsistent(first, second, before, after, proof.slice(1))));
    }
  }
});

test("what is not a hash or a key is not taken for one", () => {
  for (const text of ["", "sha256:", "sha256:AB", `sha256:${"0".repeat(63)}`, `md5:${"0".repeat(64)}`]) {
    assert.throws(() => log.bytesOfHash(text), text);
  }
  assert.throws(() => log.derOfPem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
});
