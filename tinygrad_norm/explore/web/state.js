// The state of the page, and the same in the URL behind #: a link shows what its sender saw.

const DEFAULTS = { op: "batch_norm", shape: "", seed: 0, x: null, options: {}, entry: 0, step: 0, gradient: "", mistake: -1, log: 0 };

export function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { ...DEFAULTS, options: {} };
  for (const [key, text] of given) {
    if (key === "x") state.x = text.split(",").map(Number).filter(Number.isFinite);
    else if (key.startsWith("option.")) state.options[key.slice(7)] = text;
    else if (["seed", "entry", "step", "mistake", "log"].includes(key)) state[key] = Math.trunc(Number(text)) || 0;
    else if (["op", "shape", "gradient"].includes(key)) state[key] = text;
  }
  return state;
}

export function writeState(state) {
  const kept = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === "x") { if (value) kept.set("x", value.join(",")); }
    else if (key === "options") for (const [name, text] of Object.entries(value)) kept.set(`option.${name}`, text);
    else if (value !== DEFAULTS[key] || key === "op") kept.set(key, value);
  }
  return `#${kept}`;
}

export function questionOf(state) {
  const question = { op: state.op, seed: state.seed };
  if (state.shape) question.shape = state.shape.split(/[x×,\s]+/).map(Number);
  if (state.x) question.x = state.x;
  if (Object.keys(state.options).length) question.options = state.options;
  return question;
}
