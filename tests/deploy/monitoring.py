#!/usr/bin/env python3
"""The alerts and the dashboard, on a real Prometheus that scrapes a real federation:

    tests/deploy/monitoring.py DIRECTORY_OF_THE_PROGRAMS [FIRST_OF_8_PORTS]

While all is well no alert fires, and every expression of the dashboard and of the rules is answered. Then a
follower is killed, one runs out of disk, a witness stops, a leader without its guard signs nothing, and a copy
of the leader signs a second history: the alerts about these five fire, for these nodes and for no other.

Nobody waits for ten minutes in a test: it runs a copy of rules.yml in which every time is FACTOR times
shorter (WitnessStale: more so). Nothing else is changed, and promtool tests the rules as they are.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent
RULES = TREE / "deploy/prometheus/rules.yml"
DASHBOARD = TREE / "deploy/grafana/dashboards/diogenes.json"
METRICS = TREE / "docs/metrics.md"
ALERTS = TREE / "docs/operating/monitoring.md"

FACTOR = 5
# Ten minutes are more than anybody's patience; followers report every ten seconds, so the others can't be shorter.
FACTORS = {"WitnessStale": 10}
# Longer than the longest `for` of an alert that may fire by mistake: FollowerLost's two minutes.
HEALTHY_SECONDS = 30
PATIENCE_SECONDS = 120

# What no series needs to exist for: no policy of witnesses, no backups, no alerts, nothing refused.
MAY_BE_EMPTY = re.compile(
    r"diogenes_(cosigner|cosign_requests|backup_last_success|refusals|witness_proofs|chain_verified)"
    r"|ALERTS|> 0|_bucket|_batch_entries_"
)


class Federation:
    """The nodes that deploy/quickstart made, each a process of its own."""

    def __init__(self, programs, scratch, port):
        self.programs, self.scratch, self.port = programs, scratch, port
        self.data = scratch / ".quickstart"
        self.running = {}

    def make(self):
        shutil.copy(TREE / "LICENSE", self.scratch)
        command = [self.programs / "diogenes-quickstart", "--once", "--port-base", str(self.port)]
        with open(self.scratch / "quickstart.log", "w") as log:
            subprocess.run(command, cwd=self.scratch, check=True, stdout=log, stderr=log)
        self.operator = self.says("leader", "leader", "key", "fingerprint")

    def says(self, node, role, *words):
        command = [self.programs / f"diogenes-{role}", *words, "--data-dir", self.data / node]
        done = subprocess.run(command, env={}, check=True, capture_output=True, text=True)
        return done.stdout.strip().splitlines()[-1]

    def start(self, node, role, *words, **variables):
        log = open(self.scratch / f"{node}.log", "a")
        command = [self.programs / f"diogenes-{role}", *words, "--data-dir", self.data / node]
        self.running[node] = subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    def leader(self, node, offset):
        self.start(node, "leader", "serve", "--listen", self.address(offset), "--heartbeat", "5s")
        self.wait_for(f"http://{self.address(offset)}/healthz")

    def follower(self, node, offset, *sources, **variables):
        sources = [{"url": f"http://{self.address(at)}", "fingerprint": self.operator} for at in sources]
        variables["DIOGENES_FEDERATION_OPERATORS"] = json.dumps(sources)
        self.start(node, "follower", "serve", "--listen", self.address(offset), **variables)

    def witness(self, node):
        url = f"http://{self.address(0)}"
        self.start(node, "witness", "run", "--server", url, "--interval", "1s")

    def append(self, node, offset, text):
        command = [self.programs / "diogenes-leader", "append", "--event-type", "x-ci:text", "--data-dir"]
        command += [self.data / node, "--server", f"http://{self.address(offset)}", "-"]
        entry = json.dumps({"text": text}).encode()
        subprocess.run(command, env={}, check=True, input=entry, stdout=subprocess.DEVNULL)

    def stop(self, node):
        child = self.running.pop(node)
        child.terminate()
        child.wait(timeout=30)

    def stop_all(self):
        for child in self.running.values():
            child.terminate()
        for child in self.running.values():
            child.wait(timeout=30)

    def address(self, offset):
        return f"127.0.0.1:{self.port + offset}"

    def wait_for(self, url):
        eventually(f"{url} answers", lambda: fetch(url) is not None, 30)

    def label(self, role, node):
        """How the leader's metrics name a node: 16 digits of its key."""
        if role == "witness":
            return self.says(node, "witness", "fingerprint").split()[-1]
        key = subprocess.run(
            ["openssl", "pkey", "-in", self.data / node / "follower.pem", "-pubout", "-outform", "DER"],
            check=True, capture_output=True).stdout
        digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=key, check=True, capture_output=True)
        return digest.stdout.decode()[:16]


class Prometheus:
    """One of its own, that scrapes and evaluates every second."""

    def __init__(self, scratch, port, targets):
        self.url = f"http://127.0.0.1:{port}"
        (scratch / "rules.yml").write_text(shortened(RULES.read_text()))
        jobs = "".join(
            f"  - job_name: {job}\n    static_configs: [{{ targets: {json.dumps(addresses)} }}]\n"
            for job, addresses in targets.items())
        config = scratch / "prometheus.yml"
        config.write_text(
            "global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
            f"rule_files: [{scratch}/rules.yml]\nscrape_configs:\n{jobs}")
        subprocess.run(["promtool", "check", "config", "--lint=all", config], check=True, stdout=subprocess.DEVNULL)
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={scratch}/tsdb"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        self.process = subprocess.Popen(command, stdout=open(scratch / "prometheus.log", "w"), stderr=subprocess.STDOUT)

    def query(self, expression):
        """Labels and values that an expression has now; an error of it is an exception."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as reply:
            return json.load(reply)["data"]["result"]

    def ever(self, alert, label, of="firing", minutes=10):
        """What an alert named since it began, by one label and the node."""
        found = self.query(f'max_over_time(ALERTS{{alertname="{alert}",alertstate="{of}"}}[{minutes}m])')
        return {(row["metric"].get("instance"), row["metric"].get(label)) for row in found}

    def all_firing(self):
        return {row["metric"]["alertname"] for row in self.query('max_over_time(ALERTS{alertstate="firing"}[10m])')}

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def shortened(rules):
    """The rules with every time divided."""
    parts = re.split(r"(?=      - alert: )", rules)
    return "".join(shorter(part, FACTORS.get(name(part), FACTOR)) for part in parts)


def shorter(rule, factor):
    def duration(found):
        unit = {"m": 60_000, "h": 3_600_000}[found[3]]
        return f"{found[1]}{int(found[2]) * unit // factor}ms"

    rule = re.sub(r"(for: |offset |\[)(\d+)([mh])\b", duration, rule)
    # Seconds, as a product or one minute; numbers that are no times are neither.
    return re.sub(r"> (\d+(?: \* \d+)+|60)\b", lambda found: f"> ({found[1]}) / {factor}", rule)


def name(rule):
    found = re.search(r"- alert: (\w+)", rule)
    return found and found[1]


def expressions():
    """Every expression of the rules and of the dashboard, with where it stands."""
    for rule in re.split(r"(?=      - alert: )", RULES.read_text()):
        if name(rule):
            yield f"the rule {name(rule)}", re.search(r"expr: >-\n(.*?)\n        (?:for|labels):", rule, re.S)[1]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"the panel {panel['title']}", filled(target["expr"])


def filled(expression):
    return expression.replace("$instance", ".+").replace("$__rate_interval", "15s")


def check_dashboard():
    """What a dashboard needs to be read by any Grafana."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids), "two panels have one id"
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles), "two panels have one title"
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}" and panel["description"], panel["title"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    print(f"  {len(panels)} panels, each with its own place, and a variable for the data source")


def check_names():
    """Every metric is one that docs/metrics.md has: a test of the code compares that with /metrics."""
    documented = set(re.findall(r"^\| `(diogenes_\w+)`", METRICS.read_text(), re.M))
    used = {}
    for place, expression in expressions():
        for metric in re.findall(r"\bdiogenes_\w+", re.sub(r'"[^"]*"', '""', expression)):
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            used.setdefault(metric if metric in documented else base, place)
    unknown = {metric: place for metric, place in used.items() if metric not in documented}
    assert not unknown, f"not in docs/metrics.md: {unknown}"
    print(f"  {len(used)} metrics are named, all of them documented")


def check_runbooks():
    """Every alert has its severity, its row in the documents, and a place that says what to do."""
    rows = dict(re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|", ALERTS.read_text(), re.M))
    alerts, places = {}, set()
    for rule in re.split(r"(?=      - alert: )", RULES.read_text()):
        if not name(rule):
            continue
        alerts[name(rule)] = re.search(r"severity: (\w+)", rule)[1]
        page, anchor = re.search(r"runbook_url: (\S+)#(\S+)", rule).groups()
        assert anchor == name(rule).lower(), f"{name(rule)} leads to {anchor}"
        headings = re.findall(r"^#+ +(.*)", (TREE / page).read_text(), re.M)
        if anchor not in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}:
            places.add(f"{page}#{anchor}")
    assert alerts == rows, f"{ALERTS.name} does not say the same: {alerts.items() ^ rows.items()}"
    assert not places, f"nothing is there: {sorted(places)}"
    print(f"  {len(alerts)} alerts are documented, with what to do about each")


def check_expressions(prometheus):
    """Each is answered, and those that must have a value have one."""
    empty, count = [], 0
    for place, expression in expressions():
        rows = prometheus.query(expression)
        count += 1
        if not rows and place.startswith("the panel") and not MAY_BE_EMPTY.search(expression):
            empty.append(f"{place}: {expression}")
    assert not empty, "answered with nothing:\n" + "\n".join(empty)
    print(f"  {count} expressions are answered")


def fetch(url):
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.read().decode()
    return None


def check_format(addresses):
    """What promtool says of each node's /metrics: nothing."""
    for address in addresses:
        text = fetch(f"http://{address}/metrics")
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
        # Names that the client library for processes gives are not ours to change.
        said = [line for line in done.stderr.splitlines() if not line.startswith("process_")]
        assert text and not said, f"{address}: {said}"
    print(f"  promtool finds nothing in the metrics of {len(addresses)} nodes")


def size(address):
    head = fetch(f"http://{address}/api/v1/log/sth")
    return head and json.loads(head)["tree_size"]


def eventually(what, holds, seconds=PATIENCE_SECONDS):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds} s it is not so that {what}"
        time.sleep(0.5)


def play(federation, prometheus):
    """Five faults at once."""
    leader, lost, full, copy = (federation.address(at) for at in range(4))
    unsure = federation.address(4)
    follower_1, follower_2 = (federation.label("follower", f"follower-{n}") for n in (1, 2))
    witness_3 = federation.label("witness", "witness-3")
    expected = {
        "FollowerLost": ("follower", {(leader, follower_1), (unsure, follower_1), (unsure, follower_2)}),
        "FollowerBehind": ("follower", {(leader, follower_2), (full, None)}),
        "WitnessStale": ("witness", {(leader, witness_3)}),
        "HeadStale": ("instance", {(unsure, unsure)}),
        # The copy is smaller and signs later, and has another entry: which of the two is proven first is
        # chance. Whoever proves it tells the leader, which signs nothing more.
        "ForkDetected": ("alertname", {(at, "ForkDetected") for at in (lost, leader)}),
    }
    accused = {
        "ForkDetected": {(copy, "ForkDetected")},
        "HeadStale": {(at, at) for at in (leader, copy, lost)},
    }

    print("Faults: a follower is gone, one has no disk left, a witness stopped, a leader lost its guard")
    federation.stop("follower-1")
    federation.stop("witness-3")
    federation.stop("follower-2")
    federation.follower("follower-2", 2, 0, MIN_FREE="4000000 GiB")
    (federation.data / "unsure" / "signed-guard").unlink()
    federation.start("unsure", "leader", "serve", "--listen", unsure)
    federation.append("leader", 0, "what the world sees")
    for alert in ("FollowerLost", "HeadStale"):
        wait_for(prometheus, alert, *expected[alert])

    print("The first follower is back and level; then a copy of the leader signs another entry, and it sees both")
    federation.follower("follower-1", 1, 0)
    eventually("it is level", lambda: size(lost) == size(leader))
    federation.stop("follower-1")
    federation.leader("copy", 3)
    federation.append("copy", 3, "what somebody else sees")
    federation.follower("follower-1", 1, 0, 3)
    for alert in ("ForkDetected", "FollowerBehind", "WitnessStale"):
        wait_for(prometheus, alert, *expected[alert])

    for alert, (label, nodes) in expected.items():
        named = prometheus.ever(alert, label)
        others = named - nodes - accused.get(alert, set())
        assert named >= nodes and not others, f"{alert} fired for {named}, not for {nodes}"
    others = prometheus.all_firing() - set(expected)
    # What else is true, if it takes long enough: nobody scrapes a follower that is gone, and so on.
    rightly = {"MetricsAbsent", "DataAtRisk", "VerificationFailing", "FollowerStuck", "WitnessQuorumThin"}
    assert others <= rightly, others
    print(f"  fired for these nodes alone; also, and rightly: {', '.join(sorted(others)) or 'nothing'}")


def wait_for(prometheus, alert, label, nodes):
    began = time.monotonic()
    eventually(f"{alert} fires for {nodes}", lambda: prometheus.ever(alert, label) >= nodes)
    print(f"  {alert} fires after {time.monotonic() - began:.0f} s")


def main():
    programs = Path(sys.argv[1]).resolve()
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 18800
    check_dashboard()
    check_names()
    check_runbooks()
    scratch = Path(tempfile.mkdtemp(prefix="diogenes-monitoring-"))
    federation = Federation(programs, scratch, port)
    prometheus = None
    try:
        federation.make()
        for copy in ("copy", "unsure"):
            shutil.copytree(federation.data / "leader", federation.data / copy)
        federation.says("watcher", "witness", "log-list", "add", "--vkey", federation.says("leader", "leader", "key", "vkey"))
        federation.leader("leader", 0)
        federation.follower("follower-1", 1, 0)
        federation.follower("follower-2", 2, 0)
        for number in (1, 2, 3):
            federation.witness(f"witness-{number}")
        federation.start("watcher", "witness", "serve", "--listen", federation.address(5))
        nodes = [federation.address(at) for at in (0, 1, 2, 5)]
        for address in nodes:
            federation.wait_for(f"http://{address}/healthz")
        prometheus = Prometheus(scratch, port + 7, {
            "diogenes-leader": [federation.address(0), federation.address(4)],
            "diogenes-follower": [federation.address(1), federation.address(2)],
            "diogenes-witness": [federation.address(5)],
        })
        federation.wait_for(f"{prometheus.url}/-/ready")
        print("All is well")
        federation.append("leader", 0, "the first of this run")
        time.sleep(HEALTHY_SECONDS)
        check_format(nodes)
        check_expressions(prometheus)
        # The target that starts with the faults is not there yet.
        firing = prometheus.all_firing() - {"MetricsAbsent"}
        assert not firing, f"fired although all was well: {firing}"
        print("  no alert fires")
        play(federation, prometheus)
    except BaseException:
        for log in sorted(scratch.glob("*.log")):
            print(f"--- {log.name}", *log.read_text().splitlines()[-8:], sep="\n", file=sys.stderr)
        raise
    finally:
        federation.stop_all()
        if prometheus:
            prometheus.stop()
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
