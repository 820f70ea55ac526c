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
    source.onopen = () => { if (note) note.textContent = ""; };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) leave();
      else if (note) note.textContent = "The box does not answer at the moment. What you see may be old.";
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
  // Something goes on: the page is asked for again, and changed in place only if it is another one.
  const poll = document.querySelector("[data-poll]");
  if (poll) {
    setInterval(async () => {
      try {
        const from = poll.dataset.from || location.href;
        const answer = await fetch(from, { cache: "no-store", signal: AbortSignal.timeout(5000) });
        if (answer.redirected) return location.replace(answer.url);
        if (!answer.ok) return;
        const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
        const main = document.querySelector("main");
        if (next && !next.querySelector("[data-poll]")) return location.replace(from);
        if (next && next.innerHTML !== main.innerHTML) main.innerHTML = next.innerHTML;
      } catch { /* The box is busy or away: the next try tells. */ }
    }, Number(poll.dataset.poll) * 1000);
  }
  const show = document.getElementById("show-passwords");
  if (show) {
    show.closest("p").hidden = false;
    show.addEventListener("change", () => {
      for (const field of document.querySelectorAll("input[data-secret]")) field.type = show.checked ? "text" : "password";
    });
  }
})();
