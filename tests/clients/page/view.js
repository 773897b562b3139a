// One view from beginning to end: it starts, runs dry while the server of the stream holds segments back, goes on, is
// paused, changes the rendition, seeks ahead, and plays to the end. Query: `target`, where events go.

import Hls from './hls.mjs';
import { watch } from './clock.js';

const video = document.querySelector('video');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const event = (name) => new Promise((resolve) => video.addEventListener(name, resolve, { once: true }));
const tell = (path, body) => fetch(path, { method: 'POST', body });

// Counts what the player posts, and changes nothing of it.
const posts = { statuses: [], records: 0, underway: 0 };
const plainFetch = window.fetch;
window.fetch = async (url, init) => {
  if (!String(url).startsWith(target)) return plainFetch(url, init);
  posts.underway += 1;
  try {
    const response = await plainFetch(url, init);
    posts.statuses.push(response.status);
    if (response.ok) posts.records += init.body.split('\n').filter((line) => line !== '').length;
    return response;
  } catch (error) {
    posts.statuses.push(0);
    throw error;
  } finally {
    posts.underway -= 1;
  }
};

const target = new URLSearchParams(location.search).get('target');
const events = ['ps', 't', 'e', 'rr', 'bc', 'ce', 'pr', 'm', 'um', 'pe', 'pc', 'b', 'c'];
const keys = ['bl', 'br', 'bs', 'cid', 'ec', 'mtp', 'pr', 'pt', 'rc', 'sf', 'sid', 'sn', 'st', 'sta', 'ttfb', 'ttlb', 'url'];
const custom = { 'com.streamyyy-layout': 'lay_01', 'com.streamyyy-slot': '3' };

async function view() {
  const hls = new Hls({
    // Little is buffered ahead, so that a segment held back is soon missed.
    maxBufferLength: 2,
    maxMaxBufferLength: 2,
    // A browser that gets little of a busy machine is not helped along by seeks of the player's own.
    highBufferWatchdogPeriod: 60,
    cmcd: {
      version: 2,
      contentId: 'twitch:browser',
      eventTargets: [{ url: target, events, includeKeys: [...keys, ...Object.keys(custom)], interval: 2, batchSize: 4 }],
      reporterCallback: (reporter) => reporter.updateCustomData(custom),
    },
  });
  const measured = watch(video);
  hls.attachMedia(video);
  hls.loadSource('stream.m3u8');
  video.play();
  await event('playing');

  await tell('hold');
  await event('waiting');
  await pause(1500);
  await tell('release');
  await event('playing');
  await pause(1500);

  video.pause();
  await pause(800);
  video.play();
  await pause(500);

  hls.nextLevel = 1;
  await pause(500);
  video.currentTime = 15.5;
  await event('ended');
  await pause(100);

  const result = { sid: hls.sessionId, version: Hls.version, ...measured() };
  hls.destroy();
  do await pause(100); while (posts.underway > 0);
  return { ...result, records: posts.records, statuses: posts.statuses };
}

view().then(
  (result) => tell('result', JSON.stringify(result)),
  (error) => tell('result', JSON.stringify({ error: `${error.stack}` })),
);
