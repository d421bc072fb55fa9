// Keeps the views of machines and of the gateway fresh: what the server has is fetched and put in place piece by piece, so
// that focus, selection and what is unfolded stay. And lets people choose times of the history in their own zone.
"use strict";

(() => {
  const RETRY = [2000, 2000, 5000, 10000, 15000];

  const { all, localise, phrase } = explaind;

  // The form of the history: fields show local times, and what is sent has its zone.
  for (const form of all(document, "[data-filters]")) {
    const fields = all(form, "input[type=datetime-local]");
    const two = (number) => String(number).padStart(2, "0");
    for (const field of fields) {
      const zone = form.querySelector(`label[for="${field.id}"] [data-zone]`);
      if (zone) zone.textContent = zone.dataset.zone;
      const at = new Date(field.dataset.at ?? "");
      if (Number.isNaN(at.getTime())) continue;
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      field.value = `${day}T${two(at.getHours())}:${two(at.getMinutes())}`;
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) {
        if (value === "") continue;
        const isTime = fields.some((field) => field.name === name);
        query.append(name, isTime ? new Date(value).toISOString() : value);
      }
      location.assign(`${form.action}?${query}`);
    });
  }

  const view = document.querySelector("#view[data-live]");
  if (!view) return;

  const line = document.getElementById("line");
  const lost = document.getElementById("lost");

  // Makes `old` what `fresh` is. Elements stay where their name and key are the same; what somebody unfolded stays so.
  const key = (node) => node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
  const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);
  function become(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of Array.from(old.attributes)) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of Array.from(fresh.attributes)) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    let place = old.firstChild;
    for (const child of Array.from(fresh.childNodes)) {
      let match = place;
      while (match && !alike(match, child)) match = match.nextSibling;
      // Without a key only the next one counts: what lies further on is another one of the same kind.
      if (match && (match === place || key(child))) {
        while (place !== match) {
          const gone = place;
          place = place.nextSibling;
          gone.remove();
        }
        place = match.nextSibling;
        become(match, child);
      } else {
        old.insertBefore(child, place);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  let failures = 0;
  let timer = 0;

  function up() {
    failures = 0;
    lost.hidden = true;
    line.hidden = false;
    line.classList.remove("down");
    line.querySelector(".text").textContent = phrase("live");
  }

  function down() {
    failures += 1;
    line.hidden = false;
    line.classList.add("down");
    line.querySelector(".text").textContent = phrase("notConnected");
    explaind.hold(phrase("lost"));
  }

  async function look() {
    clearTimeout(timer);
    try {
      const answer = await fetch(view.dataset.live, { cache: "no-store", signal: AbortSignal.timeout(15000) });
      if (answer.status === 401) {
        explaind.signedOut();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("view");
      if (!fresh) throw new Error("no view");
      localise(fresh);
      become(view, fresh);
      up();
    } catch {
      down();
    }
    next();
  }

  function next() {
    clearTimeout(timer);
    const wait = failures > 0 ? RETRY[Math.min(failures - 1, RETRY.length - 1)] : Number(view.dataset.every);
    if (!document.hidden) timer = setTimeout(look, wait);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else look();
  });
  window.addEventListener("online", look);
  next();
})();
