"use strict";
// Refreshes the status part of the page when the node says that it changed, at most every 5 s.
// Without this script the page is complete, as of when it was loaded.
(function () {
  let last = Date.now();
  let busy = false;
  const events = new EventSource("/events");
  events.addEventListener("status", async function () {
    if (busy || document.hidden || Date.now() - last < 5000) {
      return;
    }
    busy = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("live");
        if (fresh) {
          document.getElementById("live").replaceWith(fresh);
          document.title = page.title;
        }
      }
    } catch {
      // The node is away; the stream reconnects by itself.
    } finally {
      last = Date.now();
      busy = false;
    }
  });
})();
