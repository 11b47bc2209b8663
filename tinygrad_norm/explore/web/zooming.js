// A picture that can be zoomed by buttons, keys and wheel, and dragged.

import { prose } from "./prose.js";

const STEP = 1.3;

export function zoomable(place) {
  let image = null;
  let width = 0;

  // The point under (x, y), in pixels from the corner of the place, stays there.
  function size(wanted, x = place.clientWidth / 2, y = place.clientHeight / 2) {
    if (!image) return;
    const before = width || 1;
    width = Math.min(Math.max(wanted, 100), 12000);
    const [left, top] = [place.scrollLeft + x, place.scrollTop + y];
    image.style.width = `${width}px`;
    place.scrollTo(left * (width / before) - x, top * (width / before) - y);
  }

  const fit = () => size(place.clientWidth - 4, 0, 0);
  const larger = () => size(width * STEP);
  const smaller = () => size(width / STEP);

  place.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") larger();
    else if (event.key === "-") smaller();
    else if (event.key === "0") fit();
  });
  place.addEventListener("wheel", (event) => {
    if (!image || !(event.ctrlKey || document.activeElement === place)) return;
    event.preventDefault();
    const box = place.getBoundingClientRect();
    size(event.deltaY < 0 ? width * STEP : width / STEP, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  place.addEventListener("pointerdown", (event) => {
    if (!image || event.button !== 0 || event.pointerType === "touch") return;  // a finger scrolls anyway
    event.preventDefault();
    place.focus({ preventScroll: true });
    place.setPointerCapture(event.pointerId);
    place.classList.add("dragged");
  });
  place.addEventListener("pointermove", (event) => {
    if (place.classList.contains("dragged")) place.scrollBy(-event.movementX, -event.movementY);
  });
  for (const name of ["pointerup", "pointercancel"]) place.addEventListener(name, () => place.classList.remove("dragged"));

  return {
    larger, smaller, fit,
    show(svg, alt) {
      image = document.createElement("img");
      image.alt = alt;
      image.draggable = false;
      image.addEventListener("load", fit);
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
      place.replaceChildren(image);
    },
    tell(text) { image = null; width = 0; place.replaceChildren(...prose(text)); },
  };
}
