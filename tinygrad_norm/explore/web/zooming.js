// A picture that can be zoomed: by the buttons, by + and -, by the wheel with Ctrl.

export function zoomable(place) {
  let image = null;
  let width = 0;
  const size = (wanted) => {
    if (!image) return;
    width = Math.min(Math.max(wanted, 100), 12000);
    image.style.width = `${width}px`;
    image.style.maxWidth = "none";
  };
  const fit = () => size(place.clientWidth - 4);
  const larger = () => size(width * 1.3);
  const smaller = () => size(width / 1.3);
  place.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") larger();
    else if (event.key === "-") smaller();
    else if (event.key === "0") fit();
  });
  place.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    if (event.deltaY < 0) larger(); else smaller();
  }, { passive: false });
  return {
    larger, smaller, fit,
    show(svg, alt) {
      image = document.createElement("img");
      image.alt = alt;
      image.addEventListener("load", fit);
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
      place.replaceChildren(image);
    },
    tell(text) { image = null; place.replaceChildren(text); },
  };
}
