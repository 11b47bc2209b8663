// The gradient of an input: its paths, their sum, finite differences; and what a mistake changes.

import { named, tensorView } from "./cells.js";

export function showPaths(place, verdict, gradient, mistake, picked) {
  place.replaceChildren();
  verdict.className = "";
  verdict.textContent = "";
  if (!gradient) { verdict.textContent = "There is no gradient."; return; }
  const wrong = new Set(mistake ? mistake.wrong : []);
  const mark = (index) => [...(index === picked ? ["own"] : []), ...(wrong.has(index) ? ["wrong"] : [])];
  const rows = document.createElement("div");
  rows.className = "rows";
  const add = (name, formula, array, classes) =>
    rows.append(named(name, formula, tensorView(array, { name, classes })));
  const own = (index) => (index === picked ? ["own"] : []);
  for (const path of gradient.paths) add(path.name, path.formula, path.gradient, own);
  add(`sum of the paths = ${gradient.name}`, "", gradient.total, own);
  add("finite differences", "", gradient.finite_difference, own);
  if (mistake) {
    const formula = `${mistake.line}: ${mistake.wrong_formula} in place of ${mistake.right_formula || "the path"}`;
    rows.prepend(named(`broken: ${mistake.name}`, formula, tensorView(mistake.gradient, { name: "broken", classes: mark })));
    verdict.className = "bad";
    verdict.textContent = `✗ ${mistake.wrong.length} of ${gradient.total.values.length} entries of ${gradient.name} are wrong: ${mistake.name}.`;
  } else if (gradient.at_kink) {
    verdict.textContent = "– Forward has a kink here: between the slopes on its two sides, every gradient is right.";
  } else {
    verdict.className = gradient.correct ? "good" : "bad";
    verdict.textContent = gradient.correct
      ? "✓ Sum of the paths, tape, closed form and finite differences agree."
      : "✗ They do not agree.";
  }
  place.append(rows);
}
