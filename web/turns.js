/* Turns drawn: an article for what was asked, one for the answer with its boxes and figures. */

import { figureOf, icon, linkWords } from "./boxes.js";
import { thumbnail } from "./composer.js";
import { finish, plainPieces, render } from "./markdown.js";
import { markLanguage, say } from "./text.js";

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function quiet(name, label, action) {
  const button = make("button", { type: "button", className: "quiet" }, icon(name), make("span", { textContent: label }));
  button.addEventListener("click", () => action(button));
  return button;
}

export function userArticle(turn, onEdit) {
  const article = make("article", {}, make("h2", { textContent: say("you") }));
  article.dataset.role = "user";
  article.dataset.state = "done";
  if (turn.pictures.length) {
    article.append(make("ol", { className: "thumbs" }, ...turn.pictures.map((picture, i) => thumbnail(picture, i + 1))));
  }
  const said = make("div", { className: "said" }, ...plainPieces(turn.text));
  markLanguage(said, turn.text);
  article.append(said, quiet("edit", say("edit"), onEdit));
  return article;
}

/* The settings that an answer was made with; "" where they are not known. */
function drawnWith({ temperature, top_p: topP, repetition_penalty: penalty }) {
  return [["withTemperature", temperature], ["withTopP", topP], ["withPenalty", penalty]]
    .filter(([, value]) => typeof value === "number").map(([key, value]) => say(key, value)).join(", ");
}

function statsOf(turn) {
  const parts = [];
  if (turn.usage) {
    parts.push(say("tokens", turn.usage.completion_tokens));
    const time = turn.seconds - turn.first, speed = (turn.usage.completion_tokens - 1) / time;
    parts.push(say("took", turn.seconds.toFixed(1)));
    /* of an answer that came in one piece there is no speed to be told */
    if (turn.usage.completion_tokens > 1 && time > 0.01) parts.push(say("speed", speed.toFixed(speed < 10 ? 1 : 0)));
    parts.push(say("first", turn.first.toFixed(1)));
    parts.push(say("prompt", turn.usage.prompt_tokens, turn.usage.prompt_tokens_details.cached_tokens));
  } else if (turn.pieces && turn.seconds) {
    parts.push(say("about", turn.pieces), say("took", turn.seconds.toFixed(1)));
  }
  if (parts.length) parts.push(drawnWith(turn.sampling ?? {}));
  if (turn.finish === "length") parts.push(say("lengthEnd"));
  if (turn.finish === "stopped") parts.push(say("stopped"));
  return parts.filter(Boolean);
}

/* Boxes count in the pictures that were sent; find(id) gives a picture and its number on the page. */
function figuresOf(turn, find) {
  const byPicture = new Map();
  for (const item of turn.grounding ?? []) {
    const shown = find(turn.sent?.[item.image]);
    if (!shown) continue;
    if (!byPicture.has(item.image)) byPicture.set(item.image, { ...shown, items: [] });
    byPicture.get(item.image).items.push(item);
  }
  return [...byPicture].map(([index, { picture, number, items }]) => figureOf(picture, items, number, index));
}

export function answerArticle(turn, find) {
  const article = make("article", {}, make("h2", { textContent: say("answer") }), make("div", { className: "answer" }));
  article.dataset.role = "assistant";
  fillAnswer(article, turn, find);
  return article;
}

/* What has come so far, while it comes. */
export function fillText(article, turn) {
  const text = article.querySelector(".answer");
  article.dataset.state = turn.state;
  article.classList.toggle("waiting", turn.state === "busy" && !turn.answer);
  if (turn.answer) {
    render(text, turn.answer);
    markLanguage(text, turn.answer);
  } else if (turn.state === "busy") text.textContent = say(turn.pictures.length ? "reading" : "thinking");
  else text.replaceChildren();
}

/* All of it, once it is complete. */
export function fillAnswer(article, turn, find) {
  const text = article.querySelector(".answer");
  for (const old of article.querySelectorAll("figure, .foot, .error")) old.remove();
  fillText(article, turn);
  if (turn.state === "busy") return;
  finish(text);
  const figures = figuresOf(turn, find);
  linkWords(text, figures, turn.grounding ?? []);
  article.append(...figures);
  if (turn.error) article.append(make("p", { className: "error", textContent: turn.error }));
  const stats = statsOf(turn);
  if (!stats.length && !turn.answer) return;
  const foot = make("div", { className: "foot" }, make("p", { className: "stats" },
    ...stats.flatMap((part, i) => [make("span", { textContent: part + (i < stats.length - 1 ? " ·" : "") }), " "])));
  if (turn.answer && navigator.clipboard) {
    foot.append(quiet("copy", say("copy"), async (button) => {
      try { await navigator.clipboard.writeText(turn.answer); } catch { return; } /* the browser may refuse */
      button.lastChild.textContent = say("copied");
    }));
  }
  article.append(foot);
}

/* A line over the first turn that was sent with the last question. */
export function divider(text) {
  return make("p", { className: "divider" }, make("span", { textContent: text }));
}
