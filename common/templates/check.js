// The button that checks the log in this browser, whatever the page's colour says.
//
// The node is asked for its head, the entry and the proofs; everything is recomputed here, and the
// first thing that does not fit turns the result red. On the page of an entry, what is checked is what
// the page shows. The largest head that was found right is remembered, so that the log cannot go back
// or change behind this browser.

import * as log from "/assets/verify.js";

class Failed extends Error {}

const section = document.getElementById("check");
const form = section?.querySelector("form.checker");

if (form) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    await run();
    button.disabled = false;
    button.focus();
  });
}

async function run() {
  const { list, result } = outputs();
  list.replaceChildren();
  show(result, "quiet", "Checking…");
  if (!globalThis.crypto?.subtle) {
    show(result, "amber", "Browsers check signatures only on pages that came over https or from this machine. Nothing was checked.");
    return;
  }
  let step = "";
  const passed = (text) => line(list, "green", step, text);
  const begin = (name) => {
    step = name;
  };
  try {
    const size = await checkAll(begin, passed);
    show(result, "green", `Everything fits: this browser recomputed it, up to entry ${size}.`);
  } catch (error) {
    if (error.name === "NotSupportedError") {
      show(result, "amber", "This browser does not know Ed25519 signatures; newer ones do. Nothing was proven.");
      return;
    }
    const text = error instanceof Failed ? error.message : `It could not be checked: ${error.message}.`;
    line(list, "red", step, text);
    show(result, "red", `Failed: ${step}. Do not trust what this node shows.`);
  }
}

async function checkAll(begin, passed) {
  begin("Operator key");
  const known = await fetched("/.well-known/diogenes");
  const der = log.derOfPem(known.operator_public_key);
  const fingerprint = await log.hashText(der);
  const told = form.elements.operator?.value.trim();
  must(fingerprint === known.operator_fingerprint, "The node's key has another fingerprint than it says.");
  must(fingerprint === section.dataset.operator, "The node now names another key than this page did.");
  must(!told || told === fingerprint, `It is not the key that you were told: it is ${fingerprint}.`);
  passed(told ? "It is the key that you were told." : "It has the fingerprint shown here; compare it with what you were told by other means.");

  begin("Identity of the log");
  const genesis = await fetched("/api/v1/log/1");
  const logId = await log.hashText(log.leafOf(genesis));
  must(logId === known.log_id && logId === section.dataset.log, "Entry 1 does not have the hash that is the log's id.");
  must(genesis.payload.operator_fingerprint === fingerprint, "Entry 1 names another operator key.");
  must(genesis.payload.origin === known.origin, "Entry 1 names another origin.");
  passed("Entry 1 hashes to the log id, and names this key and origin.");

  begin("Signature of the tree head");
  const head = await fetched("/api/v1/log/sth");
  must(head.origin === known.origin, "The head is of another log.");
  must(await log.isSigned(head, der), "The operator key did not sign this head.");
  const root = log.bytesOfHash(head.root_hash);
  passed(`The operator key signed ${head.tree_size} entries at ${head.timestamp}.`);

  begin("History that this browser has seen");
  const before = remembered(logId);
  passed(await extended(before, head, root));

  begin("Hash of the entry");
  const entry = await shownEntry(head);
  const leaf = log.leafOf(entry);
  const entryHash = await log.hashText(leaf);
  must(entryHash === entry.entry_hash, `Entry ${entry.id} does not have the hash that is shown.`);
  passed(`Entry ${entry.id} hashes to ${entryHash.slice(0, 23)}….`);

  begin("Inclusion of the entry");
  const proof = await fetched(`/api/v1/log/inclusion-proof?entry_id=${entry.id}&tree_size=${head.tree_size}`);
  const path = proof.hashes.map(log.bytesOfBase64);
  const reached = await log.rootOf(entry.id - 1, head.tree_size, await log.leafHash(leaf), path);
  must(reached !== null && log.same(reached, root), "The proof does not lead from the entry to the signed root.");
  passed(`${path.length} hashes lead from the entry to the signed root.`);

  if (entry.id === head.tree_size) {
    begin("Hash chain");
    must(head.chain_head === entryHash, "The signed chain does not end with the newest entry.");
    passed("The signed chain ends with this entry.");
  }
  remember(logId, head);
  return head.tree_size;
}

/** Says how the head relates to the one remembered; fails if it does not extend it. */
async function extended(before, head, root) {
  if (before === null) {
    return "This browser checks this log for the first time, and remembers this head.";
  }
  const beforeRoot = log.bytesOfHash(before.root);
  if (before.size > head.tree_size) {
    must(before.time >= head.timestamp, `The log has shrunk: it had ${before.size} entries.`);
    return `This browser has already seen ${before.size} entries; this node lags behind that.`;
  }
  const url = `/api/v1/log/consistency-proof?first=${before.size}&second=${head.tree_size}`;
  const proof = before.size === head.tree_size ? [] : (await fetched(url)).hashes.map(log.bytesOfBase64);
  const fits = await log.isConsistent(before.size, head.tree_size, beforeRoot, root, proof);
  must(fits, `This is another history than the one of ${before.size} entries that this browser saw at ${before.time}.`);
  return `Nothing was changed or removed since this browser saw ${before.size} entries.`;
}

/** The entry that the page shows, from what it shows; else the one that was asked for. */
async function shownEntry(head) {
  const shown = document.getElementById("entry");
  if (shown) {
    const text = (name) => shown.querySelector(`[data-member="${name}"]`)?.textContent ?? null;
    return {
      id: Number(shown.dataset.id),
      event_type: text("event_type"),
      timestamp: shown.querySelector('[data-member="timestamp"]').dateTime,
      previous_hash: text("previous_hash"),
      payload: JSON.parse(text("payload")),
      entry_hash: text("entry_hash"),
    };
  }
  const asked = form.elements.entry?.value.trim();
  const id = asked ? Number(asked) : head.tree_size;
  must(Number.isSafeInteger(id) && id >= 1 && id <= head.tree_size, `The signed log has entries 1 to ${head.tree_size}.`);
  const entry = await fetched(`/api/v1/log/${id}`);
  must(entry.id === id, "The node answers with another entry.");
  return entry;
}

async function fetched(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) {
    throw new Error(`${path} answers ${answer.status}`);
  }
  return answer.json();
}

function must(holds, otherwise) {
  if (!holds) {
    throw new Failed(otherwise);
  }
}

const place = (logId) => `diogenes-head:${logId}`;

function remembered(logId) {
  try {
    return JSON.parse(localStorage.getItem(place(logId)));
  } catch {
    return null;
  }
}

function remember(logId, head) {
  const before = remembered(logId);
  if (before !== null && before.size >= head.tree_size) {
    return;
  }
  try {
    const seen = { size: head.tree_size, root: head.root_hash, time: head.timestamp };
    localStorage.setItem(place(logId), JSON.stringify(seen));
  } catch {
    // A browser that keeps nothing checks each head by itself.
  }
}

function outputs() {
  return { list: section.querySelector(".checks"), result: section.querySelector(".result") };
}

function line(list, colour, step, text) {
  const item = document.createElement("li");
  item.className = colour;
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.textContent = colour === "green" ? "✓" : "✕";
  mark.setAttribute("aria-hidden", "true");
  const name = document.createElement("strong");
  name.textContent = `${step}: `;
  const word = document.createElement("span");
  word.className = "word";
  word.textContent = colour === "green" ? "fits. " : "fails. ";
  const body = document.createElement("span");
  body.className = "detail";
  body.textContent = text;
  item.append(mark, name, word, body);
  list.append(item);
}

function show(result, colour, text) {
  result.className = `result ${colour}`;
  result.textContent = text;
  result.hidden = false;
}
