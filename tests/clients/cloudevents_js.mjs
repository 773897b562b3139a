// Posts two events with the CloudEvents JS SDK, the first in structured and the second in binary mode.
//
//   node cloudevents_js.mjs SERVER_URL KEY
//
// Prints {"ids": [structured, binary], "statuses": [..]}. Exit code 1 if one was not answered with 2xx.

import diagnostics from 'node:diagnostics_channel';
import { CloudEvent, Mode, emitterFor, httpTransport } from 'cloudevents';

const [server, key] = process.argv.slice(2);
if (!server || !key) {
  console.error('usage: cloudevents_js.mjs SERVER_URL KEY');
  process.exit(2);
}

// The SDK's transport hands back headers and body only: the status is read from Node's own channel.
const statuses = [];
diagnostics.subscribe('http.client.response.finish', ({ response }) => statuses.push(response.statusCode));

const transport = httpTransport(`${server}/v1/events?key=${encodeURIComponent(key)}`);
const ids = [];
for (const mode of [Mode.STRUCTURED, Mode.BINARY]) {
  const event = new CloudEvent({
    type: 'app.streamyyy.playback.rebuffer_end',
    source: '/devices/js',
    subject: `view/${mode}`,
    sessionid: 's1',
    data: { duration_ms: 1500 },
  });
  await emitterFor(transport, { mode })(event);
  ids.push(event.id);
}

console.log(JSON.stringify({ ids, statuses }));
process.exitCode = statuses.length === 2 && statuses.every((status) => status >= 200 && status < 300) ? 0 : 1;
