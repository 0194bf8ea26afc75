// A proxy in front of a node that passes everything on, until it is told to lie. It has the log's own
// key, as an operator who lies has: what it signs is signed by the leader.

import { createHash, createPrivateKey, sign } from "node:crypto";
import { createServer } from "node:http";

import { canonical } from "../../../common/templates/verify.js";

export class Liar {
  #upstream;
  #pem;
  #server;

  /** What it does to an answer: `(path, body) => body`, for JSON; null for nothing. */
  lie = null;

  /** Whether nobody is answered at all. */
  isCut = false;

  constructor(upstream, pem) {
    this.#upstream = upstream;
    this.#pem = pem;
    this.#server = createServer((request, response) => {
      this.#pass(request, response).catch(() => response.destroy());
    });
  }

  listen(port) {
    return new Promise((done) => this.#server.listen(port, "127.0.0.1", done));
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** The same head with another root, signed; its checkpoint too. */
  forked(head) {
    const root_hash = `sha256:${createHash("sha256").update(head.root_hash).digest("hex")}`;
    return this.signed({ ...head, root_hash });
  }

  signed(head) {
    const key = createPrivateKey(this.#pem());
    const { chain_head, epoch, origin, root_hash, timestamp, tree_size } = head;
    const fields = canonical({ chain_head, epoch, origin, root_hash, timestamp, tree_size });
    const signature = sign(null, Buffer.from(`diogenes-tree-head/v1\n${fields}`), key).toString("base64");
    const root = Buffer.from(root_hash.slice(7), "hex").toString("base64");
    const note = `${origin}\n${tree_size}\n${root}\n`;
    const line = head.checkpoint.split("\n").find((text) => text.startsWith(`— ${origin} `));
    const id = Buffer.from(line.split(" ")[2], "base64").subarray(0, 4);
    const blob = Buffer.concat([id, sign(null, Buffer.from(note), key)]).toString("base64");
    return { ...head, signature, checkpoint: `${note}\n— ${origin} ${blob}\n` };
  }

  async #pass(request, response) {
    if (this.isCut) {
      response.destroy();
      return;
    }
    const body = [];
    for await (const piece of request) {
      body.push(piece);
    }
    const { host, connection, ...headers } = request.headers;
    // Plain JSON, so that it can be read here.
    delete headers["accept-encoding"];
    if (this.lie !== null) {
      delete headers.accept;
    }
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const answer = await fetch(this.#upstream + request.url, {
      method: request.method,
      headers: { ...headers, "accept-encoding": "identity" },
      body: ["GET", "HEAD"].includes(request.method) ? undefined : Buffer.concat(body),
      signal: gone.signal,
      redirect: "manual",
    });
    const kept = Object.fromEntries([...answer.headers].filter(([name]) => !/^(connection|content-length|transfer-encoding|keep-alive|date)$/.test(name)));
    const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
    if (this.lie !== null && isJson && answer.ok) {
      const told = this.lie(new URL(request.url, this.#upstream), await answer.json());
      delete kept.etag;
      response.writeHead(answer.status, kept).end(JSON.stringify(told));
      return;
    }
    response.writeHead(answer.status, kept);
    if (answer.body !== null) {
      for await (const piece of answer.body) {
        response.write(piece);
      }
    }
    response.end();
  }
}
