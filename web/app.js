/* The page: a conversation of turns (see conversation.js), drawn into #log, kept in the browser. */

import * as api from "./api.js";
import * as composer from "./composer.js";
import { fittingFrom, messagesOf } from "./conversation.js";
import { show as showHistory } from "./history.js";
import { keep, sampling, settings, start as startSettings } from "./settings.js";
import * as store from "./store.js";
import { markLanguage, say } from "./text.js";
import { answerArticle, divider, fillAnswer, fillText, userArticle } from "./turns.js";

const element = (id) => document.getElementById(id);
const fresh = () => ({ id: store.newId(), revision: 0, turns: [] });
let conversation = fresh();
let running = null;       /* {controller, finished}: the answer on its way */
let editing = null;       /* the turn whose message is being written anew */
let following = true;     /* the newest line stays in view */
let model = { id: "" };   /* as /v1/models has it; without an id the server takes its own */

/* ---- small helpers ---- */

function notice(text) {
  element("notice").firstElementChild.textContent = text;
  element("notice").hidden = !text;
}

/* On a low window the page scrolls, else the conversation does. */
const scroller = () => (getComputedStyle(element("main")).overflowY === "auto" ? element("main") : document.scrollingElement);
const toEnd = () => { const s = scroller(); s.scrollTop = s.scrollHeight; };

function watchScrolling() {
  let before = 0; /* growth below is no scrolling up: only who goes up stops following */
  const look = () => {
    const s = scroller(), near = s.scrollHeight - s.scrollTop - s.clientHeight < 60;
    if (near || s.scrollTop < before) following = near;
    before = s.scrollTop;
    element("to-end").hidden = following || !conversation.turns.length;
  };
  for (const target of [element("main"), document]) target.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(() => { if (following && conversation.turns.length) toEnd(); else look(); }).observe(element("log"));
  element("to-end").addEventListener("click", () => { toEnd(); element("message").focus(); });
}

async function keepAll() {
  const state = await store.save(conversation);
  if (state === "kept") store.tab.set("conversation", conversation.id);
  else notice(say(state === "full" ? "full" : "notKept"));
}

/* ---- drawing ---- */

/* A picture of the conversation and its number on the page. */
function find(id) {
  const all = conversation.turns.flatMap((turn) => turn.pictures);
  const index = all.findIndex((picture) => picture.id === id);
  return index < 0 ? null : { picture: all[index], number: index + 1 };
}

const articlesOf = (turn) => [userArticle(turn, () => beginEdit(turn)), answerArticle(turn, find)];

function drawAll() {
  element("log").replaceChildren(...conversation.turns.flatMap(articlesOf));
  drawDivider();
  drawState();
}

function drawDivider() {
  for (const old of element("log").querySelectorAll(".divider")) old.remove();
  const from = conversation.turns.at(-1)?.from ?? 0;
  const first = element("log").querySelectorAll('article[data-role="user"]')[from];
  if (from && first) first.before(divider(say("dropped", from)));
}

function drawState() {
  const busy = running !== null, some = conversation.turns.length > 0;
  element("welcome").hidden = some;
  element("turn-tools").hidden = !some;
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  element("regenerate").disabled = busy;
  element("remove").disabled = busy;
  element("editing").hidden = editing === null;
  const edited = editing ? conversation.turns.indexOf(editing) : Infinity;
  [...element("log").querySelectorAll("article")].forEach((article, i) => {
    article.classList.toggle("replaced", Math.floor(i / 2) >= edited);
    if (article.dataset.role === "user") article.querySelector("button").disabled = busy;
  });
}

/* ---- asking ---- */

const overflows = (error) => error.status === 400 && error.param === "messages" && /context/.test(error.message);

/* Sends the last turn with what fits of the ones before it; what the server finds too long loses its oldest
 * turn until it fits or only the question is left. */
async function askServer(signal, onText) {
  const chosen = settings(), { turns } = conversation;
  const pictures = (from) => turns.slice(from).reduce((n, turn) => n + turn.pictures.length, 0);
  let from = fittingFrom(turns, chosen.history);
  while (from < turns.length - 1 && pictures(from) > (model.max_images ?? Infinity)) from++;
  for (;; from++) {
    const messages = await messagesOf(turns, from, chosen.system);
    drawDivider();
    try {
      return await api.complete({ ...(model.id ? { model: model.id } : {}), messages, ...sampling(),
        seed: Math.floor(Math.random() * 2 ** 31) }, chosen.apiKey, signal, onText);
    } catch (error) {
      if (!overflows(error) || from >= turns.length - 1) throw error;
    }
  }
}

function errorText(error) {
  if (error instanceof api.ApiError) return error.status === 401 ? `${error.message}. ${say("needsKey")}` : error.message || say("broken");
  return say(error instanceof TypeError ? "unreachable" : "broken");
}

/* Draws what came at most once a frame, and seldom enough that drawing takes a quarter of the time. */
function painter(turn, article) {
  let waiting = false, cost = 0, saved = performance.now();
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame(() => {
      waiting = false;
      if (turn.state !== "busy") return;
      const began = performance.now();
      fillText(article, turn);
      cost = performance.now() - began;
      if (began - saved < 1000) return;
      saved = began;
      keepAll(); /* a reload in the middle loses a second at most */
    }), Math.min(3 * cost, 2000));
  };
}

async function answer(turn, article) {
  const began = performance.now(), seconds = () => (performance.now() - began) / 1000;
  const paint = painter(turn, article);
  const onText = (piece) => {
    turn.first ??= seconds();
    turn.answer += piece;
    turn.pieces += 1;
    paint();
  };
  try {
    const { finish, grounding, usage } = await askServer(running.controller.signal, onText);
    Object.assign(turn, { state: "done", finish, grounding, usage });
  } catch (error) {
    if (error.name === "AbortError") Object.assign(turn, { state: "done", finish: "stopped" });
    else Object.assign(turn, { state: "error", error: errorText(error) });
  }
  turn.seconds = seconds();
  turn.first ??= turn.seconds;
  /* Shown as complete once it is kept, if the browser is not slow about it. */
  await Promise.race([keepAll(), new Promise((resolve) => { setTimeout(resolve, 1000); })]);
  fillAnswer(article, turn, find);
}

async function ask({ text, pictures }) {
  const turn = { text, pictures, answer: "", state: "busy", grounding: [], usage: null, finish: "", pieces: 0 };
  let finished;
  running = { controller: new AbortController(), finished: new Promise((resolve) => { finished = resolve; }) };
  conversation.turns.push(turn);
  const articles = articlesOf(turn);
  element("log").append(...articles);
  element("status").textContent = say("answering");
  drawState();
  following = true;
  toEnd();
  keepAll();
  await answer(turn, articles[1]);
  running = null;
  element("status").textContent = turn.error ?? say("ready");
  element("spoken").textContent = turn.error ?? articles[1].querySelector(".answer").textContent.slice(0, 500);
  drawState();
  finished();
}

async function stop() {
  if (!running) return;
  const { finished } = running;
  running.controller.abort();
  await finished;
}

/* ---- what the buttons do ---- */

function send() {
  if (running) return;
  const taken = composer.take();
  if (!taken) return;
  if (editing) {
    takeBack(conversation.turns.indexOf(editing));
    editing = null;
  }
  ask(taken);
}

function takeBack(index) {
  const [turn] = conversation.turns.splice(index);
  drawAll();
  return turn;
}

let draft = null; /* what was in the box before an edit */

function beginEdit(turn) {
  if (running) return;
  draft ??= composer.current();
  editing = turn;
  composer.set(turn.text, turn.pictures);
  drawState();
  element("message").focus();
}

function endEdit() {
  if (!editing) return;
  editing = null;
  composer.set(draft.text, draft.pictures);
  draft = null;
  drawState();
  element("message").focus();
}

async function regenerate() {
  if (running || !conversation.turns.length) return;
  endEdit();
  element("message").focus();
  await ask(takeBack(conversation.turns.length - 1));
}

async function removeLast() {
  if (running || !conversation.turns.length) return;
  endEdit();
  takeBack(conversation.turns.length - 1);
  element("message").focus();
  await keepAll();
}

function turnTo(other) {
  editing = draft = null;
  conversation = other;
  notice("");
  element("status").textContent = "";
  store.tab.set("conversation", conversation.id);
  composer.set("", []);
  following = true;
  drawAll();
  toEnd();
  element("message").focus();
}

async function newConversation() {
  await stop();
  turnTo(fresh());
}

/* Pictures from the store get addresses; an answer that a reload cut off is one that was stopped. */
function revive(kept) {
  for (const turn of kept.turns) {
    turn.pictures = turn.pictures.map((picture) => ({ ...composer.pictureOf(picture.blob, picture.name, picture.id), kept: true }));
    if (turn.state === "busy") Object.assign(turn, { state: "done", finish: "stopped" });
  }
  return kept;
}

const historyActions = {
  async open(id) {
    await stop();
    const kept = await store.load(id);
    element("history").close();
    if (kept) turnTo(revive(kept));
  },
  removed: (id) => { if (id === conversation.id) return stop().then(() => turnTo(fresh())); return undefined; },
};

/* ---- examples, models, start ---- */

async function exampleButton(example, key) {
  const files = await Promise.all(example.images.map(async (name) =>
    [await api.example(name, key), name.split("/").pop()]));
  const text = document.createElement("span");
  text.className = "prompt";
  text.textContent = example.prompt;
  markLanguage(text, example.prompt);
  const button = document.createElement("button");
  button.type = "button";
  for (const [blob] of files) {
    const image = document.createElement("img");
    image.alt = "";
    image.src = URL.createObjectURL(blob);
    button.append(image);
  }
  button.append(text);
  button.addEventListener("click", () => {
    composer.set(example.prompt, files.map(([blob, name]) => composer.pictureOf(blob, name)));
    element("message").focus();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

async function drawExamples() {
  const { apiKey } = settings();
  const made = await Promise.allSettled((await api.examples(apiKey)).slice(0, 24).map((e) => exampleButton(e, apiKey)));
  element("examples").replaceChildren(...made.filter((m) => m.status === "fulfilled").map((m) => m.value));
  element("examples-title").hidden = !element("examples").children.length;
}

function choose(chosen) {
  model = chosen;
  composer.setGreatest(model.max_images);
  element("model-note").textContent = say("demo");
  element("model-note").hidden = !model.demo;
}

/* The models there are; a server that is away or still loading is asked again. */
async function drawModels() {
  try {
    const list = await api.models(settings().apiKey);
    element("model").replaceChildren(...list.map(({ id }) => new Option(id, id)));
    choose(list.find(({ id }) => id === settings().model) ?? list[0]);
    element("model").value = model.id;
    element("model").onchange = (event) => {
      keep({ model: event.target.value });
      choose(list.find(({ id }) => id === event.target.value));
    };
    notice("");
    await drawExamples();
  } catch (error) {
    if (error.status === 401) return notice(say("needsKey"));
    notice(error.status === 503 ? say("loading") : error instanceof api.ApiError ? error.message : say("unreachableNow"));
    setTimeout(drawModels, 3000);
  }
  return undefined;
}

function listen() {
  element("stop").addEventListener("click", () => { stop(); element("message").focus(); });
  element("regenerate").addEventListener("click", regenerate);
  element("remove").addEventListener("click", removeLast);
  element("new").addEventListener("click", newConversation);
  element("cancel-edit").addEventListener("click", endEdit);
  element("open-history").addEventListener("click", () => showHistory(conversation.id, historyActions));
  element("notice").lastElementChild.addEventListener("click", () => notice(""));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (running) stop();
    else endEdit();
  });
  window.addEventListener("pagehide", () => { if (running) keepAll(); });
}

async function start() {
  startSettings(() => { composer.redraw(); drawAll(); choose(model); }, drawModels);
  composer.start(send, notice);
  listen();
  watchScrolling();
  const open = store.tab.get("conversation");
  const kept = await store.load(open);
  if (kept) conversation = revive(kept);
  else if (open) conversation.id = open;
  drawAll();
  if (conversation.turns.length) toEnd();
  store.remove(null); /* pictures of turns that were taken back */
  await drawModels();
}

start();
