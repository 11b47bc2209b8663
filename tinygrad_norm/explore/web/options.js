// The options of the normalization: numbers and texts to edit, True and False to choose.

export function showOptions(place, options, isFixed, change) {
  const focused = document.activeElement?.dataset?.option;
  place.replaceChildren(...Object.entries(options).map(([name, text]) => {
    const label = document.createElement("label");
    const isSwitch = text === "True" || text === "False";
    const field = document.createElement(isSwitch ? "select" : "input");
    if (isSwitch) field.append(new Option("True"), new Option("False"));
    else {
      field.size = Math.max(text.length, 4);
      field.autocomplete = "off";
      field.spellcheck = false;
    }
    field.value = text;
    field.disabled = isFixed;
    field.dataset.option = name;
    field.addEventListener("change", () => change(name, field.value.trim()));
    label.append(name, field);
    return label;
  }));
  if (focused) [...place.querySelectorAll("[data-option]")].find((one) => one.dataset.option === focused)?.focus();
}
