// The page: state in, pictures and numbers out.

import { freshState, isShape, questionOf, readState, writeState } from "./state.js";
import { ask, isSaved, savedState } from "./library.js";
import { prose } from "./prose.js";
import { formulaLine } from "./formula.js";
import { movesOf, showStep } from "./stepping.js";
import { showPaths } from "./pathtable.js";
import { numbersView } from "./numbers.js";
import { showOptions } from "./options.js";
import { zoomable } from "./zooming.js";
import { trainingView } from "./training.js";

const at = (id) => document.getElementById(id);
const firstHash = location.hash;
let { state, problem: linkProblem } = readState(firstHash);
if (!firstHash) state = { ...state, ...savedState };
let answer = null;
let latest = 0;
let keptAt = -1000;
let keeping = 0;
const SELDOM_KEPT = 80;  // milliseconds

const zoom = zoomable(at("graph"));
const numbers = numbersView(at, { isFixed: isSaved, change: changeNumbers, pick, tell: (text) => tell(text, true) });
const training = trainingView(at, {
  isLog: () => state.log === 1,
  keepLog: (isLog) => { state.log = Number(isLog); keep(); },
  ended: openExplorer,
});

function tell(text, isProblem = false) {
  at("message").replaceChildren(...prose(text));
  at("message").className = isProblem ? "problem" : "";
}

// The state into the address: not too often, or browsers refuse while an arrow key is held down.
function keep() {
  clearTimeout(keeping);
  const early = keptAt + SELDOM_KEPT - performance.now();
  if (early > 0) { keeping = setTimeout(keep, early); return; }
  keptAt = performance.now();
  history.replaceState(null, "", writeState(state));
}

async function compute() {
  const own = ++latest;
  keep();
  tell("Computing …");
  document.body.dataset.ready = "";
  try {
    const found = await ask("answer", questionOf(state));
    if (own !== latest) return;
    if (!found) { hideExplorer(true); tell("A saved page with the curves of a training."); return; }
    answer = found;
  } catch (error) {
    if (own !== latest) return;
    tell(`${error.message} `, true);
    at("message").append(anew());
    at("explorer").hidden = !answer;
    at("op").value = state.op;
    document.body.dataset.ready = "problem";
    return;
  }
  at("explorer").hidden = false;
  tell(isSaved ? "" : linkProblem, !isSaved && linkProblem !== "");
  linkProblem = "";
  zoom.tell("");
  show();
  document.body.dataset.ready = "yes";
}

// A way out of a state that cannot be computed.
function anew() {
  const button = document.createElement("button");
  button.type = "button";
  button.id = "anew";
  button.textContent = "Start anew";
  button.addEventListener("click", () => { state = { ...freshState(), op: answer?.op ?? "batch_norm" }; compute(); });
  return button;
}

function show() {
  state.op = answer.op;
  document.title = `${answer.title}: normalization explorer`;
  at("op").value = answer.op;
  at("shape").value = answer.shape.join("×");
  const isNone = answer.pool.startsWith("none");
  at("pool").textContent = answer.pool ? `${isNone ? "Shares no statistic" : "Shares one statistic"}: ${answer.pool.replace(/^none: /, "")}.` : "";
  at("paper").textContent = answer.paper;
  at("formulas").replaceChildren(...[...answer.formulas, ...answer.derivatives].map(formulaLine));
  showOptions(at("options"), answer.options, isSaved, (name, text) => {
    state.options = { ...state.options, [name]: text };
    compute();
  });
  at("position").max = Math.max(movesOf(answer).length - 1, 0);
  at("gradient").replaceChildren(...answer.gradients.map((g) => new Option(g.name, g.name)));
  if (!answer.gradients.some((g) => g.name === state.gradient)) state.gradient = answer.gradients[0]?.name || "";
  if (!(state.entry < answer.pools.length)) state.entry = 0;
  if (Object.keys(state.inputs).length) at("others").open = true;
  numbers.show(answer, state.entry);
  move(state.step);
  showGradient();
}

function pick(entry) {
  state.entry = entry;
  keep();
  numbers.colour(entry);
  showGradient();
}

function changeNumbers(kind, argument, values) {
  if (kind === "input") state.inputs = { ...state.inputs, [argument]: values };
  else state[kind] = values;
  state.shape = answer.shape.join("x");
  compute();
}

function move(position) {
  const count = movesOf(answer).length;
  state.step = Math.min(Math.max(position, 0), Math.max(count - 1, 0));
  at("position").value = state.step;
  at("back").disabled = state.step === 0;
  at("next").disabled = state.step >= count - 1;
  at("count").textContent = count ? `${state.step + 1} of ${count}` : "";
  showStep(at("step"), answer, state.step);
  keep();
}

function showGradient() {
  const own = answer.mistakes.filter((mistake) => mistake.input === state.gradient);
  const broken = own.find((mistake) => mistake.name === state.mistake);
  if (!broken) state.mistake = "";
  at("gradient").value = state.gradient;
  at("mistake").replaceChildren(new Option(own.length ? "not broken" : "there is nothing to break", ""), ...own.map((m) => new Option(m.name, m.name)));
  at("mistake").value = state.mistake;
  at("mend").disabled = !broken;
  at("breaks").replaceChildren(...own.filter((m) => /^the \w+ ?.* is dropped$/.test(m.name)).map((m) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Drop ${m.name.replace(" is dropped", "")}`;
    button.setAttribute("aria-pressed", m === broken);
    button.dataset.break = m.name;
    button.addEventListener("click", () => breakIt(m === broken ? "" : m.name, m.name));
    return button;
  }));
  const gradient = answer.gradients.find((g) => g.name === state.gradient);
  const isX = gradient && answer.gradients[0] === gradient;
  showPaths(at("paths"), at("verdict"), gradient, broken, isX ? state.entry : -1, answer.axes);
}

function breakIt(name, focused = "") {
  state.mistake = name;
  keep();
  showGradient();
  if (focused) [...at("breaks").children].find((button) => button.dataset.break === focused)?.focus();
}

async function draw() {
  zoom.tell("Drawing …");
  try {
    const found = await ask("graph", questionOf(state));
    if (found.svg) zoom.show(found.svg, `Graph of ${answer.title}`); else zoom.tell(found.problem);
  } catch (error) { zoom.tell(error.message); }
}

async function save() {
  tell("Saving …");
  try {
    const { html } = await ask("file", questionOf(state));
    const kept = JSON.stringify(state).replaceAll("<", "\\u003c");
    const file = html.replace('id="saved">{', () => `id="saved">{"state":${kept},`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([file], { type: "text/html" }));
    link.download = `${state.op}.html`;
    link.click();
    tell(`Saved as ${link.download}: it works without the library.`);
  } catch (error) { tell(error.message, true); }
}

// Other numbers: what was changed by hand is left.
function fresh(changes) {
  state = { ...state, x: null, dy: null, inputs: {}, ...changes };
  compute();
}

function hideExplorer(isHidden) {
  for (const id of ["about", "explorer", "choices", "options"]) at(id).hidden = isHidden;
}

// After the training that ran beside the page: begin with its normalization.
function openExplorer() {
  hideExplorer(false);
  const trained = `${training.norm().split(":")[0]}_norm`;
  const isKnown = [...at("op").options].some((option) => option.value === trained);
  if (isKnown && !/\bop=/.test(firstHash)) state.op = trained;
  return compute();
}

function listen() {
  at("op").addEventListener("change", () => fresh({ op: at("op").value, shape: "", options: {}, step: 0, entry: 0, gradient: "", mistake: "" }));
  at("shape").addEventListener("change", () => {
    const text = at("shape").value.trim();
    if (text && !isShape(text)) tell(`A shape is sizes such as 2×4×2×3, got ${text}.`, true);
    else fresh({ shape: text });
  });
  at("random").addEventListener("click", () => fresh({ seed: state.seed + 1 }));
  at("save").addEventListener("click", save);
  at("back").addEventListener("click", () => move(state.step - 1));
  at("next").addEventListener("click", () => move(state.step + 1));
  at("position").addEventListener("input", () => move(Number(at("position").value)));
  at("gradient").addEventListener("change", () => { state.gradient = at("gradient").value; breakIt(""); });
  at("mistake").addEventListener("change", () => breakIt(at("mistake").value));
  at("mend").addEventListener("click", () => breakIt(""));
  at("draw").addEventListener("click", draw);
  at("in").addEventListener("click", zoom.larger);
  at("out").addEventListener("click", zoom.smaller);
  at("fit").addEventListener("click", zoom.fit);
  document.addEventListener("keydown", (event) => {
    const isTaken = event.target.closest("input, select, textarea, #graph, .tensor, .chart");
    if (isTaken || !answer || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight") move(state.step + 1);
    else if (event.key === "ArrowLeft") move(state.step - 1);
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", () => {
    ({ state, problem: linkProblem } = readState(location.hash));
    compute();
  });
}

// What a saved page says at its top: what it is, and the command with which the numbers can be changed.
function tellSaved() {
  at("about").replaceChildren(...prose("A saved page: follow the normalization forward and backward, step by step. The library"
    + " computed every number here. To change one, run `tinygrad-norm explore`."));
}

async function start() {
  let norms;
  let isTraining;
  try {
    norms = await ask("norms", {});
    isTraining = await training.start();
  } catch (error) { tell(error.message, true); return; }
  const families = [...new Set(norms.map((norm) => norm.family))];
  at("op").replaceChildren(...families.map((family) => {
    const group = document.createElement("optgroup");
    group.label = family;
    group.append(...norms.filter((norm) => norm.family === family).map((norm) => new Option(norm.title, norm.name)));
    return group;
  }));
  for (const id of ["op", "shape", "random", "save"]) at(id).disabled = isSaved;
  listen();
  if (isSaved) tellSaved();
  if (isTraining) { hideExplorer(true); document.body.dataset.ready = "training"; } else await openExplorer();
}

start();
