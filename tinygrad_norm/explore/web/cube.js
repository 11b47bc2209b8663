// The picture of the pool: the library draws the blocks, the page shades those of the picked entry.

export function showCube(place, svg, pick) {
  const picture = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  place.replaceChildren(document.importNode(picture, true));
  for (const block of place.querySelectorAll("[data-entry]"))
    block.addEventListener("click", () => pick(Number(block.dataset.entry)));
}

export function shadeCube(place, pool, own) {
  const pooled = new Set(pool);
  for (const block of place.querySelectorAll("[data-entry]")) {
    const index = Number(block.dataset.entry);
    block.setAttribute("class", index === own ? "own" : pooled.has(index) ? "in" : "out");
  }
}
