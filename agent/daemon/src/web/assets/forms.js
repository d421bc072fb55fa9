// Acting without leaving the page. A form whose answer was lost is sent again when the gateway is back, with the same
// key, so that what it says is stored once.
"use strict";

(() => {
  const { all, language, phrase, say, fields, signedOut } = explaind;
  const SURPRISE = 600; // A press so soon after a card changed may be meant for what it showed before.
  const AGAIN = [1000, 2000, 5000, 10000]; // Between two tries to send what was not answered.

  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  function trouble(form, text) {
    const place = form.querySelector(".trouble");
    place.textContent = text && text[0].toUpperCase() + text.slice(1);
    place.hidden = !text;
  }

  function busy(form, on) {
    if (on) form.dataset.sending = "1";
    else delete form.dataset.sending;
    for (const button of all(form, "button")) {
      if (on) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  }

  // What was sent is no longer unsent. Acknowledging sends the comment alone.
  function settle(form, action) {
    for (const field of all(form, "textarea")) field.value = field.defaultValue = "";
    if (!action.endsWith("/feedback")) return;
    for (const field of form.elements) {
      if (field.type === "checkbox" || field.type === "radio") field.defaultChecked = field.checked;
      else if (field.options) Array.from(field.options).forEach((option) => { option.defaultSelected = option.selected; });
      else if (field.type === "text") field.defaultValue = field.value;
    }
  }

  const waiting = new Set();

  async function send(task) {
    const { form, action, body, button } = task;
    waiting.delete(task);
    clearTimeout(task.timer);
    let answer;
    try {
      // Who has signed in anew meanwhile has another secret.
      if (form.elements.csrf) body.set("csrf", form.elements.csrf.value);
      answer = await fetch(action, { method: "POST", body, redirect: "manual", headers: { "Accept-Language": language } });
    } catch {
      lost(task);
      return;
    }
    if (answer.status === 401 && "again" in form.dataset) {
      // It goes out once somebody has signed in again.
      trouble(form, phrase("sessionOver"));
      waiting.add(task);
      signedOut(true);
      return;
    }
    form.lost = null;
    busy(form, false);
    if (answer.type === "opaqueredirect" || answer.ok) {
      settle(form, action);
      trouble(form, "");
      if (form.dataset.then) {
        location.assign(form.dataset.then);
        return;
      }
      say(button.dataset.done);
      const card = form.closest("[data-key]");
      if (card) explaind.showNewer(card);
      explaind.look();
    } else if (answer.status === 401) {
      trouble(form, phrase("sessionOver"));
      signedOut();
    } else {
      const problem = await answer.json().catch(() => ({}));
      trouble(form, problem.detail ?? phrase("failed"));
    }
  }

  function lost(task) {
    const { form } = task;
    form.lost = task;
    if (!("again" in form.dataset)) {
      busy(form, false);
      trouble(form, phrase("notSent"));
      return;
    }
    trouble(form, phrase("waiting"));
    waiting.add(task);
    task.timer = setTimeout(() => send(task), AGAIN[Math.min(task.tries++, AGAIN.length - 1)]);
  }

  // Without the key and the secret: whether the same is said as the last time, of which nobody knows what became.
  function content(body) {
    const said = new URLSearchParams(body);
    said.delete("key");
    said.delete("csrf");
    return said.toString();
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const button = event.submitter;
    if (!form.matches("[data-act]") || !button) return;
    event.preventDefault();
    if (form.dataset.sending) return;
    const card = form.closest("[data-key]");
    if (card && performance.now() - (card.changedAt ?? -SURPRISE) < SURPRISE) {
      trouble(form, phrase("changedNow"));
      return;
    }
    for (const field of all(form, "input[data-utc]")) {
      const at = new Date(field.value);
      form.elements[field.dataset.utc].value = Number.isNaN(at.getTime()) ? "" : at.toISOString();
    }
    const body = new URLSearchParams(new FormData(form));
    if (button.name) body.append(button.name, button.value);
    const action = button.getAttribute("formaction") ?? form.getAttribute("action");
    if (body.has("key")) {
      const same = form.lost?.action === action && content(form.lost.body) === content(body);
      body.set("key", same ? form.lost.body.get("key") : fresh());
    }
    busy(form, true);
    send({ form, action, body, button, tries: 0, timer: 0 });
  });

  function again() {
    Array.from(waiting).forEach(send);
  }
  explaind.whenFresh.push(again);
  window.addEventListener("online", again);
  // A page that does not renew itself looks for the secret of a new sign-in when somebody comes back to it.
  window.addEventListener("focus", async () => {
    if (explaind.live || waiting.size === 0) return;
    const answer = await fetch(location.pathname, { cache: "no-store" }).catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const secret = page.querySelector("main input[name=csrf]")?.value;
    if (!secret) return;
    all(document, "input[name=csrf]").forEach((field) => { field.value = secret; });
    again();
  });
  window.addEventListener("beforeunload", (event) => { if (waiting.size > 0) event.preventDefault(); });

  // A signal mattered or it did not; and a choice can be taken back by choosing it again.
  document.addEventListener("change", ({ target }) => {
    if (!target.matches("[data-either]") || !target.checked) return;
    for (const other of fields(target.closest(".ticks"))) if (other !== target) other.checked = false;
  });
  document.addEventListener("click", ({ target }) => {
    if (!target.matches("input[data-undo]")) return;
    const was = target.dataset.on === undefined ? target.defaultChecked : target.dataset.on === "1";
    for (const other of fields(target.closest("fieldset"))) other.dataset.on = "";
    if (was) target.checked = false;
    else target.dataset.on = "1";
  });

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (key !== " " || !target.matches("input[data-undo]") || !target.checked) return;
    event.preventDefault();
    target.checked = false;
    target.dataset.on = "";
  });

  // Times of events are asked for in the person's own time zone.
  for (const field of all(document, "input[data-utc]")) {
    const at = new Date(`${field.value}Z`);
    const local = new Date(at.getTime() - at.getTimezoneOffset() * 60000);
    field.value = field.defaultValue = local.toISOString().slice(0, 16);
    const zone = field.parentElement.querySelector(".zone");
    if (zone) zone.textContent = phrase("local");
  }
})();
