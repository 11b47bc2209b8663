// An array as planes of cells: samples one below the other, channels side by side, positions as rows.

export function shown(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e5) return value.toExponential(1);
  if (size < 0.05) return value.toPrecision(2);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

export function numberIn(text) {
  const value = Number(text.trim().replace(",", ".").replace("−", "-"));
  return text.trim() === "" || !Number.isFinite(value) ? null : value;
}

function planesOf(shape) {
  // [samples, channels, rows, columns]: missing axes have one entry.
  if (shape.length === 0) return [1, 1, 1, 1];
  if (shape.length === 1) return [1, 1, 1, shape[0]];
  if (shape.length === 2) return [1, 1, shape[0], shape[1]];
  if (shape.length === 3) return [1, shape[0], shape[1], shape[2]];
  return [shape[0], shape[1], shape.slice(2, -1).reduce((a, b) => a * b, 1), shape[shape.length - 1]];
}

// The names of the axes of an array, if they are known: N, C, H, W.
export function axisNames(axes, shape) {
  const names = [axes[0], axes[1], ...axes[2].split("·")].filter(Boolean);
  return names.length === shape.length ? names : null;
}

export function sizeOf(shape, names) {
  if (!shape.length) return "a number";
  return names ? names.map((name, k) => `${name} ${shape[k]}`).join(" × ") : shape.join("×");
}

// options: name, whole, axes, edit(index, value), pick(index), classes(index)
export function tensorView(array, options = {}) {
  const { shape, values } = array;
  const [samples, channels, rows, columns] = planesOf(shape);
  const view = document.createElement("div");
  view.className = "scroll";
  const body = document.createElement("div");
  body.className = "tensor";
  body.dataset.tensor = options.name || "";
  view.append(body);
  const [first, second] = options.axes ? options.axes.map((name) => `${name} `) : ["", ""];
  for (let n = 0; n < samples; n++) {
    const sample = document.createElement("div");
    sample.className = "sample";
    for (let c = 0; c < channels; c++) {
      const plane = document.createElement("table");
      plane.className = "plane";
      if (samples * channels > 1) plane.createCaption().textContent = shape.length > 3 ? `${first}${n}, ${second}${c}` : `${first}${c}`;
      for (let h = 0; h < rows; h++) {
        const line = plane.insertRow();
        for (let w = 0; w < columns; w++) {
          const index = ((n * channels + c) * rows + h) * columns + w;
          if (index < values.length) line.insertCell().append(cell(index, values[index], options));
        }
      }
      sample.append(plane);
    }
    body.append(sample);
  }
  if (options.edit || options.pick) walkable(body, columns);
  return view;
}

function cell(index, value, options) {
  const made = document.createElement(options.edit ? "input" : options.pick ? "button" : "span");
  made.className = ["cell", ...(options.classes ? options.classes(index) : [])].join(" ");
  made.dataset.index = index;
  made.dataset.value = value === null ? "" : String(value);
  made.title = `${options.name || ""}[${index}] = ${value}`;
  const isWhole = options.whole && value !== null;
  const text = isWhole ? String(value) : shown(value);
  if (options.edit) {
    made.value = text;
    made.inputMode = "decimal";
    made.setAttribute("aria-label", `${options.name}[${index}]`);
    made.addEventListener("focus", () => {
      if (made.value === text) made.value = String(value);
      made.select();
      options.pick?.(index);
    });
    made.addEventListener("blur", () => { if (Number(made.value) === value) made.value = text; });
    made.addEventListener("change", () => options.edit(index, made.value));
  } else {
    made.textContent = text;
    if (options.pick) {
      made.type = "button";
      made.addEventListener("click", () => options.pick(index));
    }
  }
  return made;
}

// One stop of the Tab key for an array; the arrow keys go from cell to cell.
function walkable(body, columns) {
  const cells = [...body.querySelectorAll(".cell")];
  for (const one of cells) one.tabIndex = -1;
  if (cells.length) cells[0].tabIndex = 0;
  body.addEventListener("focusin", (event) => {
    for (const one of cells) one.tabIndex = one === event.target ? 0 : -1;
  });
  body.addEventListener("keydown", (event) => {
    const at = cells.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const { value, selectionStart: start, selectionEnd: end } = event.target;
    const isAll = value === undefined || (start === 0 && end === value.length);
    const step = {
      ArrowUp: -columns, ArrowDown: columns, Enter: value === undefined ? 0 : columns,
      ArrowLeft: isAll || end === 0 ? -1 : 0, ArrowRight: isAll || start === value?.length ? 1 : 0,
    }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    if (cells[at + step]) cells[at + step].focus();
    else if (event.key === "Enter") event.target.dispatchEvent(new Event("change"));
  });
}

export function named(name, formula, view) {
  const block = document.createElement("div");
  const heading = document.createElement("div");
  heading.className = "name";
  const what = document.createElement("strong");
  what.textContent = name;
  heading.append(what);
  if (formula) heading.append(" \u2002 ", formula);
  block.append(heading, view);
  return block;
}
