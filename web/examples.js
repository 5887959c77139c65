/* The checkpoint's own questions, to begin with. They fill the message box; sent as they are, they are
 * asked greedily, for that is how their answers are known to be right. */

import * as api from "./api.js";
import * as composer from "./composer.js";
import { markLanguage } from "./text.js";

const MOST = 24, MOST_PICTURES = 8;
const element = (id) => document.getElementById(id);

function thumbnail(blob) {
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(blob);
  return image;
}

async function entry({ prompt, images }, key) {
  const files = await Promise.all(images.slice(0, MOST_PICTURES).map(async (name) =>
    [await api.example(name, key), name.split("/").pop()]));
  const text = document.createElement("span");
  text.className = "prompt";
  text.textContent = prompt;
  markLanguage(text, prompt);
  const button = document.createElement("button");
  button.type = "button";
  button.append(...files.map(([blob]) => thumbnail(blob)), text);
  button.addEventListener("click", () => {
    composer.set(prompt, files.map(([blob, name]) => composer.pictureOf(blob, name)), true);
    element("message").focus();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

export async function drawExamples(key) {
  const made = await Promise.allSettled((await api.examples(key)).slice(0, MOST).map((example) => entry(example, key)));
  element("examples").replaceChildren(...made.filter(({ value }) => value).map(({ value }) => value));
  element("examples-head").hidden = !element("examples").children.length;
}
