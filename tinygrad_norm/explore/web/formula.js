// A formula as the derivations write it, r·(g - mean(g)), as MathML.

const MATHML = "http://www.w3.org/1998/Math/MathML";
const RAISED = { "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁻": "−", "ᵀ": "T", "ⁿ": "n", "ᵖ": "p", "ᵇ": "b" };
const LOWERED = { "₀": "0", "₁": "1", "₂": "2", "₃": "3", "₄": "4", "₅": "5", "₆": "6", "₇": "7", "₈": "8", "₉": "9" };
const ACCENTS = { "\u0302": "^", "\u0304": "¯" };
const TOKEN_PATTERN = /\s+|\d+(?:\.\d+)?(?:e-?\d+)?|Σ|[A-Za-zΑ-ω∂](?:[A-Za-zΑ-ω]|_(?=[a-z]{5}))*[\u0302\u0304]?'?|[₀-₉]+|[⁰¹²³⁴⁻ᵀⁿᵖᵇ]+|\*\*|:=|<=|>=|[\s\S]/gu;

function element(name, ...children) {
  const made = document.createElementNS(MATHML, name);
  made.append(...children);
  return made;
}

function accented(text) {
  const place = text.search(/[\u0302\u0304]/);
  if (place < 0) return element("mi", text);
  const over = element("mover", element("mi", text[place - 1]), element("mo", ACCENTS[text[place]]));
  over.setAttribute("accent", "true");
  const rest = text.slice(place + 1);
  return place > 1 || rest ? element("mrow", element("mi", text.slice(0, place - 1)), over, element("mi", rest)) : over;
}

function space(width) {
  const made = element("mspace");
  made.setAttribute("width", width);
  return made;
}

function word(token) {
  const derivative = /^([d∂])([A-Za-zΑ-ω][\u0302\u0304]?)$/u.exec(token);
  if (derivative) return element("mrow", element("mi", derivative[1]), accented(derivative[2]));
  if (token !== "a") return accented(token);
  const article = element("mi", token);  // in the prose of a formula
  article.setAttribute("mathvariant", "normal");
  return article;
}

// Σ with what is added up behind it, and perhaps an index: Σrows dy, Σ_j x_j; else it is a letter, as Σ_N.
function sum(tokens) {
  const isTerm = (token) => /^[A-Za-zΑ-ω∂\d(√‖|]/u.test(token ?? "");
  if (/^[A-Za-z]/.test(tokens[0] ?? "") && tokens[1] === " " && isTerm(tokens[2])) return element("msub", element("mo", "∑"), element("mi", tokens.shift()));
  const [, lower, next, term] = tokens;
  const isSum = tokens[0] === "_" ? lower === "(" || (next === " " && isTerm(term)) : isTerm(tokens[0]?.trim() ? tokens[0] : lower);
  return isSum ? element("mo", "∑") : element("mi", "Σ");
}

// The shape behind a name, x (N, C, ...): not the argument of a function.
function shape(tokens) {
  const end = tokens.indexOf(")");
  const text = tokens.slice(1, end).join("");
  if (tokens[0] !== "(" || end < 0 || !/^[A-Z\d*.…][^()=a-z]*$/.test(text) || !text.includes(",")) return null;
  tokens.splice(0, end + 1);
  const made = element("mtext", `(${text})`);
  made.setAttribute("class", "shape");
  return made;
}

function group(tokens) {
  const inner = row(tokens, ")");
  tokens.shift();
  return element("mrow", element("mo", "("), ...inner, element("mo", ")"));
}

// What stands after ^ or _: a group, or one name or number with its sign.
function script(tokens) {
  const end = { "(": ")", "{": "}" }[tokens[0]];
  if (end) {
    tokens.shift();
    const inner = row(tokens, end);
    tokens.shift();
    return element("mrow", ...inner);
  }
  const sign = tokens[0] === "-" ? [element("mo", "−")] : [];
  if (sign.length) tokens.shift();
  const token = tokens.shift() ?? "";
  return element("mrow", ...sign, /^\d/.test(token) ? element("mn", token) : element("mi", token));
}

function isProse(found, next) {
  const last = found.at(-1);
  return last && next && !last.textContent.startsWith("∑") && /^[A-Za-zΑ-ω∂\d]/u.test(next) && (last.localName !== "mo" || "‖|:;".includes(last.textContent));
}

function row(tokens, end) {
  const found = [];
  while (tokens.length && tokens[0] !== end) {
    const token = tokens.shift();
    if (/^\s+$/.test(token)) {
      const size = found.length && found.at(-1).localName !== "mo" ? shape(tokens) : null;
      if (size) found.push(space("0.3em"), size);
      else if (token.length > 1 || isProse(found, tokens[0])) found.push(space(token.length > 1 ? "1.2em" : "0.3em"));
    } else if (/^\d/.test(token)) found.push(element("mn", token));
    else if (token[0] in RAISED && found.length) {
      found.push(element("msup", found.pop(), element("mn", [...token].map((c) => RAISED[c]).join(""))));
    } else if (token[0] in LOWERED && found.length) {
      found.push(element("msub", found.pop(), element("mn", [...token].map((c) => LOWERED[c]).join(""))));
    } else if (token === "^" && found.length && tokens.length) found.push(element("msup", found.pop(), script(tokens)));
    else if (token === "_" && found.length && tokens.length) found.push(element("msub", found.pop(), script(tokens)));
    else if (token === "√") {
      if (tokens[0] === "(") { tokens.shift(); found.push(element("msqrt", ...row(tokens, ")"))); tokens.shift(); }
      else if (tokens.length) {
        const size = tokens[0] === "Σ" ? tokens.findIndex((one) => /^[\s)]/.test(one)) : 1;
        found.push(element("msqrt", ...row(tokens.splice(0, size < 0 ? tokens.length : size), null)));
      }
    } else if (token === "(") found.push(group(tokens));
    else if (token === "Σ") found.push(sum(tokens));
    else if (/^[A-Za-zΑ-ω∂]/u.test(token)) found.push(word(token));
    else if (token === "-" && /^[a-z]{2}/.test(tokens[0] ?? "") && /[a-z]{2}$/.test(found.at(-1)?.textContent ?? "")) {
      found.push(element("mtext", "-"));
    } else found.push(element("mo", { "-": "−", "**": "^" }[token] || token));
  }
  return found;
}

export function mathml(text) {
  const math = element("math", ...row(text.normalize("NFD").match(TOKEN_PATTERN) || [], null));
  math.setAttribute("aria-label", text);
  return math;
}

export function formulaLine(text) {
  const line = document.createElement("div");
  line.className = "formula";
  line.append(mathml(text));
  return line;
}
