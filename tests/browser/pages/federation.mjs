// A federation of processes on this machine: a leader, a follower that reads through a liar, a witness.

import { spawn, spawnSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Liar } from "./liar.mjs";

export const ORIGIN = "pages.example/log";

export const pause = (millis) => new Promise((done) => setTimeout(done, millis));

/** Waits until `look` answers something, for at most a minute and a half. */
export async function until(what, look, seconds = 90) {
  const deadline = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await look();
      if (last) {
        return last;
      }
    } catch (error) {
      last = error;
    }
    await pause(200);
  }
  throw new Error(`in vain was awaited: ${what} (${last})`);
}

export async function json(url) {
  const answer = await fetch(url);
  if (!answer.ok) {
    throw new Error(`${url}: ${answer.status}`);
  }
  return answer.json();
}

/** The first full fingerprint in a text. */
const keyIn = (text) => /sha256:[0-9a-f]{64}/.exec(text)[0];

export class Federation {
  #programs;
  #place = mkdtempSync(join(tmpdir(), "diogenes-pages-"));
  #children = new Map();

  constructor(programs, port) {
    this.#programs = programs;
    this.ports = { leader: port, follower: port + 1, liar: port + 2, mirror: port + 3 };
    this.leader = `http://127.0.0.1:${this.ports.leader}`;
    this.follower = `http://127.0.0.1:${this.ports.follower}`;
    // Between leader and follower stands one that can lie with the leader's own key.
    this.liar = new Liar(this.leader, () => this.#read("leader", "operator.pem"));
    // What a browser sees of the leader through it.
    this.mirror = `http://127.0.0.1:${this.ports.mirror}`;
    this.front = new Liar(this.leader, () => this.#read("leader", "operator.pem"));
  }

  async start() {
    this.run("leader", ["init", "--origin", ORIGIN]);
    this.operator = this.run("leader", ["key", "fingerprint"]).trim();
    await this.startLeader();
    await this.liar.listen(this.ports.liar);
    await this.front.listen(this.ports.mirror);
    const sources = [{ url: `http://127.0.0.1:${this.ports.liar}`, fingerprint: this.operator }];
    this.sources = { DIOGENES_FEDERATION_OPERATORS: JSON.stringify(sources) };
    const registered = this.run("follower", ["register", "--pseudonym", "EU Mirror", "--leader", this.leader]);
    this.operate("authorize-federation", keyIn(registered), "--name", "EU Mirror");
    await this.startFollower();
    this.authorizeWitness("witness", "Community Witness");
    this.background("witness", "witness", ["run", "--server", this.leader, "--interval", "1s", "--allow-http"]);
  }

  async startLeader() {
    this.background("leader", "leader", ["serve", "--listen", `127.0.0.1:${this.ports.leader}`]);
    await until("the leader", () => json(`${this.leader}/readyz`));
  }

  async startFollower() {
    this.background("follower", "follower", ["serve", "--listen", `127.0.0.1:${this.ports.follower}`]);
    await until("the follower", () => json(`${this.follower}/readyz`));
  }

  /** Authorises the key of a witness, which is made if there is none. */
  authorizeWitness(name, title) {
    const full = keyIn(this.run("witness", ["fingerprint", "--full"], { name }));
    this.operate("authorize-witness", full, "--name", title);
    return full;
  }

  /** Authorises a witness that never signs: by its key, since a fingerprint alone waits for the first proof. */
  authorizeSilentWitness(title) {
    const full = keyIn(this.run("witness", ["fingerprint", "--full"], { name: "silent" }));
    const pem = createPublicKey(this.#read("silent", "witness.pem")).export({ type: "spki", format: "pem" });
    const file = join(this.#place, "silent.pub.pem");
    writeFileSync(file, pem);
    this.operate("authorize-witness", file, "--name", title);
    return full;
  }

  revokeWitness(fingerprint) {
    this.operate("revoke", fingerprint);
  }

  operate(...words) {
    return this.run("leader", ["operator", ...words, "--server", this.leader]);
  }

  /** Appends one entry for each payload. */
  append(eventType, payloads) {
    const input = payloads.map((payload) => `${JSON.stringify(payload)}\n`).join("");
    this.run("leader", ["append", "--event-type", eventType, "--server", this.leader, "-"], { input });
  }

  async size(node = this.leader) {
    return (await json(`${node}/api/v1/log/sth`)).tree_size;
  }

  status(node) {
    return json(`${node}/api/v1/log/replication-status`);
  }

  /** Waits until everybody has everything, and all is well. */
  async settle() {
    const green = (status) => status.verdict.colour === "green";
    await until("a level federation", async () => {
      const [leader, follower] = [await this.status(this.leader), await this.status(this.follower)];
      const isLevel = follower.tree_size === leader.tree_size && leader.entries_at_risk === 0;
      return green(leader) && green(follower) && isLevel && leader.unwitnessed_entries === 0;
    });
  }

  run(role, words, { input, name = role } = {}) {
    const done = spawnSync(join(this.#programs, `diogenes-${role}`), [...words, ...this.#data(role, name)], {
      env: this.#environment(role),
      input: input ?? "",
      encoding: "utf8",
    });
    if (done.status !== 0) {
      throw new Error(`${role} ${words.join(" ")}: ${done.stderr}${done.error ?? ""}`);
    }
    return done.stdout;
  }

  background(name, role, words) {
    const log = openSync(join(this.#place, `${name}.log`), "a");
    const child = spawn(join(this.#programs, `diogenes-${role}`), [...words, ...this.#data(role, name)], {
      env: this.#environment(role),
      stdio: ["ignore", log, log],
    });
    this.#children.set(name, child);
  }

  async stop(name) {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (child && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      await ended;
    }
  }

  async end(failed) {
    this.liar.close();
    this.front.close();
    for (const name of [...this.#children.keys()].reverse()) {
      await this.stop(name);
      if (failed) {
        const lines = readFileSync(join(this.#place, `${name}.log`), "utf8").trim().split("\n");
        console.error(`${name}:\n  ${lines.slice(-5).join("\n  ")}`);
      }
    }
    rmSync(this.#place, { recursive: true, force: true });
  }

  #data(role, name) {
    return ["--data-dir", join(this.#place, name)];
  }

  #environment(role) {
    const limits = { RATE_LIMIT_LOG_READ: "0", RATE_LIMIT_API_QUERY: "0", RATE_LIMIT_FEDERATION: "0" };
    return { ...limits, ...(role === "follower" ? this.sources : {}) };
  }

  #read(name, file) {
    return readFileSync(join(this.#place, name, file), "utf8");
  }
}
