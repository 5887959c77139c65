/* The settings dialog: the reference demo's controls with their ranges and defaults. */

import { loadSettings, saveSettings } from "./store.js";
import { preferredLanguage, say, setLanguage } from "./text.js";

/* name, least, greatest, step, default. A repetition penalty of 0 means nothing and is not offered. */
const sliders = [
  ["temperature", 0, 1, 0.1, 0.1],
  ["top_p", 0, 1, 0.05, 0.9],
  ["repetition_penalty", 0.1, 2, 0.1, 1.1],
  ["max_tokens", 8, 4096, 8, 2048],
  ["history", 128, 8192, 128, 4096],
];

const values = Object.fromEntries(sliders.map(([name, , , , standard]) => [name, standard]));
const other = { system: "", apiKey: "", language: preferredLanguage() };

const element = (id) => document.getElementById(id);

function keep() { saveSettings({ ...values, ...other }); }

function slider([name, least, greatest, step]) {
  const label = document.createElement("label");
  const title = document.createElement("span");
  title.dataset.text = name;
  title.textContent = say(name);
  const range = document.createElement("input");
  Object.assign(range, { type: "range", id: `set-${name}`, min: least, max: greatest, step });
  range.value = values[name];
  const shown = document.createElement("output");
  shown.textContent = values[name];
  range.addEventListener("input", () => {
    values[name] = Number(range.value);
    shown.textContent = range.value;
    keep();
  });
  label.append(title, range, shown);
  return label;
}

function draw() {
  element("fields").replaceChildren(...sliders.map(slider));
  element("system").value = other.system;
  element("api-key").value = other.apiKey;
  element("language").value = other.language;
}

function load() {
  const saved = loadSettings();
  for (const [name, least, greatest] of sliders) {
    if (typeof saved[name] === "number" && saved[name] >= least && saved[name] <= greatest) values[name] = saved[name];
  }
  for (const name of Object.keys(other)) if (typeof saved[name] === "string") other[name] = saved[name];
}

export function start(onLanguage) {
  load();
  draw();
  setLanguage(other.language);
  element("open-settings").addEventListener("click", () => element("settings").showModal());
  element("system").addEventListener("input", (event) => { other.system = event.target.value; keep(); });
  element("api-key").addEventListener("input", (event) => { other.apiKey = event.target.value; keep(); });
  element("language").addEventListener("change", (event) => {
    other.language = event.target.value;
    setLanguage(other.language);
    keep();
    onLanguage();
  });
  element("reset").addEventListener("click", () => {
    for (const [name, , , , standard] of sliders) values[name] = standard;
    draw();
    setLanguage(other.language);
    keep();
  });
}

export const settings = () => ({ ...values, ...other });
