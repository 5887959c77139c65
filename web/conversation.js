/* Turns -> what is sent. A turn: { text, pictures: [{id, name, blob}], isExample, answer,
 * state: "busy"|"done"|"error", error, grounding, usage, finish, sampling, first, seconds, pieces, from, sent }.
 * `from` is the first turn that was sent with it, `sent` the ids of the pictures that were, in order:
 * grounding counts in them. */

import { cleanBoxes, cleanUsage } from "./api.js";

/* A turn from the browser's store, where every page of this address can write; null if it is none. An
 * answer that a reload cut off is one that was stopped. */
export function cleanTurn(turn) {
  if (typeof turn?.text !== "string" || typeof turn.answer !== "string" || !Array.isArray(turn.pictures)) return null;
  const number = (name) => (Number.isFinite(turn[name]) && turn[name] >= 0 ? turn[name] : 0);
  return { ...turn, grounding: cleanBoxes(turn.grounding), usage: cleanUsage(turn.usage), error: turn.error && String(turn.error),
    first: number("first"), seconds: number("seconds"), pieces: number("pieces"), from: number("from"),
    ...(turn.state === "done" || turn.state === "error" ? {} : { state: "done", finish: "stopped" }) };
}

const readAsDataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/* Where each picture of a text goes: {tags, front, surplus}. The first `front` pictures stand before the
 * text, the others at its <image> marks; with too few pictures the first `surplus` marks go. */
export function places(text, pictures) {
  const tags = text.split("<image>").length - 1;
  const used = Math.min(tags, pictures);
  return { tags, front: pictures - used, surplus: pictures ? tags - used : 0 };
}

/* As parts: strings and pictures in their order. An <image> stands for itself and its line break. */
export function partsOf(text, pictures) {
  if (!pictures.length) return [text];
  const { front, surplus } = places(text, pictures.length);
  const pieces = text.split("<image>");
  pieces.splice(0, surplus + 1, pieces.slice(0, surplus + 1).join(""));
  const rest = pictures.slice(front);
  const parts = pictures.slice(0, front);
  pieces.forEach((piece, i) => {
    const said = i ? piece.replace(/^\n/, "") : piece;
    if (said) parts.push(said);
    if (i < rest.length) parts.push(rest[i]);
  });
  return parts;
}

async function contentOf(turn) {
  if (!turn.pictures.length) return turn.text;
  return Promise.all(partsOf(turn.text, turn.pictures).map(async (part) => (typeof part === "string"
    ? { type: "text", text: part } : { type: "image_url", image_url: { url: await readAsDataUrl(part.blob) } })));
}

/* A turn that failed before a word came is no part of what is said later. */
const spoken = (turn) => turn.answer !== "";

/* What each turn took of a prompt, from the usage of its own answer and of those before it. */
function sizes(turns) {
  const known = [];
  turns.forEach((turn, i) => {
    const before = known.slice(turn.from ?? 0, i).reduce((sum, n) => sum + n, 0);
    const asked = turn.usage ? Math.max(1, turn.usage.prompt_tokens - before) : Math.ceil(turn.text.length / 3);
    known.push(spoken(turn) ? asked + (turn.usage?.completion_tokens ?? turn.pieces ?? 0) : 0);
  });
  return known;
}

/* The first turn that is sent with the last one: what is older does not fit `limit` tokens of history. */
export function fittingFrom(turns, limit) {
  const known = sizes(turns.slice(0, -1));
  let from = known.length, total = Math.ceil(turns.at(-1).text.length / 3);
  while (from > 0 && total + known[from - 1] <= limit) total += known[--from];
  return from;
}

/* The messages for the last turn, which notes what goes with it. */
export async function messagesOf(turns, from, system) {
  const turn = turns.at(-1);
  const going = turns.slice(from).filter((t) => t === turn || spoken(t));
  turn.from = from;
  turn.sent = going.flatMap((t) => t.pictures.map((picture) => picture.id));
  const messages = system.trim() ? [{ role: "system", content: system }] : [];
  for (const t of going) {
    messages.push({ role: "user", content: await contentOf(t) });
    if (t !== turn) messages.push({ role: "assistant", content: t.answer });
  }
  return messages;
}
