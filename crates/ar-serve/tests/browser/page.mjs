// The page in headless Chromium: node page.mjs ADDRESS

import assert from 'node:assert/strict';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const address = process.argv[2];
const pictures = process.env.AR_SCREENSHOTS;
const browser = await chromium.launch({
  executablePath: process.env.AR_CHROMIUM,
  args: ['--no-sandbox'],
});
let failed = 0;

/** Opens the page anew, and closes it after the test. */
async function test(name, body, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 850 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  try {
    await page.goto(address);
    await page.locator('body[data-ready]').waitFor({ state: 'attached' });
    await body(page);
    assert.deepEqual(problems, []);
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  } finally {
    // The page cancels its video when it is left.
    await page.goto('about:blank');
    await context.close();
  }
}

const slide = (page, id, value) => page.locator(`#${id}`).fill(String(value));
const frameShown = (page, least = 0) => page.waitForFunction(
  (index) => Number(document.getElementById('video').dataset.frame ?? -1) >= index, least);
const status = (page, text) => page.locator('#status', { hasText: text }).waitFor();

/** Colours of the large canvas, as different bytes. */
const colours = (page, id = 'video') => page.evaluate((name) => {
  const canvas = document.getElementById(name);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(data).size;
}, id);

/** The request that `act` sends, and its answer. */
async function posted(page, act) {
  const request = page.waitForRequest((sent) => sent.method() === 'POST');
  await act();
  const sent = await request;
  return { sent, answer: await sent.response() };
}

await test('the token leaves the address', async (page) => {
  assert.equal(new URL(page.url()).search, '');
  assert.ok(address.includes('token='));
});

await test('a frame appears, and cards lose their noise', async (page) => {
  await page.click('#start');
  await frameShown(page);
  assert.ok(await colours(page) > 16);
  const cards = page.locator('#strip li');
  assert.equal(await cards.count(), 16);
  assert.match(await cards.first().getAttribute('aria-label'), /Frame 1, finished/);
  // Levels never rise from a frame to the one before it.
  const levels = await page.evaluate(() => [...document.querySelectorAll('.card .level i')]
    .map((bar) => Number(bar.style.getPropertyValue('--noise'))));
  assert.ok(levels.every((level, at) => at === 0 || level >= levels[at - 1]), levels.join(' '));
  assert.ok(levels.some((level) => level > 0 && level < 1), levels.join(' '));
});

await test('sliders change the plan and the request', async (page) => {
  const plan = () => page.evaluate(() => document.getElementById('plan').toDataURL());
  const before = await plan();
  await page.uncheck('#endless');
  await slide(page, 'steps', 8);
  await slide(page, 'ar_step', 4);
  await slide(page, 'frames', 6);
  await slide(page, 'guidance', 1.5);
  await page.fill('#seed', '7');
  await page.selectOption('#speed', '2');
  assert.notEqual(await plan(), before);
  assert.match(await page.textContent('#plan-text'), /2 frames at a time.*28 in all/);
  const { sent, answer } = await posted(page, () => page.click('#generate'));
  assert.deepEqual(sent.postDataJSON(), {
    frames: 6, steps: 8, ar_step: 4, guidance: 1.5, seed: 7, pace: 16,
  });
  assert.equal(answer.status(), 201);
  await status(page, /6 frames in/);
  // It plays again and again.
  await frameShown(page, 5);
  await page.waitForFunction(() => document.getElementById('video').dataset.frame === '0');
});

await test('a change starts a video at work again', async (page) => {
  await page.click('#generate');
  await frameShown(page);
  const { sent } = await posted(page, () => slide(page, 'ar_step', 50));
  assert.equal(sent.postDataJSON().ar_step, 50);
  await frameShown(page);
});

await test('cancelling keeps what is finished', async (page) => {
  await page.click('#generate');
  await frameShown(page, 1);
  await page.click('#cancel');
  await status(page, /Cancelled after \d+ frames/);
  assert.ok(await page.isDisabled('#cancel'));
  assert.ok(await page.isEnabled('#save'));
});

await test('the keyboard pauses, steps and goes on', async (page) => {
  await page.uncheck('#endless');
  await slide(page, 'frames', 40);
  await page.locator('#frames').blur();
  await page.keyboard.press('Space');
  await frameShown(page, 1);
  await page.keyboard.press('Space');
  await status(page, 'Paused');
  await page.waitForTimeout(400);
  const shown = () => page.evaluate(() => Number(document.getElementById('video').dataset.frame));
  const at = await shown();
  await page.waitForTimeout(600);
  assert.equal(await shown(), at);
  await page.keyboard.press('.');
  await frameShown(page, at + 1);
  await page.waitForTimeout(400);
  assert.equal(await shown(), at + 1);
  await page.keyboard.press('Space');
  await frameShown(page, at + 3);
});

await test('a dropped picture is continued', async (page) => {
  const { answer } = await posted(page, () => page.evaluate(async () => {
    const canvas = new OffscreenCanvas(64, 64);
    const context = canvas.getContext('2d');
    context.fillStyle = '#101018';
    context.fillRect(0, 0, 64, 64);
    context.fillStyle = '#e03030';
    context.fillRect(20, 24, 14, 14);
    const transfer = new DataTransfer();
    transfer.items.add(new File([await canvas.convertToBlob()], 'square.png', { type: 'image/png' }));
    dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
  }));
  assert.equal(answer.status(), 201);
  const video = await answer.json();
  assert.equal(video.options.prefix_frames, 1);
  assert.equal(await page.textContent('#prefix-name'), 'square.png');
  await frameShown(page, 2);
});

await test('a video is saved', async (page) => {
  await page.uncheck('#endless');
  await slide(page, 'frames', 8);
  await page.selectOption('#speed', '0');
  await page.click('#generate');
  await status(page, /8 frames in/);
  const download = page.waitForEvent('download');
  await page.click('#save');
  const path = join(await mkdtemp(join(tmpdir(), 'page-')), 'saved.mp4');
  await (await download).saveAs(path);
  assert.equal((await readFile(path)).subarray(4, 8).toString(), 'ftyp');
});

await test('what the server refuses is said', async (page) => {
  await slide(page, 'ar_step', 0);
  assert.match(await page.textContent('#plan-text'), /at least 1 step between frames/);
  await page.click('#generate');
  await page.locator('#problem', { hasText: 'ar_step' }).waitFor();
});

await test('without the token it is asked for', async (page) => {
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await page.locator('#ask[open]').waitFor();
  await page.fill('#token', new URL(address).searchParams.get('token'));
  await page.keyboard.press('Enter');
  await page.locator('body[data-ready]').waitFor({ state: 'attached' });
});

await test('every control has a name, and fits on a phone', async (page) => {
  const unnamed = await page.evaluate(() => [...document.querySelectorAll('button, input, select, canvas')]
    .filter((part) => !part.hidden && part.getAttribute('aria-hidden') !== 'true')
    .filter((part) => !(part.labels?.length || part.getAttribute('aria-label')
      || part.getAttribute('aria-labelledby') || part.textContent.trim()))
    .map((part) => part.id));
  assert.deepEqual(unnamed, []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} pixels too wide`);
  await page.tap('#start');
  await frameShown(page);
}, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

await test('the API is described', async (page) => {
  await page.goto(new URL('/docs', address).href);
  await page.locator('summary', { hasText: '/v1/videos/{id}/events' }).click();
  await page.getByText('Server-sent events.').waitFor();
});

if (pictures) {
  const desk = { viewport: { width: 1360, height: 850 } };
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true };
  for (const [name, options] of [
    ['serve-light', { ...desk, colorScheme: 'light' }],
    ['serve-dark', { ...desk, colorScheme: 'dark' }],
    ['serve-phone', { ...phone, colorScheme: 'dark' }],
  ]) {
    await test(name, async (page) => {
      await page.fill('#seed', '1');
      await page.click('#generate');
      await frameShown(page, 9);
      await writeFile(join(pictures, `${name}.png`), await page.screenshot());
    }, options);
  }
}

await browser.close();
process.exitCode = failed ? 1 : 0;
