// Tells when the link to the server is lost: every stream says `tick` every 2 s. Without one for 6 s nothing on the
// page is believed, and the connection is made anew. A hidden page has closed its stream, and is told all when it is
// looked at again.
"use strict";
(() => {
  const LOST_MS = 6000;
  const live = document.querySelector("[hx-sse\\:connect]");
  const banner = document.getElementById("link");
  if (!live || !banner) return;
  let heard = performance.now();
  const show = (lost) => {
    banner.hidden = !lost;
    document.body.classList.toggle("lost", lost);
  };
  live.addEventListener("tick", () => { heard = performance.now(); show(false); });
  live.addEventListener("ended", () => location.reload());
  // a server that was started anew knows nobody any more
  live.addEventListener("htmx:sse:error", (event) => { if (event.detail?.status === 401) location.reload(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) heard = performance.now(); });
  setInterval(() => {
    if (document.hidden || performance.now() - heard < LOST_MS) return;
    show(true);
    heard = performance.now() - LOST_MS / 2; // and again after half the time
    live._htmx?.sse?.reader?.cancel(); // a connection that is half open ends only so
  }, 500);
})();
