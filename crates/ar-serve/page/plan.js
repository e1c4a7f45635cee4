// The inference plan: which frame takes which step in which iteration (the paper's section 3.4).

/**
 * @typedef {object} Plan
 * @property {number} steps Steps S that every frame takes.
 * @property {number} arStep Steps s between neighbouring frames.
 * @property {number} frames Frames of the video; Infinity for an endless video.
 * @property {number} window Frames that the model sees.
 * @property {number} prefix Given frames, which are finished from the start.
 * @property {boolean} unbounded Whether every step difference but 0 finishes all frames.
 */

/**
 * The number of steps that a frame has taken after `iterations` iterations, from 0 to S.
 * @param {Plan} plan
 * @param {number} iterations
 * @param {number} frame
 */
export function stepsTaken(plan, iterations, frame) {
  if (frame < plan.prefix) return plan.steps;
  const taken = iterations - plan.arStep * (frame - plan.prefix);
  return Math.min(Math.max(taken, 0), plan.steps);
}

/**
 * The number of iterations after which a frame is finished.
 * @param {Plan} plan
 * @param {number} frame
 */
export function finishedAfter(plan, frame) {
  return frame < plan.prefix ? 0 : plan.steps + plan.arStep * (frame - plan.prefix);
}

/**
 * The number of iterations of the whole plan.
 * @param {Plan} plan
 */
export function iterations(plan) {
  const later = plan.frames - plan.prefix - 1;
  return plan.arStep === 0 ? plan.steps : plan.steps + plan.arStep * later;
}

/**
 * The frames that the model sees after `done` iterations: the first, and one past the last.
 * @param {Plan} plan
 * @param {number} done
 * @returns {[number, number]}
 */
export function windowAt(plan, done) {
  const { arStep, frames, prefix } = plan;
  const length = Math.min(plan.window, frames);
  const begun = arStep === 0 ? frames : Math.floor(done / arStep) + 1;
  const end = Math.max(Math.min(prefix + begun, frames), length);
  return [end - length, end];
}

/**
 * The window of a plan.
 * @param {{ window: number, unbounded: boolean }} model
 * @param {number} steps
 * @param {number} arStep
 */
export function planWindow(model, steps, arStep) {
  if (!model.unbounded || arStep === 0) return model.window;
  return Math.max(model.window, Math.ceil(steps / arStep));
}

/**
 * What is wrong with a plan, as far as the page can tell without the server.
 * @param {Plan} plan
 */
export function problem(plan) {
  const sampled = plan.frames - plan.prefix;
  const least = plan.unbounded ? 1 : Math.ceil(plan.steps / plan.window);
  if (sampled > plan.window && plan.arStep < least) {
    return `${plan.frames === Infinity ? 'An endless video' : 'A video longer than the window'} ` +
      `needs at least ${least === 1 ? '1 step' : `${least} steps`} between frames.`;
  }
  return '';
}

/**
 * The plan in words.
 * @param {Plan} plan
 */
export function inWords(plan) {
  const { steps, arStep } = plan;
  const together = arStep === 0
    ? 'all frames together'
    : arStep === steps ? 'one frame after another'
      : `${Math.ceil(steps / arStep)} frames at a time`;
  const all = iterations(plan);
  const total = all === Infinity ? '' : `, ${all} in all`;
  const later = arStep === 0 ? '' : `, then one every ${arStep}`;
  return `Denoises ${together}. The first is finished after ${steps} iterations${later}${total}.`;
}
