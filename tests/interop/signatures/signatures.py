#!/usr/bin/env python3
"""Signatures of OpenSSL and of Python's `cryptography`, as a leader takes and refuses them.

    signatures.py LEADER FOLLOWER [SEED]

For each way to sign and each form of what an attestation may sign: the signature with one bit changed is
refused, so is the good one under a changed manifest, and then it is accepted, is on the log in the form
that it was made in, and is valid on the follower.
"""

import base64
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import cryptography
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

SHA256 = hashes.SHA256()


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def jcs(value):
    """RFC 8785, of the texts that occur here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def legacy(value):
    """What Python clients of old sign: beyond ASCII, everything is escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Holder:
    """A key, and a way to sign with it."""

    def __init__(self, name, algorithm, pem, sign):
        self.name, self.algorithm, self.pem, self.sign = name, algorithm, pem, sign
        der = base64.b64decode("".join(pem.split("\n")[1:-2]))
        self.fingerprint = sha256(der)


# --- Python ----------------------------------------------------------------------------------------------


def python_holders():
    """Every scheme of the package that fits one of the log's algorithms."""

    def p1363(key, message):
        r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(SHA256)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def high_s(key, message):
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(SHA256)))
        return utils.encode_dss_signature(r, max(s, order - s))

    def pss(key, message):
        return key.sign(message, padding.PSS(padding.MGF1(SHA256), 32), SHA256)

    def p256():
        return ec.generate_private_key(ec.SECP256R1())

    schemes = [
        ("ed25519", "ed25519", ed25519.Ed25519PrivateKey.generate, lambda key, m: key.sign(m)),
        ("ecdsa-p256 DER", "ecdsa-p256", p256, lambda key, m: key.sign(m, ec.ECDSA(SHA256))),
        ("ecdsa-p256 DER, high s", "ecdsa-p256", p256, high_s),
        ("ecdsa-p256 P1363", "ecdsa-p256", p256, p1363),
        ("rsa-2048 PKCS#1 v1.5", "rsa-2048", lambda: rsa.generate_private_key(65537, 2048),
         lambda key, m: key.sign(m, padding.PKCS1v15(), SHA256)),
        ("rsa-3072 PSS", "rsa-2048", lambda: rsa.generate_private_key(65537, 3072), pss),
    ]
    for name, algorithm, generate, sign in schemes:
        key = generate()
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        yield Holder(f"cryptography, {name}", algorithm, pem,
                     lambda message, key=key, sign=sign: sign(key, message))


# --- OpenSSL ---------------------------------------------------------------------------------------------


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, check=True, capture_output=True).stdout


def openssl_holders(folder):
    """The commands that people type."""
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    schemes = [
        ("ed25519", "ed25519", ["ed25519"], None),
        ("ecdsa-p256", "ecdsa-p256", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], []),
        ("rsa-2048 PKCS#1 v1.5", "rsa-2048", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], []),
        ("rsa-2048 PSS", "rsa-2048", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], pss),
        ("rsa-4096 PSS", "rsa-2048", ["RSA", "-pkeyopt", "rsa_keygen_bits:4096"], pss),
    ]
    for number, (name, algorithm, make, options) in enumerate(schemes):
        key = folder / f"{number}.key"
        openssl("genpkey", "-algorithm", *make, "-out", str(key))
        pem = openssl("pkey", "-in", str(key), "-pubout").decode()

        def sign(message, key=key, options=options):
            if options is None:
                # Ed25519 reads what it signs twice, so from a file.
                (folder / "message").write_bytes(message)
                return openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(key),
                               "-in", str(folder / "message"))
            return openssl("dgst", "-sha256", *options, "-sign", str(key), data=message)

        yield Holder(f"OpenSSL, {name}", algorithm, pem, sign)


# --- What is signed --------------------------------------------------------------------------------------


def all_of_it(manifest):
    """The preferred form: everything that the attestation says."""
    return b"diogenes-attestation/v1\n" + jcs({
        "content_hash": manifest["document"]["content_hash"],
        "intent_statement": None,
        "manifest_hash": sha256(jcs({**manifest, "attestations": []})),
        "parents": [parent["id"] for parent in manifest["attestations"]],
        "type": "authorship",
    })


def without_parents(canonical):
    return lambda manifest: canonical({**manifest, "attestations": []})


# Name, bytes, and what the entry says of it: `binds` and `canonicalization`.
FORMS = [
    ("all", all_of_it, "all", "jcs"),
    ("all, with a parent", all_of_it, "all", "jcs"),
    ("manifest, JCS", without_parents(jcs), "manifest", "jcs"),
    ("manifest, legacy", without_parents(legacy), "manifest", "legacy"),
    ("manifest with a parent, JCS", jcs, "manifest+parents", "jcs"),
    ("manifest with a parent, legacy", legacy, "manifest+parents", "legacy"),
]


# --- The checks ------------------------------------------------------------------------------------------


class Checks:
    def __init__(self, leader, follower, seed):
        self.leader, self.follower = leader + "/api/v1", follower + "/api/v1"
        self.origin = ask(leader + "/.well-known/diogenes")[1]["origin"]
        self.chance = random.Random(seed)
        self.passed, self.failed, self.verify = 0, [], []

    def expect(self, holds, what):
        if holds:
            self.passed += 1
        else:
            self.failed.append(what)
            print(f"  FAILED   {what}"[:600])

    def bent(self, signature):
        """One bit changed, anywhere."""
        changed = bytearray(signature)
        bit = self.chance.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def refused(self, what, path, body):
        status, answer = ask(self.leader + path, body)
        code = answer.get("error", {}).get("code")
        self.expect((status, code) == (422, "invalid_signature"), f"{what}: {status} {answer}")

    def accepted(self, what, path, body):
        status, answer = ask(self.leader + path, body)
        self.expect(status == 201, f"{what}: {status} {answer}")
        return answer if status == 201 else None

    def register(self, holder):
        """The proof of possession is made the same way as the signatures of attestations."""
        payload = {"expiration_date": None, "fingerprint": holder.fingerprint, "proof": None,
                   "key_algorithm": holder.algorithm, "pseudonym": holder.name,
                   "public_key": holder.pem}
        signed = b"diogenes-key-registration/v1\n" + jcs({"origin": self.origin, "payload": payload})
        proof = holder.sign(signed)

        def body(signature):
            return {"payload": {"key_algorithm": holder.algorithm, "pseudonym": holder.name,
                                "public_key": holder.pem,
                                "proof": base64.b64encode(signature).decode()}}

        self.refused(f"{holder.name}: a bent proof", "/keys/register", body(self.bent(proof)))
        return self.accepted(f"{holder.name}: registration", "/keys/register", body(proof))

    def attest(self, holder, form, manifest):
        name, signed, binds, canonicalization = form
        what, signature = f"{holder.name}: {name}", holder.sign(signed(manifest))

        def body(signature, manifest):
            return {"manifest": manifest, "public_key_pem": holder.pem,
                    "signature": base64.b64encode(signature).decode()}

        document = {**manifest["document"], "title": manifest["document"]["title"] + "."}
        other = {**manifest, "document": document}
        self.refused(f"{what}, bent", "/attestations", body(self.bent(signature), manifest))
        self.refused(f"{what}, of another title", "/attestations", body(signature, other))
        answer = self.accepted(what, "/attestations", body(signature, manifest))
        if answer is None:
            return None
        _, entry = ask(f"{self.leader}/log/{answer['log_entry_id']}")
        said = entry["payload"]["binds"], entry["payload"]["canonicalization"]
        self.expect(said == (binds, canonicalization), f"{what}: the entry says {said}")
        whole = {**manifest, "attestations": [*manifest["attestations"], answer["attestation"]]}
        self.verify.append((what, whole, answer["log_entry_id"]))
        return answer["attestation"]

    def on_the_follower(self):
        """What was accepted is valid where nobody was asked, and nothing else is."""
        deadline = time.monotonic() + 60
        newest = max((entry_id for _, _, entry_id in self.verify), default=0)
        while ask(self.follower + "/log/head")[1]["entry_count"] < newest:
            if time.monotonic() > deadline:
                raise SystemExit("the follower does not catch up")
            time.sleep(0.2)
        for what, manifest, _ in self.verify:
            content = manifest["document"]["content_hash"]
            for source, expected in ((content, "valid"), (sha256(b"another"), "invalid")):
                body = {"manifest": manifest, "source_hash": source}
                status, verdict = ask(self.follower + "/verify", body)
                found = verdict.get("overall_status", (status, verdict))
                self.expect(found == expected, f"{what}: the follower says {found}")


def main():
    leader, follower, *seed = sys.argv[1:]
    seed = int(seed[0]) if seed else random.randrange(10**9)
    checks = Checks(leader, follower, seed)
    version = openssl("version").decode().split()[1]
    print(f"Signatures of OpenSSL {version} and cryptography {cryptography.__version__}, bits of "
          f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        holders = [*openssl_holders(pathlib.Path(folder)), *python_holders()]
        for number, holder in enumerate(holders):
            if checks.register(holder) is None:
                continue
            for form in FORMS:
                # One document for each: another form of the same would be found, not appended.
                text = f"{number}, {form[0]}"
                document = {"title": f"Überlegung {text} — “αβγ” 😀", "note": "Ω\u007f\n\\\"",
                            "content_hash": sha256(text.encode())}
                parents = []
                if "parent" in form[0]:
                    first = {"document": document, "attestations": []}
                    parents = [checks.attest(holders[0], FORMS[0], first) or {"id": ""}]
                checks.attest(holder, form, {"document": document, "attestations": parents})
            print(f"  {holder.name}")
        checks.on_the_follower()
    if checks.failed:
        raise SystemExit(f"{len(checks.failed)} checks FAILED (seed {seed})")
    print(f"{checks.passed} checks passed")


if __name__ == "__main__":
    main()
