// The curves of the training that runs beside the page: asked for while it trains, kept when it has ended.

import { ask, isSaved, leave, PAGE } from "./library.js";
import { prose } from "./prose.js";
import { chart, figure } from "./chart.js";

const OFTEN = 700;
const SELDOM = 3000;
const COLOURS = 8;

// A figure as the terminal prints it.
function asPrinted(name, value) {
  if (value === null || value === undefined) return "–";
  if (name === "accuracy") return `${(100 * value).toFixed(2)}%`;
  return Math.abs(value) < 1e4 ? value.toFixed(4) : value.toPrecision(4);
}

export function trainingView(at, { isLog, keepLog, ended }) {
  let known = { version: 0, runs: [] };
  let isOver = false;
  const off = new Set();
  const runs = new Map();
  let svgs = [];

  async function look() {
    const found = await ask("training", { since: known.version, page: PAGE });
    if (!found) return false;
    const isNew = found.version !== known.version || isSaved;
    known = found;
    for (const run of found.runs) runs.set(run.name, run);
    if (isNew) show();
    return true;
  }

  async function again() {
    try {
      await look();
      if (known.state !== "training" && !isOver) { isOver = true; ended(); }
    } catch (error) {
      at("training-words").replaceChildren(...prose(`The training's process has ended: the curves stay as they are here. (${error.message})`));
      return;
    }
    setTimeout(again, isOver ? SELDOM : OFTEN);
  }

  // The lines: of one run, training and validation; of several, a colour for each norm.
  const norms = () => [...new Set([...runs.values()].map((run) => run.norm))];
  const isSingle = () => runs.size === 1;
  const keys = () => (isSingle() ? ["training", "validation"] : norms());

  function linesOf(name) {
    const lines = [];
    for (const run of runs.values()) for (const kind of ["training", "validation"]) {
      const key = isSingle() ? kind : run.norm;
      if (off.has(key) || !run[kind].length) continue;
      lines.push({ run, kind, key, colour: keys().indexOf(key) % COLOURS, isFaint: kind === "training" && !isSingle(),
        isDotted: kind === "validation", points: run[kind].map((row) => [row.epoch, row[name] ?? null]) });
    }
    return lines;
  }

  function show() {
    at("training").hidden = false;
    const all = [...runs.values()];
    at("training-title").textContent = known.state === "training" ? "Training, live" : "Training";
    at("training-words").textContent = words(all);
    showKeys();
    showCharts();
    showTable(all);
  }

  function words(all) {
    const now = all.find((run) => run.state === "training");
    const done = all.filter((run) => ["finished", "diverged"].includes(run.state)).length;
    const which = all.length > 1 ? ` Run ${Math.min(done + 1, all.length)} of ${all.length}${now ? `, ${now.name}` : ""}.` : "";
    const where = ` Results in ${known.folder}.`;
    if (known.state === "training") {
      const far = now ? ` Epoch ${Math.min(Math.floor(now.done) + 1, now.epochs)} of ${now.epochs}.` : "";
      return `${known.title}.${which}${far}${where} When it has ended, the explorer opens below.`;
    }
    const problems = all.filter((run) => run.words).map((run) => (all.length > 1 ? `${run.name}: ${run.words}` : run.words));
    const isGood = known.state === "finished";
    return `${known.title}. ${isGood ? "It has ended." : "It was stopped."}${problems.length ? ` ${problems.join("; ")}.` : ""}${where}`;
  }

  function showKeys() {
    const focused = document.activeElement?.dataset?.key;
    at("training-keys").replaceChildren(...keys().map((key, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = `key colour${index % COLOURS}`;
      button.dataset.key = key;
      button.textContent = key;
      button.setAttribute("aria-pressed", !off.has(key));
      button.title = "Show or hide";
      button.addEventListener("click", () => { if (off.has(key)) off.delete(key); else off.add(key); show(); });
      return button;
    }), isSingle() ? "training: the batches since the last point; validation, with dots: after each epoch"
      : "thin: training, the batches since the last point; with dots: validation; a line for each seed");
    if (focused) [...at("training-keys").children].find((one) => one.dataset.key === focused)?.focus();
    at("log").setAttribute("aria-pressed", isLog());
  }

  function showCharts() {
    const focused = svgs.indexOf(document.activeElement);
    const epochs = Math.max(1, ...[...runs.values()].map((run) => run.epochs));
    const width = Math.max(260, Math.min(at("charts").clientWidth, 900));
    svgs = [];
    at("charts").replaceChildren(...Object.entries(known.labels).map(([name, label], index) => {
      const block = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = label.replaceAll("_", " ");
      const svg = chart(linesOf(name), { label: caption.textContent, epochs, isLog: index === 0 && isLog(), width });
      svgs.push(svg);
      const reading = document.createElement("p");
      reading.className = "reading";
      reading.textContent = "\u00a0";
      readable(svg, reading, name, epochs);
      block.append(caption, svg, reading);
      return block;
    }));
    svgs[focused]?.focus({ preventScroll: true });
  }

  // The values under the pointer; by keyboard, an epoch at a time.
  function readable(svg, reading, name, epochs) {
    let place = epochs;
    const read = (epoch) => {
      place = epoch;
      svg.showCursor(epoch);
      const values = new Map();
      for (const line of linesOf(name)) {
        if (line.isFaint) continue;
        const nearest = line.points.reduce((best, point) => (Math.abs(point[0] - epoch) < Math.abs(best[0] - epoch) ? point : best));
        if (Math.abs(nearest[0] - epoch) <= 1 && nearest[1] !== null) values.set(line.key, [...(values.get(line.key) || []), nearest[1]]);
      }
      const mean = (some) => some.reduce((a, b) => a + b, 0) / some.length;
      const texts = [...values].map(([key, some]) => `${key} ${figure(mean(some))}${some.length > 1 ? ` (mean of ${some.length})` : ""}`);
      reading.textContent = `epoch ${figure(Number(epoch.toFixed(2)))}: ${texts.join(", ") || "no value yet"}`;
    };
    svg.addEventListener("pointermove", (event) => read(svg.epochAt(event.clientX - svg.getBoundingClientRect().left)));
    svg.addEventListener("pointerleave", () => { svg.showCursor(null); reading.textContent = "\u00a0"; });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      read(Math.min(Math.max(Math.round(place) + step, 0), epochs));
    });
  }

  function showTable(all) {
    const names = Object.keys(known.labels);
    const table = document.createElement("table");
    table.createCaption().textContent = "Figures of the last complete epoch, as in metrics.csv; of a finished run, as in results.json.";
    const head = table.createTHead().insertRow();
    for (const text of ["run", "state", "epoch", ...names.flatMap((name) => [`training ${name}`, `validation ${name}`])]) {
      const cell = document.createElement("th");
      cell.textContent = text.replaceAll("_", " ");
      head.append(cell);
    }
    const body = table.createTBody();
    for (const run of all) {
      const row = body.insertRow();
      row.dataset.run = run.name;
      const [trained, validation] = [run.trained, run.validation].map((rows) => rows.find(({ epoch }) => epoch === run.kept) ?? rows.at(-1));
      const latest = names.flatMap((name) => [
        trained || !run.training.length ? asPrinted(name, trained?.[name]) : `${asPrinted(name, run.training.at(-1)[name])} (last batches)`,
        asPrinted(name, validation?.[name]),
      ]);
      for (const text of [run.name, run.state, figure(run.done), ...latest]) row.insertCell().textContent = text;
    }
    at("training-table").replaceChildren(table);
  }

  return {
    // Whether a model is trained beside the page now.
    async start() {
      if (!(await look())) return false;
      at("log").addEventListener("click", () => { keepLog(!isLog()); show(); });
      window.addEventListener("resize", showCharts);
      if (isSaved) return false;
      window.addEventListener("pagehide", leave);
      isOver = known.state !== "training";
      setTimeout(again, OFTEN);
      return !isOver;
    },
    norm: () => norms()[0] || "",
  };
}
