(() => {
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEY = "microrace/" + data.quiz;
const LEVELS = [0.2, 0.4, 0.6, 0.8, 1];
const LEVEL_KEYS = ["a", "s", "d", "f", "g"];
const images = new Map(data.images.map((image) => [image.id, image]));

// Text only ever enters the page as text: labels are not trusted to be free of markup.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
const number = (x) => new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3, useGrouping: false }).format(x);
const percent = (x) => Math.round(100 * x) + "\u00a0%";
// A long label may break after its joints rather than anywhere.
const breakable = (label) => label.split(/(?<=[+/_-])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
const plural = (n, word) => n + " " + word + (n === 1 ? "" : "s");
function length(um) {
  if (um < 1) return number(um * 1000) + "\u00a0nm";
  return um < 1000 ? number(um) + "\u00a0µm" : number(um / 1000) + "\u00a0mm";
}
// The largest 1, 2 or 5 x 10^k not above the length; the small addition keeps 5 from becoming 2 in floating point.
function roundLength(um) {
  const power = 10 ** Math.floor(Math.log10(um) + 1e-9);
  return power * [5, 2, 1].find((digit) => digit * power <= um * (1 + 1e-9));
}

/* ---- state, kept in localStorage so that a closed tab costs nothing ---- */
let state = null;
let storageWorks = true;
const emptyDraft = () => ({ answer: null, confidence: null, seconds: 0 });
function save() {
  try { localStorage.setItem(KEY, JSON.stringify(state)); storageWorks = true; } catch { storageWorks = false; }
  $("storage-warning").hidden = storageWorks;
}
function forget() {
  state = null;
  try { localStorage.removeItem(KEY); } catch { storageWorks = false; }
}
// What a store holds may be anything: a state that does not fit this quiz is not used.
function load() {
  let found = null;
  try {
    found = JSON.parse(localStorage.getItem(KEY));
    localStorage.setItem(KEY + "/probe", "1");
    localStorage.removeItem(KEY + "/probe");
  } catch (error) {
    storageWorks = error instanceof SyntaxError;
  }
  $("storage-warning").hidden = storageWorks;
  const entry = (e) => e && typeof e.seconds === "number" && e.seconds >= 0 && (e.answer === null || data.options.includes(e.answer))
    && (e.confidence === null || LEVELS.includes(e.confidence));
  const fits = found && typeof found.pseudonym === "string" && (found.years === null || typeof found.years === "number")
    && Array.isArray(found.order) && found.order.length === images.size && new Set(found.order).size === images.size
    && found.order.every((id) => images.has(id)) && found.answers && entry(found.draft)
    && Object.entries(found.answers).every(([id, e]) => images.has(id) && entry(e) && e.answer !== null);
  return fits ? found : null;
}
function shuffled(list) {
  const order = [...list];
  for (let i = order.length - 1; i > 0; i--) {
    // Rejection keeps the draw uniform.
    const limit = 2 ** 32 - (2 ** 32 % (i + 1));
    let draw;
    do { draw = crypto.getRandomValues(new Uint32Array(1))[0]; } while (draw >= limit);
    const j = draw % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
const current = () => state.order.find((id) => !(id in state.answers));
const nAnswered = () => Object.keys(state.answers).length;

/* ---- screens ---- */
let screen = null;
function show(name) {
  stopClock();
  screen = name;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== "screen-" + name;
  window.scrollTo(0, 0);
  document.querySelector("#screen-" + name + " h1").focus({ preventScroll: true });
  startClock();
}
function ask(text, yes, no) {
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask-no").textContent = no;
  const dialog = $("ask");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
$("ask-yes").onclick = () => $("ask").close("yes");
$("ask-no").onclick = () => $("ask").close("no");

/* ---- the clock of a question: runs only while the page is in view ---- */
let since = null;
function tick() {
  if (since === null) return;
  const now = performance.now();
  const passed = (now - since) / 1000;
  // It ticks every second; a long gap means that the computer slept.
  state.draft.seconds += passed > 10 ? 1 : passed;
  since = now;
}
function startClock() {
  if (screen === "question" && document.visibilityState === "visible" && since === null) since = performance.now();
}
function stopClock() { tick(); since = null; }
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") return startClock();
  stopClock();
  if (state && screen === "question") save();
});
addEventListener("pagehide", () => { stopClock(); if (state && screen === "question") save(); });
addEventListener("pageshow", startClock);
setInterval(() => { if (since !== null) { tick(); save(); } }, 1000);
addEventListener("beforeunload", (event) => { if (state && !storageWorks && !state.downloaded) event.preventDefault(); });
addEventListener("storage", (event) => {
  if (event.key === KEY && state && screen !== "elsewhere") { since = null; state = null; show("elsewhere"); }
});
$("take-over").onclick = () => location.reload();

/* ---- micrographs ---- */
function describe(image) {
  let text = number(image.pixels_per_um) + "\u00a0pixels\u00a0per\u00a0µm\u00a0· " + image.field_um.map(length).join("\u00a0×\u00a0");
  if (image.reduced_from) text += " · shown reduced from " + image.reduced_from.join(" × ") + " pixels";
  return text;
}
function thumbnail(image, name) {
  const bar = roundLength(0.4 * image.field_um[0]);
  const line = element("i");
  line.style.width = (100 * bar) / image.field_um[0] + "%";
  const picture = element("img", { src: image.src, width: image.width, height: image.height, alt: name + ", " + describe(image)
    + (image.simulated ? ", simulated" : "") });
  const box = element("div", { className: "micrograph thumbnail" }, picture,
    element("div", { className: "bar" }, element("span", { textContent: length(bar) }), line));
  if (image.simulated) box.append(element("div", { className: "sim", textContent: "simulated" }));
  return element("figure", {}, box, element("figcaption", { textContent: describe(image) }));
}
function fillReferences(target, heading) {
  for (const group of data.references) {
    const grid = element("div", { className: "grid" });
    group.images.forEach((image, i) => grid.append(thumbnail(image, "Reference image " + (i + 1) + " of " + group.label)));
    target.append(element("div", { className: "class" }, element(heading, {}, ...breakable(group.label)), grid));
  }
}

/* ---- zoom and pan; the bar is computed from what is on the screen, so it stays true ---- */
const stage = $("stage");
const view = { zoom: 1, x: 0, y: 0 };
function drawView() {
  const width = stage.clientWidth, height = stage.clientHeight;
  if (!width || screen !== "question") return;
  view.zoom = Math.min(8, Math.max(1, view.zoom));
  view.x = Math.min(0, Math.max(width * (1 - view.zoom), view.x));
  view.y = Math.min(0, Math.max(height * (1 - view.zoom), view.y));
  $("image").style.transform = "translate(" + view.x + "px," + view.y + "px) scale(" + view.zoom + ")";
  stage.classList.toggle("zoomed", view.zoom > 1);
  $("zoom").textContent = number(view.zoom) + "×";
  const screenPixelsPerUm = (width * view.zoom) / images.get(current()).field_um[0];
  const bar = roundLength((0.25 * width) / screenPixelsPerUm);
  $("bar-line").style.width = bar * screenPixelsPerUm + "px";
  $("bar-label").textContent = length(bar);
}
function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const zoom = Math.min(8, Math.max(1, view.zoom * factor));
  view.x = x - ((x - view.x) * zoom) / view.zoom;
  view.y = y - ((y - view.y) * zoom) / view.zoom;
  view.zoom = zoom;
  drawView();
}
function fit() { Object.assign(view, { zoom: 1, x: 0, y: 0 }); drawView(); }
const pan = (x, y) => { view.x += x; view.y += y; drawView(); };
const at = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
stage.addEventListener("wheel", (event) => {
  if (event.deltaY > 0 && view.zoom === 1) return;
  event.preventDefault();
  zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(0.25, Math.abs(event.deltaY) / 300)), ...at(event));
}, { passive: false });
stage.addEventListener("dblclick", (event) => (view.zoom > 1 ? fit() : zoomBy(2.5, ...at(event))));
const pointers = new Map();
stage.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, at(event)); stage.setPointerCapture(event.pointerId); });
stage.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const before = pointers.get(event.pointerId), now = at(event);
  const other = [...pointers].find(([id]) => id !== event.pointerId);
  pointers.set(event.pointerId, now);
  if (!other) return pan(now[0] - before[0], now[1] - before[1]);
  const span = (point) => Math.hypot(point[0] - other[1][0], point[1] - other[1][1]);
  zoomBy(span(now) / Math.max(1, span(before)), (now[0] + other[1][0]) / 2, (now[1] + other[1][1]) / 2);
});
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
$("zoom-in").onclick = () => zoomBy(1.5);
$("zoom-out").onclick = () => zoomBy(1 / 1.5);
$("zoom-fit").onclick = fit;
new ResizeObserver(drawView).observe(stage);

/* ---- questions ---- */
function option(name, value, label, key) {
  const input = element("input", { type: "radio", name, value });
  const face = element("span");
  if (key) { face.append(element("kbd", { textContent: key.toUpperCase() })); face.firstChild.setAttribute("aria-hidden", "true"); }
  face.append(element("b", {}, ...breakable(label)));
  return element("label", {}, input, face);
}
data.options.forEach((label, i) => $("answers").append(option("answer", i, label, i < 9 ? String(i + 1) : "")));
LEVELS.forEach((level, i) => $("confidences").append(option("confidence", i, percent(level), LEVEL_KEYS[i])));
const answerInputs = [...document.querySelectorAll("[name=answer]")];
const confidenceInputs = [...document.querySelectorAll("[name=confidence]")];
$("answer-form").addEventListener("change", () => {
  const answer = answerInputs.findIndex((input) => input.checked), level = confidenceInputs.findIndex((input) => input.checked);
  state.draft.answer = answer < 0 ? null : data.options[answer];
  state.draft.confidence = level < 0 ? null : LEVELS[level];
  $("question-error").textContent = "";
  tick();
  save();
});
function askImage() {
  const image = images.get(current());
  const position = state.order.indexOf(image.id) + 1;
  $("position").textContent = "Image " + position + " of " + images.size;
  $("progress").max = images.size;
  $("progress").value = nAnswered();
  $("image").src = image.src;
  $("image").alt = "Micrograph " + position + (image.simulated ? ", simulated, " : ", ") + describe(image);
  $("image-simulated").hidden = !image.simulated;
  $("image-caption").textContent = describe(image);
  stage.style.setProperty("--aspect", image.width / image.height);
  answerInputs.forEach((input, i) => { input.checked = data.options[i] === state.draft.answer; });
  confidenceInputs.forEach((input, i) => { input.checked = LEVELS[i] === state.draft.confidence; });
  $("question-error").textContent = "";
  $("next").textContent = position < images.size ? "Next" : "Finish";
  show("question");
  fit();
}
$("answer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (screen !== "question") return;
  const missing = state.draft.answer === null ? answerInputs : state.draft.confidence === null ? confidenceInputs : null;
  if (missing) {
    $("question-error").textContent = missing === answerInputs ? "Choose what the image shows." : "Say how likely you are right.";
    missing[0].focus();
    return;
  }
  tick();
  state.answers[current()] = state.draft;
  state.draft = emptyDraft();
  save();
  if (current()) askImage(); else finish();
});
$("stop").onclick = async () => {
  const left = images.size - nAnswered();
  if (await ask("Stop here? The " + plural(left, "image") + " you have not answered will be recorded as “" + data.no_answer + "”.",
    "Stop and see the result", "Go on with the quiz")) finish();
};
function openReferences() { if (!$("reference-dialog").open) $("reference-dialog").showModal(); }
$("show-references").onclick = openReferences;
$("close-references").onclick = () => $("reference-dialog").close();
document.addEventListener("keydown", (event) => {
  if (screen !== "question" || event.ctrlKey || event.altKey || event.metaKey || event.repeat && event.key === "Enter") return;
  if (document.querySelector("dialog[open]")) return;
  const moves = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
  if (event.target === stage && event.key in moves && view.zoom > 1) { event.preventDefault(); return pan(...moves[event.key]); }
  if (!$("shortcuts").checked && event.target !== stage) return;
  const key = event.key.toLowerCase();
  const choose = (input) => { event.preventDefault(); input.focus({ preventScroll: true }); input.click(); };
  if (/^[1-9]$/.test(key) && answerInputs[key - 1]) choose(answerInputs[key - 1]);
  else if (LEVEL_KEYS.includes(key)) choose(confidenceInputs[LEVEL_KEYS.indexOf(key)]);
  else if (key === "r") { event.preventDefault(); openReferences(); }
  else if (key === "+" || key === "=") zoomBy(1.5);
  else if (key === "-" || key === "_") zoomBy(1 / 1.5);
  else if (key === "0") fit();
  // Enter on a button presses it, and on a radio button it submits the form by itself.
  else if (key === "enter" && !event.target.closest("button, input, a, summary")) $("answer-form").requestSubmit();
});

/* ---- marking: the browser's PBKDF2 where it offers it, ours on plain http where it does not ---- */
const utf8 = (text) => new TextEncoder().encode(text);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
async function hashed(answer, item) {
  const password = utf8(answer), salt = utf8(data.salt + item);
  if (!window.crypto || !crypto.subtle) return hex(pbkdf2(password, salt, data.iterations));
  const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const bits = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations: data.iterations }, key, 256);
  return hex(new Uint8Array(bits));
}
async function rightAnswer(image, guess) {
  for (const answer of [guess, ...data.options.filter((label) => label !== guess)])
    if (answer !== undefined && await hashed(answer, image.id) === image.answer) return answer;
  return null;
}

/* ---- the end ---- */
function sheet() {
  const cell = (value) => (/[",\r\n]|^\s|\s$/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value);
  const rows = state.order.map((id) => {
    const given = state.answers[id];
    return [data.quiz, id, state.pseudonym, "human", given ? given.answer : data.no_answer, given ? given.seconds.toFixed(2) : "",
      given ? String(given.confidence) : "", state.years === null ? "" : String(state.years)];
  });
  return [data.columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
function wilson(correct, n) {
  const z = 1.959964, p = correct / n, centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}
async function finish() {
  state.finished = true;
  save();
  show("marking");
  $("marking").max = images.size;
  const right = new Map();
  for (const id of state.order) {
    right.set(id, await rightAnswer(images.get(id), state.answers[id]?.answer));
    $("marking").value = right.size;
    await new Promise((resolve) => setTimeout(resolve));
    if (screen !== "marking") return;
  }
  results(right);
}
function rank(row, chance) {
  const at = (x) => 100 * x + "%";
  const track = element("div", { className: "track" });
  track.setAttribute("aria-hidden", "true");
  track.style.setProperty("--colour", "var(--" + row.colour + ")");
  const guess = element("u");
  guess.style.left = at(chance);
  track.append(guess);
  for (const accuracy of row.readers || []) { const mark = element("s"); mark.style.left = at(accuracy); track.append(mark); }
  const interval = element("i"), dot = element("b");
  interval.style.left = at(row.low);
  interval.style.width = at(row.high - row.low);
  dot.style.left = at(row.accuracy);
  track.append(interval, dot);
  return element("li", {}, element("div", { className: "who" }, row.name, element("span", { className: "what",
    textContent: percent(row.accuracy) + " (95 % interval " + Math.round(100 * row.low) + " to " + percent(row.high) + ")" })), track);
}
function results(right) {
  const n = images.size, answered = nAnswered();
  const wrong = state.order.filter((id) => state.answers[id]?.answer !== right.get(id));
  const correct = n - wrong.length;
  const [low, high] = wilson(correct, n);
  $("score").textContent = correct + " of " + n + " right: " + percent(correct / n);
  $("score-note").textContent = answered < n ? plural(n - answered, "image") + " without an answer count as not right." : "";
  const rows = [{ name: "You", accuracy: correct / n, low, high, colour: "you" }, ...data.comparison.map((row) => {
    if (row.low !== null) return row;
    const bounds = wilson(row.accuracy * n, n);
    return { ...row, low: bounds[0], high: bounds[1] };
  })];
  const scale = element("div", { className: "axis" }, ...[0, 25, 50, 75, 100].map((x) => {
    const mark = element("span", { textContent: x + " %" });
    mark.style.left = x + "%";
    return mark;
  }));
  const last = element("li", { className: "scale" }, element("div"), scale);
  last.setAttribute("aria-hidden", "true");
  $("ranks").replaceChildren(...rows.map((row) => rank(row, 1 / data.options.length)), last);
  $("ranks-note").textContent = "Dashed line: guessing, " + percent(1 / data.options.length) + ". "
    + (rows.some((row) => row.readers) ? "Small strokes: the readers of the panel, one each. " : "")
    + (data.comparison.length ? "With " + plural(n, "image") + " the intervals are wide; where they overlap much, this quiz cannot tell who is better."
      : "Neither the machine nor a panel had answered when this page was made.");
  $("wrong-title").textContent = wrong.length ? "Images you did not get right (" + wrong.length + ")" : "You got every image right";
  $("wrong").replaceChildren(...wrong.map((id) => {
    const image = images.get(id), given = state.answers[id]?.answer ?? data.no_answer;
    const card = thumbnail(image, "Micrograph " + (state.order.indexOf(id) + 1));
    card.lastChild.prepend(element("dl", { className: "answer-pair" }, element("dt", { textContent: "Right" }),
      element("dd", {}, ...breakable(right.get(id))), element("dt", { textContent: "You" }), element("dd", {}, ...breakable(given))));
    return card;
  }));
  $("sheet").value = sheet();
  $("downloaded").textContent = "";
  show("results");
}
$("download").onclick = () => {
  const name = data.quiz + "-" + state.pseudonym.replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "-") + ".csv";
  const url = URL.createObjectURL(new Blob([sheet()], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  state.downloaded = true;
  save();
  $("downloaded").textContent = "Saved as " + name + " in your downloads folder. If nothing was saved, copy the text below.";
};
$("another").onclick = async () => {
  const text = state.downloaded ? "Remove these answers from this browser?"
    : "The answer sheet has not been downloaded. Remove these answers from this browser all the same?";
  if (await ask(text, "Remove them", "Keep them")) { forget(); start(); }
};

/* ---- the beginning ---- */
function start() {
  const random = hex(crypto.getRandomValues(new Uint8Array(4)));
  $("consent").reset();
  $("pseudonym").value = "reader-" + random;
  show("start");
}
$("consent").addEventListener("submit", (event) => {
  event.preventDefault();
  const pseudonym = $("pseudonym").value.trim().replace(/\s+/g, " "), years = $("years").value.trim().replace(",", ".");
  const faults = {
    pseudonym: !/^[\p{L}\p{N}][\p{L}\p{M}\p{N} ._-]*$/u.test(pseudonym) ? "Begin with a letter or digit; then letters, digits, spaces and . _ - only."
      : /^(machine|majority vote|panel mean|simulated.*)$/i.test(pseudonym) ? "This name has another meaning here; choose another." : "",
    years: years === "" || /^\d+(\.\d+)?$/.test(years) && Number(years) <= 80 ? "" : "Enter a number from 0 to 80, or nothing.",
    agree: $("agree").checked ? "" : "The quiz needs your agreement.",
  };
  let first = null;
  for (const [id, fault] of Object.entries(faults)) {
    $(id + "-error").textContent = fault;
    $(id).setAttribute("aria-invalid", fault !== "");
    if (fault && !first) first = $(id);
  }
  if (first) return first.focus();
  state = { pseudonym, years: years === "" ? null : Number(years), order: shuffled([...images.keys()]), answers: {}, draft: emptyDraft(),
    finished: false, downloaded: false };
  save();
  show("classes");
});
$("begin").onclick = () => askImage();
$("resume").onclick = () => (state.finished || !current() ? finish() : askImage());
$("restart").onclick = async () => {
  const text = "Start over? The " + plural(nAnswered(), "answer") + " of “" + state.pseudonym + "” in this browser will be removed.";
  if (await ask(text, "Remove them and start over", "Keep them")) { forget(); start(); }
};
fillReferences($("references"), "h2");
fillReferences($("reference-copy"), "h3");
state = load();
if (state) {
  $("resume-text").textContent = state.finished ? "The quiz of “" + state.pseudonym + "” is finished; the result and the answer sheet are still here."
    : "“" + state.pseudonym + "” has answered " + nAnswered() + " of " + plural(images.size, "image") + ". You can go on where you stopped.";
  $("resume").textContent = state.finished ? "Show the result" : "Go on";
  show("resume");
} else start();
})();
