/**
 * Where each tile goes: the largest tiles that fit, and a large place for what is looked at. Pure arithmetic in CSS
 * pixels.
 */

/** @typedef {{x: number, y: number, width: number, height: number}} Rect */

// The shapes a tile may have. Wider: faces become letterboxes. Narrower: half of a face is cut off, which only a phone
// held upright, with no room beside it, makes up for.
const WIDEST = 16 / 9;
const NARROWEST = 4 / 3;
const NARROWEST_UPRIGHT = 3 / 4;
// Smaller tiles say nothing any more; the stage scrolls instead.
const SMALLEST_WIDTH = 150;

/**
 * Tiles of one size in rows, the last row centred.
 * @param {number} count
 * @param {Rect} area
 * @param {number} gap
 * @returns {Rect[]}
 */
export function grid(count, area, gap) {
  if (count === 0) return [];
  let best = { columns: 1, width: 0, height: 0 };
  const most = Math.max(1, Math.floor((area.width + gap) / (SMALLEST_WIDTH + gap)));
  for (let columns = 1; columns <= Math.min(count, most); columns++) {
    const size = tileSize(count, columns, area, gap);
    if (size.width * size.height >= best.width * best.height) best = { columns, ...size };
  }
  if (best.width < SMALLEST_WIDTH) best = scrolled(most, area, gap);
  return place(count, best, area, gap);
}

/**
 * @param {number} count
 * @param {number} columns
 * @param {Rect} area
 * @param {number} gap
 */
function tileSize(count, columns, area, gap) {
  const rows = Math.ceil(count / columns);
  const width = (area.width - gap * (columns - 1)) / columns;
  const height = (area.height - gap * (rows - 1)) / rows;
  const narrowest = area.width > area.height ? NARROWEST : NARROWEST_UPRIGHT;
  const shape = Math.min(WIDEST, Math.max(narrowest, width / height));
  const fitted = Math.max(0, Math.min(width, height * shape));
  return { width: fitted, height: fitted / shape };
}

/**
 * More tiles than fit: as many columns as there is room for, and rows below the edge.
 * @param {number} columns
 * @param {Rect} area
 * @param {number} gap
 */
function scrolled(columns, area, gap) {
  const width = (area.width - gap * (columns - 1)) / columns;
  return { columns, width, height: width / NARROWEST };
}

/**
 * @param {number} count
 * @param {{columns: number, width: number, height: number}} size
 * @param {Rect} area
 * @param {number} gap
 * @returns {Rect[]}
 */
function place(count, { columns, width, height }, area, gap) {
  const rows = Math.ceil(count / columns);
  const top = area.y + Math.max(0, (area.height - rows * height - (rows - 1) * gap) / 2);
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = area.x + (area.width - inRow * width - (inRow - 1) * gap) / 2;
    return { x: left + (index - row * columns) * (width + gap), y: top + row * (height + gap), width, height };
  });
}

/**
 * A large place for the first `large` tiles, the others in a strip: at the side where the window is wide, below where
 * it is tall.
 * @param {number} large at least 1
 * @param {number} small
 * @param {Rect} area
 * @param {number} gap
 * @returns {Rect[]}
 */
export function spotlight(large, small, area, gap) {
  if (small === 0) return fill(large, area, gap);
  const wide = area.width > area.height;
  const whole = wide ? area.width : area.height;
  const share = wide
    ? Math.min(300, Math.max(170, whole * 0.22))
    : Math.max(130, whole - (area.width / WIDEST) * large - gap);
  const strip = Math.min(whole * 0.68, share);
  const main = whole - strip - gap;
  const first = wide ? { ...area, width: main } : { ...area, height: main };
  const rest = wide
    ? { ...area, x: area.x + main + gap, width: strip }
    : { ...area, y: area.y + main + gap, height: strip };
  return [...fill(large, first, gap), ...packed(small, rest, gap)];
}

/**
 * Tiles that together fill the area; their pictures keep their shape inside.
 * @param {number} count
 * @param {Rect} area
 * @param {number} gap
 * @returns {Rect[]}
 */
function fill(count, area, gap) {
  const columns = area.width > area.height ? Math.ceil(Math.sqrt(count)) : 1;
  const rows = Math.ceil(count / columns);
  const width = (area.width - gap * (columns - 1)) / columns;
  const height = (area.height - gap * (rows - 1)) / rows;
  return place(count, { columns, width, height }, area, gap);
}

/**
 * Like `grid`, but everything fits, however small.
 * @param {number} count
 * @param {Rect} area
 * @param {number} gap
 * @returns {Rect[]}
 */
function packed(count, area, gap) {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const size = tileSize(count, columns, area, gap);
    if (size.width * size.height > best.width * best.height) best = { columns, ...size };
  }
  return place(count, best, area, gap);
}
