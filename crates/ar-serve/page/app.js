// The page: options, the stream of events, and the display.

import * as api from './api.js';
import { finishedAfter, inWords, planWindow, problem } from './plan.js';
import { Strip, drawPlan, grain } from './strip.js';

/** @typedef {import('./plan.js').Plan} Plan */

/** Bytes of frames that are kept for replay. */
const KEPT_BYTES = 128 << 20;
/** Milliseconds that the page may lag behind before it stops catching up. */
const SLACK = 400;

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${id}`);
  return found;
}

const input = (/** @type {string} */ id) => element(id, HTMLInputElement);
const button = (/** @type {string} */ id) => element(id, HTMLButtonElement);
const select = (/** @type {string} */ id) => element(id, HTMLSelectElement);

const ui = {
  status: element('status', HTMLElement),
  count: element('count', HTMLElement),
  problem: element('problem', HTMLElement),
  stage: element('stage', HTMLElement),
  video: element('video', HTMLCanvasElement),
  plan: element('plan', HTMLCanvasElement),
  planText: element('plan-text', HTMLElement),
  start: button('start'),
  generate: button('generate'),
  pause: button('pause'),
  step: button('step'),
  cancel: button('cancel'),
  save: button('save'),
  dice: button('dice'),
  arStep: input('ar_step'),
  steps: input('steps'),
  frames: input('frames'),
  framesRow: element('frames-row', HTMLElement),
  endless: input('endless'),
  guidance: input('guidance'),
  classes: select('class'),
  classRow: element('class-row', HTMLElement),
  seed: input('seed'),
  speed: select('speed'),
  prefix: input('prefix'),
  prefixName: element('prefix-name', HTMLElement),
  prefixClear: button('prefix-clear'),
  ask: element('ask', HTMLDialogElement),
  token: input('token'),
};

/** A gate for frames: open, or shut and letting single frames through. */
class Gate {
  constructor() {
    this.isShut = false;
    /** @type {(() => void) | null} */
    this.waiting = null;
    this.single = 0;
  }

  open() {
    this.isShut = false;
    this.single = 0;
    this.waiting?.();
  }

  shut() {
    this.isShut = true;
  }

  /** Lets one frame through. */
  step() {
    this.single += 1;
    this.waiting?.();
  }

  /** Waits while the gate is shut. */
  async pass() {
    while (this.isShut && this.single === 0) {
      await new Promise((go) => { this.waiting = () => go(null); });
      this.waiting = null;
    }
  }

  /** A frame has gone through. */
  count() {
    if (this.single > 0) this.single -= 1;
  }
}

/**
 * A video that is shown.
 * @typedef {object} Show
 * @property {api.Video} video
 * @property {Plan} plan
 * @property {Gate} gate
 * @property {AbortController} abort
 * @property {{ index: number, picture: ImageBitmap }[]} frames
 * @property {number} done Iterations that are done.
 * @property {boolean} isEnded
 */

/** @type {api.Model} */
let model;
/** @type {Strip} */
let strip;
/** @type {Show | null} */
let show = null;
/** @type {File | null} */
let prefix = null;
let prefixFrames = 0;

/* Options. */

/** @returns {api.Options} */
function options() {
  const speed = Number(ui.speed.value);
  const isEndless = ui.endless.checked;
  return {
    ...(isEndless ? { endless: true } : { frames: Number(ui.frames.value) + prefixFrames }),
    steps: Number(ui.steps.value),
    ar_step: Number(ui.arStep.value),
    guidance: Number(ui.guidance.value),
    ...(ui.classes.value ? { class: ui.classes.value } : {}),
    seed: Number(ui.seed.value),
    ...(speed > 0 ? { pace: speed * model.fps } : {}),
  };
}

/** @returns {Plan} */
function chosenPlan() {
  const { steps, ar_step: arStep, frames = Infinity } = options();
  const window = planWindow(model, steps, arStep);
  return { steps, arStep, frames, window, prefix: prefixFrames, unbounded: model.unbounded };
}

/** Shows what the options mean. */
function refresh() {
  ui.arStep.max = ui.steps.value;
  for (const slider of [ui.arStep, ui.steps, ui.frames, ui.guidance]) {
    const output = document.querySelector(`output[for="${slider.id}"]`);
    if (output) output.textContent = Number(slider.value).toLocaleString();
  }
  ui.framesRow.hidden = ui.endless.checked;
  ui.problem.hidden = true;
  const plan = chosenPlan();
  const wrong = problem(plan);
  ui.planText.textContent = wrong || inWords(plan);
  drawPlan(ui.plan, wrong ? { ...plan, frames: plan.prefix + plan.window } : plan, -1);
}

/* Display. */

/** @param {string} text */
function say(text) {
  if (ui.status.textContent !== text) ui.status.textContent = text;
}

/** @param {unknown} error */
function complain(error) {
  if (error instanceof api.ApiError && error.status === 401) {
    ask();
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  ui.problem.textContent = error instanceof TypeError ? 'The server does not answer.' : message;
  ui.problem.hidden = false;
  say('');
}

function buttons() {
  const isAtWork = show !== null && !show.isEnded;
  ui.start.hidden = show !== null;
  ui.generate.textContent = show ? 'Start again' : 'Generate';
  ui.pause.disabled = !show;
  ui.pause.textContent = show?.gate.isShut ? 'Play' : 'Pause';
  ui.step.disabled = !show;
  ui.cancel.disabled = !isAtWork;
  ui.save.disabled = !show || show.frames.length === 0;
}

/**
 * Draws a picture that fills the canvas.
 * @param {CanvasImageSource} picture
 */
function paint(picture) {
  const canvas = ui.video;
  const size = Math.max(Math.round(canvas.clientWidth * (devicePixelRatio || 1)), 1);
  if (canvas.width !== size) canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, size, size);
}

/**
 * Shows a finished frame large.
 * @param {{ index: number, picture: ImageBitmap }} frame
 */
function present({ index, picture }) {
  paint(picture);
  ui.video.setAttribute('aria-label', `Frame ${index + 1} of the video`);
  ui.video.dataset.frame = String(index);
  ui.count.textContent = `frame ${index + 1}`;
  strip.show(index);
}

/**
 * Shows the video's progress.
 * @param {Show} now
 * @param {number} done
 */
function advance(now, done) {
  now.done = Math.max(now.done, done);
  strip.move(now.plan, now.done);
  drawPlan(ui.plan, now.plan, now.done);
}

/* Generation. */

async function generate() {
  stop();
  ui.problem.hidden = true;
  try {
    const video = await api.create(options(), prefix);
    const { options: chosen } = video;
    const plan = {
      steps: chosen.steps,
      arStep: chosen.ar_step,
      frames: chosen.frames ?? Infinity,
      window: chosen.window,
      prefix: chosen.prefix_frames,
      unbounded: model.unbounded,
    };
    if (prefixFrames !== chosen.prefix_frames) prefixFrames = chosen.prefix_frames;
    /** @type {Show} */
    const now = {
      video, plan, gate: new Gate(), abort: new AbortController(), frames: [], done: 0, isEnded: false,
    };
    show = now;
    strip.clear();
    ui.count.textContent = '';
    advance(now, 0);
    buttons();
    say(video.state === 'queued' && !chosen.pace ? 'Waiting for its turn' : 'Denoising');
    await follow(now);
    if (show === now) await replay(now);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) complain(error);
  } finally {
    buttons();
  }
}

/** Stops the current video, here and on the server. */
function stop() {
  if (!show) return;
  const old = show;
  show = null;
  old.abort.abort();
  old.gate.open();
  if (!old.isEnded) api.cancel(old.video.id).catch(() => {});
}

/**
 * Shows the events of a video as they arrive, no faster than its pace.
 * @param {Show} now
 */
async function follow(now) {
  const { plan, video } = now;
  const pace = video.options.pace;
  const interval = pace ? 1000 * millisecondsShare(plan) / pace : 0;
  let base = { time: performance.now(), done: 0 };
  for await (const event of api.events(video.id, now.abort.signal)) {
    if (event.type === 'progress') continue;
    if (event.type === 'end') {
      finish(now, event.data);
      return;
    }
    const done = event.type === 'frame'
      ? Math.max(finishedAfter(plan, event.data.index), now.done)
      : event.data.iteration;
    await now.gate.pass();
    if (show !== now) return;
    const late = performance.now() - base.time - (done - base.done) * interval;
    if (Math.abs(late) > SLACK) {
      base = { time: performance.now(), done };
    } else if (late < -4 && !now.gate.isShut) {
      await new Promise((go) => { setTimeout(go, -late); });
    }
    if (event.type === 'frame') await finished(now, event.data, done);
    else await inProgress(now, event.data, done);
  }
  throw new Error('The server has closed the connection.');
}

/**
 * Frames per iteration: the time that an iteration takes at one frame per second.
 * @param {Plan} plan
 */
function millisecondsShare(plan) {
  if (plan.frames === Infinity) return 1 / plan.arStep;
  const sampled = plan.frames - plan.prefix;
  return sampled / (plan.steps + plan.arStep * (sampled - 1));
}

/**
 * @param {Show} now
 * @param {api.FrameEvent} event
 * @param {number} done
 */
async function finished(now, { index, png }, done) {
  const picture = await api.picture(png);
  if (show !== now) return;
  advance(now, done);
  strip.draw(index, picture, 0);
  const frame = { index, picture };
  now.frames.push(frame);
  const most = Math.max(KEPT_BYTES / (4 * model.width * model.height), 1);
  if (now.frames.length > most) now.frames.shift()?.picture.close();
  present(frame);
  now.gate.count();
  if (now.frames.length === 1) {
    say('Playing');
    buttons();
  }
}

/**
 * @param {Show} now
 * @param {{ iteration: number, frames: api.PreviewFrame[] }} event
 * @param {number} done
 */
async function inProgress(now, event, done) {
  const pictures = await Promise.all(event.frames.map((frame) => api.picture(frame.png)));
  if (show !== now) return;
  advance(now, done);
  for (const [at, frame] of event.frames.entries()) {
    const drawn = pictures[at];
    if (drawn) strip.draw(frame.index, drawn, frame.noise_level);
  }
  // Until the first frame is finished, show its preview.
  if (now.frames.length === 0 && pictures[0]) paint(pictures[0]);
  for (const drawn of pictures) drawn.close();
}

/**
 * @param {Show} now
 * @param {api.Video} video
 */
function finish(now, video) {
  now.isEnded = true;
  now.video = video;
  const count = `${now.video.frames_finished} frames`;
  const ends = {
    done: `${count} in ${video.seconds.toFixed(1)} s`,
    cancelled: `Cancelled after ${count}`,
    failed: '',
  };
  say(ends[/** @type {keyof typeof ends} */ (video.state)] ?? '');
  if (video.state === 'failed') complain(new Error(video.error ?? 'The video failed.'));
  buttons();
}

/**
 * Plays the frames in a loop.
 * @param {Show} now
 */
async function replay(now) {
  const interval = 1000 / now.video.options.fps;
  while (show === now && now.frames.length > 1) {
    for (const frame of now.frames) {
      await new Promise((go) => { setTimeout(go, interval); });
      await now.gate.pass();
      if (show !== now) return;
      present(frame);
      now.gate.count();
    }
  }
}

async function save() {
  if (!show) return;
  const { id } = show.video;
  ui.save.disabled = true;
  say('Encoding');
  try {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await api.download(id));
    link.download = `ar-diffusion-${id}.mp4`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`Saved as ${link.download}`);
  } catch (error) {
    complain(error);
  } finally {
    buttons();
  }
}

function togglePause() {
  if (!show) return;
  if (show.gate.isShut) show.gate.open();
  else show.gate.shut();
  say(show.gate.isShut ? 'Paused' : 'Playing');
  buttons();
}

function step() {
  if (!show) return;
  show.gate.shut();
  show.gate.step();
  buttons();
}

/* The prefix. */

/** @param {File | null} file */
function take(file) {
  prefix = file;
  // Only the server can count its frames; until then, assume one.
  prefixFrames = file ? 1 : 0;
  ui.prefixName.textContent = file ? file.name : 'or drop one anywhere on the page';
  ui.prefixClear.hidden = !file;
  if (!file) ui.prefix.value = '';
  refresh();
}

/* The token. */

function ask() {
  if (!ui.ask.open) ui.ask.showModal();
}

/* Setup. */

function listen() {
  ui.start.addEventListener('click', generate);
  ui.generate.addEventListener('click', generate);
  ui.pause.addEventListener('click', togglePause);
  ui.step.addEventListener('click', step);
  ui.save.addEventListener('click', save);
  ui.cancel.addEventListener('click', () => {
    if (!show) return;
    show.gate.open();
    api.cancel(show.video.id).catch(complain);
  });
  ui.dice.addEventListener('click', () => {
    ui.seed.value = String(Math.floor(Math.random() * 1e6));
    change();
  });
  const controls = element('controls', HTMLFormElement);
  controls.addEventListener('input', refresh);
  controls.addEventListener('change', (event) => {
    if (event.target !== ui.prefix) change();
  });
  controls.addEventListener('submit', (event) => {
    event.preventDefault();
    generate();
  });
  ui.prefix.addEventListener('change', () => {
    take(ui.prefix.files?.[0] ?? null);
    if (prefix) generate();
  });
  ui.prefixClear.addEventListener('click', () => take(null));
  ui.ask.addEventListener('close', () => {
    api.keepToken(ui.token.value.trim());
    begin();
  });

  addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    const file = event.dataTransfer?.files[0];
    if (file) {
      take(file);
      generate();
    }
  });
  addEventListener('keydown', (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest('input, select, button, a, dialog, summary')) return;
    if (event.key === ' ') {
      event.preventDefault();
      if (show) togglePause();
      else generate();
    }
    if (event.key === '.') step();
  });
  addEventListener('pagehide', stop);
  const redraw = () => {
    const last = show?.frames.at(-1);
    if (last) paint(last.picture);
    else if (!show) paint(grain(model.width, model.height));
    if (show && !show.isEnded) drawPlan(ui.plan, show.plan, show.done);
    else refresh();
  };
  addEventListener('resize', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
}

/** After a change of options: restarts the current video with them. */
function change() {
  refresh();
  if (show && !show.isEnded && !problem(chosenPlan())) generate();
}

async function begin() {
  try {
    model = await api.model();
  } catch (error) {
    complain(error);
    return;
  }
  element('model', HTMLElement).textContent = model.name;
  ui.steps.max = String(Math.min(model.timesteps - 1, 100));
  ui.steps.value = String(model.steps);
  ui.arStep.max = ui.steps.value;
  ui.arStep.value = String(model.ar_step);
  ui.frames.max = String(Math.min(model.most_frames, 200));
  ui.frames.value = String(Math.min(3 * model.window, Number(ui.frames.max)));
  ui.guidance.value = String(model.guidance);
  ui.classRow.hidden = model.classes === 0;
  const names = Array.from({ length: model.classes }, (_, at) => model.class_names[at] ?? String(at));
  ui.classes.replaceChildren(new Option('none', ''), ...names.map((name) => new Option(name, name)));
  strip = new Strip(element('strip', HTMLOListElement), model.width, model.height);
  strip.move(chosenPlan(), 0);
  paint(grain(model.width, model.height));
  refresh();
  buttons();
  document.body.dataset.ready = 'true';
}

listen();
begin();
