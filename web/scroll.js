/* The newest line of the conversation stays in view, until somebody scrolls up to read. */

const element = (id) => document.getElementById(id);
let following = true;

/* On a low window the page scrolls, else the conversation does. */
const scroller = () => (getComputedStyle(element("main")).overflowY === "auto" ? element("main") : document.scrollingElement);
const toEnd = () => { const s = scroller(); s.scrollTop = s.scrollHeight; };

export function follow() {
  following = true;
  toEnd();
}

/* hasTurns() tells whether there is a conversation to follow. */
export function watchScrolling(hasTurns) {
  let before = 0; /* growth below is no scrolling up: only who goes up stops following */
  const look = () => {
    const s = scroller(), near = s.scrollHeight - s.scrollTop - s.clientHeight < 60;
    if (near || s.scrollTop < before) following = near;
    before = s.scrollTop;
    element("to-end").hidden = following || !hasTurns();
  };
  for (const target of [element("main"), document]) target.addEventListener("scroll", look, { passive: true });
  const resized = new ResizeObserver(() => { if (following && hasTurns()) toEnd(); else look(); });
  for (const target of [element("log"), element("main")]) resized.observe(target); /* longer answers, a higher message box */
  element("to-end").addEventListener("click", () => { toEnd(); element("message").focus(); });
}
