// Step by step: forward through the calls, then backward in the other direction.

import { axisNames, named, tensorView } from "./cells.js";
import { formulaLine } from "./formula.js";

export function movesOf(answer) {
  const forward = answer.steps.map((step) => ({ step, backward: false }));
  return [...forward, ...[...answer.steps].reverse().map((step) => ({ step, backward: true }))];
}

function verdictOf(correct) {
  const mark = document.createElement("span");
  mark.className = correct === null ? "" : correct ? "good" : "bad";
  mark.textContent = correct === null ? "– at a kink" : correct ? "✓ finite differences agree" : "✗ finite differences disagree";
  return mark;
}

export function showStep(place, answer, position) {
  place.replaceChildren();
  const moves = movesOf(answer);
  if (!moves.length) { place.textContent = "No steps."; return; }
  const { step, backward } = moves[position];
  const head = document.createElement("div");
  head.className = "step-head";
  const title = document.createElement("strong");
  title.textContent = backward ? `Backward: from d${step.name}` : `Forward: ${step.name}`;
  const call = `${step.name} = ${step.expression}`;
  head.append(title, formulaLine(backward ? step.derivative || `d${step.name} of ${step.expression}` : call));
  if (!backward && step.formula && step.formula !== call) head.append(formulaLine(step.formula));
  place.append(head);
  const rows = document.createElement("div");
  rows.className = "rows";
  const view = (name, text, array) => named(name, text, tensorView(array, { name, axes: axisNames(answer.axes, array.shape) }));
  if (backward) {
    rows.append(view(`d${step.name}`, "comes in", step.incoming));
    for (const flow of step.flows) {
      const block = view(`d${flow.name}`, "goes out, through this step", flow.outgoing);
      block.append(verdictOf(flow.correct));
      rows.append(block);
    }
  } else rows.append(view(step.name, "", step.array));
  place.append(rows);
}
