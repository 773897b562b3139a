// Plays a stream with unmodified hls.js in headless Chromium, which posts CMCD to a server of another origin.
//
//   node browser.mjs SERVER_URL KEY PAGE_FOLDER
//
// Prints what the page measured by itself (page/clock.js, page/view.js): {"sid", "version", "startup_ms", "playing_ms",
// "played_ms", "paused_ms", "stalls_ms", "seeks_ms", "waiting", "ended", "records": lines acknowledged, "statuses": one
// per request}. Takes about 20 s.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [server, key, folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: browser.mjs SERVER_URL KEY PAGE_FOLDER');
  process.exit(2);
}
const GIVE_UP_MS = 120_000;
const TYPES = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.m3u8': 'application/vnd.apple.mpegurl',
  '.mp4': 'video/mp4',
};
const library = join(dirname(fileURLToPath(import.meta.url)), 'node_modules/hls.js/dist/hls.mjs');

// The site: the page, the player, the stream, and a hand on the tap.
let held = null; // a promise of the release
let release = () => {};
let done;
const result = new Promise((resolve) => { done = resolve; });

async function answer(request, response) {
  const name = basename(new URL(request.url, 'http://site').pathname) || 'index.html';
  if (request.method === 'POST') {
    let body = '';
    for await (const piece of request) body += piece;
    if (name === 'hold') held = new Promise((resolve) => { release = resolve; });
    if (name === 'release') release();
    response.writeHead(204).end();
    if (name === 'result') done(JSON.parse(body));
    return;
  }
  const bytes = await readFile(name === 'hls.mjs' ? library : join(folder, name)).catch(() => null);
  if (bytes === null) {
    response.writeHead(404).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  if (extname(name) === '.mp4') await held;
  const type = { 'content-type': TYPES[extname(name)] ?? 'application/octet-stream', 'cache-control': 'no-store' };
  if (!range) {
    response.writeHead(200, type).end(bytes);
    return;
  }
  const [first, last] = range.slice(1).map(Number);
  response.writeHead(206, { ...type, 'content-range': `bytes ${first}-${last}/${bytes.length}` });
  response.end(bytes.subarray(first, last + 1));
}

const site = createServer((request, response) => answer(request, response).catch((error) => response.destroy(error)));
await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));

const target = `${server}/cmcd/v2/events?key=${encodeURIComponent(key)}`;
const page = `http://127.0.0.1:${site.address().port}/?target=${encodeURIComponent(target)}`;
const profile = await mkdtemp(join(tmpdir(), 'browser-'));
// With its debugging pipe the browser ends when this process does, however that ends.
const browser = spawn('chromium', [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
  '--autoplay-policy=no-user-gesture-required', '--remote-debugging-pipe', `--user-data-dir=${profile}`, page,
], { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
let complaints = '';
browser.stderr.on('data', (piece) => { complaints += piece; });
const ended = new Promise((resolve) => browser.on('close', resolve));

const said = await Promise.race([
  result,
  ended.then((code) => ({ error: `the browser ended with ${code}` })),
  new Promise((resolve) => setTimeout(resolve, GIVE_UP_MS, { error: 'the page says nothing' })),
]);
browser.kill('SIGTERM');
await ended;
await rm(profile, { recursive: true, force: true, maxRetries: 5 });
if (said.error) {
  console.error(`${said.error}\n${complaints}`);
  process.exit(1);
}
console.log(JSON.stringify(said));
process.exit(0);
