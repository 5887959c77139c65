/* A model's text -> safe HTML: Markdown with tables, code and formulas; everything else inert.
 * The text is hostile. HTML in it is shown as text, pictures and odd links are not made at all, DOMPurify
 * has the last word on what marked made, KaTeX builds its formulas as elements without trusting them, and
 * the page's policy allows no inline script. Depth and length are bounded before anything is parsed. */

import { Lexer, marked } from "./lib/marked.js";
import katex from "./lib/katex.js";
import { icon } from "./boxes.js";
import { say } from "./text.js";

/* Debian's 2.4.1+dfsg+~2.4.0-2+deb12u1 reads a variable of another function (`shadowNode`, in its depth
 * check of the root); an empty object lets that check pass and the walk's own checks do the work. */
window.shadowNode ??= {};
const { DOMPurify } = window; /* lib/purify.js is no module */

const LONGEST = 60000; /* characters that are read as Markdown; what follows is shown as it is, */
const LONGEST_PLAIN = 4000; /* in pieces that the browser lays out when they come into view */
const LONGEST_CODE = 20000, LONGEST_FORMULA = 2000;

const escapeHtml = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const safeLink = /^(?:https?:\/\/|mailto:)/i;

const renderer = {
  /* marked has escaped these texts */
  image: (href, _, text) => (safeLink.test(href) ? `<a href="${escapeHtml(href)}">${text || escapeHtml(href)}</a>` : text),
  link: (href, _, text) => (safeLink.test(href ?? "") ? `<a href="${escapeHtml(href)}">${text}</a>` : text),
  checkbox: (checked) => (checked ? "☑ " : "☐ "),
};

/* Extensions of marked: a formula is left in its place as code of the class math, and made later. */
const formulaOf = (type, expression, start, display) => ({
  name: type, level: display ? "block" : "inline",
  start(source) { return source.match(start)?.index; },
  tokenizer(source) {
    const found = expression.exec(source);
    return found ? { type, raw: found[0], body: found[1] ?? found[2], display } : undefined;
  },
  renderer: (token) => `<code class="math${token.display ? " display" : ""}">${escapeHtml(token.body)}</code>`,
});

/* Boxes are shown on the picture: in the text only the label stays, and it is marked. */
const found = {
  name: "found", level: "inline",
  start(source) { return source.match(/<\|/)?.index; },
  tokenizer(source) {
    const pair = /^<\|ref\|>((?:(?!<\|)[^])*)<\|\/ref\|>(?:\s*<\|det\|>(?:(?!<\|)[^])*(?:<\|\/det\|>|$))?/.exec(source);
    if (pair) return { type: "found", raw: pair[0], label: pair[1] };
    const lone = /^<\|\/?(?:ref|det|grounding)\|>/.exec(source) ?? /^<\|\/?[a-z]{0,9}\|?$/.exec(source);
    return lone ? { type: "found", raw: lone[0], label: "" } : undefined;
  },
  renderer: ({ label }) => (label ? `<mark class="found">${escapeHtml(label)}</mark>` : ""),
};

const tokenizer = { html: () => undefined, tag: () => undefined }; /* HTML is no part of the language */

marked.use({ gfm: true, breaks: true, mangle: false, headerIds: false, renderer, tokenizer,
  extensions: [
    formulaOf("display", /^ {0,3}(?:\$\$([^]{1,2000}?)\$\$|\\\[([^]{1,2000}?)\\\]) *(?:\n|$)/, /^ {0,3}(?:\$\$|\\\[)/m, true),
    formulaOf("within", /^(?:\$\$([^$]{1,2000})\$\$|\\\[([^]{1,2000}?)\\\])/, /\$\$|\\\[/, false),
    formulaOf("inline", /^(?:\$(?=\S)([^$\n]{0,500}?[^\s$])\$(?![\d])|\\\(([^]{1,2000}?)\\\))/, /\$|\\\(/, false),
    found] });

const purifying = {
  RETURN_DOM_FRAGMENT: true, /* no text becomes HTML here: the policy allows that to DOMPurify alone */
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "input", "button", "select", "textarea", "img", "picture", "video", "audio", "iframe",
    "object", "embed", "dialog", "map", "area", "source", "track"],
  FORBID_ATTR: ["style", "id", "name", "background", "srcset", "src", "poster"],
  ALLOWED_URI_REGEXP: safeLink, /* which DOMPurify holds against every attribute but those it knows to be safe */
  ADD_URI_SAFE_ATTR: ["align", "start"],
};

/* Nesting deeper than anybody reads is flattened: parsers take time by the square of the depth. */
function flatten(text) {
  return text.split("\n").map((line) => line.replace(/^((?:[ \t]*(?:>|[-*+](?=\s)|\d{1,9}[.)](?=\s))){20})[ \t>*+-]*/, "$1 ")
    .replace(/^[ \t]{60,}/, (blank) => blank.slice(0, 60))
    .replace(/([[(*_~`!$<\\])\1{40,}/g, (run) => run.slice(0, 40))).join("\n");
}

/* Marks in a paragraph are matched with one another, which takes time by the square of their number: where
 * there are more of them than a person would write, the paragraph is shown as it is. */
const SPECIAL = /[*_`~$[<!\\]/g, MOST_SPECIAL = 2000;
const { inlineTokens } = Lexer.prototype;
Lexer.prototype.inlineTokens = function inlineTokensOrText(source, tokens = []) {
  if ((source.match(SPECIAL)?.length ?? 0) <= MOST_SPECIAL) return inlineTokens.call(this, source, tokens);
  tokens.push({ type: "text", raw: source, text: escapeHtml(source) });
  return tokens;
};

function plain(text) {
  const paragraph = document.createElement("p");
  paragraph.className = "plain";
  paragraph.textContent = text;
  return paragraph;
}

function parse(text) {
  try {
    return DOMPurify.sanitize(marked.parse(`${flatten(text)}\n`), purifying);
  } catch { /* what a parser chokes on is shown as it is */
    return plain(text);
  }
}

function makeFormula(element) {
  const text = element.textContent;
  if (text.length > LONGEST_FORMULA) return;
  const display = element.classList.contains("display");
  const holder = document.createElement(display ? "div" : "span");
  holder.className = element.className;
  try {
    katex.render(text, holder, { displayMode: display, output: "mathml", throwOnError: true, maxExpand: 100, maxSize: 10,
      trust: false, strict: "ignore" });
    element.replaceWith(holder);
  } catch { element.classList.remove("math", "display"); }
}

/* The nodes of an element become these. What stayed the same stays in place: a selection in it survives,
 * and nothing flickers. */
function patch(element, now) {
  const old = [...element.childNodes];
  let same = 0;
  while (same < old.length && same < now.length && (old[same] === now[same] || old[same].isEqualNode(now[same]))) same++;
  for (const node of old.slice(same)) node.remove();
  element.append(...now.slice(same));
}

/* Where a text is cut that is longer than `most`: behind a line, else behind a word, else anywhere. */
function cutAt(text, most) {
  if (text.length <= most) return text.length;
  const line = text.lastIndexOf("\n", most - 1) + 1, word = text.lastIndexOf(" ", most - 1) + 1;
  const halved = /[\ud800-\udbff]$/.test(text.slice(most - 1, most)); /* a character of two units */
  return line || word || most - halved;
}

function markdown(text) {
  const fresh = document.createElement("div");
  fresh.append(parse(text));
  for (const formula of fresh.querySelectorAll("code.math")) makeFormula(formula);
  for (const link of fresh.querySelectorAll("a[href]")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  for (const table of fresh.querySelectorAll("table")) {
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    table.replaceWith(scroll);
    scroll.append(table);
  }
  for (const pre of fresh.querySelectorAll("pre")) pre.tabIndex = 0;
  return [...fresh.childNodes];
}

/* A text as it is, however long. */
export function plainPieces(text) {
  const pieces = [];
  for (let from = 0; from < text.length;) {
    const piece = text.slice(from, from + LONGEST_PLAIN + 1), length = cutAt(piece, LONGEST_PLAIN);
    pieces.push(plain(piece.slice(0, length)));
    from += length;
  }
  return pieces;
}

const heads = new WeakMap(); /* element -> {text, nodes} of what is Markdown in it */

export function render(element, text) {
  const end = cutAt(text, LONGEST), head = text.slice(0, end);
  const before = heads.get(element), nodes = before?.text === head ? before.nodes : markdown(head);
  patch(element, [...nodes, ...plainPieces(text.slice(end))]);
  heads.set(element, { text: head, nodes: [...element.childNodes].slice(0, nodes.length) });
}

/* A large library, and no module either: fetched with the first code that names its language. */
async function highlighter() {
  await import("./lib/highlight.js");
  return window.hljs;
}

async function colour(code) {
  const name = /(?:^|\s)language-([\w+#-]+)/.exec(code.className)?.[1];
  if (!name || code.textContent.length > LONGEST_CODE) return;
  const hljs = await highlighter();
  if (!hljs.getLanguage(name)) return;
  const made = hljs.highlight(name, code.textContent, true).value;
  code.replaceChildren(DOMPurify.sanitize(made, { RETURN_DOM_FRAGMENT: true, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] }));
}

/* Colours for code and a button to copy it, once a text is complete. */
export function finish(element) {
  heads.delete(element);
  for (const code of element.querySelectorAll("pre > code")) {
    colour(code).catch(() => {}); /* without its colours it reads as well */
    if (!navigator.clipboard) continue;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet copy-code", title: say("copyCode") });
    button.setAttribute("aria-label", say("copyCode"));
    button.append(icon("copy"));
    button.addEventListener("click", () => navigator.clipboard.writeText(code.textContent).catch(() => {}));
    const holder = document.createElement("div"), pre = code.parentElement;
    holder.className = "code";
    pre.replaceWith(holder);
    holder.append(pre, button);
  }
}
