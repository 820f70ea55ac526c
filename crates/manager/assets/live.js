"use strict";
// Keeps a page live; every page works without.
(() => {
  // At the end of the session: to the sign-in.
  const open = (path) => {
    const source = new EventSource(path);
    source.addEventListener("bye", () => { source.close(); location.reload(); });
    return source;
  };
  const live = document.querySelectorAll("[data-live]");
  const note = document.getElementById("connection");
  if (live.length) {
    const source = open("/events");
    for (const part of live) {
      source.addEventListener(part.id, (event) => {
        if (part.innerHTML !== event.data) part.innerHTML = event.data;
      });
    }
    source.onopen = () => { if (note) note.textContent = ""; };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) location.reload();
      else if (note) note.textContent = note.dataset.away;
    };
  }
  // After a restart: back as soon as the box answers.
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
  // Something goes on: changed in place.
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
      } catch { /* The next try tells. */ }
    }, Number(poll.dataset.poll) * 1000);
  }
  // Proposes the reader's time zone.
  const zone = document.querySelector("select[data-zone]");
  const own = zone && Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (own && zone.querySelector(`option[value="${CSS.escape(own)}"]`)) zone.value = own;
  // The journal: new lines on top.
  const follow = document.querySelector("[data-follow]");
  if (follow) open(follow.dataset.follow).addEventListener("line", (event) => {
    follow.insertAdjacentHTML("afterbegin", event.data);
    while (follow.children.length > 500) follow.lastElementChild.remove();
  });
  const show = document.getElementById("show-passwords");
  if (show) {
    show.closest("p").hidden = false;
    show.addEventListener("change", () => {
      for (const field of document.querySelectorAll("input[data-secret]")) field.type = show.checked ? "text" : "password";
    });
  }
})();
