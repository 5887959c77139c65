/* Boxes over a picture: elements that lie on it, a list beside it, and a drawn copy to download.
 * A box is {label, image, box: [x1, y1, x2, y2] in pixels of its picture}. */

import { say } from "./text.js";

const colours = ["#e6194b", "#2563eb", "#15803d", "#c2410c", "#7e22ce", "#0e7490", "#be185d", "#4d7c0f", "#a16207",
  "#0f766e", "#9f1239", "#3730a3", "#57534e"];

const colourOf = (labels, label) => colours[labels.indexOf(label) % colours.length];

/* Labels stand above their box, or inside at the top edge; one that would cover another moves down. */
function placeLabels(layer) {
  const taken = [];
  for (const label of layer.querySelectorAll(".label")) {
    label.style.top = "";
    let rect = label.getBoundingClientRect();
    const top = layer.getBoundingClientRect().top;
    let shift = rect.top < top ? top - rect.top : 0;
    const covers = () => taken.some((t) => rect.left < t.right && t.left < rect.right &&
      rect.top + shift < t.bottom && t.top < rect.bottom + shift);
    for (let tries = 0; tries < 30 && covers(); tries++) shift += rect.height;
    if (shift) label.style.transform = `translateY(calc(-100% + ${shift}px))`;
    rect = label.getBoundingClientRect();
    taken.push(rect);
  }
}

function highlight(figure, index, on) {
  for (const element of figure.querySelectorAll(`[data-index="${index}"]`)) element.classList.toggle("hot", on);
}

function hover(figure, element, index) {
  element.dataset.index = index;
  for (const [name, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]]) {
    element.addEventListener(name, () => highlight(figure, index, on));
  }
}

function boxElement(figure, item, index, width, height, colour) {
  const [x1, y1, x2, y2] = item.box;
  const element = document.createElement("div");
  element.className = "box";
  element.dataset.label = item.label;
  element.dataset.box = item.box.join(",");
  Object.assign(element.style, {
    left: `${(100 * x1) / width}%`, top: `${(100 * y1) / height}%`,
    width: `${(100 * (x2 - x1)) / width}%`, height: `${(100 * (y2 - y1)) / height}%`, borderColor: colour,
  });
  const label = document.createElement("span");
  label.className = "label";
  label.textContent = item.label;
  label.style.background = colour;
  element.append(label);
  hover(figure, element, index);
  return element;
}

function listEntry(figure, item, index, colour) {
  const entry = document.createElement("li");
  entry.tabIndex = 0;
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.style.background = colour;
  entry.append(mark, `${item.label}  (${item.box.join(", ")})`);
  hover(figure, entry, index);
  return entry;
}

function drawBox(context, item, colour, scale) {
  const [x1, y1, x2, y2] = item.box;
  context.strokeStyle = colour;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  const width = context.measureText(item.label).width + 8 * scale;
  const top = y1 >= 20 * scale ? y1 - 20 * scale : y1;
  context.fillStyle = colour;
  context.fillRect(x1, top, width, 20 * scale);
  context.fillStyle = "#fff";
  context.fillText(item.label, x1 + 4 * scale, top + 15 * scale);
}

async function download(source, items, labels, name) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  const scale = Math.max(1, Math.max(canvas.width, canvas.height) / 800);
  context.drawImage(image, 0, 0);
  context.lineWidth = 3 * scale;
  context.font = `${14 * scale}px sans-serif`;
  for (const item of items) drawBox(context, item, colourOf(labels, item.label), scale);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* A figure with the picture at `source` and the boxes that belong to it. */
export function figureOf(source, items, number) {
  const figure = document.createElement("figure");
  figure.className = "boxed";
  const labels = [...new Set(items.map((item) => item.label))];
  const frame = document.createElement("div");
  frame.className = "frame";
  const image = document.createElement("img");
  image.alt = `${say("picture")} ${number}: ${labels.join(", ")}`;
  const layer = document.createElement("div");
  layer.className = "layer";
  frame.append(image, layer);
  const list = document.createElement("ul");
  list.className = "box-list";
  list.setAttribute("aria-label", say("boxes"));
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = say("download");
  button.addEventListener("click", () => download(source, items, labels, `boxes-${number}.png`));
  image.addEventListener("load", () => {
    items.forEach((item, i) => layer.append(boxElement(figure, item, i, image.naturalWidth, image.naturalHeight,
      colourOf(labels, item.label))));
    placeLabels(layer);
    new ResizeObserver(() => placeLabels(layer)).observe(layer);
  });
  items.forEach((item, i) => list.append(listEntry(figure, item, i, colourOf(labels, item.label))));
  image.src = source;
  figure.append(frame, list, button);
  return figure;
}
