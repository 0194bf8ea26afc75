#!/usr/bin/env python3
"""Verifies a Diogenes log from its API alone, or the golden vectors of the repository.

An implementation of its own, written from docs/protocol.md and not from the Rust code: what both
accept is what the page says. Needs Python 3.9 and the package `cryptography` (signatures only).

    verify.py --server http://127.0.0.1:8000 --fingerprint sha256:<64 hex>
    verify.py --server http://127.0.0.1:8000 --log-id sha256:<64 hex> --json
    verify.py --golden tests/vectors/golden

Exit code 0: everything holds. 1: something does not. 2: usage, or the server could not be read.
"""

import argparse
import base64
import binascii
import datetime
import hashlib
import http.client
import json
import pathlib
import re
import struct
import sys
import unicodedata
import urllib.error
import urllib.request

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.hashes import SHA256
except ImportError:
    print("verify.py: the Python package `cryptography` is missing", file=sys.stderr)
    print("install it: python3 -m pip install cryptography", file=sys.stderr)
    sys.exit(2)

MAX_SAFE = 2**53 - 1
MAX_LEAF = 65_535
MAX_DEPTH = 32
MAX_BODY = 8 * 1024 * 1024
MAX_EVIDENCE = 1024 * 1024


class Fault(Exception):
    """A check that failed; `check` is its short name, `proof` whether signed bytes prove it."""

    def __init__(self, check, detail, proof=False):
        super().__init__(f"{check}: {detail}")
        self.check, self.detail, self.proof = check, detail, proof


def require(holds, check, detail, proof=False):
    if not holds:
        raise Fault(check, detail, proof)


# --- 1 Texts -------------------------------------------------------------------------------------

HASH = re.compile(r"sha256:[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
ORIGIN = re.compile(r"(?!diogenes-|cosignature/|subtree/)[A-Za-z0-9._~:/-]{1,255}")
NAMESPACED = re.compile(r"x-[a-z0-9][a-z0-9-]{0,31}:[a-z0-9][a-z0-9._-]{0,63}")
EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}|" + NAMESPACED.pattern)
REASON = re.compile(r"[a-z0-9_]{1,64}")
EMPTY_ROOT = hashlib.sha256(b"").digest()


def sha256(data):
    return hashlib.sha256(data).digest()


def hash_text(digest):
    return "sha256:" + digest.hex()


def is_hash(value):
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def is_time(value):
    if not isinstance(value, str) or TIME.fullmatch(value) is None:
        return False
    try:
        moment = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return moment.year >= 1970 and moment.second < 60


def is_size(value):
    return type(value) is int and 0 <= value <= MAX_SAFE


def is_text(value):
    return isinstance(value, str)


def is_origin(value):
    return isinstance(value, str) and ORIGIN.fullmatch(value) is not None


def is_name(value):
    if not isinstance(value, str) or not 1 <= len(value) <= 100:
        return False
    bidi = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    if any(c in bidi or unicodedata.category(c) == "Cc" for c in value):
        return False
    return unicodedata.is_normalized("NFC", value)


def unbase64(text):
    """Decodes padded base64, one text per value; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def is_signature(value):
    data = unbase64(value)
    return data is not None and len(data) == 64


def is_one_of(*values):
    return lambda value: isinstance(value, str) and value in values


def optional(shape):
    return lambda value: value is None or shape(value)


def matches(value, shape):
    """Whether an object has exactly the members of `shape`, each of its type."""
    return (
        isinstance(value, dict)
        and value.keys() == shape.keys()
        and all(fits(value[name]) for name, fits in shape.items())
    )


# --- 2 Canonical JSON ----------------------------------------------------------------------------


def read_json(data, max_depth=128):
    """Reads I-JSON strictly; raises Fault for everything that has no canonical form."""
    text = data
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Fault("json", "not UTF-8") from None

    def pairs(members):
        names = [name for name, _ in members]
        require(len(set(names)) == len(names), "json", "a member name occurs twice")
        return dict(members)

    def constant(name):
        raise Fault("json", f"{name} is no JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Fault("json", str(error)) from None
    check_value(value, 0, max_depth)
    return value


def check_value(value, depth, max_depth):
    if isinstance(value, str):
        require("\0" not in value, "json", "U+0000 in a text")
        require(not any("\ud800" <= c <= "\udfff" for c in value), "json", "a lone surrogate")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        require(abs(value) <= MAX_SAFE, "json", "a number beyond 2^53 - 1")
    elif isinstance(value, (dict, list)):
        require(depth < max_depth, "json", "nested too deeply")
        for item in value if isinstance(value, list) else value.values():
            check_value(item, depth + 1, max_depth)
        for name in value if isinstance(value, dict) else ():
            check_value(name, depth, max_depth)


def ecmascript_number(value):
    if value == int(value):
        return str(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).rstrip("0")
    point = len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits, count = stripped, len(stripped)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = f"e{point - 1:+d}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + power


ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def jcs_string(text):
    return '"' + re.sub(
        r'["\\\x00-\x1f]', lambda m: ESCAPES.get(m[0]) or f"\\u{ord(m[0]):04x}", text
    ) + '"'


def jcs_text(value):
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return jcs_string(value)
    if isinstance(value, (int, float)):
        return ecmascript_number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(jcs_text, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(jcs_string(name) + ":" + jcs_text(value[name]) for name in names) + "}"


def jcs(value):
    return jcs_text(value).encode("utf-8")


def legacy(value):
    """Sorted by code points, all but printable ASCII escaped, fractions as Python has them."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ",".join(map(legacy, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(n) + ":" + legacy(value[n]) for n in sorted(value)) + "}"
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return jcs_text(value)


# --- 3 Keys --------------------------------------------------------------------------------------

SPKI = bytes.fromhex("302a300506032b6570032100")
FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
LOW_ORDER = {0, 1, FIELD - 1, ORDER_8, FIELD - ORDER_8}


def low_order(point):
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return y % FIELD in LOW_ORDER


def pem_to_der(pem):
    """The DER of a public key of any algorithm; None if this is no PEM of one."""
    if not isinstance(pem, str) or len(pem) > 8192:
        return None
    lines = pem.replace("\r\n", "\n").strip("\n").split("\n")
    if lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        return None
    return unbase64("".join(lines[1:-1]))


class Key:
    """An Ed25519 public key that is good for something."""

    def __init__(self, raw):
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        require(y < FIELD and not low_order(raw), "key", "not a usable Ed25519 key")
        self.raw = raw
        self.fingerprint = hash_text(sha256(SPKI + raw))
        self.key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def from_pem(cls, pem):
        der = pem_to_der(pem)
        fits = der is not None and len(der) == 44 and der.startswith(SPKI)
        require(fits, "key", "not the PEM of an Ed25519 key")
        return cls(der[12:])

    def pem(self):
        body = base64.b64encode(SPKI + self.raw).decode()
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"

    def verifies(self, message, signature, strict=True):
        if signature is None or len(signature) != 64:
            return False
        if int.from_bytes(signature[32:], "little") >= ORDER:
            return False
        if strict and low_order(signature[:32]):
            return False
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def is_own_pem(value):
    """The one PEM text that an Ed25519 key has."""
    try:
        return Key.from_pem(value).pem() == value
    except Fault:
        return False


P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class HolderKey:
    """A person's public key of any of the three algorithms, from its one DER."""

    def __init__(self, der):
        try:
            self.key = serialization.load_der_public_key(der)
            again = self.key.public_bytes(serialization.Encoding.DER,
                                          serialization.PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Fault("key", "not a key of a known algorithm") from None
        require(again == der, "key", "another encoding of this key is the one")
        self.der, self.fingerprint = der, hash_text(sha256(der))
        if isinstance(self.key, Ed25519PublicKey):
            self.algorithm, self.own = "ed25519", Key(der[12:])
        elif isinstance(self.key, ec.EllipticCurvePublicKey):
            require(len(der) == 91 and der.startswith(P256 + b"\x04"), "key", "not P-256")
            self.algorithm = "ecdsa-p256"
        else:
            require(isinstance(self.key, rsa.RSAPublicKey), "key", "of another algorithm")
            numbers = self.key.public_numbers()
            fits = 2048 <= numbers.n.bit_length() <= 4096 and 3 <= numbers.e < 2**32
            require(fits and numbers.n & numbers.e & 1, "key", "not a usable RSA key")
            self.algorithm = "rsa-2048"

    @classmethod
    def from_pem(cls, pem):
        der = pem_to_der(pem)
        require(der is not None, "key", "not the PEM of a public key")
        return cls(der)

    def pem(self):
        body = base64.b64encode(self.der).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])

    def verifies(self, message, signature):
        """A signature in the form that entries have."""
        if signature is None:
            return False
        if self.algorithm == "ed25519":
            return self.own.verifies(message, signature)
        try:
            if self.algorithm == "ecdsa-p256":
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                if len(signature) != 64 or s > P256_ORDER // 2:
                    return False
                self.key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
                return True
        except InvalidSignature:
            return False
        for way in (padding.PKCS1v15(), padding.PSS(padding.MGF1(SHA256()), 32)):
            try:
                self.key.verify(signature, message, way, SHA256())
                return True
            except InvalidSignature:
                pass
        return False

    def kept(self, signature):
        """A client's signature in the form that entries have; None if it is none."""
        if signature is None or self.algorithm != "ecdsa-p256":
            return signature
        try:
            r, s = utils.decode_dss_signature(signature) if len(signature) != 64 else (
                int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
            s = min(s, P256_ORDER - s)
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        except (ValueError, OverflowError):
            return None


def is_holder_pem(value):
    """The one PEM text that a person's key has."""
    try:
        return HolderKey.from_pem(value).pem() == value
    except Fault:
        return False


# --- 4 Entries -----------------------------------------------------------------------------------


class Leaf:
    """The bytes of one entry, which keep every rule that a leaf has by itself."""

    def __init__(self, data):
        require(len(data) <= MAX_LEAF, "leaf", "more than 65,535 bytes")
        # The entry itself is one level around the payload.
        value = read_json(data, MAX_DEPTH + 1)
        shape = {
            "event_type": lambda v: is_text(v) and EVENT_TYPE.fullmatch(v) is not None,
            "id": lambda v: is_size(v) and v >= 1,
            "payload": lambda v: isinstance(v, dict),
            "previous_hash": optional(is_hash),
            "timestamp": is_time,
        }
        require(matches(value, shape), "leaf", "not the five members of an entry")
        require(jcs(value) == data, "leaf", "not in canonical form")
        self.data, self.id, self.payload = data, value["id"], value["payload"]
        self.event_type, self.timestamp = value["event_type"], value["timestamp"]
        self.previous = value["previous_hash"]
        require((self.previous is None) == (self.id == 1), "leaf", "previous_hash null or not")
        self.entry_hash = sha256(data)
        self.leaf_hash = sha256(b"\x00" + data)


def leaf_of_view(view):
    """Takes the leaf out of an entry's JSON view; its hash must be the one that is shown."""
    require(isinstance(view, dict), "view", "an entry is no object")
    members = {n: v for n, v in view.items() if n not in ("entry_hash", "ots_proof")}
    data = jcs(members)
    shown = view.get("entry_hash")
    require(shown == hash_text(sha256(data)), "view", "an entry has not the hash that it shows")
    return data


# --- 5 The tree ----------------------------------------------------------------------------------


def node(left, right):
    return sha256(b"\x01" + left + right)


class Tree:
    """All perfect subtrees of a growing tree, 64 bytes per leaf, so that old roots can be asked."""

    def __init__(self):
        self.size = 0
        self.levels = []

    def append(self, leaf_hash):
        index, height, value = self.size, 0, leaf_hash
        self.size += 1
        while True:
            if height == len(self.levels):
                self.levels.append(bytearray())
            self.levels[height] += value
            if not index & 1:
                return
            value = node(self.at(height, index - 1), value)
            index >>= 1
            height += 1

    def at(self, height, index):
        return bytes(self.levels[height][32 * index : 32 * index + 32])

    def root(self, size=None):
        size = self.size if size is None else size
        root = None
        for height in range(size.bit_length()):
            if size >> height & 1:
                left = self.at(height, (size >> height) - 1)
                root = left if root is None else node(left, root)
        return EMPTY_ROOT if root is None else root


def verify_consistency(first, first_root, second, second_root, proof):
    """RFC 9162 section 2.1.4.2, with the cases that docs/protocol.md decides by rule."""
    if first > second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    inner, outer = first - 1, second - 1
    while inner & 1:
        inner, outer = inner >> 1, outer >> 1
    old = new = path[0]
    for step in path[1:]:
        if outer == 0:
            return False
        if inner & 1 or inner == outer:
            old, new = node(step, old), node(step, new)
            while not inner & 1 and inner:
                inner, outer = inner >> 1, outer >> 1
        else:
            new = node(new, step)
        inner, outer = inner >> 1, outer >> 1
    return outer == 0 and old == first_root and new == second_root


def verify_inclusion(index, size, leaf_hash, root, proof):
    """RFC 9162 section 2.1.3.2."""
    if index >= size:
        return False
    inner, outer, value = index, size - 1, leaf_hash
    for step in proof:
        if outer == 0:
            return False
        if inner & 1 or inner == outer:
            value = node(step, value)
            while not inner & 1 and inner:
                inner, outer = inner >> 1, outer >> 1
        else:
            value = node(value, step)
        inner, outer = inner >> 1, outer >> 1
    return outer == 0 and value == root


def read_hashes(texts):
    hashes = [unbase64(text) for text in texts] if isinstance(texts, list) else [None]
    require(len(hashes) <= 64 and all(h is not None and len(h) == 32 for h in hashes),
            "proof", "not a list of hashes in base64")
    return hashes


# --- 6 The tree head -----------------------------------------------------------------------------

HEAD = {
    "chain_head": optional(is_hash),
    "epoch": is_size,
    "origin": is_origin,
    "root_hash": is_hash,
    "timestamp": is_time,
    "tree_size": is_size,
}
HEAD_JSON = {
    **HEAD,
    "checkpoint": is_text,
    "key_fingerprint": is_hash,
    "last_event_id": is_size,
    "signature": is_signature,
}


def signed_bytes(first_line, members):
    return first_line.encode() + b"\n" + jcs(members)


def head_bytes(head):
    return signed_bytes("diogenes-tree-head/v1", {name: head[name] for name in HEAD})


def check_head(head, key, origin):
    """A head in its JSON form is good: everything but how it stands to other heads."""
    require(isinstance(head, dict), "tree head", "no object")
    known = {name: head.get(name) for name in HEAD_JSON if name in head}
    require(matches(known, HEAD_JSON), "tree head", "members missing or of wrong types")
    require(head["origin"] == origin, "wrong_origin", "the head is one of another log")
    require(head["epoch"] == 1, "wrong_epoch", "the head asks for a newer verifier")
    require(head["key_fingerprint"] == key.fingerprint, "unauthorized_key",
            "the head names another key than the operator's")
    require(key.verifies(head_bytes(head), unbase64(head["signature"])), "tree head",
            "the signature does not verify")
    empty = head["tree_size"] == 0
    require(empty == (head["chain_head"] is None), "tree head", "chain head and size disagree")
    require(empty == (head["root_hash"] == hash_text(EMPTY_ROOT)), "tree head",
            "root and size disagree")


def contradiction(earlier, later):
    """The name of what two heads of one key and origin prove, the second seen after the first."""
    a, b = earlier["tree_size"], later["tree_size"]
    if a == b:
        same = all(earlier[n] == later[n] for n in ("root_hash", "chain_head"))
        return None if same else "fork_same_size"
    if b < a and later["timestamp"] > earlier["timestamp"]:
        return "truncated"
    if b > a and later["timestamp"] < earlier["timestamp"]:
        return "timestamp_regressed"
    return None


# --- 7 Checkpoint and cosignature ----------------------------------------------------------------


def key_id(name, kind, raw):
    return sha256(name.encode() + b"\n" + bytes([kind]) + raw)[:4]


def vkey(name, kind, key):
    body = base64.b64encode(bytes([kind]) + key.raw).decode()
    return f"{name}+{key_id(name, kind, key.raw).hex()}+{body}"


def read_note(note):
    """The text of a signed note and its lines: name, key id, signature."""
    require(isinstance(note, str) and len(note.encode()) <= 1 << 20, "note", "no text or too long")
    require(not any(c < " " and c != "\n" for c in note), "note", "a control character")
    text, found, lines = note.rpartition("\n\n")
    require(found and lines.endswith("\n"), "note", "no signature lines")
    signatures = []
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        data = unbase64(parts[2]) if len(parts) == 3 and parts[0] == "\u2014" else None
        require(data is not None and len(data) > 4 and parts[1], "note", "a bad signature line")
        signatures.append((parts[1], data[:4], data[4:]))
    require(1 <= len(signatures) <= 100, "note", "too many signatures")
    return text + "\n", signatures


def read_checkpoint(text):
    lines = text[:-1].split("\n")
    root = unbase64(lines[2]) if len(lines) >= 3 else None
    fits = (len(lines) >= 3 and all(lines) and re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1])
            and root is not None and len(root) == 32)
    require(fits, "checkpoint", "not a checkpoint")
    return lines[0], int(lines[1]), root


def check_checkpoint(note, origin, key):
    """Size and root of a checkpoint that the log's key signed."""
    text, signatures = read_note(note)
    name, size, root = read_checkpoint(text)
    mine = [s for n, i, s in signatures if (n, i) == (origin, key_id(origin, 1, key.raw))]
    require(name == origin, "checkpoint", "of another log")
    require(mine and key.verifies(text.encode(), mine[0], strict=False), "checkpoint",
            "not signed by the log's key")
    return size, root


def cosignature_signed(text, seconds):
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosigns(text, line, key):
    name, found, data = line
    if found != key_id(name, 4, key.raw) or len(data) != 72:
        return False
    (seconds,) = struct.unpack(">Q", data[:8])
    return seconds < 2**63 and key.verifies(cosignature_signed(text, seconds), data[8:], False)


# --- 8 Replication batches -----------------------------------------------------------------------

BATCH = {
    "after": is_size,
    "consistency_proof": lambda v: isinstance(v, list),
    "has_more": lambda v: isinstance(v, bool),
    "next_after": is_size,
    "tree_head": lambda v: isinstance(v, dict),
}


def read_batch(data):
    """Header and leaves of a batch in JSON."""
    require(len(data) <= MAX_BODY, "batch", "longer than 8 MiB")
    batch = read_json(data)
    require(isinstance(batch, dict) and isinstance(batch.get("entries"), list), "batch",
            "no list of entries")
    leaves = [leaf_of_view(view) for view in batch.pop("entries")]
    require(matches(batch, BATCH), "batch", "members missing, unknown or of wrong types")
    return batch, leaves


def read_binary_batch(data):
    """Header and leaves of a batch in its binary form."""
    require(len(data) <= MAX_BODY, "batch", "longer than 8 MiB")
    parts, at = [], 0
    while at < len(data):
        require(at + 4 <= len(data), "batch", "ends in a length")
        (length,) = struct.unpack_from(">I", data, at)
        require(at + 4 + length <= len(data), "batch", "ends in an entry")
        parts.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    require(parts, "batch", "empty")
    header = read_json(parts[0])
    require(matches(header, BATCH), "batch", "members missing, unknown or of wrong types")
    return header, parts[1:]


# --- 9 What entries say --------------------------------------------------------------------------

ROLES = ("x-diogenes:federation_operator", "x-diogenes:witness")
CATEGORIES = (*ROLES, "x-diogenes:human_attestation", "x-diogenes:institutional_endorsement")


def is_server(value):
    if not isinstance(value, str) or len(value) > 255:
        return False
    match = re.fullmatch(r"https?://([^/?#]+).*", value)
    plain = re.fullmatch(r"[!-~]*", value) and not set("\"'<>\\`{}|^") & set(value)
    return match is not None and bool(plain) and "@" not in match[1]


def is_holder_signature(value):
    data = unbase64(value)
    return data is not None and 1 <= len(data) <= 512


def is_flag(value):
    return isinstance(value, bool)


def is_challenge_text(value):
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None


def is_statement(value):
    """A title or a statement of intent."""
    return isinstance(value, str) and 1 <= len(value) <= 1000


def is_attestation_type(value):
    return isinstance(value, str) and (
        value in ("authorship", "editorial_review", "peer_review", "publication")
        or NAMESPACED.fullmatch(value) is not None)


def are_ids(value):
    return isinstance(value, list) and all(
        isinstance(item, str) and re.fullmatch(r"[0-9a-f]{32}", item) for item in value)


SIGNED_AUTHORIZATION = {
    "action": is_one_of(
        "login", "POST /auth/password", "POST /keys/revoke", "POST /keys/succeed",
        "POST /endorsements/offer", "POST /endorsements/accept", "POST /endorsements/withdraw",
        "POST /endorsements/revoke-acceptance", "POST /endorsements/revocation-alert",
        "POST /trust-configs", "POST /trust-configs/revoke", "POST /claims",
        "POST /composite/compile"),
    "challenge_id": is_challenge_text,
    "expires_at": is_time,
    "form": is_one_of("signed"),
    "nonce": is_challenge_text,
    "purpose": is_one_of("general", "login"),
    "recovery": is_flag,
    "request": lambda value: True,
    "signature": is_holder_signature,
}


def is_authorization(value):
    words = {"form": "legacy"}, {"form": "session"}
    return value in words or matches(value, SIGNED_AUTHORIZATION)


def are_words(limit):
    return lambda value: isinstance(value, str) and 1 <= len(value) <= limit


def are_identifiers(value):
    shape = {"type": is_text, "value": is_text}
    return isinstance(value, list) and len(value) <= 16 and all(matches(v, shape) for v in value)


def is_metadata(value):
    return isinstance(value, dict) and len(jcs(value)) <= 4096


def is_encryption(value):
    """The algorithm, and perhaps for whom."""
    if not isinstance(value, dict):
        return False
    recipients = value.get("recipients", [])
    return (matches({"recipients": [], **value},
                    {"algorithm": are_words(64), "recipients": lambda v: isinstance(v, list)})
            and len(recipients) <= 16 and all(map(are_words(512), recipients)))


def is_ciphertext(value):
    data = unbase64(value)
    return data is not None and 1 <= len(data) <= 32 * 1024


is_algorithm = is_one_of("ed25519", "ecdsa-p256", "rsa-2048")
ASKED_BY = {"authorization": is_authorization, "public_key": is_holder_pem}
BETWEEN = {"endorsed_fingerprint": is_hash, "endorser_fingerprint": is_hash}
ENDORSEMENT = {
    "after": is_size,
    "category": is_one_of(*CATEGORIES),
    "fingerprint": is_hash,
    "name": optional(is_name),
    "operator": is_hash,
    "origin": is_origin,
    "public_key": is_holder_pem,
    "signature": is_signature,
    "timestamp": is_time,
}
PAYLOADS = {
    "log_genesis": {
        "epoch": lambda v: type(v) is int and v == 1,
        "operator_fingerprint": is_hash,
        "operator_public_key": is_own_pem,
        "origin": is_origin,
    },
    "key_registration": {
        "expiration_date": optional(is_time),
        "fingerprint": is_hash,
        "key_algorithm": is_algorithm,
        "proof": optional(is_holder_signature),
        "pseudonym": is_name,
        "public_key": is_holder_pem,
    },
    "key_succession": {
        "authorization": is_authorization,
        "expiration_date": optional(is_time),
        "key_algorithm": is_algorithm,
        "new_fingerprint": is_hash,
        "new_key_proof": optional(is_holder_signature),
        "new_public_key": is_holder_pem,
        "old_fingerprint": is_hash,
        "old_public_key": is_holder_pem,
        "recovery": is_flag,
    },
    "key_revocation": {
        "authorization": is_authorization,
        "fingerprint": is_hash,
        "public_key": is_holder_pem,
    },
    "attestation": {
        "attestation_id": is_hash,
        "authorization": optional(lambda value: value == {"form": "session"}),
        "binds": is_one_of("manifest", "manifest+parents", "all"),
        "canonicalization": is_one_of("jcs", "legacy"),
        "content_hash": is_hash,
        "intent_statement": optional(is_statement),
        "manifest_hash": is_hash,
        "parents": are_ids,
        "public_key": is_holder_pem,
        "signature": is_holder_signature,
        "signature_algorithm": is_algorithm,
        "signer": is_hash,
        "submitter_claims": optional(
            lambda value: matches(value, {"intent_statement": is_statement})),
        "title": optional(is_statement),
        "type": is_attestation_type,
    },
    "endorsement_offer": {
        **ASKED_BY, **BETWEEN,
        "category": is_one_of("x-diogenes:human_attestation",
                              "x-diogenes:institutional_endorsement"),
        "external_identifiers": are_identifiers,
        "institutional_metadata": optional(is_metadata),
        "valid_until": optional(is_time),
    },
    "endorsement_acceptance": {
        **ASKED_BY, **BETWEEN, "active_from": is_time, "offer_entry_id": is_size,
    },
    "endorsement_withdrawal": {
        **ASKED_BY, **BETWEEN, "note": are_words(1000), "original_offer_entry_id": is_size,
    },
    "endorsement_acceptance_revocation": {
        **ASKED_BY, "endorsed_fingerprint": is_hash, "note": are_words(1000),
        "original_offer_entry_id": is_size,
    },
    "endorsement_revocation_alert": {
        **ASKED_BY, "compromised_fingerprint": is_hash, "endorser_fingerprint": is_hash,
        "evidence": optional(are_words(5000)), "reason": are_words(1000),
    },
    # What a policy says is for who trusts by it; here it is what was asked for, and no more.
    "trust_config": {
        **ASKED_BY, "config": lambda v: isinstance(v, dict) and "anchors" in v,
        "fingerprint": is_hash,
    },
    "trust_config_revocation": {**ASKED_BY, "fingerprint": is_hash},
    "encrypted_claim": {
        **ASKED_BY, "ciphertext": is_ciphertext, "claimant_fingerprint": is_hash,
        "commitment": is_hash, "encryption": is_encryption,
    },
    "claim_reveal": {
        "bound": is_flag, "claim_entry_id": is_size, "claimant_fingerprint": is_hash,
        "commitment": is_hash, "plaintext": lambda v: isinstance(v, dict),
    },
    "operator_endorsement": ENDORSEMENT,
    "operator_endorsement_revocation": {**ENDORSEMENT, "endorsement_id": is_size},
    "operator_profile": {
        "display_name": is_name,
        "fingerprint": is_hash,
        "origin": is_origin,
        "server": optional(is_server),
        "signature": is_signature,
        "signer": is_hash,
        "timestamp": is_time,
        "type": is_one_of("federation", "witness"),
    },
    "witness_proof": {
        "cosignature": optional(is_text),
        "head": lambda v: matches(v, HEAD_JSON),
        "new_root": is_hash,
        "new_tree_size": is_size,
        "old_root": is_hash,
        "old_tree_size": is_size,
        "origin": is_origin,
        "public_key": is_own_pem,
        "signature": is_signature,
        "timestamp": is_time,
        "witness": is_hash,
    },
}


def of(payload, *names):
    return {name: payload[name] for name in names}


def registration_bytes(payload, origin):
    unproven = {**payload, "proof": None}
    return signed_bytes("diogenes-key-registration/v1", {"origin": origin, "payload": unproven})


def successor_bytes(payload, origin):
    """What the new key of a succession signs."""
    about = of(payload, "expiration_date", "key_algorithm", "old_fingerprint")
    about.update(fingerprint=payload["new_fingerprint"], public_key=payload["new_public_key"],
                 proof=None)
    return signed_bytes("diogenes-key-registration/v1",
                        {"kind": "successor", "origin": origin, "payload": about})


def challenge_bytes(signed, origin, fingerprint):
    members = of(signed, "action", "challenge_id", "expires_at", "nonce", "purpose", "recovery")
    members.update(fingerprint=fingerprint, origin=origin,
                   payload_hash=hash_text(sha256(jcs(signed["request"]))))
    return signed_bytes("diogenes-challenge/v1", members)


def attestation_bytes(payload):
    return signed_bytes("diogenes-attestation/v1", of(
        payload, "content_hash", "intent_statement", "manifest_hash", "parents", "type"))


def attestation_id(payload):
    members = of(payload, "manifest_hash", "parents", "signer", "type")
    return hash_text(sha256(jcs({**members, "form": payload["binds"]})))


def manifest_bytes(manifest, binds, canonicalization):
    """What signs a manifest, in either form of binding it."""
    covered = manifest if binds == "manifest+parents" else {**manifest, "attestations": []}
    return jcs(covered) if canonicalization == "jcs" else legacy(covered).encode()


def operator_bytes(payload, verb):
    members = of(payload, "after", "category", "fingerprint", "name", "origin", "timestamp")
    members.update(display_name=None, server=None, verb=verb)
    return signed_bytes("diogenes-operator-statement/v1", members)


def profile_bytes(payload):
    members = of(payload, "display_name", "fingerprint", "origin", "server", "timestamp", "type")
    return signed_bytes("diogenes-profile/v1", members)


WITNESS_CLAIM = (
    "new_root", "new_tree_size", "old_root", "old_tree_size", "origin", "timestamp", "witness")


def witness_bytes(payload):
    return signed_bytes("diogenes-witness-proof/v1", of(payload, *WITNESS_CLAIM))


def check_payload(event_type, payload):
    """The members of a payload; types that are not known have none to check."""
    shape = PAYLOADS.get(event_type)
    if shape is None:
        return
    require(matches(payload, shape), "payload", f"not the members of a {event_type}")
    if event_type == "log_genesis":
        key = Key.from_pem(payload["operator_public_key"])
        require(key.fingerprint == payload["operator_fingerprint"], "payload", "another key")
    for key, fingerprint, algorithm in KEYS_OF_PAYLOADS:
        if key in payload and fingerprint in payload:
            found = HolderKey.from_pem(payload[key])
            require(found.fingerprint == payload[fingerprint], "payload", "another key")
            require(payload.get(algorithm, found.algorithm) == found.algorithm, "payload",
                    "another algorithm than the key's")
    if payload.get("category") in ROLES:
        Key.from_pem(payload["public_key"])
    if event_type in ASKED:
        signer = payload[ASKED[event_type][1]]
        require(HolderKey.from_pem(payload["public_key"]).fingerprint == signer, "payload",
                "another key")
        others = of(payload, *({"endorsed_fingerprint", "compromised_fingerprint"} & set(payload)))
        require(payload.get("endorser_fingerprint") not in others.values(), "payload",
                "nobody speaks of themselves")
    if event_type == "key_succession":
        session = payload["authorization"] == {"form": "session"}
        require(not (session and payload["recovery"]), "payload", "an expired key has no session")
    elif event_type == "attestation":
        check_attestation(payload)


# Members of payloads that belong together: a key, its fingerprint, its algorithm.
KEYS_OF_PAYLOADS = (
    ("public_key", "fingerprint", "key_algorithm"),
    ("new_public_key", "new_fingerprint", "key_algorithm"),
    ("old_public_key", "old_fingerprint", None),
    ("public_key", "signer", "signature_algorithm"),
)


def check_attestation(payload):
    """What the members of an attestation say about each other."""
    require(attestation_id(payload) == payload["attestation_id"], "payload", "another id")
    binds, claims = payload["binds"], payload["submitter_claims"]
    authorised = binds == "all" or payload["authorization"] is not None
    fits = (payload["canonicalization"] == "jcs" or binds != "all") and (
        not payload["parents"] or binds != "manifest") and (
        claims is None if authorised else payload["intent_statement"] is None)
    require(fits, "payload", "members of an attestation that contradict each other")


class Signers:
    """Whose signatures an entry may carry: the operator, and keys that have a role."""

    def __init__(self, origin, operator):
        self.origin, self.operator = origin, operator
        self.roles = {}

    def key(self, fingerprint):
        if fingerprint == self.operator.fingerprint:
            return self.operator
        return self.roles.get(fingerprint, (None, None))[0]

    def take(self, entry_id, event_type, payload):
        """Takes over the roles that an entry gives or ends."""
        if event_type == "operator_endorsement" and payload["category"] in ROLES:
            self.roles[payload["fingerprint"]] = (Key.from_pem(payload["public_key"]), entry_id)
        if event_type == "operator_endorsement_revocation":
            if self.roles.get(payload["fingerprint"], (None, 0))[1] == payload["endorsement_id"]:
                del self.roles[payload["fingerprint"]]


def check_carried(event_type, payload, signers):
    """Every signature that an entry carries; returns how many were checked."""
    if "origin" in payload and event_type in PAYLOADS and event_type != "log_genesis":
        require(payload["origin"] == signers.origin, "wrong_origin",
                "the entry carries a statement about another log")
    if event_type in HOLDERS:
        return HOLDERS[event_type](payload, signers.origin)
    if event_type in ("operator_endorsement", "operator_endorsement_revocation"):
        require(payload["operator"] == signers.operator.fingerprint, "carried",
                "another key than the operator's")
        key, signature = signers.operator, payload["signature"]
        verb = "endorse" if event_type == "operator_endorsement" else "revoke"
        message = operator_bytes(payload, verb)
    elif event_type == "operator_profile":
        key = signers.key(payload["signer"])
        if key is None:
            return 0
        message, signature = profile_bytes(payload), payload["signature"]
    elif event_type == "witness_proof":
        key = Key.from_pem(payload["public_key"])
        message, signature = witness_bytes(payload), payload["signature"]
    else:
        return 0
    good = key.verifies(message, unbase64(signature))
    if event_type == "witness_proof":
        check_witness_proof(payload, key, signers, good)
    require(good, "carried", "a signature that the entry carries does not verify", proof=True)
    return 2 if event_type == "witness_proof" else 1


def check_holder(pem, message, signature):
    """One signature of a person's key; 1, as it is one."""
    require(HolderKey.from_pem(pem).verifies(message, unbase64(signature)), "carried",
            "a signature that the entry carries does not verify", proof=True)
    return 1


def check_registration(payload, origin):
    if payload["proof"] is None:
        return 0
    message = registration_bytes(payload, origin)
    return check_holder(payload["public_key"], message, payload["proof"])


def check_succession(payload, origin):
    checked = 0
    if payload["new_key_proof"] is not None:
        checked = check_holder(payload["new_public_key"], successor_bytes(payload, origin),
                               payload["new_key_proof"])
    return checked + check_authorization(payload["authorization"], "POST /keys/succeed", origin,
                                         payload["old_public_key"], asks_for_succession, payload)


def check_revocation(payload, origin):
    return check_authorization(payload["authorization"], "POST /keys/revoke", origin,
                               payload["public_key"], asks_for_revocation, payload)


def check_attested(payload, origin):
    if payload["binds"] != "all":
        return 0
    return check_holder(payload["public_key"], attestation_bytes(payload), payload["signature"])


def wanted_of(event_type, request):
    """What a request without `auth` asks to have in the entry; none if it asks for nothing."""
    members = ASKED[event_type][2]
    if not isinstance(request, dict):
        return None
    wanted = {**dict.fromkeys(OPTIONAL & set(members)), **request}
    if event_type == "endorsement_offer":
        category = wanted.get("category")
        if isinstance(category, str) and not category.startswith("x-diogenes:"):
            wanted["category"] = "x-diogenes:" + category
        wanted["external_identifiers"] = wanted["external_identifiers"] or []
        if wanted["valid_until"] is not None:
            wanted["valid_until"] = utc(wanted["valid_until"])
    return wanted if set(wanted) == set(members) else None


def utc(text):
    """An instant of RFC 3339 as entries write it."""
    try:
        instant = datetime.datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        instant = instant.astimezone(datetime.timezone.utc)
    except (AttributeError, ValueError, OverflowError):
        return None
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z"


def check_asked(event_type):
    """Who checks an event that a holder asked for: the entry says what was asked for."""
    def check(payload, origin):
        authorization = payload["authorization"]
        if authorization["form"] != "signed":
            return 0
        action, signer, members = ASKED[event_type]
        message = challenge_bytes(authorization, origin, payload[signer])
        check_holder(payload["public_key"], message, authorization["signature"])
        terms = authorization["action"], authorization["purpose"], authorization["recovery"]
        right = terms == (action, "general", False)
        wanted = wanted_of(event_type, authorization["request"])
        require(right and wanted == of(payload, *members), "carried",
                "the authorization is of something else")
        return 1
    return check


def commitment_of(payload, origin):
    committed = jcs(payload["plaintext"])
    if payload["bound"]:
        committed = signed_bytes("diogenes-claim/v1", {
            "claimant": payload["claimant_fingerprint"], "origin": origin,
            "plaintext": payload["plaintext"]})
    return hash_text(sha256(committed))


def check_reveal(payload, origin):
    require(commitment_of(payload, origin) == payload["commitment"], "carried",
            "another plaintext than was committed to")
    return 0


# Of each event that a holder asks for: the action, whose it is, and what the request says.
ASKED = {
    "endorsement_offer": ("POST /endorsements/offer", "endorser_fingerprint", (
        "endorser_fingerprint", "endorsed_fingerprint", "category", "valid_until",
        "institutional_metadata", "external_identifiers")),
    "endorsement_acceptance": ("POST /endorsements/accept", "endorsed_fingerprint", (
        "offer_entry_id", "endorsed_fingerprint")),
    "endorsement_withdrawal": ("POST /endorsements/withdraw", "endorser_fingerprint", (
        "endorser_fingerprint", "endorsed_fingerprint", "original_offer_entry_id", "note")),
    "endorsement_acceptance_revocation": (
        "POST /endorsements/revoke-acceptance", "endorsed_fingerprint", (
            "endorsed_fingerprint", "original_offer_entry_id", "note")),
    "endorsement_revocation_alert": (
        "POST /endorsements/revocation-alert", "endorser_fingerprint", (
            "endorser_fingerprint", "compromised_fingerprint", "reason", "evidence")),
    "trust_config": ("POST /trust-configs", "fingerprint", ("fingerprint", "config")),
    "trust_config_revocation": ("POST /trust-configs/revoke", "fingerprint", ("fingerprint",)),
    "encrypted_claim": ("POST /claims", "claimant_fingerprint", (
        "claimant_fingerprint", "commitment", "ciphertext", "encryption")),
}
# Members of requests that may be left out.
OPTIONAL = {"valid_until", "institutional_metadata", "external_identifiers", "evidence"}
HOLDERS = {
    **{event_type: check_asked(event_type) for event_type in ASKED},
    "claim_reveal": check_reveal,
    "key_registration": check_registration,
    "key_succession": check_succession,
    "key_revocation": check_revocation,
    "attestation": check_attested,
}


def signed_by_people(event_type, payload, origin):
    """The bytes of every signature of a person that an entry carries and that can be checked."""
    signed = []
    if event_type == "key_registration" and payload["proof"] is not None:
        signed.append(registration_bytes(payload, origin))
    if event_type == "key_succession" and payload["new_key_proof"] is not None:
        signed.append(successor_bytes(payload, origin))
    if event_type == "attestation" and payload["binds"] == "all":
        signed.append(attestation_bytes(payload))
    elif (payload.get("authorization") or {}).get("form") == "signed":
        if event_type in ASKED:
            fingerprint = payload[ASKED[event_type][1]]
        else:
            fingerprint = payload.get("old_fingerprint") or payload["fingerprint"]
        signed.append(challenge_bytes(payload["authorization"], origin, fingerprint))
    return [bytes.decode() for bytes in signed]


def check_authorization(authorization, action, origin, pem, asks_for, payload):
    if authorization["form"] != "signed":
        return 0
    fingerprint = HolderKey.from_pem(pem).fingerprint
    message = challenge_bytes(authorization, origin, fingerprint)
    check_holder(pem, message, authorization["signature"])
    right = authorization["action"] == action and authorization["purpose"] == "general"
    request = authorization["request"]
    require(right and matches(request, {"payload": lambda value: isinstance(value, dict)})
            and asks_for(request["payload"], authorization, payload), "carried",
            "the authorization is of something else")
    return 1


def asks_for_revocation(request, authorization, payload):
    return request == {"fingerprint": payload["fingerprint"]} and not authorization["recovery"]


def asks_for_succession(request, authorization, payload):
    shape = {"old_fingerprint": is_hash, "new_public_key": is_text, "new_algorithm": is_text}
    wanted = {**dict.fromkeys(("expiration_date", "new_key_proof")), **request}
    shape.update(expiration_date=optional(is_text), new_key_proof=optional(is_holder_signature))
    if not matches(wanted, shape) or authorization["recovery"] != payload["recovery"]:
        return False
    try:
        key = HolderKey.from_pem(wanted["new_public_key"])
    except Fault:
        return False
    expires, proof = wanted["expiration_date"], wanted["new_key_proof"]
    kept = None if proof is None else key.kept(unbase64(proof))
    in_entry = payload["new_key_proof"]
    return (
        (wanted["old_fingerprint"], wanted["new_algorithm"], key.pem())
        == (payload["old_fingerprint"], payload["key_algorithm"], payload["new_public_key"])
        and expires == payload["expiration_date"]
        and kept == (None if in_entry is None else unbase64(in_entry))
    )


def check_witness_proof(payload, key, signers, good):
    require(payload["witness"] == key.fingerprint, "carried", "another key than the witness's")
    require(payload["old_tree_size"] < payload["new_tree_size"], "carried", "sizes reversed")
    if payload["old_tree_size"] == 0:
        require(payload["old_root"] == hash_text(EMPTY_ROOT), "carried", "no empty tree's root")
    head = payload["head"]
    same = (head["origin"], head["tree_size"], head["root_hash"]) == (
        payload["origin"], payload["new_tree_size"], payload["new_root"])
    require(same, "carried", "the head is not the one that the witness signed about")
    if good:
        try:
            check_head(head, signers.operator, signers.origin)
        except Fault as fault:
            raise Fault("carried", fault.detail, proof="does not verify" in fault.detail) from None


# --- 10 Statements beside the log ----------------------------------------------------------------

REPORT_CLAIM = (
    "follower", "head_timestamp", "leader_tree_size", "origin", "reason", "root_hash", "status",
    "timestamp", "tree_size")
REFUSAL_CLAIM = (
    "head_sha256", "old_root", "old_tree_size", "origin", "reason", "timestamp", "witness")


def report_bytes(body):
    return signed_bytes("diogenes-replication-report/v1", of(body, *REPORT_CLAIM))


def refusal_bytes(body):
    return signed_bytes("diogenes-witness-refusal/v1", of(body, *REFUSAL_CLAIM))


# --- 12 A verifier -------------------------------------------------------------------------------


class Verifier:
    """A log as far as it was verified."""

    def __init__(self, fingerprint=None, log_id=None):
        self.fingerprint, self.log_id = fingerprint, log_id
        self.tree, self.entry_hashes = Tree(), bytearray()
        self.last, self.signers = None, None
        self.heads, self.waiting = [], []
        self.witnessed, self.carried, self.unsigned = {}, 0, 0

    @property
    def size(self):
        return self.tree.size

    def entry_hash(self, entry_id):
        return bytes(self.entry_hashes[32 * entry_id - 32 : 32 * entry_id])

    def extend(self, data):
        """Steps 4 to 7 for one entry."""
        expected = self.size + 1
        try:
            leaf = Leaf(data)
        except Fault as fault:
            raise Fault("entry", f"entry {expected}: {fault}", proof=True) from None
        where = f"entry {expected}: "
        require(leaf.id == expected, "entry", where + f"its id is {leaf.id}", proof=True)
        if self.last is not None:
            previous = hash_text(self.last.entry_hash)
            require(leaf.previous == previous, "entry", where + "wrong previous_hash", proof=True)
            require(leaf.timestamp >= self.last.timestamp, "entry", where + "time runs back",
                    proof=True)
        genesis = leaf.event_type == "log_genesis"
        require(genesis == (expected == 1), "entry", where + "genesis out of place",
                proof=genesis)
        try:
            check_payload(leaf.event_type, leaf.payload)
            if genesis:
                self.begin(leaf)
            checked = check_carried(leaf.event_type, leaf.payload, self.signers)
        except Fault as fault:
            raise Fault(fault.check, where + fault.detail, fault.proof) from None
        self.carried += checked
        self.unsigned += leaf.event_type == "operator_profile" and not checked
        self.signers.take(leaf.id, leaf.event_type, leaf.payload)
        self.tree.append(leaf.leaf_hash)
        self.entry_hashes += leaf.entry_hash
        self.last = leaf
        if leaf.event_type == "witness_proof":
            self.note_witness(leaf.payload)

    def begin(self, leaf):
        payload = leaf.payload
        found = payload["operator_fingerprint"]
        require(self.fingerprint in (None, found), "unauthorized_key",
                f"the log is that of {found}")
        found = hash_text(leaf.entry_hash)
        require(self.log_id in (None, found), "wrong_log", f"the log's id is {found}")
        self.fingerprint, self.log_id = payload["operator_fingerprint"], found
        key = Key.from_pem(payload["operator_public_key"])
        self.signers = Signers(payload["origin"], key)

    def note_witness(self, payload):
        self.see(payload["head"])
        self.waiting.append((payload["old_tree_size"], payload["old_root"], payload["witness"]))
        self.waiting.append((payload["new_tree_size"], payload["new_root"], payload["witness"]))

    def see(self, head):
        """Step 10: holds a good head against every other one."""
        for earlier in self.heads:
            found = contradiction(earlier, head)
            require(found is None, found, f"sizes {earlier['tree_size']} and {head['tree_size']}",
                    proof=True)
        if head not in self.heads:
            self.heads.append(head)

    def settle(self):
        """Holds heads and witnessed roots that the tree has reached against the own tree."""
        for head in [h for h in self.heads if h["tree_size"] <= self.size]:
            size = head["tree_size"]
            require(hash_text(self.tree.root(size)) == head["root_hash"], "fork",
                    f"a head of size {size} has another root than this log", proof=True)
            chain_head = hash_text(self.entry_hash(size)) if size else None
            require(chain_head == head["chain_head"], "chain_merkle_mismatch",
                    f"a head of size {size} names another last entry", proof=True)
        # One head is enough to hold later ones against: sizes and times only grow.
        reached = [h for h in self.heads if h["tree_size"] <= self.size]
        newest = max(reached, key=lambda h: (h["tree_size"], h["timestamp"]), default=None)
        ahead = [h for h in self.heads if h["tree_size"] > self.size]
        self.heads = ([newest] if newest else []) + ahead
        for size, root, witness in [w for w in self.waiting if w[0] <= self.size]:
            require(hash_text(self.tree.root(size)) == root, "witness_disagrees",
                    f"{witness} signed another root of size {size}", proof=True)
            self.witnessed[witness] = max(size, self.witnessed.get(witness, 0))
        self.waiting = [w for w in self.waiting if w[0] > self.size]

    def batch(self, header, leaves):
        """Steps 2 and 4 to 11 for one batch; a fault leaves the verifier unusable."""
        require(header["after"] == self.size, "batch", "begins elsewhere")
        count = header["next_after"] - header["after"]
        require(count == len(leaves), "batch", "another number of entries")
        for data in leaves:
            self.extend(data)
        require(self.signers is not None, "batch", "no genesis")
        head = header["tree_head"]
        check_head(head, self.signers.operator, self.signers.origin)
        require(head["tree_size"] >= self.size, "batch", "the head covers less than the batch")
        proof = read_hashes(header["consistency_proof"])
        root = bytes.fromhex(head["root_hash"][7:])
        require(verify_consistency(self.size, self.tree.root(), head["tree_size"], root, proof),
                "inconsistent", "the head is not shown to extend the entries")
        require(head["timestamp"] >= self.last.timestamp, "tree head", "older than its last entry")
        self.see(head)
        self.settle()


class Unreachable(Exception):
    """The server did not answer as a server of the API does."""


class Server:
    """The two routes that a verifier needs."""

    def __init__(self, url, timeout):
        self.url, self.timeout = url.rstrip("/") + "/api/v1/log/", timeout

    def fetch(self, path, accept):
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return answer.read(MAX_BODY + 1)
        except urllib.error.HTTPError as error:
            detail = error.read(400).decode("utf-8", "replace")
            raise Unreachable(f"{path}: {error.code} {detail}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{path}: {error}") from None

    def head(self):
        return read_json(self.fetch("sth", "application/json"))

    def batch(self, after, limit, binary):
        path = f"replicate?after={after}&limit={limit}"
        if binary:
            return read_binary_batch(self.fetch(path, "application/vnd.diogenes.batch"))
        return read_batch(self.fetch(path, "application/json"))


def verify_server(verifier, server, limit, binary, progress):
    """Steps 1 to 12 against a live log."""
    goal = server.head()
    first = True
    while True:
        before = verifier.size
        verifier.batch(*server.batch(before, limit, binary))
        if first:
            check_head(goal, verifier.signers.operator, verifier.signers.origin)
            verifier.see(goal)
            verifier.settle()
            first = False
        progress(verifier.size, goal["tree_size"])
        if verifier.size >= goal["tree_size"]:
            return goal
        require(verifier.size > before, "batch", "no entries though the head covers more")


# --- 11 Evidence files ---------------------------------------------------------------------------


def judge_evidence(data):
    """What an evidence file proves: (kind, fingerprint, log id). Raises Fault if nothing."""
    require(len(data) <= MAX_EVIDENCE, "evidence", "longer than 1 MiB")
    file = read_json(data)
    names = {"type", "kind", "accused", "statements", "proofs", "explanation", "observed_at",
             "observer"}
    require(isinstance(file, dict) and file.keys() == names, "evidence", "not an evidence file")
    require(file["type"] == "diogenes-evidence/v1", "evidence", "another version")
    for name in ("statements", "proofs"):
        require(isinstance(file[name], list) and len(file[name]) <= 16, "evidence", name)
    accused, kind = file["accused"], file["kind"]
    shape = {"fingerprint": is_hash, "genesis": optional(is_text), "key": is_text}
    require(matches(accused, shape), "evidence", "accused")
    key = Key.from_pem(accused["key"])
    require(key.fingerprint == accused["fingerprint"], "evidence", "fingerprint of another key")
    witness = kind == "witness_equivocated"
    origin = log_id = None
    if accused["genesis"] is not None or not witness:
        leaf = Leaf(unbase64(accused["genesis"]) or b"")
        require((leaf.event_type, leaf.id) == ("log_genesis", 1), "evidence", "no genesis")
        check_payload(leaf.event_type, leaf.payload)
        require(witness or leaf.payload["operator_fingerprint"] == key.fingerprint, "evidence",
                "the genesis names another key")
        origin, log_id = leaf.payload["origin"], hash_text(leaf.entry_hash)
    said = []
    for statement in file["statements"]:
        one = read_statement(statement, key, witness)
        origin = one["origin"] if origin is None else origin
        require(one["origin"] == origin, "evidence", "a statement about another log")
        said.append(one)
    check = JUDGES.get(kind)
    require(check is not None, "evidence", "unknown kind")
    require(check(said, file["proofs"], Signers(origin, key)), "evidence", "no contradiction")
    return kind, key.fingerprint, log_id


def read_statement(statement, key, witness):
    """Origin, trees and, of a head, time and chain head of what the accused key signed."""
    require(isinstance(statement, dict), "evidence", "statement")
    kind = statement.get("type")
    require(kind in (("witness_proof", "cosignature") if witness else ("tree_head", "checkpoint")),
            "evidence", "a statement of another role")
    if kind in ("checkpoint", "cosignature"):
        text, lines = read_note(statement.get("note"))
        origin, size, root = read_checkpoint(text)
        if kind == "checkpoint":
            check_checkpoint(statement["note"], origin, key)
        else:
            require(any(cosigns(text, line, key) for line in lines), "evidence", "no cosignature")
        return {"origin": origin, "trees": [(size, root)]}
    signed, signature = unbase64(statement.get("signed")), unbase64(statement.get("signature"))
    require(signed is not None and signature is not None, "evidence", "statement")
    require(key.verifies(signed, signature), "evidence", "the accused did not sign a statement")
    line, _, body = signed.partition(b"\n")
    claim = read_json(body)
    require(jcs(claim) == body, "evidence", "a statement is not canonical")
    if kind == "witness_proof":
        shape = {name: PAYLOADS["witness_proof"][name] for name in WITNESS_CLAIM}
        require(line == b"diogenes-witness-proof/v1" and matches(claim, shape), "evidence", kind)
        require(claim["witness"] == key.fingerprint, "evidence", "another witness")
        trees = [(claim[f"{w}_tree_size"], bytes.fromhex(claim[f"{w}_root"][7:]))
                 for w in ("old", "new")]
        return {"origin": claim["origin"], "trees": trees}
    require(line == b"diogenes-tree-head/v1" and matches(claim, HEAD), "evidence", kind)
    return {**claim, "trees": [(claim["tree_size"], bytes.fromhex(claim["root_hash"][7:]))]}


def follow(trees, proofs):
    """The leaves and trees that proofs reach, each towards a tree that is known by then."""
    leaves, reached = [], []
    for proof in proofs:
        require(isinstance(proof, dict), "evidence", "proof")
        hashes = read_hashes(proof.get("hashes"))
        names = (("second", "second_root") if proof.get("type") == "consistency"
                 else ("tree_size", "root_hash"))
        size, root = (proof.get(name) for name in names)
        require(is_size(size) and is_hash(root), "evidence", "proof")
        towards = (size, bytes.fromhex(root[7:]))
        require(towards in trees or towards in reached, "evidence", "a proof to an unknown tree")
        if proof["type"] == "consistency":
            first, first_root = proof.get("first"), proof.get("first_root")
            require(is_size(first) and first > 0 and is_hash(first_root), "evidence", "proof")
            first_root = bytes.fromhex(first_root[7:])
            require(verify_consistency(first, first_root, *towards, hashes), "evidence",
                    "a consistency proof does not hold")
            reached.append((first, first_root))
        else:
            require(proof["type"] == "inclusion", "evidence", "proof")
            index, data = proof.get("leaf_index"), unbase64(proof.get("leaf"))
            require(is_size(index) and data is not None, "evidence", "proof")
            require(verify_inclusion(index, size, sha256(b"\x00" + data), towards[1], hashes),
                    "evidence", "an inclusion proof does not hold")
            leaves.append((index, data))
    return leaves, reached


def fork(some, others):
    return any(a[0] == b[0] and a[1] != b[1] for a in some for b in others)


def judge_same_size(said, proofs, _):
    require(len(said) == 2 and not proofs, "evidence", "two statements")
    a, b = said
    chains = ("chain_head" in a and "chain_head" in b and a["tree_size"] == b["tree_size"]
              and a["chain_head"] != b["chain_head"])
    return fork(a["trees"], b["trees"]) or chains


def judge_order(first, second):
    """Which statement is the smaller tree at a later time, and which the larger one."""

    def judge(said, proofs, _):
        require(len(said) == 2 and not proofs, "evidence", "two statements")
        smaller, larger = said[first], said[second]
        require("timestamp" in smaller and "timestamp" in larger, "evidence", "two tree heads")
        return (smaller["tree_size"] < larger["tree_size"]
                and smaller["timestamp"] > larger["timestamp"])

    return judge


def judge_prefix(said, proofs, _):
    require(len(said) == 2, "evidence", "two statements")
    return fork(said[0]["trees"], follow(said[1]["trees"], proofs)[1])


def judge_witness(said, proofs, _):
    require(len(said) == 2, "evidence", "two statements")
    return fork(said[0]["trees"], said[1]["trees"] + follow(said[1]["trees"], proofs)[1])


def judge_chain(said, proofs, _):
    require(len(said) == 1 and "chain_head" in said[0], "evidence", "one tree head")
    leaves, _ = follow(said[0]["trees"], proofs)
    require(len(leaves) == 1, "evidence", "one leaf")
    index, data = leaves[0]
    head = said[0]
    return index + 1 == head["tree_size"] and head["chain_head"] != hash_text(sha256(data))


def judge_bad_entry(said, proofs, signers):
    require(len(said) == 1, "evidence", "one statement")
    leaves, _ = follow(said[0]["trees"], proofs)
    require(leaves, "evidence", "no leaf")
    (index, data), others = leaves[0], leaves[1:]
    try:
        leaf = Leaf(data)
    except Fault:
        return True
    if leaf.id != index + 1 or (index > 0 and leaf.event_type == "log_genesis"):
        return True
    for place, before in others:
        if place + 1 == index:
            if leaf.previous != hash_text(sha256(before)):
                return True
            try:
                if leaf.timestamp < Leaf(before).timestamp:
                    return True
            except Fault:
                pass
    for place, other in others:
        if place < index:
            try:
                earlier = Leaf(other)
                check_payload(earlier.event_type, earlier.payload)
                check_carried(earlier.event_type, earlier.payload, signers)
            except Fault:
                continue
            if earlier.event_type == "operator_endorsement":
                signers.take(earlier.id, earlier.event_type, earlier.payload)
    try:
        check_payload(leaf.event_type, leaf.payload)
        check_carried(leaf.event_type, leaf.payload, signers)
    except Fault as fault:
        return fault.proof
    return False


JUDGES = {
    "fork_same_size": judge_same_size,
    "truncated": judge_order(1, 0),
    "timestamp_regressed": judge_order(0, 1),
    "fork_prefix": judge_prefix,
    "chain_merkle_mismatch": judge_chain,
    "bad_entry": judge_bad_entry,
    "witness_equivocated": judge_witness,
}


# --- The golden vectors --------------------------------------------------------------------------


class TrustViews:
    """What honest entries about trust come to; no rule is asked, as every entry has an effect."""

    def __init__(self):
        self.endorsements, self.alerts, self.configs, self.claims = {}, {}, {}, {}

    def apply(self, leaf):
        p, kind = leaf.payload, leaf.event_type
        if kind == "endorsement_offer":
            self.endorsements[leaf.id] = {
                "offer_id": leaf.id, "endorser": p["endorser_fingerprint"],
                "endorsed": p["endorsed_fingerprint"], "category": p["category"],
                "accept_id": None, "active_from": None, "ended_how": None, "ended_by": None}
        elif kind == "endorsement_acceptance":
            active_from = max(p["active_from"], leaf.timestamp)
            self.endorsements[p["offer_entry_id"]].update(
                accept_id=leaf.id, active_from=active_from)
        elif kind in ("endorsement_withdrawal", "endorsement_acceptance_revocation"):
            how = "withdrawn" if kind == "endorsement_withdrawal" else "acceptance_revoked"
            self.endorsements[p["original_offer_entry_id"]].update(ended_how=how, ended_by=leaf.id)
            alert = self.alerts.get((p.get("endorser_fingerprint"), p["endorsed_fingerprint"]))
            if alert and how == "withdrawn":
                alert["withdrawn_by"] = leaf.id
        elif kind == "endorsement_revocation_alert":
            pair = p["endorser_fingerprint"], p["compromised_fingerprint"]
            self.alerts[pair] = {"entry_id": leaf.id, "withdrawn_by": None}
        elif kind == "trust_config":
            self.configs[p["fingerprint"]] = {"entry_id": leaf.id, "revoked_by": None}
        elif kind == "trust_config_revocation":
            self.configs[p["fingerprint"]]["revoked_by"] = leaf.id
        elif kind == "encrypted_claim":
            self.claims[leaf.id] = {"entry_id": leaf.id, "revealed_by": None}
        elif kind == "claim_reveal":
            self.claims[p["claim_entry_id"]]["revealed_by"] = leaf.id

    def shown(self):
        tables = {"endorsements": self.endorsements, "alerts": self.alerts,
                  "trust_configs": self.configs, "claims": self.claims}
        return {name: list(rows.values()) for name, rows in tables.items()}


class Golden:
    """Checks every file of tests/vectors/golden."""

    def __init__(self, folder):
        self.folder, self.checks = pathlib.Path(folder), 0

    def load(self, name):
        return json.loads((self.folder / name).read_text("utf-8"))

    def expect(self, holds, what):
        self.checks += 1
        require(holds, "golden", what)

    def expect_fault(self, action, what, check=None):
        try:
            action()
        except Fault as fault:
            self.expect(check is None or fault.check == check,
                        f"{what}: refused as {fault.check}, not as {check}")
        else:
            self.expect(False, f"{what}: accepted")

    def run(self):
        for part in (self.canonical, self.keys, self.holder_keys, self.log, self.leaves,
                     self.heads, self.checkpoint, self.statements, self.identity, self.trust,
                     self.batches, self.evidence):
            part()
        return self.checks

    def canonical(self):
        vectors = self.load("canonical.json")
        for case in vectors["accepted"]:
            value = read_json(case["input"], MAX_DEPTH)
            self.expect(jcs(value).decode() == case["canonical"], f"JCS of {case['input']}")
            self.expect(legacy(value) == case["legacy"], f"legacy form of {case['input']}")
        for case in vectors["refused"]:
            self.expect_fault(lambda c=case: read_json(c["input"], MAX_DEPTH), case["why"])

    def keys(self):
        for case in self.load("keys.json"):
            key = Key.from_pem(case["public_key"])
            self.expect(key.fingerprint == case["fingerprint"], case["role"])
            self.expect(case["fingerprint"][7:23] == case["short_fingerprint"], case["role"])
            self.expect(key.pem() == case["public_key"], case["role"])
            seed = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["seed_hex"]))
            self.expect(seed.public_key().public_bytes_raw() == key.raw, case["role"])
        self.by_role = {case["role"]: Key.from_pem(case["public_key"])
                        for case in self.load("keys.json")}

    def holder_keys(self):
        vectors, keys = self.load("../holder-keys.json"), {}
        for case in vectors["keys"]:
            if case["ok"]:
                keys[case["name"]] = HolderKey.from_pem(case["pem"])
                self.expect(keys[case["name"]].pem() == case["pem"], case["name"])
            else:
                self.expect_fault(lambda c=case: HolderKey.from_pem(c["pem"]), case["name"], "key")
        message = vectors["message"].encode()
        for case in vectors["signatures"]:
            key = keys[case["key"]]
            kept = key.kept(unbase64(case["signature"]))
            self.expect(key.verifies(message, kept) == case["ok"], case["name"])
            if case["kept"] is not None:
                self.expect(kept == unbase64(case["kept"]), f"{case['name']}, as it is kept")

    def log(self):
        log = self.load("log.json")
        verifier = Verifier(log["operator_fingerprint"], log["log_id"])
        for entry in log["entries"]:
            data = entry["leaf"].encode()
            verifier.extend(data)
            self.expect(hash_text(verifier.last.entry_hash) == entry["entry_hash"], "entry hash")
            self.expect(hash_text(verifier.last.leaf_hash) == entry["leaf_hash"], "leaf hash")
        verifier.settle()
        self.expect(verifier.signers.origin == log["origin"], "origin")
        self.expect(verifier.carried == 6, "six carried signatures")
        self.expect(not verifier.signers.roles, "the only role was revoked")
        tree = verifier.tree
        for case in log["trees"]:
            self.expect(hash_text(tree.root(case["tree_size"])) == case["root_hash"], "root")
        for case in log["inclusion_proofs"]:
            index, size, hashes = case["leaf_index"], case["tree_size"], read_hashes(case["hashes"])
            leaf = sha256(b"\x00" + log["entries"][index]["leaf"].encode())
            self.expect(verify_inclusion(index, size, leaf, tree.root(size), hashes), "inclusion")
            for wrong in (hashes[1:], hashes + [leaf], [leaf, *hashes[1:]]):
                self.expect(wrong == hashes
                            or not verify_inclusion(index, size, leaf, tree.root(size), wrong),
                            "a wrong inclusion proof")
        for case in log["consistency_proofs"]:
            first, second = case["first"], case["second"]
            hashes = read_hashes(case["hashes"])
            roots = tree.root(first), tree.root(second)
            self.expect(verify_consistency(first, roots[0], second, roots[1], hashes),
                        f"consistency {first} to {second}")
            for wrong in (hashes[:-1], hashes + [roots[0]], hashes[::-1]):
                self.expect(wrong == hashes or not verify_consistency(
                    first, roots[0], second, roots[1], wrong), "a wrong consistency proof")
        self.origin, self.tree = log["origin"], tree

    def leaves(self):
        for case in self.load("refused-leaves.json"):
            leaf = case.get("leaf")
            if leaf is None:
                pad = case["pad"]
                after = pad["leaf"].index(pad["after"]) + len(pad["after"])
                leaf = pad["leaf"][:after] + pad["with"] * pad["times"] + pad["leaf"][after:]
            self.expect_fault(lambda text=leaf: Leaf(text.encode()), case["why"])

    def heads(self):
        for case in self.load("tree-heads.json"):
            check_head(case["json"], self.by_role["operator"], self.origin)
            self.expect(head_bytes(case["json"]).decode() == case["signed"], "head bytes")
            size, root = check_checkpoint(case["json"]["checkpoint"], self.origin,
                                          self.by_role["operator"])
            self.expect((size, hash_text(root)) == (case["json"]["tree_size"],
                                                    case["json"]["root_hash"]), "checkpoint")
            for name, other in (("tree_size", 7), ("timestamp", "2026-01-15T10:30:00.000Z")):
                changed = {**case["json"], name: other}
                self.expect_fault(lambda h=changed: check_head(
                    h, self.by_role["operator"], self.origin), f"a changed {name}")

    def checkpoint(self):
        vectors = self.load("checkpoint.json")
        operator, witness = self.by_role["operator"], self.by_role["witness"]
        name = "witness-" + witness.fingerprint[7:23]
        self.expect(vkey(self.origin, 1, operator) == vectors["log_vkey"], "log vkey")
        self.expect(vkey(name, 4, witness) == vectors["witness_vkey"], "witness vkey")
        for note in ("note", "cosigned_note"):
            size, root = check_checkpoint(vectors[note], self.origin, operator)
            self.expect(root == self.tree.root(size), note)
        text, lines = read_note(vectors["cosigned_note"])
        self.expect(text == vectors["text"], "text of the note")
        self.expect(cosigns(text, lines[1], witness), "cosignature")
        self.expect(not cosigns(text, lines[0], witness), "the log's line is no cosignature")
        (seconds,) = struct.unpack(">Q", lines[1][2][:8])
        signed = cosignature_signed(text, seconds).decode()
        self.expect(signed == vectors["cosignature_signed"], "bytes of the cosignature")

    def statements(self):
        makers = {
            "key_registration": lambda body: registration_bytes(body, self.origin),
            "operator_endorsement": lambda body: operator_bytes(body, "endorse"),
            "operator_endorsement_revocation": lambda body: operator_bytes(body, "revoke"),
            "operator_profile": profile_bytes,
            "witness_proof": witness_bytes,
            "replication_report": report_bytes,
            "replication_report_before_the_first_head": report_bytes,
            "witness_refusal": refusal_bytes,
        }
        keys = {key.fingerprint: key for key in self.by_role.values()}
        for case in self.load("statements.json"):
            made = makers[case["name"]](case["body"])
            self.expect(made.decode() == case["signed"], f"bytes of {case['name']}")
            good = keys[case["signer"]].verifies(made, unbase64(case["signature"]))
            self.expect(good, f"signature of {case['name']}")
            self.expect(not keys[case["signer"]].verifies(made + b" ", unbase64(case["signature"])),
                        f"signature of {case['name']} over other bytes")

    def identity(self):
        vectors = self.load("identity.json")
        origin, alice = vectors["origin"], HolderKey.from_pem(self.by_role["stranger"].pem())
        for case in vectors["entries"]:
            event_type, payload = case["event_type"], case["payload"]
            check_payload(event_type, payload)
            signers = Signers(origin, self.by_role["operator"])
            checked = check_carried(event_type, payload, signers)
            self.expect(checked == len(case["signed"]), f"signatures of {case['name']}")
            self.expect(signed_by_people(event_type, payload, origin) == case["signed"],
                        f"bytes of {case['name']}")
            # Over the same bytes, of another log.
            if checked:
                signers = Signers("log.example/other", self.by_role["operator"])
                elsewhere = lambda p=payload, t=event_type, s=signers: check_carried(t, p, s)
                if event_type == "attestation":
                    elsewhere()
                else:
                    self.expect_fault(elsewhere, f"{case['name']}, elsewhere", "carried")
        for case in vectors["refused"]:
            def judge(c=case):
                check_payload(c["event_type"], c["payload"])
                check_carried(c["event_type"], c["payload"],
                              Signers(origin, self.by_role["operator"]))
            self.expect_fault(judge, case["why"])
        login = vectors["login"]
        made = signed_bytes("diogenes-challenge/v1", login["body"])
        self.expect(made.decode() == login["signed"], "bytes of a login")
        self.expect(alice.verifies(made, unbase64(login["signature"])), "signature of a login")
        for case in vectors["manifests"]:
            made = manifest_bytes(case["manifest"], case["binds"], case["canonicalization"])
            what = f"{case['binds']}, {case['canonicalization']}"
            self.expect(made.decode() == case["signed"], f"bytes of {what}")
            self.expect(alice.verifies(made, unbase64(case["signature"])), f"signature of {what}")

    def trust(self):
        vectors = self.load("trust.json")
        origin, previous, views = vectors["origin"], None, TrustViews()
        signers, elsewhere = (Signers(of, self.by_role["operator"])
                              for of in (origin, "log.example/other"))
        for case in vectors["entries"]:
            leaf = Leaf(leaf_of_view(case["entry"]))
            what = f"entry {leaf.id}, {leaf.event_type}"
            self.expect(leaf.previous == previous, f"chain at {what}")
            previous = hash_text(leaf.entry_hash)
            check_payload(leaf.event_type, leaf.payload)
            checked = check_carried(leaf.event_type, leaf.payload, signers)
            signed = signed_by_people(leaf.event_type, leaf.payload, origin)
            self.expect(signed == [case["signed"]] * checked, f"bytes of {what}")
            if checked:
                self.expect_fault(
                    lambda l=leaf: check_carried(l.event_type, l.payload, elsewhere),
                    f"{what}, elsewhere", "carried")
            views.apply(leaf)
        self.expect(views.shown() == vectors["views"], "views of trust")
        for case in vectors["refused"]:
            def judge(c=case):
                check_payload(c["event_type"], c["payload"])
                check_carried(c["event_type"], c["payload"], signers)
            self.expect_fault(judge, case["why"])

    def batches(self):
        operator = self.by_role["operator"].fingerprint
        for suffix, read in (("json", read_batch), ("bin", read_binary_batch)):
            verifier = Verifier(operator)
            for name in ("batch-1", "batch-2"):
                verifier.batch(*read((self.folder / f"{name}.{suffix}").read_bytes()))
            self.expect(verifier.tree.root() == self.tree.root(8), f"batches in {suffix}")
            self.expect(verifier.witnessed == {self.by_role["witness"].fingerprint: 3}, "witness")
        for case in self.load("refused-batches.json"):
            self.expect_fault(lambda c=case: Verifier(operator).batch(
                *read_batch(c["batch"].encode())), case["why"])
        stranger = self.by_role["stranger"].fingerprint
        data = (self.folder / "batch-1.json").read_bytes()
        self.expect_fault(lambda: Verifier(stranger).batch(*read_batch(data)), "another operator",
                          "unauthorized_key")

    def evidence(self):
        for case in self.load("evidence.json"):
            data = (self.folder / case["file"]).read_bytes()
            if case["proven"] is None:
                self.expect_fault(lambda d=data: judge_evidence(d), case["file"])
                continue
            found = judge_evidence(data)
            self.expect(found == (case["proven"], case["fingerprint"], case["log_id"]),
                        case["file"])


# --- The command ---------------------------------------------------------------------------------


def summary(verifier, goal, pinned):
    newest = max(verifier.heads, key=lambda head: head["tree_size"])
    return {
        "valid": True,
        "origin": verifier.signers.origin,
        "log_id": verifier.log_id,
        "operator_fingerprint": verifier.fingerprint,
        "pinned": pinned,
        "tree_size": verifier.size,
        "root_hash": hash_text(verifier.tree.root()),
        "head": {"tree_size": goal["tree_size"], "timestamp": goal["timestamp"]},
        "newest_head_size": newest["tree_size"],
        "carried_signatures": verifier.carried,
        "unknown_signers": verifier.unsigned,
        "witnesses": verifier.witnessed,
    }


def describe(found):
    lines = [
        f"valid: {found['tree_size']} entries of {found['origin']}",
        f"  log id    {found['log_id']}",
        f"  operator  {found['operator_fingerprint']}",
        f"  root      {found['root_hash']}",
        f"  carried   {found['carried_signatures']} signatures verified",
    ]
    for witness, size in sorted(found["witnesses"].items()):
        lines.append(f"  witness   {witness} signed size {size}")
    if not found["pinned"]:
        lines.append("  nothing was pinned: compare the log id with one from elsewhere, or give "
                     "--fingerprint or --log-id")
    return "\n".join(lines)


def run_server(options):
    verifier = Verifier(options.fingerprint, options.log_id)

    def progress(size, goal):
        if sys.stderr.isatty():
            print(f"\r{size}/{goal} entries", end="", file=sys.stderr, flush=True)

    server = Server(options.server, options.timeout)
    goal = verify_server(verifier, server, options.limit, options.binary, progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    found = summary(verifier, goal, bool(options.fingerprint or options.log_id))
    print(json.dumps(found) if options.json else describe(found))


def run_golden(options):
    checks = Golden(options.golden).run()
    found = {"valid": True, "checks": checks}
    print(json.dumps(found) if options.json else f"valid: {checks} checks of golden vectors")


def main():
    parser = argparse.ArgumentParser(
        description="Verifies a Diogenes log from its API alone.",
        epilog="example: verify.py --server http://127.0.0.1:8000 --fingerprint sha256:...",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", help="URL of a leader or a follower")
    source.add_argument("--golden", metavar="FOLDER", help="check golden vectors instead")
    parser.add_argument("--fingerprint", help="the operator's full fingerprint, sha256:...")
    parser.add_argument("--log-id", help="the entry hash of entry 1, sha256:...")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--binary", action="store_true", help="fetch batches in binary")
    parser.add_argument("--limit", type=int, default=1000, help="entries per batch (1..10000)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds per answer")
    options = parser.parse_args()
    for name in ("fingerprint", "log_id"):
        value = getattr(options, name)
        if value is not None and not is_hash(value):
            parser.error(f"--{name.replace('_', '-')} is sha256: and 64 lower-case hex digits")
    if not 1 <= options.limit <= 10_000:
        parser.error("--limit is from 1 to 10000")
    try:
        (run_golden if options.golden else run_server)(options)
    except Fault as fault:
        if options.json:
            error = {"check": fault.check, "detail": fault.detail, "proof": fault.proof}
            print(json.dumps({"valid": False, "error": error}))
        print(f"verify.py: NOT VALID: {fault}", file=sys.stderr)
        return 1
    except (Unreachable, OSError) as error:
        if options.json:
            failed = {"check": "unreachable", "detail": str(error)}
            print(json.dumps({"valid": None, "error": failed}))
        print(f"verify.py: could not read: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
