// Plays one short view with the stock CMCD reporter of @svta/cml-cmcd in event mode.
//
//   node cml_cmcd.mjs SERVER_URL KEY
//
// 12 records with sn 0-11, in this order: t, ps s, bc, ps p, ps r, ps p, e, m, pe, ce, t, ps q; four requests of three.
// Takes 2.7 s. Prints {"records": lines acknowledged, "statuses": one per request in the order answered (0 = no answer),
// "sid": ".."}. Exit code 1 if any request was not answered with 2xx.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { CMCD_KEYS, CmcdEventType, CmcdReporter, toCmcdValue } from '@svta/cml-cmcd';

const [server, key] = process.argv.slice(2);
if (!server || !key) {
  console.error('usage: cml_cmcd.mjs SERVER_URL KEY');
  process.exit(2);
}

const statuses = [];
const deliveries = [];
let records = 0;

// The reporter's default transport is a bare fetch; this one also keeps the books.
async function deliver({ url, ...init }) {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(30_000) });
    await response.arrayBuffer();
    statuses.push(response.status);
    if (response.ok) records += init.body.split('\n').length;
    return response;
  } catch (error) {
    statuses.push(0);
    throw error;
  }
}

function requester(request) {
  const delivery = deliver(request);
  deliveries.push(delivery);
  return delivery;
}

const sid = randomUUID();
const reporter = new CmcdReporter({
  sid,
  cid: 'twitch:cml',
  eventTargets: [{
    url: `${server}/cmcd/event-mode?key=${encodeURIComponent(key)}`,
    events: Object.values(CmcdEventType),
    enabledKeys: [...CMCD_KEYS, 'com.streamyyy-app', 'com.streamyyy-layout', 'com.streamyyy-slot'],
    interval: 2,
    batchSize: 3,
  }],
}, requester);

const video = (value) => [toCmcdValue(value, { v: true })];

reporter.update({
  sf: 'h',
  st: 'll',
  'com.streamyyy-app': Symbol.for('ios'),
  'com.streamyyy-layout': 'lay_01',
  'com.streamyyy-slot': '2',
});
reporter.start();
reporter.update({ sta: 's' });
await pause(300);
reporter.update({ msd: 300, br: video(2500), bl: video(6000), mtp: [8000], ltc: 2400, dfa: 0 });
reporter.update({ sta: 'p' });
reporter.update({ sta: 'r', bs: true, bsa: video(1) });
await pause(200);
reporter.update({ sta: 'p', bs: undefined, bsd: video(200), bsda: video(200) });
reporter.recordEvent(CmcdEventType.ERROR, { ec: ['HLS_404', 'a "quoted" \\ err'] });
reporter.recordEvent(CmcdEventType.MUTE);
reporter.recordEvent(CmcdEventType.PLAYER_EXPAND);
reporter.recordEvent(CmcdEventType.CUSTOM_EVENT, { cen: 'layout.switched', 'com.streamyyy-layout': 'lay_02' });
await pause(2200);
reporter.update({ sta: 'q' });
reporter.stop(true);

await Promise.allSettled(deliveries);
console.log(JSON.stringify({ records, statuses, sid }));
process.exitCode = statuses.every((status) => status >= 200 && status < 300) ? 0 : 1;
