// The pages of a leader and a follower in Chromium: at every width, in light and dark, with and without
// JavaScript; what they show while things go wrong; and what the check in the browser says to lies.
//
//     node --test pages.mjs, with the environment that ./run makes

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";

import axe from "@axe-core/playwright";
import { chromium } from "playwright-core";

import { Federation, json, pause, until } from "./federation.mjs";

const { PROGRAMS, PORT, CHROMIUM = "/usr/bin/chromium", DIOGENES_SCREENSHOTS } = process.env;
const WIDTHS = [360, 1280, 2560];
const SCHEMES = ["light", "dark"];
/** How soon a page says what its node knows. */
const SOON = 5000;

const HOSTILE = {
  markup: "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>",
  quotes: "\"><svg onload=window.hacked=3>'</code></td></table>",
  turned: "invoice\u202Efdp.exe\u2066\u200B",
  bell: "b\u0007c\u0085",
};
const LONG = { text: "A long text, and more of it. ".repeat(2100) };

const federation = new Federation(PROGRAMS, Number(PORT));
let browser;
let failed = false;
let hostileId;
let longId;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  await federation.start();
  federation.append("x-test:release", Array.from({ length: 40 }, (_, n) => ({ name: "diogenes", version: `0.${n}.0` })));
  federation.append("x-test:hostile", [HOSTILE, LONG]);
  await federation.settle();
  const found = await json(`${federation.leader}/api/v1/log?event_type=x-test:hostile`);
  [hostileId, longId] = found.entries.map((entry) => entry.id);
});

after(async () => {
  await browser?.close();
  await federation.end(failed);
});

/** A test that says so when it fails, so that the nodes' logs are shown. */
function check(name, body) {
  test(name, async () => {
    try {
      await body();
    } catch (error) {
      failed = true;
      throw error;
    }
  });
}

/** Opens pages in a context of their own; anything on the console, and any request elsewhere, is a fault. */
async function visiting(options, body) {
  const context = await browser.newContext(options);
  const faults = [];
  context.on("weberror", (error) => faults.push(`error: ${error.error()}`));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      faults.push(`console: ${message.text()}`);
    }
  });
  context.on("request", (request) => {
    if (!request.url().startsWith("http://127.0.0.1:") && !request.url().startsWith("data:")) {
      faults.push(`request: ${request.url()}`);
    }
  });
  context.on("dialog", (dialog) => faults.push(`dialog: ${dialog.message()}`));
  try {
    const page = await context.newPage();
    await body(page, faults);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

const sentence = (page) => page.locator(".verdict .sentence").textContent();
const colour = (page) => page.locator("main").getAttribute("data-colour");

async function fits(page, what) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${what}: ${wide} pixels in ${room}`);
}

async function isAccessible(page, what) {
  const { violations } = await new axe({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  const found = violations.map((of) => `${of.id}: ${of.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
  assert.deepEqual(found, [], what);
}

async function picture(page, name) {
  if (DIOGENES_SCREENSHOTS) {
    mkdirSync(DIOGENES_SCREENSHOTS, { recursive: true });
    await page.screenshot({ path: `${DIOGENES_SCREENSHOTS}/${name}.png` });
  }
}

const pages = () => [
  ["leader", `${federation.leader}/`],
  ["follower", `${federation.follower}/`],
  ["hostile entry", `${federation.leader}/entries/${hostileId}`],
  ["key", `${federation.follower}/keys/${federation.operator}`],
];

// A page of a megabyte, at which axe looks for more than a minute: once.
check("the reference is readable and accessible", async () => {
  await visiting({ viewport: { width: 360, height: 1000 } }, async (page) => {
    await page.goto(`${federation.leader}/redoc`);
    await fits(page, "reference");
    await isAccessible(page, "reference");
  });
});

for (const width of WIDTHS) {
  for (const colorScheme of SCHEMES) {
    check(`pages are readable and accessible at ${width} pixels, ${colorScheme}`, async () => {
      const options = { viewport: { width, height: 1000 }, colorScheme };
      await visiting(options, async (page) => {
        for (const [what, url] of pages()) {
          await page.goto(url);
          await fits(page, what);
          await isAccessible(page, what);
        }
        await page.goto(federation.leader);
        if (width === 1280) {
          await picture(page, colorScheme === "light" ? "healthy" : "healthy-dark");
        }
      });
    });
  }
  check(`pages are complete without JavaScript at ${width} pixels`, async () => {
    const options = { viewport: { width, height: 1000 }, javaScriptEnabled: false };
    await visiting(options, async (page) => {
      await page.goto(federation.leader);
      assert.match(await sentence(page), /^All is well: \d+ entries, mirrored by 1 follower and signed by 1 witness\.$/);
      assert.equal(await page.locator("#followers tbody tr").count(), 1);
      assert.equal(await page.locator("#witnesses tbody tr").count(), 1);
      assert.equal(await page.locator("#entries tbody tr").count(), 20);
      assert.ok(await page.locator("#check .command").count() >= 3);
      assert.ok(!(await page.locator("form.checker").isVisible()));
      assert.ok(await page.locator("#check noscript").isVisible());
      await page.goto(`${federation.follower}/`);
      assert.match(await sentence(page), /^This mirror has verified all \d+ entries/);
      assert.ok(await page.getByText("SYNCED").isVisible());
      await page.getByLabel("Id, hash, fingerprint or name").fill(String(hostileId));
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByRole("link", { name: `Entry ${hostileId}`, exact: true }).click();
      assert.equal(await page.locator("h1").textContent(), `Entry ${hostileId}`);
    });
  });
}

check("what strangers wrote is shown and does nothing", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page) => {
    for (const url of [federation.leader, `${federation.leader}/entries/${hostileId}`]) {
      await page.goto(url);
      assert.equal(await page.evaluate(() => window.hacked), undefined);
      assert.equal(await page.locator("main img").count(), 0);
      const text = await page.locator("main").textContent();
      assert.ok(text.includes("<script>window.hacked") && text.includes("b\\u0007c\\u0085"), text);
      assert.ok(!/[\u202a-\u202e\u2066-\u2069\u200b]/.test(text));
    }
    assert.ok((await page.locator("main").textContent()).includes("\\u202efdp.exe\\u2066\\u200b"));
    await page.goto(`${federation.leader}/entries/${longId}`);
    const height = () => page.evaluate(() => document.documentElement.scrollHeight);
    const short = await height();
    await page.getByText("Show all of it").click();
    assert.ok(await height() > short * 3, "the rest is shown");
    assert.ok((await page.locator('[data-member="payload"]').textContent()).includes(LONG.text));
    await fits(page, "a long entry");
  });
});

check("everything can be reached with the keyboard, and the focus is seen", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page) => {
    await page.goto(federation.leader);
    await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").textContent(), "Skip to the content");
    for (let pressed = 0; pressed < 12; pressed += 1) {
      await page.keyboard.press("Tab");
      const outline = await page.locator(":focus").evaluate((of) => getComputedStyle(of).outlineWidth);
      assert.equal(outline, "3px");
    }
  });
});

async function verdictOf(page, url) {
  await page.goto(url);
  await page.getByRole("button", { name: /^Check/ }).click();
  const result = page.locator(".result.green, .result.red, .result.amber");
  await result.waitFor();
  const failures = await page.locator(".checks li.red strong").allTextContents();
  const colours = await result.getAttribute("class");
  return { colour: colours.replace("result ", ""), text: await result.textContent(), failed: failures };
}

check("the check in the browser is green on honest nodes, on every page", async () => {
  await visiting({}, async (page) => {
    const entries = [1, 2, hostileId, longId].map((id) => `${federation.leader}/entries/${id}`);
    for (const url of [`${federation.leader}/`, `${federation.follower}/`, ...entries]) {
      const { colour: shown, text, failed: faults } = await verdictOf(page, url);
      assert.deepEqual([shown, faults], ["green", []], `${url}: ${text}`);
    }
    await isAccessible(page, "after a check");
    await page.goto(federation.leader);
    await page.getByLabel("Operator key that you were told").fill(`sha256:${"0".repeat(64)}`);
    await page.getByRole("button", { name: /^Check/ }).click();
    await page.locator(".result.red").waitFor();
    assert.match(await page.locator(".checks li.red").textContent(), /^✕Operator key: fails\. It is not the key/);
  });
});

const changed = (hash) => hash.replace(/[0-9a-f]$/, (digit) => (digit === "0" ? "1" : "0"));

/** Each lie, and the step at which the browser finds it. */
const LIES = [
  ["Operator key", "/.well-known/diogenes", (body) => ({ ...body, operator_fingerprint: changed(body.operator_fingerprint) })],
  ["Identity of the log", "/api/v1/log/1", (body) => ({ ...body, payload: { ...body.payload, origin: "other.example/log" } })],
  ["Signature of the tree head", "/api/v1/log/sth", (body) => ({ ...body, root_hash: changed(body.root_hash) })],
  ["Signature of the tree head", "/api/v1/log/sth", (body) => ({ ...body, timestamp: `2020${body.timestamp.slice(4)}` })],
  ["Hash of the entry", "/api/v1/log/7", (body) => ({ ...body, payload: { told: "otherwise" } })],
  ["Inclusion of the entry", "/api/v1/log/inclusion-proof", (body) => ({ ...body, hashes: body.hashes.toReversed() })],
];

for (const [step, path, lie] of LIES) {
  check(`a lie about ${path} turns the check red at: ${step}`, async () => {
    await visiting({}, async (page) => {
      await page.goto(federation.mirror);
      federation.front.lie = (url, body) => (url.pathname === path ? lie(body) : body);
      await page.getByLabel("Entry (the newest if empty)").fill("7");
      await page.getByRole("button", { name: /^Check/ }).click();
      await page.locator(".result.red").waitFor();
      assert.deepEqual(await page.locator(".checks li.red strong").allTextContents(), [`${step}: `]);
      assert.match(await page.locator(".result").textContent(), new RegExp(`^Failed: ${step}`));
      federation.front.lie = null;
    });
  });
}

check("a head that the operator signed over another history is found by who saw the first", async () => {
  await visiting({}, async (page) => {
    const honest = await verdictOf(page, `${federation.mirror}/entries/7`);
    assert.equal(honest.colour, "green", honest.text);
    federation.front.lie = (url, body) => (url.pathname === "/api/v1/log/sth" ? federation.front.forked(body) : body);
    const fork = await verdictOf(page, `${federation.mirror}/entries/7`);
    federation.front.lie = null;
    assert.deepEqual([fork.colour, fork.failed], ["red", ["History that this browser has seen: "]]);
  });
});

check("an entry page that shows something else than the log holds is found out", async () => {
  await visiting({}, async (page) => {
    await page.goto(`${federation.leader}/entries/7`);
    await page.locator('[data-member="payload"]').evaluate((of) => {
      of.textContent = of.textContent.replace("diogenes", "platon");
    });
    await page.getByRole("button", { name: /^Check/ }).click();
    await page.locator(".result.red").waitFor();
    assert.deepEqual(await page.locator(".checks li.red strong").allTextContents(), ["Hash of the entry: "]);
  });
});

/** Waits until the node's status says it, then until the open page does, which has 5 s for it. */
async function shows(page, node, what, isSo, isShown) {
  await until(`${what}: the status`, async () => isSo(await federation.status(node)), 100);
  const known = Date.now();
  await until(`${what}: the page`, () => isShown(page), SOON / 1000);
  console.log(`  ${what}: shown ${Date.now() - known} ms after the status`);
}

check("a follower that cannot reach its leader says so on the open page, and heals", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page) => {
    await page.goto(federation.follower);
    assert.equal(await colour(page), "green");
    federation.liar.isCut = true;
    federation.append("x-test:release", [{ name: "diogenes", version: "1.0.0" }]);
    await shows(page, federation.follower, "a follower cut off", (status) => status.status === "BEHIND", async () => {
      return await colour(page) === "amber" && /is behind: no source answers/.test(await sentence(page)) && await page.locator("#mirror").getByText("BEHIND").isVisible();
    });
    await isAccessible(page, "behind");
    await picture(page, "behind");
    federation.liar.isCut = false;
    await shows(page, federation.follower, "a follower healed", (status) => status.verdict.colour === "green", async () => await colour(page) === "green");
  });
});

check("new entries, and a witness that does not sign, are seen on the open page", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page) => {
    await page.goto(federation.leader);
    federation.append("x-test:news", [{ n: 1 }]);
    await until("the new entry", () => page.locator("#entries").getByText("x-test:news").isVisible(), SOON / 1000);
    const silent = federation.authorizeSilentWitness("Silent Witness");
    await shows(page, federation.leader, "a witness missing", (status) => status.verdict.colour === "red", async () => {
      const row = page.locator("#witnesses tr", { hasText: "Silent Witness" });
      return await colour(page) === "red" && /Only 1 of the 2 witnesses/.test(await sentence(page)) && await row.getByText("never", { exact: true }).first().isVisible();
    });
    await isAccessible(page, "a witness missing");
    federation.revokeWitness(silent);
    await shows(page, federation.leader, "a quorum again", (status) => status.verdict.colour === "green", async () => await colour(page) === "green");
  });
});

check("a follower that stopped turns red on the leader's open page", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page) => {
    await page.goto(federation.leader);
    await federation.stop("follower");
    await shows(page, federation.leader, "a follower lost", (status) => status.followers[0].status === "ERROR", async () => {
      return await colour(page) === "red" && /1 of 1 followers fail or have vanished/.test(await sentence(page)) && await page.locator("#followers").getByText("it has stopped reporting").isVisible();
    });
    assert.match(await page.title(), /^Alarm/);
    await isAccessible(page, "a follower lost");
    await federation.startFollower();
    await federation.settle();
  });
});

check("a node that goes away leaves a page that says so", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page, faults) => {
    await page.goto(federation.follower);
    await page.getByText("live", { exact: true }).waitFor();
    await federation.stop("follower");
    await page.getByText("not connected: what you see may be old").waitFor();
    await federation.startFollower();
    await page.getByText("live", { exact: true }).waitFor({ timeout: 15000 });
    // The browser notes the broken stream itself.
    faults.splice(0, faults.length, ...faults.filter((fault) => !/net::ERR|Failed to load/.test(fault)));
  });
});

check("a fork is proven on the follower's open page, with the evidence to download", async () => {
  await visiting({ viewport: { width: 1280, height: 1000 } }, async (page, faults) => {
    await federation.settle();
    await page.goto(federation.follower);
    assert.equal(await colour(page), "green");
    federation.liar.lie = (url, body) => {
      if (url.pathname === "/api/v1/log/sth") {
        return federation.liar.forked(body);
      }
      return body.tree_head ? { ...body, tree_head: federation.liar.forked(body.tree_head) } : body;
    };
    await shows(page, federation.follower, "a fork", (status) => status.class === "latched", async () => {
      return await colour(page) === "red" && /stopped for good: the log key signed two histories/.test(await sentence(page)) && await page.locator("#incidents").getByText("open, proven").isVisible();
    });
    await isAccessible(page, "a fork");
    await picture(page, "fork");
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /^Download the evidence of incident/ }).first().click()]);
    const stream = await download.createReadStream();
    const pieces = await stream.toArray();
    const evidence = JSON.parse(Buffer.concat(pieces).toString());
    assert.deepEqual([evidence.type, evidence.kind], ["diogenes-evidence/v1", "fork_same_size"]);
    await pause(100);
    faults.splice(0, faults.length);
  });
});
