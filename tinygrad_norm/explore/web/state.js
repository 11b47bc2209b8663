// The state of the page, and the same in the URL behind #: a link shows what its sender saw.

const DEFAULTS = {
  op: "batch_norm", shape: "", seed: 0, x: null, dy: null, inputs: {}, options: {}, entry: 0, step: 0, gradient: "", mistake: "", log: 0,
};
const WHOLE = ["seed", "entry", "step", "log"];
const TEXTS = ["op", "shape", "gradient", "mistake"];

export function freshState() {
  return { ...DEFAULTS, inputs: {}, options: {} };
}

// The state in a link; and what in it cannot be read, which is left out.
export function readState(hash) {
  const state = freshState();
  const damaged = [];
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const dot = key.indexOf(".");
    const [group, name] = dot < 0 ? [key, ""] : [key.slice(0, dot), key.slice(dot + 1)];
    if (WHOLE.includes(key)) {
      if (/^\d{1,10}$/.test(text)) state[key] = Number(text); else damaged.push(key);
    } else if (key === "x" || key === "dy" || (group === "input" && name)) {
      const numbers = text.split(",").map((one) => (one.trim() === "" ? NaN : Number(one)));
      if (!numbers.every(Number.isFinite)) damaged.push(key);
      else if (group === "input") state.inputs[name] = numbers;
      else state[key] = numbers;
    } else if (group === "option" && name) state.options[name] = text;
    else if (key === "shape" && !isShape(text)) damaged.push(key);
    else if (TEXTS.includes(key)) state[key] = text;
    else damaged.push(key.slice(0, 20));
  }
  const problem = damaged.length ? `The link is damaged at ${damaged.join(", ")}: that was left out.` : "";
  return { state, problem };
}

export function isShape(text) {
  return /^\s*\d{1,9}([x×,\s]+\d{1,9}){0,9}\s*$/.test(text);
}

export function writeState(state) {
  const kept = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === "x" || key === "dy") { if (value) kept.set(key, value.join(",")); }
    else if (key === "inputs") for (const [name, numbers] of Object.entries(value)) kept.set(`input.${name}`, numbers.join(","));
    else if (key === "options") for (const [name, text] of Object.entries(value)) kept.set(`option.${name}`, text);
    else if (value !== DEFAULTS[key] || key === "op") kept.set(key, value);
  }
  return `#${kept}`;
}

export function questionOf(state) {
  const question = { op: state.op, seed: state.seed };
  if (state.shape) question.shape = state.shape.trim().split(/[x×,\s]+/).map(Number);
  if (state.x) question.x = state.x;
  if (state.dy) question.dy = state.dy;
  if (Object.keys(state.inputs).length) question.inputs = state.inputs;
  if (Object.keys(state.options).length) question.options = state.options;
  return question;
}
