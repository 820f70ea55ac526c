"use strict";
// Keeps a page live where the browser runs scripts; every page works without.
(() => {
  const live = document.querySelectorAll("[data-live]");
  const note = document.getElementById("connection");
  if (live.length && window.EventSource) {
    const source = new EventSource("/events");
    for (const part of live) {
      source.addEventListener(part.id, (event) => {
        if (part.innerHTML !== event.data) part.innerHTML = event.data;
      });
    }
    // The session is over: the server sends the page to the sign-in.
    const leave = () => { source.close(); location.reload(); };
    source.addEventListener("bye", leave);
    source.onopen = () => { note.textContent = ""; };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) leave();
      else note.textContent = "The box does not answer at the moment. What you see may be old.";
    };
  }
  // After a restart: back to the start page as soon as the box answers again.
  const wait = document.querySelector("[data-wait]");
  if (wait) {
    let gone = false;
    setInterval(async () => {
      try {
        const answer = await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(3000) });
        if (answer.ok && gone) location.replace("/");
      } catch { gone = true; }
    }, 3000);
  }
  const show = document.getElementById("show-passwords");
  if (show) {
    show.closest("p").hidden = false;
    show.addEventListener("change", () => {
      for (const field of document.querySelectorAll("input[data-secret]")) field.type = show.checked ? "text" : "password";
    });
  }
})();
