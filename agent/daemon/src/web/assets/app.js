// Makes the page live: what changed is fetched as the server renders it and put in place, card by card. Cards that did
// not change are not touched, and one that somebody has in hand keeps what it shows until they are done.
"use strict";

const explaind = (() => {
  const RETRY = [1000, 2000, 5000, 10000, 15000];
  const SILENCE = 40000; // The server says something every 15 s.
  const PACE = 1000; // Between two looks at the server.

  const all = (root, selector) => Array.from(root.querySelectorAll(selector));
  const byId = (id) => document.getElementById(id);

  // What the server says in the page's language; gaps stand in braces.
  const words = byId("words")?.dataset ?? {};
  const phrase = (name, gaps = {}) => (words[name] ?? "").replace(/\{(\w+)\}/g, (_, gap) => gaps[gap] ?? "");

  // Times in the viewer's zone, written as in the page's language, in the viewer's own flavour of it.
  const language = document.documentElement.lang;
  const locales = [...navigator.languages.filter((tag) => tag.split("-")[0] === language), language];
  const today = new Intl.DateTimeFormat(locales, { timeStyle: "medium" });
  const otherDay = new Intl.DateTimeFormat(locales, { dateStyle: "medium", timeStyle: "short" });
  const full = new Intl.DateTimeFormat(locales, { dateStyle: "full", timeStyle: "long" });
  function localise(root) {
    for (const time of all(root, "time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const isToday = at.toDateString() === new Date().toDateString();
      time.textContent = (isToday ? today : otherDay).format(at);
      time.title = full.format(at);
    }
  }
  localise(document);

  const board = byId("board");
  const line = byId("line");
  const lost = byId("lost");
  const news = byId("news");
  const title = document.title.replace(/^\(\d+\) /, "");

  function say(text) {
    news.textContent = "";
    // A change that follows an emptying is read out even when the words are the same.
    setTimeout(() => { news.textContent = text; }, 50);
  }

  function hold(text, ...more) {
    if (lost.dataset.text !== text) {
      lost.dataset.text = text;
      lost.replaceChildren(text, ...more);
    }
    lost.hidden = false;
  }

  // Fields that somebody has filled in and not sent.
  function dirty(field) {
    if (field.type === "hidden" || field.type === "submit") return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.options) {
      return field.selectedIndex !== Math.max(0, Array.from(field.options).findIndex((option) => option.defaultSelected));
    }
    return field.value !== field.defaultValue;
  }
  const fields = (root) => all(root, "input, textarea, select");
  const typed = (root) => fields(root).some(dirty);

  // Somebody is signed out: to the sign-in and back, unless that would cost what they have written.
  let over = false;
  function signedOut(unsent = false) {
    const card = document.activeElement?.closest("[data-key]");
    const back = words.view + location.search + (card ? `#${card.id}` : "");
    const address = `/sign-in?ended=true&back=${encodeURIComponent(back)}`;
    if (!unsent && !typed(document)) {
      location.assign(address);
      return;
    }
    over = true;
    const link = document.createElement("a");
    Object.assign(link, { href: address, target: "_blank", rel: "noopener", textContent: phrase("signInAgain") });
    hold(phrase("sessionOver"), " ", link);
  }

  const common = { language, localise, live: Boolean(board), all, byId, phrase, say, hold, dirty, fields, typed, signedOut, look: () => {}, whenFresh: [], showNewer: () => {} };
  if (!board) return common;

  // Putting news in place.

  const cards = (root) => new Map(all(root, "[data-key]").map((card) => [card.dataset.key, card]));
  const inHand = (card) => card.contains(document.activeElement) || typed(card) || card.matches(":hover");
  const byKeyed = (root, id) => (id ? root.querySelector(`[id="${CSS.escape(id)}"]`) : null);

  function carryOver(from, to, held) {
    for (const field of fields(from).filter(dirty)) {
      const same = byKeyed(to, field.id);
      if (!same) continue;
      if ("checked" in same && /checkbox|radio/.test(same.type)) same.checked = field.checked;
      else same.value = field.value;
    }
    for (const ask of all(from, "details.ask[open]")) {
      const same = byKeyed(to, ask.id);
      if (same) same.open = true;
    }
    // A card that closes under somebody's hand stays open as a row.
    if (from.open || (held && from.tagName !== to.tagName)) to.open = true;
    to.changedAt = from.dataset.prediction === to.dataset.prediction ? 0 : performance.now();
  }

  // The card to show where the server now has `fresh`: the old one while it says the same or is being worked with.
  function choose(old, fresh, held) {
    if (!old) {
      fresh.classList.add("fresh");
      return fresh;
    }
    if (old.dataset.version === fresh.dataset.version && old.tagName === fresh.tagName) return old;
    // What waits to be sent, and says so, is sent from the card that it was written on.
    if (old.querySelector("form[data-sending]")) return old;
    const otherEvidence = old.dataset.prediction !== fresh.dataset.prediction;
    if (otherEvidence && held && old.tagName === fresh.tagName && old.querySelector(".newer")) {
      old.newer = fresh;
      old.querySelector(".newer").hidden = false;
      old.className = fresh.className;
      const state = old.querySelector(".head .state");
      if (state) state.textContent = fresh.querySelector(".head .state").textContent;
      return old;
    }
    carryOver(old, fresh, held);
    return fresh;
  }

  function arrange(list, wanted) {
    const keep = new Set(wanted);
    for (const child of Array.from(list.children)) if (!keep.has(child)) child.remove();
    let place = list.firstElementChild;
    for (const card of wanted) {
      if (card === place) place = place.nextElementSibling;
      else list.insertBefore(card, place);
    }
  }

  function swap(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("board");
    if (!fresh) return;
    localise(fresh);
    const known = cards(board);
    const held = new Set([...known.values()].filter(inHand));
    const active = document.activeElement;
    const focus = board.contains(active) ? { id: active.id, key: active.closest("[data-key]")?.dataset.key } : null;
    const selection = active && "selectionStart" in active ? [active.selectionStart, active.selectionEnd] : null;
    // What is being read stays where it is on the screen.
    const anchor = [...known.values()].find((card) => card.getBoundingClientRect().bottom > 0);
    const before = anchor?.getBoundingClientRect().top;

    const arrived = all(fresh, "[data-list=open] > [data-key]").filter((card) => !known.has(card.dataset.key));
    for (const list of all(fresh, "[data-list]")) {
      const wanted = Array.from(list.children, (card) => {
        const old = known.get(card.dataset.key);
        return choose(old, card, held.has(old));
      });
      arrange(board.querySelector(`[data-list="${list.dataset.list}"]`), wanted);
    }
    for (const part of all(fresh, "[data-part]")) {
      const old = board.querySelector(`[data-part="${part.dataset.part}"]`);
      if (old.innerHTML !== part.innerHTML) old.replaceChildren(...part.childNodes);
    }
    for (const part of all(fresh, "[data-part-hidden]")) {
      board.querySelector(`[data-part-hidden="${part.dataset.partHidden}"]`).hidden = part.hidden;
    }
    // Who has signed in anew has another secret, also on the cards that stayed.
    if (fresh.dataset.csrf) all(document, "input[name=csrf]").forEach((field) => { field.value = fresh.dataset.csrf; });
    common.whenFresh.forEach((then) => then());
    const waiting = Number(fresh.dataset.waiting);
    document.title = waiting > 0 ? `(${waiting}) ${title}` : title;

    if (focus && document.activeElement !== active) refocus(focus, selection);
    const shown = anchor && (anchor.isConnected ? anchor : cards(board).get(anchor.dataset.key));
    if (shown && window.scrollY > 0) window.scrollBy(0, shown.getBoundingClientRect().top - before);
    if (arrived.length === 1) say(phrase("newAlert", { name: arrived[0].dataset.name }));
    else if (arrived.length > 1) say(phrase("newAlerts", { count: arrived.length }));
  }

  function refocus(focus, selection) {
    const card = focus.key && cards(board).get(focus.key);
    const target = byKeyed(board, focus.id) ?? card?.querySelector("h2, summary") ?? board;
    target.focus({ preventScroll: true });
    if (selection && "setSelectionRange" in target) target.setSelectionRange(...selection);
  }

  // Looking at the server: one look at a time, and not too often.

  let looking = false;
  let lookAgain = false;
  let timer = 0;
  let lookedAt = -PACE;
  function look() {
    if (looking || timer) {
      lookAgain = looking;
      return;
    }
    timer = setTimeout(async () => {
      timer = 0;
      looking = true;
      lookedAt = performance.now();
      try {
        const answer = await fetch(board.dataset.live, { cache: "no-store" });
        if (answer.status === 401) signedOut();
        else if (answer.ok) swap(await answer.text());
      } catch {
        // The line says so already.
      }
      looking = false;
      if (lookAgain) {
        lookAgain = false;
        look();
      }
    }, Math.max(0, lookedAt + PACE - performance.now()));
  }
  common.look = look;

  // The line of news.

  let source = null;
  let failures = 0;
  let watch = 0;
  let retry = 0;

  function up() {
    failures = 0;
    over = false;
    line.hidden = false;
    line.classList.remove("down");
    line.querySelector(".text").textContent = phrase("live");
    lost.hidden = true;
    lost.dataset.text = "";
    alive();
  }

  function down() {
    source?.close();
    source = null;
    clearTimeout(watch);
    line.hidden = false;
    line.classList.add("down");
    line.querySelector(".text").textContent = phrase("notConnected");
    if (!over) hold(phrase("lost"));
    clearTimeout(retry);
    if (!document.hidden) retry = setTimeout(connect, RETRY[Math.min(failures++, RETRY.length - 1)]);
  }

  function alive() {
    clearTimeout(watch);
    watch = setTimeout(down, SILENCE);
  }

  function connect() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource("/api/v1/events");
    source.onerror = down;
    source.addEventListener("hello", () => { up(); look(); });
    source.addEventListener("heartbeat", alive);
    source.addEventListener("prediction", alive);
    source.addEventListener("alert", () => { alive(); look(); });
    source.addEventListener("feedback", () => { alive(); look(); });
    for (const name of ["gateway", "reset"]) source.addEventListener(name, () => { alive(); look(); });
    source.addEventListener("explanation", (event) => {
      alive();
      const { prediction_id: id, kind } = JSON.parse(event.data);
      const card = `[data-prediction="${CSS.escape(id)}"]`;
      // What is said beside the reasons has a kind, and comes to a card that waits for nothing.
      const waiting = board.querySelector(kind ? card : `${card} [data-pending]`);
      // While a look is under way, the card may be on its way here.
      if (waiting || looking) look();
    });
    // Nobody may be signed in any more: the event source does not say, the list does.
    if (failures > 0) look();
  }

  // A page that nobody looks at holds no connection: browsers have only six to a host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
      clearTimeout(watch);
      clearTimeout(retry);
    } else if (!source) connect();
  });
  window.addEventListener("online", () => { if (!source) connect(); });
  connect();

  common.showNewer = (card) => {
    if (!card.newer) return;
    const fresh = card.newer;
    carryOver(card, fresh, true);
    card.replaceWith(fresh);
    fresh.querySelector("h2")?.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".newer button");
    if (button) common.showNewer(button.closest("[data-key]"));
  });
  return common;
})();
