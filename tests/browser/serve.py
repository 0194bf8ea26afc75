#!/usr/bin/env python3
"""Serves this folder's page, and a log's API beside it: serve.py PORT LEADER REPORT

Pages may not write to a log of another origin, so the page's own server hands /api/ on. What the page
reports goes to the file REPORT.
"""

import http.server
import pathlib
import sys
import urllib.error
import urllib.request

FOLDER = pathlib.Path(__file__).parent
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
FILES = {"/": "index.html", "/page.js": "page.js", "/identity.js": "identity.js"}


class Handler(http.server.BaseHTTPRequestHandler):
    leader = report = None

    def do_GET(self):
        if self.path in FILES:
            file = FOLDER / FILES[self.path]
            return self.answer(200, KINDS[file.suffix], file.read_bytes())
        return self.hand_on(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/report":
            # In one step: whoever waits for the file finds all of it.
            self.report.with_suffix(".part").write_bytes(body)
            self.report.with_suffix(".part").rename(self.report)
            return self.answer(200, "text/plain", b"")
        return self.hand_on(body)

    def hand_on(self, body):
        if not self.path.startswith(("/api/", "/.well-known/")):
            return self.answer(404, "text/plain", b"")
        kind = {} if body is None else {"Content-Type": self.headers["Content-Type"]}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(self.leader + self.path, body, kind))
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            return self.answer(answer.status, answer.headers["Content-Type"], answer.read())

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    port, Handler.leader, report = sys.argv[1:]
    Handler.report = pathlib.Path(report)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
