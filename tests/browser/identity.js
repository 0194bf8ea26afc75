// What a web page needs to register keys on a Diogenes log and to attest documents: nothing but Web Crypto. The bytes
// that are signed are those of docs/protocol.md.

/** The parameters of Web Crypto for each algorithm of the log that pages can make keys of. */
const ALGORITHMS = {
  "ed25519": { key: { name: "Ed25519" }, signature: { name: "Ed25519" } },
  "ecdsa-p256": {
    key: { name: "ECDSA", namedCurve: "P-256" },
    signature: { name: "ECDSA", hash: "SHA-256" },
  },
};

/** Canonical JSON (RFC 8785): strings and numbers are already as `JSON.stringify` writes them. */
export const canonical = (value) => {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const member = (name) => `${JSON.stringify(name)}:${canonical(value[name])}`;
  return `{${Object.keys(value).sort().map(member)}}`;
};

const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));

/** The hash of bytes or of a text, as the log writes it. */
export const sha256 = async (data) => {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256:${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
};

/** A key pair whose private half can't leave the page. */
export class Key {
  static async generate(algorithm) {
    const pair = await crypto.subtle.generateKey(ALGORITHMS[algorithm].key, false, ["sign", "verify"]);
    const spki = await crypto.subtle.exportKey("spki", pair.publicKey);
    const body = base64(spki).match(/.{1,64}/g).join("\n");
    const pem = `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`;
    return Object.assign(new Key(), { algorithm, pair, pem, fingerprint: await sha256(spki) });
  }

  /** Signs a statement: its first line says what it is. P-256 gives r and s, 64 bytes. */
  async sign(what, statement) {
    const message = new TextEncoder().encode(`diogenes-${what}/v1\n${canonical(statement)}`);
    return base64(await crypto.subtle.sign(ALGORITHMS[this.algorithm].signature, this.pair.privateKey, message));
  }
}

/** The body of `POST /api/v1/keys/register`, with the proof that the key is ours. */
export const registration = async (origin, key, pseudonym) => {
  const payload = {
    expiration_date: null,
    fingerprint: key.fingerprint,
    key_algorithm: key.algorithm,
    proof: null,
    pseudonym,
    public_key: key.pem,
  };
  const proof = await key.sign("key-registration", { origin, payload });
  return { payload: { public_key: key.pem, pseudonym, key_algorithm: key.algorithm, proof } };
};

/** The body of `POST /api/v1/attestations`: a signature that binds everything that it says. */
export const attestation = async (key, manifest, type, intent) => {
  const signature = await key.sign("attestation", {
    content_hash: manifest.document.content_hash,
    intent_statement: intent,
    manifest_hash: await sha256(canonical({ ...manifest, attestations: [] })),
    parents: manifest.attestations.map((parent) => parent.id),
    type,
  });
  return { manifest, public_key_pem: key.pem, signature, attestation_type: type, intent_statement: intent };
};
