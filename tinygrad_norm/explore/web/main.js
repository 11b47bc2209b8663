// The page: state in, pictures and numbers out.

import { readState, writeState, questionOf } from "./state.js";
import { ask, isSaved, savedState } from "./library.js";
import { formulaLine } from "./formula.js";
import { named, tensorView } from "./cells.js";
import { movesOf, showStep } from "./stepping.js";
import { showPaths } from "./pathtable.js";
import { showCube, shadeCube } from "./cube.js";
import { zoomable } from "./zooming.js";
import { trainingView } from "./training.js";

const at = (id) => document.getElementById(id);
const zoom = zoomable(at("graph"));
const firstHash = location.hash;
let state = { ...readState(location.hash), ...(location.hash ? {} : savedState) };
let answer = null;
let latest = 0;
const training = trainingView(at, {
  isLog: () => state.log === 1,
  keepLog: (isLog) => { state.log = Number(isLog); keep(); },
  ended: openExplorer,
});

function tell(text, isProblem = false) {
  at("message").textContent = text;
  at("message").className = isProblem ? "problem" : "";
}

function keep() {
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
    if (own === latest) { tell(error.message, true); document.body.dataset.ready = "problem"; }
    return;
  }
  tell(isSaved ? "A saved page: to change the numbers, run `tinygrad-norm explore`." : "");
  zoom.tell("");
  at("graph").replaceChildren();
  show();
  document.body.dataset.ready = "yes";
}

function show() {
  state.op = answer.op;
  at("op").value = answer.op;
  at("shape").value = answer.shape.join("×");
  at("pool").textContent = answer.pool ? `Shares one statistic: ${answer.pool}.` : "";
  at("paper").textContent = answer.paper;
  at("formulas").replaceChildren(...[...answer.formulas, ...answer.derivatives].map(formulaLine));
  showOptions();
  showCube(at("cube"), answer.picture, pick);
  const moves = movesOf(answer).length;
  at("position").max = Math.max(moves - 1, 0);
  at("gradient").replaceChildren(...answer.gradients.map((g) => new Option(g.name, g.name)));
  if (!answer.gradients.some((g) => g.name === state.gradient)) state.gradient = answer.gradients[0]?.name || "";
  if (state.mistake >= answer.mistakes.length) state.mistake = -1;
  showTensors();
  move(state.step);
  showGradient();
}

function showOptions() {
  at("options").replaceChildren(...Object.entries(answer.options).map(([name, text]) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.size = Math.max(text.length, 4);
    input.value = text;
    input.disabled = isSaved;
    input.addEventListener("change", () => { state.options = { ...state.options, [name]: input.value }; compute(); });
    label.append(name, input);
    return label;
  }));
}

// x, the other inputs, and y.
function numbersOf() {
  const [x, ...others] = answer.values.filter((value) => !value.expression);
  const y = answer.outputs[0] || answer.values.find((value) => value.name === "y");
  return { x, others, y };
}

function showTensors() {
  const { x, others, y } = numbersOf();
  if (!(state.entry >= 0 && state.entry < answer.pools.length)) state.entry = 0;
  const hint = `${isSaved ? "click" : "edit"} a number; the entries of its pool are coloured`;
  const blocks = [named(x.name, hint, tensorView(x.array, { name: x.name, edit: isSaved ? null : edit, pick }))];
  if (y) blocks.push(named("y", y.expression === "y" ? "" : `= ${y.expression}`, tensorView(y.array, { name: "y", pick: pickResult })));
  for (const dy of answer.dys.slice(0, 1)) blocks.push(named(dy.name, "random, from the seed", tensorView(dy.array, { name: dy.name })));
  at("tensors").replaceChildren(...blocks);
  at("inputs").replaceChildren(...others.map((value) => named(value.name, "", tensorView(value.array, { name: value.name }))));
  at("others").hidden = !others.length;
  colourPool();
}

function colourPool() {
  const { x, y } = numbersOf();
  const same = !y || y.array.values.length === x.array.values.length;
  const pool = new Set(answer.pools[state.entry]);
  const colour = (name, isPooled, isOwn) => {
    const block = [...at("tensors").querySelectorAll("[data-tensor]")].find((one) => one.dataset.tensor === name);
    for (const made of block ? block.querySelectorAll(".cell") : []) {
      made.classList.toggle("pooled", isPooled && pool.has(Number(made.dataset.index)));
      made.classList.toggle("own", isOwn && Number(made.dataset.index) === state.entry);
    }
  };
  colour(x.name, true, same);
  colour("y", same, true);
  shadeCube(at("cube"), answer.pools[state.entry], same ? state.entry : -1);
}

function pick(index) {
  if (index < answer.pools.length && answer.pools[index].includes(index)) pickResult(index);
  else pickResult(answer.pools.findIndex((pool) => pool.includes(index)));
}

function pickResult(index) {
  if (index < 0) return;
  state.entry = index;
  keep();
  colourPool();
  showGradient();
}

function edit(index, text) {
  const value = Number(text.replace(",", ".").replace("−", "-"));
  if (text.trim() === "" || !Number.isFinite(value)) { tell(`${text || "An empty text"} is not a number.`, true); return; }
  const x = answer.values.find((value) => !value.expression).array;
  state.x = [...x.values];
  state.x[index] = value;
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
  const own = answer.mistakes.map((mistake, index) => ({ ...mistake, index })).filter((m) => m.input === state.gradient);
  if (!own.some((m) => m.index === state.mistake)) state.mistake = -1;
  at("gradient").value = state.gradient;
  at("mistake").replaceChildren(new Option(own.length ? "not broken" : "there is nothing to break", -1), ...own.map((m) => new Option(m.name, m.index)));
  at("mistake").value = state.mistake;
  at("mend").disabled = state.mistake < 0;
  at("breaks").replaceChildren(...own.filter((m) => m.name.endsWith("is dropped")).map((m) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Drop ${m.name.replace(" is dropped", "").replace("the path ", "the path ")}`;
    button.setAttribute("aria-pressed", m.index === state.mistake);
    button.dataset.break = m.index;
    button.addEventListener("click", () => breakIt(m.index === state.mistake ? -1 : m.index, true));
    return button;
  }));
  const gradient = answer.gradients.find((g) => g.name === state.gradient);
  const isX = gradient && answer.gradients[0] === gradient;
  showPaths(at("paths"), at("verdict"), gradient, answer.mistakes[state.mistake], isX ? state.entry : -1);
}

function breakIt(index, refocus = false) {
  state.mistake = index;
  keep();
  showGradient();
  if (refocus) at("breaks").querySelector("[aria-pressed=true]")?.focus();
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

function fresh(changes) {
  state = { ...state, x: null, mistake: -1, ...changes };
  compute();
}

function hideExplorer(isHidden) {
  for (const id of ["explorer", "choices", "options"]) at(id).hidden = isHidden;
}

// After the training that ran beside the page: begin with its normalization.
function openExplorer() {
  hideExplorer(false);
  const trained = `${training.norm().split(":")[0]}_norm`;
  const isKnown = [...at("op").options].some((option) => option.value === trained);
  if (isKnown && !/\bop=/.test(firstHash)) state.op = trained;
  return compute();
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
  at("op").addEventListener("change", () => fresh({ op: at("op").value, shape: "", options: {}, step: 0, entry: 0, gradient: "" }));
  at("shape").addEventListener("change", () => fresh({ shape: at("shape").value.trim() }));
  at("random").addEventListener("click", () => fresh({ seed: state.seed + 1 }));
  at("save").addEventListener("click", save);
  at("back").addEventListener("click", () => move(state.step - 1));
  at("next").addEventListener("click", () => move(state.step + 1));
  at("position").addEventListener("input", () => move(Number(at("position").value)));
  at("gradient").addEventListener("change", () => { state.gradient = at("gradient").value; breakIt(-1); });
  at("mistake").addEventListener("change", () => breakIt(Number(at("mistake").value)));
  at("mend").addEventListener("click", () => breakIt(-1));
  at("draw").addEventListener("click", draw);
  at("in").addEventListener("click", zoom.larger);
  at("out").addEventListener("click", zoom.smaller);
  at("fit").addEventListener("click", zoom.fit);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, #graph") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight" && answer) move(state.step + 1);
    else if (event.key === "ArrowLeft" && answer) move(state.step - 1);
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", () => { state = readState(location.hash); compute(); });
  if (isTraining) { hideExplorer(true); document.body.dataset.ready = "training"; } else await openExplorer();
}

start();
