(() => {
"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const KEY = "microrace/" + data.quiz;
const LEVELS = [0.2, 0.4, 0.6, 0.8, 1], LEVEL_KEYS = ["a", "s", "d", "f", "g"];
const images = new Map(data.images.map((image) => [image.id, image]));

/* ---- texts: of the language asked for, or the first of the browser's that there is ---- */
const wanted = (navigator.languages || [navigator.language]).map((code) => code.slice(0, 2));
const language = wanted.find((code) => code in data.texts) || ("en" in data.texts ? "en" : Object.keys(data.texts)[0]);
function t(key, values = {}) {
  let text = data.texts[language][key];
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(values.n)];
  return text.replace(/\{(\w+)\}/g, (_, name) => (name in values ? values[name] : general[name]));
}
const general = { quiz: data.quiz, contact: data.contact || t("contact"), total: images.size };
document.documentElement.lang = language;
document.title = data.title || t("title");
for (const e of document.querySelectorAll("[data-t]")) e.textContent = t(e.dataset.t);
for (const e of document.querySelectorAll("[data-label]")) e.setAttribute("aria-label", t(e.dataset.label));
// The two answers that are no class are translated on the screen; sheets hold them as they are.
const shownAs = (answer) => ({ [data.none_of_these]: t("none"), [data.no_answer]: t("no_answer") })[answer] || answer;

// Text only ever enters the page as text: labels are not trusted to be free of markup.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
const number = (x) => new Intl.NumberFormat(language, { maximumSignificantDigits: 3, useGrouping: false }).format(x);
const percent = (x) => Math.round(100 * x) + "\u00a0%";
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
let state = null, stale = false;
const emptyDraft = () => ({ answer: null, confidence: null, seconds: 0 });
function stored(action) {
  try { return action(localStorage); } catch (error) {
    if (!(error instanceof SyntaxError)) $("storage-warning").hidden = false;
    return null;
  }
}
const save = () => stored((store) => store.setItem(KEY, JSON.stringify(state)));
// What a store holds may be anything: a state that does not fit this quiz is not used.
function load() {
  const found = stored((store) => JSON.parse(store.getItem(KEY)));
  const fits = found && Array.isArray(found.order) && found.order.length === images.size && found.order.every((id) => images.has(id));
  return fits && found.answers && found.draft && found.shown >= 0 ? found : null;
}
const current = () => state.order.find((id) => !(id in state.answers));
const nAnswered = () => Object.keys(state.answers).length;
const unsaved = () => nAnswered() > 0 && !state.downloaded;
addEventListener("beforeunload", (event) => {
  // Even where storing works: a private window forgets its store when it is closed.
  if (state && !stale && unsaved()) { event.preventDefault(); event.returnValue = ""; }
});
// Another tab went on; were this one to save what it has, the other's answers would be lost.
addEventListener("storage", (event) => { if (event.key === KEY && state) { stale = true; location.reload(); } });

let screen = null;
function show(name) {
  stopClock();
  screen = name;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== "screen-" + name;
  window.scrollTo(0, 0);
  document.querySelector("#screen-" + name + " h1").focus({ preventScroll: true });
  startClock();
}

/* ---- the clock of a question: runs only while the page is in view ---- */
let since = null;
function startClock() {
  if (screen === "question" && document.visibilityState === "visible" && since === null) since = performance.now();
}
function stopClock() {
  if (since !== null) state.draft.seconds += (performance.now() - since) / 1000;
  since = null;
}
const pause = () => { if (since !== null) { stopClock(); save(); } };
document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? startClock() : pause()));
addEventListener("pagehide", () => { if (!stale) pause(); });
addEventListener("pageshow", startClock);

/* ---- micrographs ---- */
function describe(image) {
  const parts = [t("scale", { n: number(image.pixels_per_um) }), image.field_um.map(length).join("\u00a0×\u00a0")];
  if (image.reduced_from) parts.push(t("reduced", { size: image.reduced_from.join(" × ") }));
  return parts.join("\u00a0· ");
}
const alternative = (name, image) => (image.simulated ? name + ", " + t("simulated") : name) + ", " + describe(image);
function thumbnail(image, name) {
  const bar = roundLength(0.4 * image.field_um[0]), line = element("i");
  line.style.width = (100 * bar) / image.field_um[0] + "%";
  const picture = element("img", { src: image.src, width: image.width, height: image.height, alt: alternative(name, image) });
  const box = element("div", { className: "micrograph thumbnail" }, picture,
    element("div", { className: "bar" }, element("span", { textContent: length(bar) }), line));
  if (image.simulated) box.append(element("div", { className: "sim", textContent: t("simulated") }));
  return element("figure", {}, box, element("figcaption", { textContent: describe(image) }));
}
for (const { label, images: shown } of data.references) {
  const grid = element("div", { className: "grid" }, ...shown.map((image, i) => thumbnail(image, t("reference_alt", { i: i + 1, label }))));
  $("references").append(element("div", { className: "class" }, element("h2", { textContent: label }), grid));
}

/* ---- zoom: the stage scrolls by itself; the bar is computed from what is on the screen, so it stays true ---- */
const stage = $("stage");
let zoom = 1;
function zoomTo(wanted) {
  const factor = Math.min(8, Math.max(1, wanted)) / zoom;
  const [x, y] = [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2];
  zoom *= factor;
  $("image").style.width = 100 * zoom + "%";
  stage.scrollTo(x * factor - stage.clientWidth / 2, y * factor - stage.clientHeight / 2);
  $("zoom").textContent = number(zoom) + "×";
  drawBar();
}
function drawBar() {
  if (screen !== "question" || !stage.clientWidth) return;
  const screenPixelsPerUm = $("image").getBoundingClientRect().width / images.get(current()).field_um[0];
  const bar = roundLength((0.25 * stage.clientWidth) / screenPixelsPerUm);
  $("bar-line").style.width = bar * screenPixelsPerUm + "px";
  $("bar-label").textContent = length(bar);
}
$("zoom-in").onclick = () => zoomTo(zoom * 1.5);
$("zoom-out").onclick = () => zoomTo(zoom / 1.5);
$("zoom-fit").onclick = () => zoomTo(1);
new ResizeObserver(drawBar).observe(stage);

/* ---- questions ---- */
function options(name, labels, keys) {
  const inputs = labels.map((_, value) => element("input", { type: "radio", name, value }));
  $(name).append(...inputs.map((input, i) => {
    const key = element("kbd", { textContent: keys[i], hidden: !keys[i] });
    key.setAttribute("aria-hidden", "true");
    return element("label", {}, input, element("span", {}, key, element("b", { textContent: labels[i] })));
  }));
  return inputs;
}
const answerInputs = options("answers", data.options.map(shownAs), "123456789"), levelInputs = options("confidences", LEVELS.map(percent), "ASDFG");
$("answer-form").addEventListener("change", () => {
  const chosen = (inputs, values) => values.find((_, i) => inputs[i].checked) ?? null;
  Object.assign(state.draft, { answer: chosen(answerInputs, data.options), confidence: chosen(levelInputs, LEVELS) });
  $("question-error").textContent = "";
  save();
});
function askImage() {
  const image = images.get(current()), position = state.order.indexOf(image.id) + 1;
  state.shown = position;
  $("position").textContent = t("position", { i: position, n: images.size });
  $("progress").max = images.size;
  $("progress").value = nAnswered();
  $("image").src = image.src;
  $("image").alt = alternative(t("micrograph", { i: position }), image);
  $("image-simulated").hidden = !image.simulated;
  $("image-caption").textContent = describe(image);
  $("screen-question").style.setProperty("--aspect", image.width / image.height);
  answerInputs.forEach((input, i) => { input.checked = data.options[i] === state.draft.answer; });
  levelInputs.forEach((input, i) => { input.checked = LEVELS[i] === state.draft.confidence; });
  $("question-error").textContent = "";
  $("next").textContent = t(position < images.size ? "next" : "finish");
  $("reference-dialog").append($("references"));
  show("question");
  save();
  zoomTo(1);
}
$("answer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const missing = state.draft.answer === null ? answerInputs : state.draft.confidence === null ? levelInputs : null;
  if (missing) {
    $("question-error").textContent = t(missing === answerInputs ? "choose" : "say");
    return missing[0].focus();
  }
  stopClock();
  state.answers[current()] = state.draft;
  state.draft = emptyDraft();
  if (current()) askImage(); else finish();
});
$("stop").onclick = () => {
  const unseen = t("images", { n: images.size - state.shown });
  if (confirm(t("ask_stop", { n: nAnswered(), none: t("no_answer"), unseen }))) finish();
};
$("show-references").onclick = () => $("reference-dialog").showModal();
$("close-references").onclick = () => $("reference-dialog").close();
document.addEventListener("keydown", (event) => {
  if (screen !== "question" || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (!$("shortcuts").checked && event.target !== stage) return;
  const key = event.key.toLowerCase();
  const input = answerInputs[Number(key) - 1] || levelInputs[LEVEL_KEYS.indexOf(key)];
  const button = { r: "show-references", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", _: "zoom-out", 0: "zoom-fit" }[key];
  if (input) input.focus({ preventScroll: true });
  if (input || button) { event.preventDefault(); (input || $(button)).click(); }
  // Enter on a button presses it, and on a radio button it submits the form by itself.
  else if (key === "enter" && !event.repeat && !event.target.closest("button, input, summary")) $("next").click();
});

/* ---- the end: what counts are the images that were shown ---- */
const rightAnswer = (id) => new TextDecoder().decode(Uint8Array.from(atob(images.get(id).answer), (c) => c.charCodeAt(0)));
const given = (id) => state.answers[id] || { answer: data.no_answer, seconds: state.draft.seconds, confidence: "" };
const shownImages = () => state.order.slice(0, state.shown);
function sheet() {
  const cell = (value) => (/[",\r\n]|^\s|\s$/.test(value) ? '"' + value.replace(/"/g, '""') + '"' : value);
  const rows = shownImages().map((id) => [data.quiz, id, state.pseudonym, "human", given(id).answer, given(id).seconds.toFixed(2),
    String(given(id).confidence), state.years, state.laboratory]);
  return [data.columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
// Wilson's interval of a share, 95 %.
function shareInterval(correct, n) {
  const z = 1.959964, p = correct / n, centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
function placed(tag, share, properties) {
  const mark = element(tag, properties);
  mark.style.left = 100 * share + "%";
  return mark;
}
function rank(row, chance) {
  const interval = placed("i", row.low);
  interval.style.width = 100 * (row.high - row.low) + "%";
  const marks = [placed("u", chance), ...(row.who === "panel" ? row.readers : []).map((share) => placed("s", share)), interval, placed("b", row.accuracy)];
  const share = t("interval", { share: percent(row.accuracy), low: Math.round(100 * row.low), high: percent(row.high) });
  const who = t("who_" + row.who, { name: row.name, readers: t("readers", { n: row.n }) });
  return element("li", {}, element("div", { className: "who" }, who, element("span", { textContent: share })),
    element("div", { className: "track " + row.who }, ...marks));
}
function finish() {
  state.finished = true;
  show("results");
  save();
  const n = state.shown, chance = 1 / data.options.length, unseen = t("images", { n: images.size - n });
  const wrong = shownImages().filter((id) => given(id).answer !== rightAnswer(id)), correct = n - wrong.length;
  $("score").textContent = t("score", { correct, n, share: percent(correct / n) });
  $("score-note").textContent = nAnswered() === images.size ? ""
    : t("stopped_note", { answered: t("answers", { n: nAnswered() }), unseen, shown: t("images", { n }) });
  const you = { who: "you", accuracy: correct / n, ...shareInterval(correct, n) };
  $("ranks").replaceChildren(...[you, ...data.comparison].map((row) => rank(row, chance)));
  $("axis").replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((share) => placed("span", share, { textContent: percent(share) })));
  $("ranks-note").textContent = [t("guessing", { share: percent(chance) }), data.comparison.some((row) => row.who === "panel") ? t("strokes") : "",
    data.comparison.length ? t("wide", { images: t("images", { n }) }) : t("nobody")].join(" ");
  $("wrong-title").textContent = wrong.length ? t("wrong", { n: wrong.length }) : t("all_right");
  $("wrong").replaceChildren(...wrong.map((id) => {
    const card = thumbnail(images.get(id), t("micrograph", { i: state.order.indexOf(id) + 1 }));
    const pairs = [["right", rightAnswer(id)], ["who_you", given(id).answer]].flatMap(([term, answer]) =>
      [element("dt", { textContent: t(term) }), element("dd", { textContent: shownAs(answer) })]);
    card.lastChild.prepend(element("dl", { className: "answer-pair" }, ...pairs));
    return card;
  }));
  $("sheet").value = sheet();
}
$("download").onclick = () => {
  const name = data.quiz + "-" + state.pseudonym.replace(/ /g, "-") + ".csv";
  const url = URL.createObjectURL(new Blob([sheet()], { type: "text/csv;charset=utf-8" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  state.downloaded = true;
  save();
  $("downloaded").textContent = t("downloaded", { name });
};

/* ---- the beginning ---- */
function start() {
  state = null;
  $("consent").reset();
  $("pseudonym").value = "reader-" + Array.from(crypto.getRandomValues(new Uint8Array(4)), (b) => b.toString(16).padStart(2, "0")).join("");
  $("begin").parentElement.before($("references"));
  show("start");
}
$("consent").addEventListener("submit", (event) => {
  event.preventDefault();
  const entered = (id) => $(id).value.trim().replace(/\s+/g, " ");
  const pseudonym = entered("pseudonym"), laboratory = entered("laboratory"), years = entered("years").replace(",", ".");
  const isName = (text) => /^[\p{L}\p{N}][\p{L}\p{M}\p{N} ._-]*$/u.test(text) && text.length <= data.longest_name;
  const reserved = /^(machine|majority vote|panel mean|simulated.*)$/i.test(pseudonym);
  const faults = {
    pseudonym: reserved ? "taken_name" : isName(pseudonym) ? "" : "bad_name",
    years: years === "" || /^\d+(\.\d+)?$/.test(years) && Number(years) <= 80 ? "" : "bad_years",
    laboratory: laboratory === "" || isName(laboratory) ? "" : "bad_name",
    agree: $("agree").checked ? "" : "must_agree",
  };
  for (const [id, fault] of Object.entries(faults)) {
    $(id + "-error").textContent = fault && t(fault);
    $(id).setAttribute("aria-invalid", fault !== "");
  }
  const first = Object.keys(faults).find((id) => faults[id]);
  if (first) return $(first).focus();
  // Sorted by random numbers, every order is as likely.
  const order = [...images.keys()].map((id) => [Math.random(), id]).sort(([a], [b]) => a - b).map(([, id]) => id);
  state = { pseudonym, laboratory, years, order, answers: {}, draft: emptyDraft(), shown: 0, finished: false, downloaded: false };
  save();
  show("classes");
});
$("begin").onclick = askImage;
$("resume").onclick = () => (state.finished ? finish() : askImage());
$("restart").onclick = () => {
  if (!confirm(t(unsaved() ? "ask_restart_lost" : "ask_restart", state))) return;
  stored((store) => store.removeItem(KEY));
  start();
};
$("title").textContent = document.title;
$("introduction").textContent = t("introduction", { micrographs: t("micrographs", { n: images.size }) });
if (data.simulated) {
  $("simulated").textContent = t(data.simulated + "_simulated");
  $("simulated-note").textContent = t(data.simulated + "_simulated_note");
  $("simulated").hidden = $("simulated-note").hidden = false;
}
state = load();
save();
if (state) {
  $("resume-text").textContent = t(state.finished ? "resume_finished" : "resume_open", { ...state, n: nAnswered() });
  $("resume").textContent = t(state.finished ? "show_result" : "resume");
  show("resume");
} else start();
$("not-started").hidden = true;
})();
