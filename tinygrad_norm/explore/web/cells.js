// An array as planes of cells: samples one below the other, channels side by side, positions as rows.

export function shown(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e5) return value.toExponential(1);
  if (size < 0.05) return value.toPrecision(2);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

function planesOf(shape) {
  // [samples, channels, rows, columns]: missing axes have one entry.
  if (shape.length === 0) return [1, 1, 1, 1];
  if (shape.length === 1) return [1, 1, 1, shape[0]];
  if (shape.length === 2) return [1, 1, shape[0], shape[1]];
  if (shape.length === 3) return [1, shape[0], shape[1], shape[2]];
  return [shape[0], shape[1], shape.slice(2, -1).reduce((a, b) => a * b, 1), shape[shape.length - 1]];
}

// options: name, edit(index, value), pick(index), classes(index)
export function tensorView(array, options = {}) {
  const { shape, values } = array;
  const [samples, channels, rows, columns] = planesOf(shape);
  const view = document.createElement("div");
  view.className = "scroll";
  const body = document.createElement("div");
  body.className = "tensor";
  body.dataset.tensor = options.name || "";
  view.append(body);
  for (let n = 0; n < samples; n++) {
    const sample = document.createElement("div");
    sample.className = "sample";
    for (let c = 0; c < channels; c++) {
      const plane = document.createElement("table");
      plane.className = "plane";
      if (samples * channels > 1) plane.createCaption().textContent = shape.length > 3 ? `${n}, ${c}` : `${c}`;
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
  return view;
}

function cell(index, value, options) {
  const made = document.createElement(options.edit ? "input" : options.pick ? "button" : "span");
  made.className = ["cell", ...(options.classes ? options.classes(index) : [])].join(" ");
  made.dataset.index = index;
  made.dataset.value = value === null ? "" : String(value);
  made.title = `${options.name || ""}[${index}] = ${value}`;
  if (options.edit) {
    made.value = shown(value);
    made.inputMode = "decimal";
    made.setAttribute("aria-label", `${options.name}[${index}]`);
    made.addEventListener("focus", () => { made.value = String(value); options.pick(index); });
    made.addEventListener("blur", () => { if (Number(made.value) === value) made.value = shown(value); });
    made.addEventListener("change", () => options.edit(index, made.value));
  } else {
    made.textContent = shown(value);
    if (options.pick) {
      made.type = "button";
      made.addEventListener("click", () => options.pick(index));
    }
  }
  return made;
}

export function named(name, formula, view) {
  const block = document.createElement("div");
  const heading = document.createElement("div");
  heading.className = "name";
  const what = document.createElement("strong");
  what.textContent = name;
  heading.append(what, formula ? ` \u2002 ${formula}` : "");
  block.append(heading, view);
  return block;
}
