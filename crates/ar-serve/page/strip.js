// Cards of the frames that the model sees, and a picture of the plan.

import { iterations, stepsTaken, windowAt } from './plan.js';

/** @typedef {import('./plan.js').Plan} Plan */

/** Rows of the plan's picture. */
const ROWS = 24;

/**
 * The card of a frame.
 * @typedef {object} Card
 * @property {HTMLLIElement} item
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} level
 * @property {boolean} isDrawn
 */

export class Strip {
  /**
   * @param {HTMLOListElement} list
   * @param {number} width
   * @param {number} height
   */
  constructor(list, width, height) {
    this.list = list;
    this.size = { width, height };
    /** @type {Map<number, Card>} */
    this.cards = new Map();
    this.grain = grain(width, height);
    this.shown = -1;
  }

  /** Removes all cards. */
  clear() {
    this.cards.clear();
    this.list.replaceChildren();
    this.shown = -1;
  }

  /**
   * Shows the frames that the model sees after `done` iterations.
   * @param {Plan} plan
   * @param {number} done
   */
  move(plan, done) {
    const [first, end] = windowAt(plan, done);
    for (const [index, card] of this.cards) {
      if (index < first || index >= end) {
        card.item.remove();
        this.cards.delete(index);
      }
    }
    for (let index = first; index < end; index++) {
      let card = this.cards.get(index);
      if (!card) {
        card = this.add(index);
      }
      const taken = stepsTaken(plan, done, index);
      card.item.classList.toggle('waiting', taken === 0);
      if (taken === 0) this.level(index, 1);
    }
  }

  /** @param {number} index */
  add(index) {
    const item = document.createElement('li');
    item.className = 'card waiting';
    const canvas = document.createElement('canvas');
    canvas.width = this.size.width;
    canvas.height = this.size.height;
    canvas.getContext('2d')?.drawImage(this.grain, 0, 0);
    const level = document.createElement('span');
    level.className = 'level';
    level.append(document.createElement('i'));
    const number = document.createElement('span');
    number.textContent = String(index + 1);
    for (const part of [canvas, level, number]) part.setAttribute('aria-hidden', 'true');
    item.append(canvas, level, number);
    const after = [...this.cards].filter(([other]) => other < index).length;
    this.list.insertBefore(item, this.list.children[after] ?? null);
    const card = { item, canvas, level: /** @type {HTMLElement} */ (level.firstChild), isDrawn: false };
    this.cards.set(index, card);
    return card;
  }

  /**
   * Draws the current state of a frame.
   * @param {number} index
   * @param {ImageBitmap} picture
   * @param {number} noise From 1 down to 0.
   */
  draw(index, picture, noise) {
    const card = this.cards.get(index);
    if (!card) return;
    card.canvas.getContext('2d')?.drawImage(picture, 0, 0, this.size.width, this.size.height);
    card.item.classList.remove('waiting');
    this.level(index, noise);
  }

  /**
   * @param {number} index
   * @param {number} noise
   */
  level(index, noise) {
    const card = this.cards.get(index);
    if (!card) return;
    card.level.style.setProperty('--noise', noise.toFixed(3));
    const state = noise === 0 ? 'finished' : `noise ${Math.round(noise * 100)} %`;
    card.item.setAttribute('aria-label', `Frame ${index + 1}, ${state}`);
  }

  /**
   * Marks the frame that is shown large.
   * @param {number} index
   */
  show(index) {
    this.cards.get(this.shown)?.item.classList.remove('shown');
    this.cards.get(index)?.item.classList.add('shown');
    this.shown = index;
  }
}

/**
 * Grey grain, for frames that are still noise.
 * @param {number} width
 * @param {number} height
 */
export function grain(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context?.createImageData(width, height);
  if (!context || !image) return canvas;
  for (let at = 0; at < image.data.length; at += 4) {
    const level = 70 + Math.floor(Math.random() * 116);
    image.data.set([level, level, level, 255], at);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draws a plan: a row for each frame, a column for each iteration.
 * @param {HTMLCanvasElement} canvas
 * @param {Plan} plan
 * @param {number} done Iterations that are done; less than 0 before the first.
 */
export function drawPlan(canvas, plan, done) {
  const context = canvas.getContext('2d');
  if (!context) return;
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const color = (/** @type {string} */ name) => resolve(style, name, context);
  const [line, accent, soft] = [color('--line'), color('--accent'), color('--accent-soft')];

  // A long video scrolls: its first row is the first frame that is not finished.
  const rows = Math.min(plan.frames, ROWS);
  const seen = windowAt(plan, Math.max(done, 0))[0];
  const first = plan.frames > rows ? Math.min(seen, plan.frames - rows) : 0;
  const start = first > plan.prefix ? plan.arStep * (first - plan.prefix) : 0;
  const span = iterations({ ...plan, frames: Math.max(rows, plan.prefix + 1), prefix: Math.min(plan.prefix, rows - 1) });
  const gap = rows > 16 ? 1 : 2;
  const rowHeight = height / rows;
  const column = width / Math.max(span, 1);
  for (let row = 0; row < rows; row++) {
    const frame = first + row;
    const top = row * rowHeight;
    const tall = Math.max(rowHeight - gap, 1);
    context.fillStyle = line;
    context.fillRect(0, top, width, tall);
    const begin = frame < plan.prefix ? 0 : plan.arStep * (frame - plan.prefix) - start;
    const from = Math.max(begin * column, 0);
    const to = frame < plan.prefix ? 0 : (begin + plan.steps) * column;
    context.fillStyle = soft;
    context.fillRect(to, top, width - to, tall);
    const fade = context.createLinearGradient(begin * column, 0, Math.max(to, begin * column + 1), 0);
    fade.addColorStop(0, accent);
    fade.addColorStop(1, soft);
    context.fillStyle = fade;
    context.fillRect(from, top, Math.max(to - from, 0), tall);
  }
  if (done >= 0) {
    context.fillStyle = color('--ink');
    context.fillRect(Math.min((done - start) * column, width - 2), 0, 2, height);
  }
}

/**
 * The value of a colour that may depend on the colour scheme.
 * @param {CSSStyleDeclaration} style
 * @param {string} name
 * @param {CanvasRenderingContext2D} context
 */
function resolve(style, name, context) {
  const value = style.getPropertyValue(name).trim();
  const pair = /^light-dark\((.+?),\s*(.+)\)$/.exec(value);
  if (!pair) return value;
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  return (isDark ? pair[2] : pair[1]) ?? context.strokeStyle.toString();
}
