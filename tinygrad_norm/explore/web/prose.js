// Words with code in backticks, as the library's messages have them.

export function prose(text) {
  return text.split("`").map((part, k) => {
    if (k % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}
