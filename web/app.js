/* The page: a conversation of turns (see conversation.js), drawn into #log, kept in the browser. */

import * as api from "./api.js";
import * as composer from "./composer.js";
import { askServer, errorText, painter } from "./asking.js";
import { drawExamples } from "./examples.js";
import { show as showHistory } from "./history.js";
import { follow, watchScrolling } from "./scroll.js";
import { keep, settings, start as startSettings } from "./settings.js";
import * as store from "./store.js";
import { say } from "./text.js";
import { answerArticle, divider, fillAnswer, fillText, userArticle } from "./turns.js";

const element = (id) => document.getElementById(id);
const fresh = () => ({ id: store.newId(), revision: 0, turns: [] });
let conversation = fresh();
let running = null;       /* {controller, finished}: the answer on its way */
let editing = null;       /* the turn whose message is being written anew */
let model = { id: "" };   /* as /v1/models has it; without an id the server takes its own */

/* ---- small helpers ---- */

function notice(text) {
  element("notice").firstElementChild.textContent = text;
  element("notice").hidden = !text;
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

/* The last turn's answer; asked for anew each time, since another language draws all articles again. */
const lastAnswer = () => element("log").lastElementChild;

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

async function answer(turn) {
  const began = performance.now(), seconds = () => (performance.now() - began) / 1000;
  const paint = painter(() => turn.state === "busy", () => fillText(lastAnswer(), turn), keepAll);
  const onText = (piece) => {
    turn.first ??= seconds();
    turn.answer += piece;
    turn.pieces += 1;
    paint();
  };
  try {
    const { finish, grounding, usage } = await askServer(conversation.turns, model,
      running.controller.signal, drawDivider, onText);
    Object.assign(turn, { state: "done", finish, grounding, usage });
  } catch (error) {
    if (error.name === "AbortError") Object.assign(turn, { state: "done", finish: "stopped" });
    else Object.assign(turn, { state: "error", error: errorText(error) });
  }
  turn.seconds = seconds();
  turn.first ??= turn.seconds;
  /* Shown as complete once it is kept, if the browser is not slow about it. */
  await Promise.race([keepAll(), new Promise((resolve) => { setTimeout(resolve, 1000); })]);
  fillAnswer(lastAnswer(), turn, find);
}

async function ask({ text, pictures, isExample }) {
  const turn = { text, pictures, isExample, answer: "", state: "busy", grounding: [], usage: null, finish: "", pieces: 0 };
  let finished;
  running = { controller: new AbortController(), finished: new Promise((resolve) => { finished = resolve; }) };
  conversation.turns.push(turn);
  element("log").append(...articlesOf(turn));
  element("status").textContent = say("answering");
  drawState();
  follow();
  keepAll();
  await answer(turn);
  running = null;
  element("status").textContent = turn.error ?? say("ready");
  element("spoken").textContent = turn.error ?? lastAnswer().querySelector(".answer").textContent.slice(0, 500);
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
    endEdit();
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
  composer.set(turn.text, turn.pictures, turn.isExample);
  drawState();
  element("message").focus();
}

function endEdit() {
  if (!editing) return;
  editing = null;
  composer.set(draft.text, draft.pictures, draft.isExample);
  draft = null;
  drawState();
  element("message").focus();
}

async function regenerate() {
  if (running || !conversation.turns.length) return;
  endEdit();
  element("message").focus();
  const { text, pictures, isExample, state, finish } = takeBack(conversation.turns.length - 1);
  /* Who has an example's answer, and asks again, wants another one: the greedy one would be the same. */
  const answered = state === "done" && finish !== "stopped";
  await ask({ text, pictures, isExample: isExample && !answered });
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
  drawAll();
  follow();
  element("message").focus();
}

async function newConversation() {
  await stop();
  turnTo(fresh());
}

/* Turns from the store as the page has them: its pictures have addresses. */
function revive(kept) {
  for (const turn of kept.turns) {
    turn.pictures = turn.pictures.map(({ blob, name, id }) => ({ ...composer.pictureOf(blob, name, id), kept: true }));
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
    await drawExamples(settings().apiKey);
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
  watchScrolling(() => conversation.turns.length > 0);
  const open = store.tab.get("conversation");
  const kept = await store.load(open);
  if (kept) conversation = revive(kept);
  else if (open) conversation.id = open;
  drawAll();
  if (conversation.turns.length) follow();
  store.remove(null); /* pictures of turns that were taken back */
  await drawModels();
}

start();
