// Keeps the page current without a reload: whenever the node says that its status changed, the page
// is fetched again and the parts that differ are replaced. A change of somebody's state is shown at
// once, ages and counters every few seconds. Without this script the page is complete, as of when it
// was loaded.

const PATIENCE = 4000;
const AT_ONCE = 400;

document.documentElement.classList.add("scripted");
document.addEventListener("click", copy);
if (document.querySelector("[data-live]")) {
  watch();
}

function watch() {
  const events = new EventSource("/events");
  const live = document.getElementById("connection");
  let states = null;
  let last = Date.now();
  let timer = null;
  let busy = false;
  const plan = (delay) => {
    const due = Math.max(0, delay);
    if (timer === null || timer.due > Date.now() + due) {
      clearTimeout(timer?.id);
      timer = { due: Date.now() + due, id: setTimeout(refresh, due) };
    }
  };
  const refresh = async () => {
    timer = null;
    if (document.hidden) {
      return;
    }
    if (busy) {
      plan(AT_ONCE);
      return;
    }
    busy = true;
    try {
      await update();
    } catch {
      // The node is away; the stream says so.
    }
    last = Date.now();
    busy = false;
  };
  events.addEventListener("status", (event) => {
    const now = statesOf(JSON.parse(event.data));
    const changed = states !== null && states !== now;
    states = now;
    plan(changed ? AT_ONCE : PATIENCE - (Date.now() - last));
  });
  events.addEventListener("open", () => {
    live.textContent = "live";
    live.className = "connection";
    plan(AT_ONCE);
  });
  events.addEventListener("error", () => {
    live.textContent = "not connected: what you see may be old";
    live.className = "connection lost";
  });
  document.addEventListener("visibilitychange", () => plan(AT_ONCE));
  addEventListener("pagehide", () => events.close());
}

/** What must be seen at once: who is in which state, and nothing that changes by itself. */
function statesOf(status) {
  const of = (rows) => (rows ?? []).map((row) => [row.fingerprint, row.status, row.reason]);
  return JSON.stringify([
    status.verdict.colour,
    status.status,
    status.reason,
    status.evidence,
    status.incidents_open,
    of(status.followers),
    of(status.witnesses),
  ]);
}

async function update() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) {
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const before = document.querySelector("main").dataset.colour;
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other && other.innerHTML !== part.innerHTML) {
      replace(part, other);
    }
  }
  const colour = fresh.querySelector("main").dataset.colour;
  if (colour !== before) {
    document.querySelector("main").dataset.colour = colour;
    const icon = fresh.querySelector("link[rel=icon]").getAttribute("href");
    document.querySelector("link[rel=icon]").setAttribute("href", icon);
    // Read out: not every second, but when the colour changes.
    document.getElementById("news").textContent = document.querySelector(".verdict").textContent;
  }
  document.title = fresh.title;
}

/** Replaces what a part shows; whoever had the focus in it keeps it. */
function replace(part, other) {
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  if (focused?.matches("input")) {
    return;
  }
  const key = focused?.dataset.copy ?? focused?.getAttribute("href");
  part.replaceChildren(...other.childNodes);
  if (key) {
    const again = [...part.querySelectorAll("[data-copy], a")];
    again.find((one) => (one.dataset.copy ?? one.getAttribute("href")) === key)?.focus();
  }
}

async function copy(event) {
  const button = event.target.closest("button[data-copy]");
  if (button === null) {
    return;
  }
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  } catch {
    select(button.previousElementSibling);
    button.textContent = "selected";
  }
  setTimeout(() => {
    button.textContent = label;
  }, 1500);
}

/** Where there is no clipboard, the text is selected, to be copied by hand. */
function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}
