/* Where the labels of boxes go: none over another, all inside the picture, each as near to its box as
 * there is room. Pure, in whatever unit it is given: the page and the drawn copy both use it. */

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/* Above the box, inside it, below it, at its left and right edge: in this order. */
function wishes([x1, y1, x2, y2], width, height) {
  const rows = [y1 - height, y1, y2, y2 - height], columns = [x1, x2 - width];
  return rows.flatMap((y) => columns.map((x) => ({ x, y })));
}

/* boxes: [x1, y1, x2, y2]; sizes: {width, height} of each label -> {x, y, width, height} of each. */
export function placeLabels(boxes, sizes, width, height) {
  const taken = [];
  return boxes.map((box, i) => {
    const size = { width: Math.min(sizes[i].width, width), height: sizes[i].height };
    const inside = ({ x, y }) => ({ ...size, x: Math.max(0, Math.min(x, width - size.width)),
      y: Math.max(0, Math.min(y, height - size.height)) });
    const free = (place) => !taken.some((other) => overlap(place, other));
    const near = wishes(box, size.width, size.height).map(inside);
    const place = near.find(free) ?? nearestFree(near[0], size, width, height, free) ?? near[0];
    taken.push(place);
    return place;
  });
}

/* Rows of labels over the whole picture, the nearest to the wish first. */
function nearestFree(wish, size, width, height, free) {
  const found = [];
  for (let y = 0; y + size.height <= height; y += size.height / 2) {
    for (let x = 0; x + size.width <= width; x += Math.max(size.width / 2, 8)) {
      const place = { ...size, x, y };
      if (free(place)) found.push([Math.hypot(x - wish.x, y - wish.y), place]);
    }
  }
  return found.sort((a, b) => a[0] - b[0])[0]?.[1];
}
