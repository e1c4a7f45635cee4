// Requests to the server.

/**
 * @typedef {object} Options
 * @property {number} [frames]
 * @property {boolean} [endless]
 * @property {number} steps
 * @property {number} ar_step
 * @property {number} guidance
 * @property {string} [class]
 * @property {number} seed
 * @property {number} [pace]
 */

/**
 * @typedef {object} Chosen
 * @property {number | null} frames
 * @property {boolean} endless
 * @property {number} steps
 * @property {number} ar_step
 * @property {number} window
 * @property {number} prefix_frames
 * @property {number | null} pace
 * @property {number} fps
 */

/**
 * @typedef {object} Video
 * @property {number} id
 * @property {'queued' | 'running' | 'done' | 'cancelled' | 'failed'} state
 * @property {string | null} error
 * @property {Chosen} options
 * @property {number} frames_finished
 * @property {number} iteration
 * @property {number | null} iterations
 * @property {number} seconds
 */

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} window
 * @property {boolean} unbounded
 * @property {number} timesteps
 * @property {number} classes
 * @property {string[]} class_names
 * @property {number} steps
 * @property {number} ar_step
 * @property {number} guidance
 * @property {number} fps
 * @property {number} most_frames
 */

/** @typedef {{ index: number, png: string }} FrameEvent */
/** @typedef {{ index: number, steps: number, noise_level: number, png: string }} PreviewFrame */
/**
 * @typedef {{ type: 'frame', data: FrameEvent }
 *   | { type: 'preview', data: { iteration: number, frames: PreviewFrame[] } }
 *   | { type: 'progress', data: { iteration: number, seconds_left: number | null } }
 *   | { type: 'end', data: Video }} ServerEvent
 */

/** An error response. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const KEY = 'ar-serve-token';

/** The token: from the address, which then loses it, or from the session's storage. */
export function token() {
  const address = new URL(location.href);
  const given = address.searchParams.get('token');
  if (given) {
    keepToken(given);
    address.searchParams.delete('token');
    history.replaceState(null, '', address);
  }
  return sessionStorage.getItem(KEY) ?? '';
}

/** @param {string} text */
export function keepToken(text) {
  sessionStorage.setItem(KEY, text);
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
export async function request(path, init = {}) {
  const headers = new Headers(init.headers);
  headers.set('Authorization', `Bearer ${token()}`);
  const response = await fetch(path, { ...init, headers });
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new ApiError(response.status, body.error ?? response.statusText);
  }
  return response;
}

/** @returns {Promise<Model>} */
export async function model() {
  return (await request('/v1/model')).json();
}

/**
 * @param {Options} options
 * @param {File | null} prefix
 * @returns {Promise<Video>}
 */
export async function create(options, prefix) {
  const json = JSON.stringify(options);
  if (!prefix) {
    const headers = { 'Content-Type': 'application/json' };
    return (await request('/v1/videos', { method: 'POST', headers, body: json })).json();
  }
  const body = new FormData();
  body.append('options', new Blob([json], { type: 'application/json' }));
  body.append('prefix', prefix);
  return (await request('/v1/videos', { method: 'POST', body })).json();
}

/**
 * @param {number} id
 * @returns {Promise<Video>}
 */
export async function cancel(id) {
  const response = await request(`/v1/videos/${id}`, { method: 'DELETE', keepalive: true });
  return response.json();
}

/** @param {number} id */
export async function download(id) {
  return (await request(`/v1/videos/${id}/video.mp4`)).blob();
}

/**
 * The events of a video. The next event is read from the server only when it is asked for.
 * @param {number} id
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* events(id, signal) {
  const response = await request(`/v1/videos/${id}/events?previews=1`, { signal });
  const stream = response.body?.pipeThrough(new TextDecoderStream());
  if (!stream) return;
  const reader = stream.getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = parse(text.slice(0, end));
      text = text.slice(end + 2);
      if (event) yield event;
    }
  }
}

/**
 * @param {string} block
 * @returns {ServerEvent | null}
 */
function parse(block) {
  let type = '';
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) type = line.slice(7);
    if (line.startsWith('data: ')) data += line.slice(6);
  }
  return data ? /** @type {ServerEvent} */ ({ type, data: JSON.parse(data) }) : null;
}

/**
 * Decodes an event's picture.
 * @param {string} png
 */
export async function picture(png) {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: 'image/png' }));
}
