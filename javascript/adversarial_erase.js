/* The page's part of the Adversarial Erase tab: it asks for news about once a second while a job is running, passes on
   clicks, and puts a LoRA into the txt2img prompt. The server decides all else, so that two pages never disagree. */
"use strict";

(() => {
  const BUSY_MS = 1000; // from an answer to the next question while a job is running
  const IDLE_MS = 4000;
  const PATIENCE_MS = 20000; // after that, an answer counts as lost
  const CHECK_MS = 350; // after the last change of the form
  // What each clickable thing calls; whatever is not named here is an action of a run.
  const CALLS = {
    "chip-erase": "chip", "chip-protect": "chip", "chip-auto": "chip",
    settings: "load", remedy: "load", "preset-overwrite": "preset", share: "share",
    keep: "keep", "keep-off": "keep", publish: "publish", "publish-not": "publish",
  };
  const ALWAYS = "setting_adversarial_erase_always";
  const REFRESH = ["txt2img_lora_extra_refresh_internal", "img2img_lora_extra_refresh_internal"];
  const REFRESH_CHECKPOINTS = "refresh_sd_model_checkpoint"; // beside the web UI's own list

  const page = { job: "", step: null }; // what this page shows
  const says = { action: "", value: "" }; // what goes with the next call
  const open = new Map(); // <details> by name
  const answered = new Set(); // calls whose answer has arrived
  let serial = 0;
  let asked = { serial: 0, time: 0 }; // the poll that is under way; serial 0: none
  let polled = 0; // the poll that was answered last
  let lost = 0; // polls in a row without an answer
  let pollTimer = 0;
  let checkTimer = 0;
  let filled = ""; // the name of the LoRA that was put into its box for the user
  let states = null; // of jobs, as last seen: a job that was running and is done now has made a LoRA
  let arrived = ""; // the job whose result comes into view once it is drawn
  let said = { job: "", state: "" }; // what was announced last
  const errands = new Map(); // the states of the errands that were seen last, by block
  let edited = false; // whether the user has written into the web UI's own setting for what is always on
  let focus = null; // the button that had the focus, to find it again when its HTML is replaced

  const find = (id) => document.getElementById(id);
  const tab = () => find("ae_tab");
  const block = (name) => tab()?.querySelector(`[data-ae-block="${name}"]`);

  /** Press a button. Older gradio gives the id to the button itself, newer ones may wrap it. */
  function press(id) {
    const element = find(id);
    const button = element?.matches("button") ? element : element?.querySelector("button");
    if (!button) return false;
    button.click();
    return true;
  }

  function call(name, action, value) {
    says.action = action;
    says.value = value;
    return press(`ae_call_${name}`);
  }

  /** Return what goes with a call, see erasure/ui/page.py. */
  function message(name) {
    const sent = { serial: ++serial, action: name, value: "", job: page.job, step: page.step, filled, tokens: {} };
    if (says.action) Object.assign(sent, says);
    Object.assign(says, { action: "", value: "" });
    if (name === "start") Object.assign(page, { job: "", step: null });
    if (name === "preset-delete" && !window.confirm("Delete this preset?")) sent.action = "";
    for (const shown of tab()?.querySelectorAll("[data-ae-block]") ?? []) {
      sent.tokens[shown.dataset.aeBlock] = shown.dataset.aeToken;
    }
    if (name === "poll") {
      sent.seen = find("ae_pulse_block")?.querySelector("[data-ae-seen]")?.dataset.aeSeen ?? "";
      asked = { serial, time: Date.now() };
    }
    return JSON.stringify(sent);
  }

  // --- news

  function poll() {
    clearTimeout(pollTimer);
    pollTimer = setTimeout(poll, BUSY_MS);
    if (document.hidden) return; // it asks at once when it is visible again
    if (asked.serial) {
      if (Date.now() - asked.time < PATIENCE_MS * Math.min(8, 2 ** lost)) return;
      lost += 1;
    }
    call("poll", "", "");
  }

  function heard(number) {
    polled = Math.max(polled, number);
    if (number !== asked.serial) return;
    asked = { serial: 0, time: 0 };
    lost = 0;
    clearTimeout(pollTimer);
    const busy = block("status")?.dataset.aeActive === "1";
    pollTimer = setTimeout(poll, busy ? BUSY_MS : IDLE_MS);
  }

  /** Ask now, or as soon as the question under way is answered. */
  function hurry() {
    clearTimeout(pollTimer);
    pollTimer = setTimeout(poll, asked.serial ? 150 : 0);
  }

  /** The form has changed: name, estimate and chips follow a moment after the last key. */
  function changed() {
    clearTimeout(checkTimer);
    checkTimer = setTimeout(() => call("check", "", ""), CHECK_MS);
  }

  /** Let the LoRA's name follow the concept, unless the user has edited it or is doing so. */
  function suggest(name) {
    const box = find("ae_name")?.querySelector("textarea, input");
    if (!box || box === document.activeElement || !["", filled].includes(box.value.trim())) return;
    filled = name;
    if (box.value !== name) write(box, name);
  }

  /** Show the list of what is always on in the web UI's own settings too, unless it is being edited there: its button
      saves all that the page holds, and would put an older list back. */
  function mirror(rules) {
    const box = find(ALWAYS)?.querySelector("textarea");
    if (box && !edited && box.value !== rules) write(box, rules);
  }

  /** When a job is done, press Refresh on the Lora pages: web UIs show a new LoRA's card only then. */
  function refreshCards() {
    const shown = block("status");
    if (!shown) return;
    const now = new Map((shown.dataset.aeStates ?? "").split(" ").filter(Boolean).map((pair) => pair.split(":")));
    const finished = [...now].filter(([id, state]) => {
      const before = states?.get(id);
      return ["done", "stopped"].includes(state) && before && before !== state;
    }).map(([id]) => id);
    states = now;
    if (finished.length) {
      if (finished.includes(shown.dataset.aeJob)) arrived = shown.dataset.aeJob;
      REFRESH.forEach(press);
      changed(); // the name is taken now, and the time per update is known
    }
  }

  /** Take away that a job has started once it has ended, and that it waits once it does not. */
  function forgetStart() {
    for (const note of tab()?.querySelectorAll("[data-ae-started]") ?? []) {
      const { aeStarted: job, aeWaits: waits } = note.dataset;
      const state = states?.get(job);
      if (!job || !note.firstChild) continue;
      note.dataset.aeSince ??= serial;
      if (!state && polled <= Number(note.dataset.aeSince)) continue; // no news of it yet
      const ended = !state || ["done", "stopped", "failed", "interrupted"].includes(state);
      if (ended || (waits === "1" && state !== "queued")) note.replaceChildren();
    }
  }

  // --- the result

  /** Bring the result of the shown job into view, but keep the focus, and do not scroll while the user types. */
  function showResult() {
    const result = block("result");
    if (!arrived || result?.dataset.aeJob !== arrived || !result.querySelector(".ae-result")) return;
    arrived = "";
    if (document.activeElement?.matches("input, textarea")) return;
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { top, bottom } = result.getBoundingClientRect();
    if (top >= 0 && bottom <= window.innerHeight) return;
    block("status").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" }); // with the card below it
  }

  /** Tell assistive technology when the state of the shown job changes. */
  function announce() {
    const shown = block("status");
    const now = { job: shown?.dataset.aeJob ?? "", state: shown?.querySelector(".ae-pill")?.textContent.trim() ?? "" };
    if (now.job === said.job && now.state === said.state) return;
    const another = now.job !== said.job;
    said = now;
    if (another || !now.state) return; // chosen by hand, or just opened
    const parts = [".ae-name", ".ae-pill", ".ae-message"].map((part) => shown.querySelector(part)?.textContent.trim());
    const check = block("result")?.querySelector(".ae-check")?.textContent.trim();
    live().textContent = [...parts, ["Done", "Stopped"].includes(now.state) ? check : ""].filter(Boolean).join(". ");
  }

  /** Return a block whose errand has ended since the last look, else null. It may take less time than passes between two
      polls, so that it was never seen at work; what had ended before the page was opened is no news. */
  function ended(name, atWork) {
    const shown = block(name);
    const { aeState: state, aeMade: made = "" } = shown?.dataset ?? {};
    if (state === undefined) return null; // no poll has drawn it yet
    const before = errands.get(name);
    const now = `${state} ${made}`;
    errands.set(name, now);
    return before !== undefined && before !== now && state && state !== atWork ? shown : null;
  }

  /** The same for the end of a measurement, a bake, an upload, a combination, which may have made a LoRA, or a search for
      nearby concepts, which the chips follow. */
  function announceErrands() {
    const measured = ended("measure", "measuring");
    if (measured) live().textContent = `Measured. ${words(measured.querySelector(".ae-check") ?? measured)}`;
    const summed = ended("combine", "combining");
    if (summed?.dataset.aeMade) REFRESH.forEach(press);
    const baked = ended("bake", "baking");
    if (baked?.dataset.aeState === "done") press(REFRESH_CHECKPOINTS);
    for (const done of [summed, baked, ended("publish", "uploading")]) {
      if (done) live().textContent = words(done);
    }
    const found = ended("search", "searching");
    if (!found) return;
    changed();
    live().textContent = words(found) || "Nearby concepts are found.";
  }

  // Unlike textContent, with a break between what stands one below the other.
  const words = (element) => element.innerText.trim();

  /** Return a place that stays when all else is replaced: only then are its changes announced. */
  function live() {
    const there = find("ae_live");
    if (there) return there;
    const made = document.createElement("div");
    made.id = "ae_live";
    made.className = "ae-live";
    made.setAttribute("role", "status");
    document.body.append(made);
    return made;
  }

  // --- the prompt

  const prompt = () => find("txt2img_prompt")?.querySelector("textarea, input");
  const tagOf = (name) => new RegExp(`\\s*<lora:${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}:[^<>]*>`, "g");

  function weight() {
    const value = parseFloat(find("ae_weight")?.querySelector("input[type=number], input[type=range]")?.value);
    return Number.isFinite(value) ? value : 1;
  }

  function write(box, text) {
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** Return the prompt. Newer gradio draws a tab only when it is first shown, so show txt2img for a moment. */
  async function drawnPrompt() {
    for (let wait = 0; !prompt() && wait < 30; wait += 1) {
      if (wait === 0) find("tab_txt2img-button")?.click();
      await new Promise((go) => { setTimeout(go, 100); });
    }
    find("tab_adversarial_erase-button")?.click();
    return prompt();
  }

  async function insert(name) {
    const box = prompt() ?? await drawnPrompt();
    if (!box) {
      window.alert("There is no txt2img prompt on this page.");
      return;
    }
    const without = box.value.replace(tagOf(name), "");
    write(box, without === box.value ? `${box.value.trimEnd()} <lora:${name}:${weight()}>`.trimStart() : without);
    showInserted();
  }

  /** Let the weight of a LoRA that is in the prompt follow the slider. */
  function weigh() {
    const name = tab()?.querySelector('[data-ae-action="insert"]')?.dataset.aeValue;
    const box = prompt();
    if (!name || !box || !tagOf(name).test(box.value)) return;
    const text = box.value.replace(tagOf(name), (tag) => tag.replace(/:[^:]*>$/, `:${weight()}>`));
    if (text !== box.value) write(box, text);
  }

  function showInserted() {
    for (const button of tab()?.querySelectorAll('[data-ae-action="insert"]') ?? []) {
      const inside = tagOf(button.dataset.aeValue).test(prompt()?.value ?? "");
      const text = inside ? "Remove from txt2img" : "Insert into txt2img";
      if (button.textContent !== text) button.textContent = text;
      if (button.getAttribute("aria-pressed") !== String(inside)) button.setAttribute("aria-pressed", String(inside));
      button.removeAttribute("aria-label");
    }
  }

  // --- clicks, and what is kept when HTML is replaced

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.aeValue);
      button.classList.add("ae-copied");
      setTimeout(() => button.classList.remove("ae-copied"), 1500);
    } catch {
      window.prompt("Copy this:", button.dataset.aeValue);
    }
  }

  function clicked(event) {
    const button = event.target.closest?.("[data-ae-action]");
    if (!button || !tab()?.contains(button) || button.disabled) return;
    const { aeAction: action, aeValue: value, aeConfirm: question } = button.dataset;
    if (question && !window.confirm(question)) return;
    if (action === "copy") copy(button);
    else if (action === "insert") insert(value);
    else if (action === "select") look(value);
    else if (action === "step") {
      page.step = Number(value);
      hurry();
    } else call(CALLS[action] ?? "act", action, value);
    if (action === "share" || action === "keep") find(`ae_${action}_part`)?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  function look(job) {
    Object.assign(page, { job, step: null });
    hurry();
    find("ae_run")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  const key = (button) => [button.closest("[data-ae-block]")?.dataset.aeBlock, button.dataset.aeAction,
    button.dataset.aeValue].join("\n");

  function keepFocus() {
    if (!focus || focus.element.isConnected || document.activeElement !== document.body) return;
    for (const button of tab().querySelectorAll("[data-ae-action]")) {
      if (key(button) === focus.key) {
        focus.element = button;
        button.focus({ preventScroll: true });
        return;
      }
    }
  }

  function replaced() {
    for (const details of tab()?.querySelectorAll("details[data-ae-keep]") ?? []) {
      const wanted = open.get(details.dataset.aeKeep);
      if (wanted !== undefined && details.open !== wanted) details.open = wanted;
    }
    for (const element of tab()?.querySelectorAll("[data-ae-answer]") ?? []) {
      const number = Number(element.dataset.aeAnswer);
      if (!number || answered.has(number)) continue;
      answered.add(number);
      if (element.closest("#ae_pulse_block")) heard(number);
      else if (element.closest("#ae_estimate_block")) suggest(element.dataset.aeSuggested ?? "");
      else hurry();
      if (element.dataset.aeRules !== undefined) mirror(element.dataset.aeRules);
    }
    refreshCards();
    forgetStart();
    showResult();
    announce();
    announceErrands();
    showInserted();
    if (tab()) keepFocus();
  }

  let watched = null;

  /** Watch the tab once it is there: newer gradio draws it when it is first shown, and may draw it again. */
  function watch() {
    if (watched?.isConnected || !tab() || !find("ae_call_poll")) return;
    watched = tab();
    live();
    asked = { serial: 0, time: 0 };
    new MutationObserver(replaced).observe(watched, { childList: true, subtree: true });
    new IntersectionObserver((seen) => {
      if (seen.some((entry) => entry.isIntersecting)) call("open", "", "");
    }).observe(watched);
    hurry();
    changed();
  }

  document.addEventListener("click", clicked);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) hurry(); });
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#txt2img_prompt")) showInserted();
    if (event.isTrusted && event.target.closest?.(`#${ALWAYS}`)) edited = true;
  });
  document.addEventListener("click", (event) => { if (event.target.closest?.("#settings_submit")) edited = false; });
  document.addEventListener("toggle", (event) => {
    const name = event.target.dataset?.aeKeep;
    if (name !== undefined && event.target.isConnected) open.set(name, event.target.open);
  }, true);
  document.addEventListener("focusout", (event) => { if (event.target.closest?.("#ae_name")) changed(); });
  document.addEventListener("focusin", (event) => {
    const button = event.target.closest?.("[data-ae-action]");
    focus = button && tab()?.contains(button) ? { element: button, key: key(button) } : null;
  });

  window.adversarialErase = { message, changed, weigh };
  setInterval(watch, 300);
})();
