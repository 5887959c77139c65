/* Boxes over a picture: elements that lie on it, a list beside it, and a drawn copy to download.
 * A box is {label, image, box: [x1, y1, x2, y2] in pixels of its picture}. */

import { placeLabels } from "./labels.js";
import { markLanguage, say } from "./text.js";

/* Thirteen colours, as the reference has; white on each has a contrast of at least 4.5. */
const colours = ["#d6123f", "#2563eb", "#15803d", "#b93c08", "#7e22ce", "#0e7490", "#be185d", "#4d7c0f", "#92580a",
  "#0f766e", "#9f1239", "#3730a3", "#57534e"];

const MOST = 200; /* boxes of a picture that are drawn */

const colourOf = (labels, label) => colours[labels.indexOf(label) % colours.length];

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/* ---- highlight: from the picture, the list and the words of the answer ---- */

function light(figure, chosen) {
  figure.classList.toggle("chosen", chosen !== null);
  for (const element of figure.querySelectorAll("[data-index]")) {
    element.classList.toggle("hot", chosen !== null && chosen(Number(element.dataset.index)));
  }
}

/* What is pinned (by a click) stays lit when the pointer goes. */
function restore(figure) {
  const pinned = figure.dataset.pinned;
  light(figure, pinned === undefined ? null : (i) => i === Number(pinned));
}

function pin(figure, index) {
  if (figure.dataset.pinned === String(index)) delete figure.dataset.pinned;
  else figure.dataset.pinned = index;
  for (const button of figure.querySelectorAll("button[data-index]")) {
    button.setAttribute("aria-pressed", String(button.dataset.index === figure.dataset.pinned));
  }
  restore(figure);
}

function respond(figure, element, index) {
  element.dataset.index = index;
  for (const name of ["pointerenter", "focus"]) element.addEventListener(name, () => light(figure, (i) => i === index));
  for (const name of ["pointerleave", "blur"]) element.addEventListener(name, () => restore(figure));
  element.addEventListener("click", () => pin(figure, index));
}

/* The words of an answer that name boxes light these, too. */
export function linkWords(text, figures, items) {
  for (const word of text.querySelectorAll("mark.found")) {
    const label = word.textContent;
    const lit = (on) => figures.forEach((figure) => {
      const shown = items.filter((item) => String(item.image) === figure.dataset.image);
      if (on && shown.some((item) => item.label === label)) light(figure, (i) => shown[i]?.label === label);
      else restore(figure);
    });
    word.addEventListener("pointerenter", () => lit(true));
    word.addEventListener("pointerleave", () => lit(false));
  }
}

/* ---- the elements ---- */

function boxElement(figure, item, index, size, colour) {
  const [x1, y1, x2, y2] = item.box;
  const element = make("div", "box");
  element.dataset.label = item.label;
  element.dataset.box = item.box.join(",");
  Object.assign(element.style, {
    left: `${(100 * x1) / size.width}%`, top: `${(100 * y1) / size.height}%`,
    width: `${(100 * (x2 - x1)) / size.width}%`, height: `${(100 * (y2 - y1)) / size.height}%`, borderColor: colour,
  });
  respond(figure, element, index);
  return element;
}

function labelElement(figure, item, index, colour) {
  const element = make("span", "label", make("bdi", "", item.label));
  element.style.background = colour;
  respond(figure, element, index);
  return element;
}

/* Labels are placed in pixels of the screen, and again whenever the picture's size changes. */
function arrange(layer, items, size) {
  const labels = [...layer.querySelectorAll(".label")];
  const scale = layer.clientWidth / size.width;
  if (!scale) return;
  const boxes = items.map((item) => item.box.map((value) => value * scale));
  const places = placeLabels(boxes, labels.map((label) => ({ width: label.offsetWidth, height: label.offsetHeight })),
    layer.clientWidth, layer.clientHeight);
  labels.forEach((label, i) => Object.assign(label.style, { left: `${places[i].x}px`, top: `${places[i].y}px` }));
}

function listEntry(figure, item, index, colour) {
  const mark = make("span", "mark");
  mark.style.background = colour;
  const name = make("bdi", "name", item.label);
  markLanguage(name, item.label);
  const button = make("button", "", mark, name, make("span", "where", item.box.join(", ")));
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  respond(figure, button, index);
  return make("li", "", button);
}

/* ---- the drawn copy ---- */

function drawBox(context, item, colour, line) {
  const [x1, y1, x2, y2] = item.box;
  for (const [style, width] of [["#ffffffb0", 2 * line], [colour, line]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

function drawLabels(context, items, labels, line) {
  const font = 5 * line, height = 7 * line;
  context.font = `600 ${font}px system-ui, "Noto Sans CJK SC", sans-serif`;
  context.textBaseline = "middle";
  const sizes = items.map((item) => ({ width: context.measureText(item.label).width + 4 * line, height }));
  const places = placeLabels(items.map((item) => item.box), sizes, context.canvas.width, context.canvas.height);
  places.forEach(({ x, y, width }, i) => {
    context.fillStyle = colourOf(labels, items[i].label);
    context.fillRect(x, y, width, height);
    context.fillStyle = "#fff";
    context.fillText(items[i].label, x + 2 * line, y + height / 2, width - 3 * line);
  });
}

/* A picture smaller than 640 is enlarged, so that the labels can be read. */
async function download(image, items, labels, name) {
  const longest = Math.max(image.naturalWidth, image.naturalHeight);
  const scale = Math.max(1, Math.round(640 / longest));
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * scale;
  canvas.height = image.naturalHeight * scale;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const line = Math.max(3, (longest * scale) / 270);
  const scaled = items.map((item) => ({ ...item, box: item.box.map((value) => value * scale) }));
  for (const item of scaled) drawBox(context, item, colourOf(labels, item.label), line);
  drawLabels(context, scaled, labels, line);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* ---- the whole ---- */

const within = (box, { width, height }) => box.map((value, i) => Math.max(0, Math.min(value, i % 2 ? height : width)));

/* Small pictures are shown larger, tall ones no taller than most of the window. */
function fit(frame, { width, height }) {
  const shown = Math.max(width, Math.min(width * 4, (480 * width) / Math.max(width, height)));
  frame.style.width = `min(100%, ${Math.round(shown)}px, ${((66 * width) / height).toFixed(1)}vh)`;
  frame.style.aspectRatio = `${width} / ${height}`;
}

function fill(figure, frame, image, given, list) {
  const size = { width: image.naturalWidth, height: image.naturalHeight };
  const items = given.map((item) => ({ ...item, box: within(item.box, size) }));
  const labels = [...new Set(items.map((item) => item.label))];
  const layer = make("div", "layer");
  items.forEach((item, i) => layer.append(boxElement(figure, item, i, size, colourOf(labels, item.label))));
  items.forEach((item, i) => {
    if (item.label) layer.append(labelElement(figure, item, i, colourOf(labels, item.label)));
  });
  const named = items.filter((item) => item.label);
  frame.append(layer);
  fit(frame, size);
  arrange(layer, named, size);
  new ResizeObserver(() => arrange(layer, named, size)).observe(layer);
  list.replaceChildren(...items.map((item, i) => listEntry(figure, item, i, colourOf(labels, item.label))));
  return { items, labels };
}

/* A figure with a picture {url, name} and the boxes that belong to it; `number` counts from 1. */
export function figureOf(picture, given, number, image_index) {
  const boxes = given.slice(0, MOST);
  const image = make("img", "");
  image.alt = `${say("picture")} ${number}: ${[...new Set(boxes.map((item) => item.label))].join(", ")}`;
  const frame = make("div", "frame", image);
  const list = make("ul", "box-list");
  list.setAttribute("aria-label", say("boxes"));
  const button = make("button", "quiet", icon("download"), make("span", "", say("download")));
  button.type = "button";
  button.disabled = true;
  const title = make("figcaption", "", make("span", "", `${say("picture")} ${number} · ${say("boxNames", given.length)}`), button);
  const figure = make("figure", "boxed", title, frame, list);
  figure.dataset.image = image_index;
  image.addEventListener("load", () => {
    const { items, labels } = fill(figure, frame, image, boxes, list);
    button.disabled = false;
    button.addEventListener("click", () => download(image, items, labels, `boxes-${number}.png`));
  }, { once: true });
  image.addEventListener("error", () => { /* a format that the browser does not show: the list remains */
    frame.replaceChildren(make("span", "no-preview", `${picture.name}: ${say("noPreview")}`));
    const labels = [...new Set(boxes.map((item) => item.label))];
    list.replaceChildren(...boxes.map((item, i) => listEntry(figure, item, i, colourOf(labels, item.label))));
  }, { once: true });
  image.src = picture.url;
  return figure;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}
