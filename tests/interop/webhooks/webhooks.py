#!/usr/bin/env python3
"""Messages of a leader's webhooks, judged by the libraries of Standard Webhooks.

    webhooks.py LEADER

Registers a key, asks to be told of events, appends some and receives the messages. Both libraries accept each
of them, `cryptography` its Ed25519 signature; with a byte of the body, the id, the time or the secret changed, all refuse.
"""

import base64
import http.server
import json
import queue
import subprocess
import sys
import threading
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

EVENTS = 5
arrived = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        arrived.put((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def ask(url, body, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def log_in(leader):
    """Registers a new key and answers a token of it."""
    key = ed25519.Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    payload = {
        "public_key": key.public_key().public_bytes(*form).decode(),
        "pseudonym": "Receiver",
        "key_algorithm": "ed25519",
    }
    registered = ask(f"{leader}/api/v1/keys/register", {"payload": payload})
    challenge = ask(f"{leader}/api/v1/auth/challenge", {"fingerprint": registered["fingerprint"]})
    signature = base64.b64encode(key.sign(challenge["nonce"].encode())).decode()
    answer = {"challenge_id": challenge["challenge_id"], "challenge_signature": signature}
    return ask(f"{leader}/api/v1/auth/login", answer)["token"]


def by_python(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def by_javascript(secret, headers, body):
    question = json.dumps({"secret": secret, "headers": headers, "body": body})
    answer = subprocess.run(
        ["node", "verify.js"], input=question, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert answer == "accepted" or answer.startswith("refused: "), answer
    return answer == "accepted"


def by_public_key(key, headers, body):
    """The signature `v1a`, which the two libraries leave aside."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    for signature in headers["webhook-signature"].split(" "):
        version, _, text = signature.partition(",")
        if version == "v1a":
            try:
                public.verify(base64.b64decode(text), signed)
                return True
            except InvalidSignature:
                pass
    return False


def altered(headers, body):
    """The same message, with one thing changed."""
    yield "the body", headers, body.replace('"id":', '"id": ')
    yield "the id", headers | {"webhook-id": headers["webhook-id"] + "0"}, body
    later = str(int(headers["webhook-timestamp"]) + 1)
    yield "the time", headers | {"webhook-timestamp": later}, body


def main(leader):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = log_in(leader)
    request = {"url": f"http://127.0.0.1:{server.server_port}/hook", "events": ["x-interop:*"]}
    webhook = ask(f"{leader}/api/v1/webhooks", request, token)
    secret, public_key = webhook["secret"], webhook["public_key"]
    for number in range(EVENTS):
        event = {"event_type": "x-interop:event", "payload": {"number": number, "text": "é € 😀"}}
        ask(f"{leader}/api/v1/log/entries", event, token)

    checks = 0
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    for _ in range(EVENTS):
        headers, body = arrived.get(timeout=60)
        headers = {name.lower(): value for name, value in headers.items()}
        assert json.loads(body)["type"] == "log.entry.appended", body
        for judge in (by_python, by_javascript):
            assert judge(secret, headers, body), f"{judge.__name__} refuses {headers} {body}"
            assert not judge(other, headers, body), f"{judge.__name__} takes another secret"
            checks += 2
        assert by_public_key(public_key, headers, body), f"v1a does not verify: {headers} {body}"
        checks += 1
        for what, changed, text in altered(headers, body):
            assert (changed, text) != (headers, body), what
            assert not by_python(secret, changed, text), what
            assert not by_javascript(secret, changed, text), what
            assert not by_public_key(public_key, changed, text), what
            checks += 3
    print(f"webhooks: {checks} checks of {EVENTS} messages by standardwebhooks (PyPI, npm) and cryptography")


main(*sys.argv[1:])
