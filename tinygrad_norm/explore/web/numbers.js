// The inputs and results: numbers that can be edited, and the pool of the entry that is chosen.

import { axisNames, named, numberIn, sizeOf, tensorView } from "./cells.js";
import { showCube, shadeCube } from "./cube.js";

// Random numbers as the library draws its own: normal, with two decimals; positive where all were.
export function randomLike({ values }) {
  const isPositive = values.every((value) => value > 0);
  return values.map(() => {
    const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    return Number((isPositive ? Math.abs(normal) + 0.1 : normal).toFixed(2));
  });
}

// change(kind, argument, numbers): kind is "x", "dy" or "input"; pick(entry); tell(problem)
export function numbersView(at, { isFixed, change, pick, tell }) {
  let answer = null;

  function block(kind, value, hint, place) {
    const { argument, array, whole } = value;
    const names = axisNames(answer.axes, array.shape);
    const edit = (index, text) => {
      const number = numberIn(text);
      if (number === null) { tell(`${text.trim() || "An empty text"} is not a number.`); return; }
      if (number !== array.values[index]) change(kind, argument, array.values.with(index, number));
    };
    const options = { name: value.name, whole, axes: names, edit: isFixed ? null : edit };
    if (kind === "x") options.pick = pickFromX;
    const made = named(value.name, hint, tensorView(array, options));
    made.querySelector(".name").append(` \u2002 ${sizeOf(array.shape, names)}`);
    if (!isFixed && !whole) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.textContent = `Random ${value.name}`;
      button.dataset.random = value.name;
      button.addEventListener("click", () => change(kind, argument, randomLike(array)));
      made.querySelector(".name").append(button);
    }
    place.push(made);
  }

  function pickFromX(index) {
    const isOwn = answer.pools[index]?.includes(index);
    const entry = isOwn ? index : answer.pools.findIndex((pool) => pool.includes(index));
    if (entry >= 0) pick(entry);
  }

  // The cell that has the focus, and what was typed there, stay when the numbers are shown anew.
  function keepingFocus(draw) {
    const active = document.activeElement;
    const name = active?.closest?.("[data-tensor]")?.dataset.tensor;
    const { index, value } = active?.dataset ?? {};
    const random = active?.dataset?.random;
    const typed = active?.value !== undefined && Number(active.value) !== Number(value) ? active.value : null;
    draw();
    if (random) [...document.querySelectorAll("[data-random]")].find((one) => one.dataset.random === random)?.focus();
    if (name === undefined || index === undefined) return;
    const blocks = [...document.querySelectorAll("#tensors [data-tensor], #inputs [data-tensor]")];
    const cell = blocks.find((one) => one.dataset.tensor === name)?.querySelector(`[data-index="${index}"]`);
    if (!cell) return;
    cell.focus();
    if (typed !== null && typed !== "") cell.value = typed;
  }

  function show(found, entry) {
    answer = found;
    const [x, ...others] = answer.inputs;
    keepingFocus(() => {
      const blocks = [];
      block("x", x, isFixed ? "an input" : "change any number", blocks);
      for (const y of answer.results) {
        const names = axisNames(answer.axes, y.array.shape);
        const options = { name: y.name, axes: names, pick: y === answer.results[0] ? pick : null };
        blocks.push(named(y.name, y.expression && y.expression !== y.name ? `= ${y.expression}` : "", tensorView(y.array, options)));
      }
      for (const [k, dy] of answer.dys.entries()) {
        if (k === 0) block("dy", dy, `the gradient that arrives at ${answer.results[0]?.name ?? "y"}`, blocks);
        else blocks.push(named(dy.name, "", tensorView(dy.array, { name: dy.name, axes: axisNames(answer.axes, dy.array.shape) })));
      }
      at("tensors").replaceChildren(...blocks);
      const more = [];
      for (const value of others) block("input", value, value.argument === value.name ? "" : value.argument, more);
      at("inputs").replaceChildren(...more);
      at("others").hidden = !others.length;
      at("others-title").textContent = `Other inputs: ${others.map((value) => value.name).join(", ")}`;
    });
    showCube(at("cube"), answer.picture, pickFromX);
    colour(entry);
  }

  function colour(entry) {
    const [x] = answer.inputs;
    const y = answer.results[0];
    const isSame = !y || y.array.values.length === x.array.values.length;
    const pool = new Set(answer.pools[entry]);
    const paint = (name, isPooled, isOwn) => {
      const blocks = [...at("tensors").querySelectorAll("[data-tensor]")];
      for (const made of blocks.find((one) => one.dataset.tensor === name)?.querySelectorAll(".cell") ?? []) {
        made.classList.toggle("pooled", isPooled && pool.has(Number(made.dataset.index)));
        made.classList.toggle("own", isOwn && Number(made.dataset.index) === entry);
      }
    };
    paint(x.name, true, isSame);
    if (y) paint(y.name, false, true);
    shadeCube(at("cube"), answer.pools[entry], isSame ? entry : -1);
  }

  return { show, colour };
}
