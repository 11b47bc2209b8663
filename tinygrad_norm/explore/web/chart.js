// Lines over the epochs as SVG, drawn in the width that there is.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 230;
const MARGIN = { left: 58, right: 14, top: 10, bottom: 34 };

function part(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function ticksOf(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  return found;
}

export function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

// lines: { points: [[epoch, value or null], …], colour: 0 … 7, isFaint, isDotted }
export function chart(lines, { label, epochs, isLog, width }) {
  const values = lines.flatMap((line) => line.points.map((point) => point[1])).filter((v) => v !== null && (!isLog || v > 0));
  const forth = isLog ? Math.log10 : (v) => v;
  let low = Math.min(...values.map(forth));
  let high = Math.max(...values.map(forth));
  if (!values.length) { low = isLog ? -1 : 0; high = isLog ? 0 : 1; }
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) { low -= 0.5; high += 0.5; }
  const room = 0.04 * (high - low);
  [low, high] = [low - room, high + room];
  const inner = { x: width - MARGIN.left - MARGIN.right, y: HEIGHT - MARGIN.top - MARGIN.bottom };
  const right = (epoch) => MARGIN.left + (epoch / epochs) * inner.x;
  const down = (value) => MARGIN.top + ((high - forth(value)) / (high - low)) * inner.y;
  const svg = part("svg", { class: "chart", width, height: HEIGHT, role: "img", "aria-label": `${label} over the epochs`, tabindex: 0 });
  const grid = isLog ? ticksOf(low, high, 5).map((power) => 10 ** power) : ticksOf(low, high, 5);
  for (const value of grid) {
    const y = down(value);
    svg.append(part("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
    svg.append(part("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, isLog ? figure(Number(value.toPrecision(2))) : figure(value)));
  }
  for (const epoch of ticksOf(0, epochs, Math.max(2, Math.min(10, inner.x / 60))).filter(Number.isInteger))
    svg.append(part("text", { x: right(epoch), y: HEIGHT - 18, "text-anchor": "middle" }, epoch));
  svg.append(part("text", { x: MARGIN.left + inner.x / 2, y: HEIGHT - 3, "text-anchor": "middle" }, "epoch"));
  for (const line of lines) svg.append(...drawn(line, right, down, isLog));
  const cursor = part("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, x1: -9, x2: -9 });
  svg.append(cursor);
  svg.epochAt = (x) => Math.min(Math.max(((x - MARGIN.left) / inner.x) * epochs, 0), epochs);
  svg.showCursor = (epoch) => { for (const end of ["x1", "x2"]) cursor.setAttribute(end, epoch === null ? -9 : right(epoch)); };
  return svg;
}

function drawn(line, right, down, isLog) {
  const look = `line colour${line.colour}${line.isFaint ? " faint" : ""}`;
  const made = [];
  let path = "";
  let isPenDown = false;
  for (const [epoch, value] of line.points) {
    const isShown = value !== null && (!isLog || value > 0);
    if (isShown) {
      const place = `${right(epoch).toFixed(1)},${down(value).toFixed(1)}`;
      path += `${isPenDown ? "L" : "M"}${place}`;
      const [cx, cy] = place.split(",");
      if (line.isDotted) made.push(part("circle", { class: `dot colour${line.colour}`, cx, cy, r: line.points.length > 30 ? 2 : 3 }));
    }
    isPenDown = isShown;
  }
  return [part("path", { class: look, d: path }), ...made];
}
