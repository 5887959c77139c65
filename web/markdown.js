/* A model's text -> safe HTML: Markdown with tables, code and formulas; everything else inert.
 * The text is hostile: DOMPurify has the last word, and the page's policy allows no inline script. */

import { marked } from "./lib/marked.js";
import katex from "./lib/katex.js";

/* Debian's 2.4.1+dfsg+~2.4.0-2+deb12u1 reads a variable of another function (`shadowNode`, in its depth
 * check of the root); an empty object lets that check pass and the walk's own checks do the work. */
window.shadowNode ??= {};
const { DOMPurify, hljs } = window; /* lib/purify.js and lib/highlight.js are no modules */

/* Boxes are shown on the picture: in the text only the label stays, and it is marked. */
function grounding(text) {
  return text
    .replace(/<\|ref\|>([\s\S]*?)<\|\/ref\|>\s*<\|det\|>[\s\S]*?<\|\/det\|>/g, (_, label) => `\u0001${label}\u0002`)
    .replace(/<\|det\|>[^<]*$/, "")
    .replace(/<\|\/?(ref|det|grounding)\|>/g, "");
}

/* Formulas are taken out before Markdown sees their underscores, and put back after. */
function takeFormulas(text, formulas) {
  const keep = (body, display) => {
    formulas.push({ body, display });
    return `\u0003${formulas.length - 1}\u0004`;
  };
  return text
    .replace(/\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]/g, (_, a, b) => keep(a ?? b, true))
    .replace(/\\\(([\s\S]+?)\\\)/g, (_, a) => keep(a, false))
    .replace(/\$([^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)/g, (_, a) => keep(a, false));
}

const escapeHtml = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function formulaHtml({ body, display }) {
  try {
    return katex.renderToString(body, { displayMode: display, output: "mathml", throwOnError: true, maxExpand: 100 });
  } catch {
    return `<code>${escapeHtml(body)}</code>`;
  }
}

/* Code keeps its dollars: it is split off first. */
function outsideCode(text, change) {
  return text.split(/(```[\s\S]*?(?:```|$)|`[^`\n]*`)/).map((part, i) => (i % 2 ? part : change(part))).join("");
}

export function render(element, text) {
  const formulas = [];
  const source = outsideCode(grounding(text), (part) => takeFormulas(escapeHtml(part).replace(/&gt;/g, ">"), formulas));
  let html = marked.parse(source, { gfm: true, breaks: true, mangle: false, headerIds: false });
  html = html.replace(/\u0003(\d+)\u0004/g, (_, i) => formulaHtml(formulas[i]))
    .replace(/\u0001/g, '<mark class="found">').replace(/\u0002/g, "</mark>");
  element.innerHTML = DOMPurify.sanitize(html, {
    USE_PROFILES: { html: true, mathMl: true },
    FORBID_TAGS: ["style", "form", "input", "button", "img", "video", "audio", "iframe"],
    FORBID_ATTR: ["style", "id", "name"],
  });
  for (const link of element.querySelectorAll("a[href]")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
}

/* Colours for code, once a text is complete. */
export function finish(element) {
  for (const code of element.querySelectorAll("pre code")) hljs?.highlightBlock(code);
}
