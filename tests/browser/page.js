// Registers and attests with a key of each algorithm, and shows that one changed bit of a signature is enough to be
// refused. The outcome is shown, and told to the server that the page came from.
import { Key, attestation, registration, sha256 } from "./identity.js";

const checks = [];

const note = (text) => {
  checks.push(text);
  document.querySelector("#checks").append(Object.assign(document.createElement("li"), { textContent: text }));
};

const post = async (path, body) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: answer.status, body: await answer.json() };
};

/** The same base64 with one bit of what it says changed, which one is left to chance. */
const bent = (signature) => {
  const bytes = Uint8Array.from(atob(signature), (character) => character.charCodeAt(0));
  const bit = crypto.getRandomValues(new Uint16Array(1))[0] % (8 * bytes.length);
  bytes[bit >> 3] ^= 1 << (bit & 7);
  return btoa(String.fromCharCode(...bytes));
};

const accepted = async (what, path, body) => {
  const answer = await post(path, body);
  if (answer.status !== 201) throw new Error(`${what}: ${answer.status} ${JSON.stringify(answer.body)}`);
  note(`accepted  ${what}: entry ${answer.body.log_entry_id}`);
  return answer.body;
};

const refused = async (what, path, body) => {
  const answer = await post(path, body);
  if (answer.status !== 422 || answer.body.error?.code !== "invalid_signature") {
    throw new Error(`${what}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }
  note(`refused   ${what}, one bit changed: ${answer.body.detail}`);
};

const expect = (what, holds) => {
  if (!holds) throw new Error(what);
  note(`holds     ${what}`);
};

const run = async () => {
  const { origin } = await (await fetch("/.well-known/diogenes")).json();
  const content = await sha256("Know thyself, and prove it.\n");
  const document = { title: "Ἔλεγχος — “über” 😀", content_hash: content, pages: 1.5, "\u{e000}": 1, "😀": 2 };
  const manifest = { document, attestations: [] };
  for (const [algorithm, type] of [["ed25519", "authorship"], ["ecdsa-p256", "peer_review"]]) {
    const key = await Key.generate(algorithm);
    const request = await registration(origin, key, `A page's ${algorithm} key`);
    const bentRequest = { payload: { ...request.payload, proof: bent(request.payload.proof) } };
    await refused(`${algorithm}: registration with proof`, "/api/v1/keys/register", bentRequest);
    await accepted(`${algorithm}: registration with proof`, "/api/v1/keys/register", request);

    const signed = await attestation(key, manifest, type, "I say so.");
    await refused(`${algorithm}: attestation`, "/api/v1/attestations", { ...signed, signature: bent(signed.signature) });
    const { attestation: logged } = await accepted(`${algorithm}: attestation`, "/api/v1/attestations", signed);
    expect(`${algorithm}: its signer is the key`, logged.signer_key_fingerprint === key.fingerprint);
    // What comes next rests on it.
    manifest.attestations.push(logged);
  }
  const verdict = await post("/api/v1/verify", { manifest, source_hash: content });
  expect("the verdict on both is valid", verdict.body.overall_status === "valid");
};

const outcome = await run().then(() => "passed", (error) => `FAILED: ${error.message}`);
document.querySelector("#outcome").textContent = outcome;
await fetch("/report", { method: "POST", body: [...checks, outcome].map((line) => `${line}\n`).join("") });
