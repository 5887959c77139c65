/* The page: a conversation of turns {text, pictures, answer}, drawn into #log, kept in the browser.
 * A turn: { text, pictures: [{name, data (data URL)}], answer, state: "busy"|"done"|"error", error,
 * grounding, usage, finish, first, seconds }. */

import { complete, examples, models } from "./api.js";
import { figureOf } from "./boxes.js";
import { finish, render } from "./markdown.js";
import { settings, start as startSettings } from "./settings.js";
import { loadTurns, saveTurns } from "./store.js";
import { say } from "./text.js";

const element = (id) => document.getElementById(id);
const turns = [];
let pending = []; /* pictures that the next message takes */
let running = null; /* AbortController of the answer on its way */
let model = { id: "vl2" };

/* ---- small helpers ---- */

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

const nearEnd = () => window.innerHeight + window.scrollY > document.documentElement.scrollHeight - 160;
const toEnd = () => window.scrollTo({ top: document.documentElement.scrollHeight });

function insertText(before, after = "") {
  const box = element("message");
  const [from, to] = [box.selectionStart, box.selectionEnd];
  const inside = box.value.slice(from, to);
  box.setRangeText(before + inside + after, from, to, "end");
  if (after && !inside) box.selectionStart = box.selectionEnd = from + before.length;
  box.focus();
}

/* ---- pictures that wait to be sent ---- */

const readAsDataUrl = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

async function addFiles(files) {
  for (const file of files) {
    try {
      pending.push({ name: file.name || say("picture"), data: await readAsDataUrl(file) });
    } catch { notice(`${file.name} ${say("notPicture")}`); }
  }
  drawPending();
}

function movePicture(i, by) {
  const [picture] = pending.splice(i, 1);
  pending.splice(i + by, 0, picture);
  drawPending();
}

function thumbnail(picture, i) {
  const image = make("img", { src: picture.data, alt: picture.name });
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "no-preview", textContent: picture.name })));
  const remove = make("button", { type: "button", textContent: "×", ariaLabel: `${say("removePicture")} ${i + 1}` });
  remove.addEventListener("click", () => { pending.splice(i, 1); drawPending(); });
  const earlier = make("button", { type: "button", textContent: "‹", ariaLabel: `${say("earlier")} ${i + 1}`, disabled: i === 0 });
  earlier.addEventListener("click", () => movePicture(i, -1));
  const later = make("button", { type: "button", textContent: "›", ariaLabel: `${say("later")} ${i + 1}`, disabled: i === pending.length - 1 });
  later.addEventListener("click", () => movePicture(i, 1));
  return make("li", {}, image, make("span", { className: "number", textContent: i + 1 }), earlier, later, remove);
}

function drawPending() { element("pending").replaceChildren(...pending.map(thumbnail)); }

/* ---- drawing turns ---- */

function userArticle(turn, index) {
  const article = make("article", {}, make("h3", { textContent: say("you") }));
  article.dataset.role = "user";
  article.dataset.state = "done";
  if (turn.pictures.length) {
    const list = make("ol", { className: "thumbs" });
    turn.pictures.forEach((picture, i) => list.append(make("li", {},
      make("img", { src: picture.data, alt: `${say("picture")} ${i + 1}: ${picture.name}` }),
      make("span", { className: "number", textContent: i + 1 }))));
    article.append(list);
  }
  article.append(make("p", { className: "said", textContent: turn.text }));
  const edit = make("button", { type: "button", textContent: say("edit"), className: "quiet" });
  edit.addEventListener("click", () => editTurn(index));
  article.append(edit);
  return article;
}

function statsOf(turn) {
  const parts = [];
  if (turn.usage && turn.seconds) {
    const speed = turn.usage.completion_tokens / Math.max(0.001, turn.seconds - turn.first);
    parts.push(say("stats", { tokens: turn.usage.completion_tokens, first: turn.first.toFixed(1), speed: speed.toFixed(1) }));
    parts.push(say("prompt", turn.usage.prompt_tokens, turn.usage.prompt_tokens_details?.cached_tokens));
  }
  if (turn.finish === "length") parts.push(say("lengthEnd"));
  if (turn.finish === "stopped") parts.push(say("stopped"));
  return parts.join(" · ");
}

/* Index over the conversation of the pictures -> the picture itself. */
const pictureAt = (index) => turns.flatMap((turn) => turn.pictures)[index];

function figures(turn) {
  const byPicture = new Map();
  for (const item of turn.grounding ?? []) {
    if (!byPicture.has(item.image)) byPicture.set(item.image, []);
    byPicture.get(item.image).push(item);
  }
  const offset = turn.dropped ?? 0; /* pictures of turns that were not sent */
  return [...byPicture].filter(([image]) => pictureAt(image + offset))
    .map(([image, items]) => figureOf(pictureAt(image + offset).data, items, image + offset + 1));
}

function answerArticle(turn) {
  const article = make("article", {}, make("h3", { textContent: say("model_said") }));
  article.dataset.role = "assistant";
  const text = make("div", { className: "answer" });
  article.append(text);
  fillAnswer(article, turn);
  return article;
}

function fillAnswer(article, turn) {
  const text = article.querySelector(".answer");
  if (turn.answer) render(text, turn.answer);
  else text.textContent = turn.state === "busy" ? say("thinking") : "";
  for (const old of article.querySelectorAll("figure, .stats, .error, .copy")) old.remove();
  if (turn.state === "busy") {
    article.dataset.state = "busy";
    return;
  }
  finish(text);
  article.append(...figures(turn));
  if (turn.error) article.append(make("p", { className: "error", textContent: turn.error }));
  article.append(make("p", { className: "stats", textContent: statsOf(turn) }));
  if (turn.answer) {
    const copy = make("button", { type: "button", textContent: say("copy"), className: "quiet copy" });
    copy.addEventListener("click", () => navigator.clipboard?.writeText(turn.answer));
    article.append(copy);
  }
  article.dataset.state = turn.state;
}

function drawAll() {
  element("log").replaceChildren(...turns.flatMap((turn, i) => [userArticle(turn, i), answerArticle(turn)]));
  drawButtons();
}

function drawButtons() {
  const busy = running !== null;
  element("welcome").hidden = turns.length > 0;
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  element("regenerate").disabled = busy || !turns.length;
  element("remove").disabled = busy || !turns.length;
  element("new").disabled = busy;
  for (const button of document.querySelectorAll('article[data-role="user"] button')) button.disabled = busy;
}

/* ---- asking ---- */

/* Tags that a text places split it; pictures without a tag go in front, as the reference does. */
function contentOf(turn) {
  if (!turn.pictures.length) return turn.text;
  const pieces = turn.text.split("<image>");
  const tags = Math.min(pieces.length - 1, turn.pictures.length);
  const part = (picture) => ({ type: "image_url", image_url: { url: picture.data } });
  const parts = turn.pictures.slice(0, turn.pictures.length - tags).map(part);
  const rest = turn.pictures.slice(turn.pictures.length - tags);
  pieces.forEach((piece, i) => {
    if (piece) parts.push({ type: "text", text: i && i <= tags ? piece.replace(/^\n/, "") : piece });
    if (i < tags) parts.push(part(rest[i]));
  });
  return parts;
}

/* Turns that still fit the history, newest first; what a turn took is known from its own answer. */
function fittingFrom(limit) {
  const last = turns.at(-2);
  let total = (last?.usage?.prompt_tokens ?? 0) + (last?.usage?.completion_tokens ?? 0);
  let from = last?.from ?? 0;
  while (from < turns.length - 1 && total > limit) {
    const next = turns[from + 1]?.usage?.prompt_tokens ?? total;
    total -= Math.max(1, next - (turns[from].usage?.prompt_tokens ?? 0)) + (from === 0 ? turns[0].usage?.prompt_tokens ?? 0 : 0);
    from += 1;
  }
  return from;
}

function requestOf(turn) {
  const chosen = settings();
  const from = fittingFrom(chosen.history);
  turn.from = from;
  turn.dropped = turns.slice(0, from).reduce((n, t) => n + t.pictures.length, 0);
  notice(from ? say("dropped") : "");
  const messages = chosen.system.trim() ? [{ role: "system", content: chosen.system }] : [];
  for (const old of turns.slice(from)) {
    messages.push({ role: "user", content: contentOf(old) });
    if (old !== turn) messages.push({ role: "assistant", content: old.answer });
  }
  return { model: model.id, messages, max_tokens: chosen.max_tokens, temperature: chosen.temperature,
    top_p: chosen.top_p, repetition_penalty: chosen.temperature > 0 ? chosen.repetition_penalty : 1,
    seed: Math.floor(Math.random() * 2 ** 31) };
}

async function answer(turn, article) {
  const began = performance.now();
  running = new AbortController();
  drawButtons();
  element("status").textContent = say("answering");
  let drawing = false;
  const onText = (piece) => {
    turn.first ??= (performance.now() - began) / 1000;
    turn.answer += piece;
    if (drawing) return;
    drawing = true; /* at most once a frame */
    requestAnimationFrame(() => {
      drawing = false;
      const follow = nearEnd();
      if (turn.state === "busy") fillAnswer(article, turn);
      if (follow) toEnd();
    });
  };
  try {
    const result = await complete(requestOf(turn), settings().apiKey, running.signal, onText);
    Object.assign(turn, { state: "done", finish: result.finish, grounding: result.grounding, usage: result.usage });
  } catch (error) {
    if (error.name === "AbortError") Object.assign(turn, { state: "done", finish: "stopped" });
    else Object.assign(turn, { state: "error", error: error instanceof TypeError ? say("unreachable") : error.message });
  }
  turn.seconds = (performance.now() - began) / 1000;
  turn.first ??= turn.seconds;
  running = null;
  const follow = nearEnd();
  fillAnswer(article, turn);
  if (follow) toEnd();
  element("status").textContent = turn.error ?? say("ready");
  drawButtons();
  await saveTurns(turns);
}

async function ask(turn) {
  Object.assign(turn, { answer: "", state: "busy", error: undefined, grounding: [], usage: null, finish: "", first: undefined });
  turns.push(turn);
  const articles = [userArticle(turn, turns.length - 1), answerArticle(turn)];
  element("log").append(...articles);
  toEnd();
  await saveTurns(turns);
  await answer(turn, articles[1]);
}

async function send(event) {
  event.preventDefault();
  if (running) return;
  const text = element("message").value;
  if (!text.trim() && !pending.length) {
    notice(say("empty"));
    return;
  }
  const turn = { text, pictures: pending };
  pending = [];
  element("message").value = "";
  drawPending();
  await ask(turn);
}

function takeBack(index) {
  const [turn] = turns.splice(index, turns.length - index);
  drawAll();
  return turn;
}

function editTurn(index) {
  if (running) return;
  const turn = takeBack(index);
  element("message").value = turn.text;
  pending = [...turn.pictures];
  drawPending();
  saveTurns(turns);
  element("message").focus();
}

async function regenerate() {
  if (running || !turns.length) return;
  const { text, pictures } = takeBack(turns.length - 1);
  await ask({ text, pictures });
}

async function removeLast() {
  if (running || !turns.length) return;
  takeBack(turns.length - 1);
  await saveTurns(turns);
}

async function newConversation() {
  if (running) return;
  turns.length = 0;
  pending = [];
  notice("");
  drawPending();
  drawAll();
  await saveTurns(turns);
  element("message").focus();
}

/* ---- examples, models, start ---- */

async function useExample(example) {
  pending = [];
  for (const name of example.images) {
    const blob = await (await fetch(name)).blob();
    pending.push({ name, data: await readAsDataUrl(blob) });
  }
  drawPending();
  element("message").value = example.prompt;
  element("message").focus();
}

async function drawExamples() {
  element("examples").replaceChildren(...(await examples()).map((example) => {
    const button = make("button", { type: "button" }, ...example.images.map((name) =>
      make("img", { src: name, alt: "" })), make("span", { textContent: example.prompt }));
    button.addEventListener("click", () => useExample(example));
    return make("li", {}, button);
  }));
}

async function drawModels() {
  try {
    const list = await models(settings().apiKey);
    element("model").replaceChildren(...list.map((m) => make("option", { value: m.id, textContent: m.id })));
    [model] = list;
    if (model.demo) notice(say("demo"));
  } catch (error) {
    notice(error instanceof TypeError ? say("unreachable") : error.message);
  }
  element("model").onchange = (event) => { model = { id: event.target.value }; };
}

function listenForPictures() {
  element("files").addEventListener("change", async (event) => {
    await addFiles(event.target.files);
    event.target.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
  let depth = 0;
  const show = (by) => { depth = Math.max(0, depth + by); element("drop").hidden = depth === 0; };
  document.addEventListener("dragenter", (event) => { event.preventDefault(); show(1); });
  document.addEventListener("dragleave", () => show(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    show(-depth);
    addFiles([...event.dataTransfer.files].filter((file) => file.type.startsWith("image/")));
  });
}

function listen() {
  element("composer").addEventListener("submit", send);
  element("stop").addEventListener("click", () => running?.abort());
  element("regenerate").addEventListener("click", regenerate);
  element("remove").addEventListener("click", removeLast);
  element("new").addEventListener("click", newConversation);
  element("insert-ref").addEventListener("click", () => insertText("<|ref|>", "<|/ref|>"));
  element("insert-image").addEventListener("click", () => insertText("<image>\n"));
  element("insert-grounding").addEventListener("click", () => {
    const box = element("message");
    if (!box.value.startsWith("<|grounding|>")) box.value = `<|grounding|>${box.value}`;
    box.focus();
  });
  element("message").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    element("composer").requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running) running.abort();
  });
  listenForPictures();
}

async function start() {
  startSettings(() => { drawPending(); drawAll(); });
  listen();
  for (const turn of await loadTurns()) {
    if (turn.state === "busy") Object.assign(turn, { state: "done", finish: "stopped" });
    turns.push(turn);
  }
  drawAll();
  if (turns.length) toEnd();
  await Promise.all([drawModels(), drawExamples()]);
}

start();
