// The gradient of an input: its paths, their sum, finite differences; and what a mistake changes.

import { axisNames, named, tensorView } from "./cells.js";
import { mathml } from "./formula.js";

export function showPaths(place, verdict, gradient, mistake, picked, axes) {
  place.replaceChildren();
  verdict.className = "";
  verdict.textContent = "";
  if (!gradient) { verdict.textContent = "There is no gradient."; return; }
  const wrong = new Set(mistake ? mistake.wrong : []);
  const own = (index) => (index === picked ? ["own"] : []);
  const mark = (index) => [...own(index), ...(wrong.has(index) ? ["wrong"] : [])];
  const rows = document.createElement("div");
  rows.className = "rows";
  const names = axisNames(axes, gradient.total.shape);
  const add = (name, formula, array, classes = own) => {
    const made = named(name, formula ? mathml(formula) : "", tensorView(array, { name, classes, axes: names }));
    rows.append(made);
    return made;
  };
  if (mistake) {
    const block = add("broken", "", mistake.gradient, mark);
    block.classList.add("broken");
    block.querySelector(".name").append(` \u2002 ${mistake.line}: `, mathml(mistake.wrong_formula), " in place of ",
      mistake.right_formula ? mathml(mistake.right_formula) : "the path");
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
  for (const path of gradient.paths) add(path.name, path.formula, path.gradient);
  add(`sum of the paths = ${gradient.name}`, "", gradient.total);
  add("finite differences", "", gradient.finite_difference);
  place.append(rows);
}
