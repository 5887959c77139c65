/* One question to the server, with what fits of the conversation before it. */

import * as api from "./api.js";
import { fittingFrom, messagesOf } from "./conversation.js";
import { sampling, settings } from "./settings.js";
import { say } from "./text.js";

const overflows = (error) => error.status === 400 && error.param === "messages" && /context/.test(error.message);

/* Sends the last of the turns; what the server finds too long loses its oldest turn until it fits or only
 * the question is left. `onSending` is called when it is known what goes. Returns as api.complete does. */
export async function askServer(turns, model, signal, onSending, onText) {
  const { history, system, apiKey } = settings(), turn = turns.at(-1);
  const pictures = (from) => turns.slice(from).reduce((n, { pictures: { length } }) => n + length, 0);
  turn.sampling = sampling(turn.isExample);
  let from = fittingFrom(turns, history);
  while (from < turns.length - 1 && pictures(from) > (model.max_images ?? Infinity)) from++;
  for (;; from++) {
    const messages = await messagesOf(turns, from, system);
    onSending();
    try {
      return await api.complete({ ...(model.id ? { model: model.id } : {}), messages, ...turn.sampling,
        seed: Math.floor(Math.random() * 2 ** 31) }, apiKey, signal, onText);
    } catch (error) {
      if (!overflows(error) || from >= turns.length - 1) throw error;
    }
  }
}

/* What a person is told about a question that failed. */
export function errorText(error) {
  if (!(error instanceof api.ApiError)) return say(error instanceof TypeError ? "unreachable" : "broken");
  return error.status === 401 ? `${error.message}. ${say("needsKey")}` : error.message || say("broken");
}

/* Calls `draw` for what came, at most once a frame, and seldom enough that drawing takes a quarter of the
 * time; `keep` once a second, so that a reload in the middle loses a second at most. */
export function painter(isBusy, draw, keep) {
  let waiting = false, cost = 0, kept = performance.now();
  const paint = () => {
    waiting = false;
    if (!isBusy()) return;
    const began = performance.now();
    draw();
    cost = performance.now() - began;
    if (began - kept < 1000) return;
    kept = began;
    keep();
  };
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame(paint), Math.min(3 * cost, 2000));
  };
}
