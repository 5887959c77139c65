/* The settings dialog: the reference demo's controls with their ranges and defaults. */

import { loadSettings, saveSettings } from "./store.js";
import { preferredLanguage, say, setLanguage } from "./text.js";

/* name, least, greatest, step, default, what 0 means where it can be chosen: the reference offers these
 * zeros, but a penalty of 0, an answer of 0 tokens and a history of 0 are no numbers that it could use. */
const sliders = [
  ["temperature", 0, 1, 0.1, 0.1],
  ["top_p", 0, 1, 0.05, 0.9],
  ["repetition_penalty", 0, 2, 0.1, 1.1, "off"],
  ["max_tokens", 0, 4096, 8, 2048, "serverDefault"],
  ["history", 0, 8192, 128, 4096, "none"],
];

const values = Object.fromEntries(sliders.map(([name, , , , standard]) => [name, standard]));
const other = { system: "", apiKey: "", language: preferredLanguage(), theme: "auto", model: "" };

const element = (id) => document.getElementById(id);

export function keep(changed = {}) {
  Object.assign(other, changed);
  saveSettings({ ...values, ...other });
}

function slider([name, least, greatest, step, , zero]) {
  const label = document.createElement("label");
  const title = document.createElement("span");
  title.dataset.text = name;
  title.textContent = say(name);
  const range = document.createElement("input");
  Object.assign(range, { type: "range", id: `set-${name}`, min: least, max: greatest, step });
  range.value = values[name];
  const shown = document.createElement("output");
  const show = () => {
    shown.textContent = zero && values[name] === 0 ? say(zero) : values[name];
    range.setAttribute("aria-valuetext", shown.textContent);
  };
  range.addEventListener("input", () => {
    values[name] = Number(range.value);
    show();
    keep();
  });
  show();
  label.append(title, range, shown);
  return label;
}

function draw() {
  element("fields").replaceChildren(...sliders.map(slider));
  element("system").value = other.system;
  element("api-key").value = other.apiKey;
  element("language").value = other.language;
  element("theme").value = other.theme;
  document.documentElement.dataset.theme = other.theme;
}

function load() {
  const saved = loadSettings();
  for (const [name, least, greatest] of sliders) {
    if (typeof saved[name] === "number" && saved[name] >= least && saved[name] <= greatest) values[name] = saved[name];
  }
  for (const name of Object.keys(other)) if (typeof saved[name] === "string") other[name] = saved[name];
}

/* onLanguage is called when texts must be drawn anew, onKey when another API key was entered. */
export function start(onLanguage, onKey) {
  load();
  setLanguage(other.language);
  draw();
  element("open-settings").addEventListener("click", () => element("settings").showModal());
  element("system").addEventListener("input", (event) => keep({ system: event.target.value }));
  element("api-key").addEventListener("input", (event) => keep({ apiKey: event.target.value.trim() }));
  element("api-key").addEventListener("change", onKey);
  element("theme").addEventListener("change", (event) => {
    keep({ theme: event.target.value });
    document.documentElement.dataset.theme = other.theme;
  });
  element("language").addEventListener("change", (event) => {
    keep({ language: event.target.value });
    setLanguage(other.language);
    draw();
    onLanguage();
  });
  element("reset").addEventListener("click", () => {
    for (const [name, , , , standard] of sliders) values[name] = standard;
    draw();
    keep();
  });
}

export const settings = () => ({ ...values, ...other });

/* The settings as a request has them, or the greedy ones of an example. At temperature 0 the reference
 * applies no penalty. */
export function sampling(greedy) {
  const { top_p, repetition_penalty, max_tokens } = values, temperature = greedy ? 0 : values.temperature;
  return { temperature, ...(temperature > 0 ? { top_p } : {}), ...(max_tokens ? { max_tokens } : {}),
    ...(temperature > 0 && repetition_penalty > 0 ? { repetition_penalty } : {}) };
}
