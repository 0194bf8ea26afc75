// What anybody can check of a log with nothing but its bytes: hashes, proofs, signatures.
//
//   leaf          canonical JSON of {event_type, id, payload, previous_hash, timestamp}
//   entry hash    SHA-256(leaf)
//   leaf hash     SHA-256(0x00 || leaf)
//   node          SHA-256(0x01 || left || right)
//   signed head   Ed25519 over "diogenes-tree-head/v1\n" || canonical JSON of the head's fields
//
// Nothing here touches the page or the network.

const encoder = new TextEncoder();

/** JSON as it is signed and hashed (RFC 8785): sorted members, no spaces. */
export function canonical(value) {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(",")}]`;
  }
  if (value !== null && typeof value === "object") {
    const members = Object.keys(value).sort();
    return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

export function bytesOfHex(hex) {
  if (!/^(?:[0-9a-f]{2})*$/.test(hex)) {
    throw new Error("not hexadecimal digits");
  }
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function hexOfBytes(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function bytesOfBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The bytes of `sha256:<64 hex digits>`. */
export function bytesOfHash(text) {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) {
    throw new Error("not a hash");
  }
  return bytesOfHex(text.slice(7));
}

export async function sha256(...parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

export async function hashText(bytes) {
  return `sha256:${hexOfBytes(await sha256(bytes))}`;
}

/** The bytes of an entry, from the five members that are hashed. */
export function leafOf(entry) {
  const { event_type, id, payload, previous_hash, timestamp } = entry;
  return encoder.encode(canonical({ event_type, id, payload, previous_hash, timestamp }));
}

export function leafHash(leaf) {
  return sha256(Uint8Array.of(0), leaf);
}

const node = (left, right) => sha256(Uint8Array.of(1), left, right);

export function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** The root to which a path leads from a leaf (RFC 9162, 2.1.3.2); null if the path does not fit. */
export async function rootOf(index, size, hash, path) {
  if (index >= size) {
    return null;
  }
  let fn = index;
  let sn = size - 1;
  let root = hash;
  for (const sibling of path) {
    if (sn === 0) {
      return null;
    }
    if (fn % 2 === 1 || fn === sn) {
      root = await node(sibling, root);
      while (fn % 2 === 0 && fn !== 0) {
        fn = Math.floor(fn / 2);
        sn = Math.floor(sn / 2);
      }
    } else {
      root = await node(root, sibling);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 ? root : null;
}

/** Whether the tree of `second` only adds to that of `first` (RFC 9162, 2.1.4.2). */
export async function isConsistent(first, second, firstRoot, secondRoot, proof) {
  if (first === second) {
    return proof.length === 0 && same(firstRoot, secondRoot);
  }
  if (first < 1 || first > second || proof.length === 0) {
    return false;
  }
  const isWhole = (BigInt(first) & (BigInt(first) - 1n)) === 0n;
  const hashes = isWhole ? [firstRoot, ...proof] : proof;
  let fn = first - 1;
  let sn = second - 1;
  while (fn % 2 === 1) {
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  let [fr, sr] = [hashes[0], hashes[0]];
  for (const hash of hashes.slice(1)) {
    if (sn === 0) {
      return false;
    }
    if (fn % 2 === 1 || fn === sn) {
      fr = await node(hash, fr);
      sr = await node(hash, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = Math.floor(fn / 2);
        sn = Math.floor(sn / 2);
      }
    } else {
      sr = await node(sr, hash);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && same(fr, firstRoot) && same(sr, secondRoot);
}

/** The bytes of a public key in PEM (SubjectPublicKeyInfo). */
export function derOfPem(pem) {
  const body = /^-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(pem);
  if (body === null) {
    throw new Error("not a public key");
  }
  return bytesOfBase64(body[1].replace(/\s/g, ""));
}

/** Whether the key signed the head's fields. */
export async function isSigned(head, der) {
  const { chain_head, epoch, origin, root_hash, timestamp, tree_size } = head;
  const fields = canonical({ chain_head, epoch, origin, root_hash, timestamp, tree_size });
  const message = encoder.encode(`diogenes-tree-head/v1\n${fields}`);
  const key = await crypto.subtle.importKey("spki", der, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, bytesOfBase64(head.signature), message);
}
