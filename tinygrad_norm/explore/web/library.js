// Ask the library; or, in a saved file, read the answers that were saved with it.

const SAVED = JSON.parse(document.getElementById("saved").textContent);
const TOKEN = new URLSearchParams(location.search).get("token") || "";

export const PAGE = Math.random().toString(36).slice(2);
export const isSaved = SAVED !== null;
export const savedState = SAVED?.state ?? {};

function send(what, question, more) {
  return fetch(`/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Token": TOKEN },
    body: JSON.stringify(question),
    ...more,
  });
}

export async function ask(what, question) {
  if (isSaved) return SAVED[what] ?? null;
  let reply;
  try {
    reply = await send(what, question);
  } catch {
    throw new Error("The explorer does not answer: is `tinygrad-norm` still running?");
  }
  const data = await reply.json();
  if (!reply.ok) throw new Error(data.problem);
  return data;
}

// Say that this page is closed: a training that waits for its reader ends.
export function leave() {
  send("closed", { page: PAGE }, { keepalive: true }).catch(() => {});
}
