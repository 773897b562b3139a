// Writes random valid CMCD v2 event-mode records and what @svta/cml-cmcd makes of them.
//
//   node cmcd_oracle.mjs SEED COUNT
//
// Prints COUNT lines {"line": one record, "valid": validateCmcdEvents(line).valid, "decoded": decodeCmcd(line)}; the same
// seed gives the same lines. The records come from the generator below, not from the package's encoder. In `decoded` an
// untagged list item is the bare value, a tagged one {"value": .., "params": {"v": true}}; tokens are strings.
// Exit code 1, with the issues on stderr, if the package finds a record invalid. Left out because the package rejects
// them although they are valid: e=h and sf=e.

import { decodeCmcd, validateCmcdEvents } from '@svta/cml-cmcd';

const seed = Number(process.argv[2]);
const count = Number(process.argv[3]);
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(count)) {
  console.error('usage: cmcd_oracle.mjs SEED COUNT');
  process.exit(2);
}

// Randomness: mulberry32.
let state = seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const between = (min, max) => min + Math.floor(random() * (max - min + 1));
const chance = (share) => random() < share;
const pick = (list) => list[between(0, list.length - 1)];
function shuffled(list) {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i -= 1) {
    const j = between(0, i);
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}
const repeat = (length, one) => Array.from({ length }, one);

// Bare items of RFC 8941, as text.
const OBJECT_TYPES = ['m', 'a', 'v', 'av', 'i', 'c', 'tt', 'k', 'o'];
const PRINTABLE = repeat(95, (_, i) => String.fromCharCode(32 + i));
const TOKEN_START = [...'abcxyzABCXYZ*'];
const TOKEN_REST = [..."abcXYZ0189!#$%&'*+-.^_`|~:/"];

const quoted = (text) => `"${text.replace(/[\\"]/g, '\\$&')}"`;
// Any printable characters, escapes and separators of the format more often than the rest.
const text = (max, min = 0) => {
  const length = chance(0.05) ? max : between(min, Math.min(max, 24));
  return quoted(repeat(length, () => (chance(0.2) ? pick([...'"\\,;=() ?']) : pick(PRINTABLE))).join(''));
};
const token = (max) => {
  const length = chance(0.1) ? max : between(1, 12);
  return pick(TOKEN_START) + repeat(length - 1, () => pick(TOKEN_REST)).join('');
};
// Small, medium or of the full 15 digits.
const integer = () => String(between(0, pick([9, 1000, 60_000, 999_999_999_999_999])));
const signed = () => (chance(0.2) ? `-${between(1, 999_999)}` : integer());
const decimal = () => {
  const whole = chance(0.05) ? between(0, 999_999_999_999) : between(0, 20);
  return `${whole}.${repeat(between(1, 3), () => between(0, 9)).join('')}`;
};
const number = () => (chance(0.2) ? decimal() : integer());
const boolean = (name, value) => (value ? pick([name, name, `${name}=?1`]) : `${name}=?0`);
const spaces = (min) => ' '.repeat(chance(0.1) ? between(min, 3) : min);
const list = (items) => `(${spaces(0)}${items.reduce((all, item) => `${all}${spaces(1)}${item}`)}${spaces(0)})`;

// An inner list of numbers: one untagged item, or several with different object types, seldom both.
function numbers() {
  if (chance(0.4)) return list([number()]);
  const items = shuffled(OBJECT_TYPES).slice(0, between(1, chance(0.1) ? 9 : 3)).map((type) => `${number()};${type}`);
  if (chance(0.05)) items.push(number());
  return list(shuffled(items));
}
const hundreds = () => String(between(0, 600) * 100);
// Next objects: paths, some with the byte range of the request.
const nextObjects = () =>
  list(repeat(between(1, 3), () => {
    const path = quoted(`../seg${between(0, 999)}${pick(['.m4s', '.ts', '.mp4?q="1"'])}`);
    return chance(0.3) ? `${path};r="${between(0, 9999)}-${pick(['', '20000'])}"` : path;
  }));
const url = () => {
  const path = `https://cdn${between(1, 9)}.example.com/v/${between(0, 9999)}${pick(['', '.m4s', '/a b', '/"x"'])}`;
  return quoted(path + pick(['', '', '?token=a,b;c', '?']));
};
const session = () => quoted(repeat(5, (_, i) => repeat([8, 4, 4, 4, 12][i], () => between(0, 15).toString(16)).join('')).join('-'));
const content = () => (chance(0.7) ? quoted(`${pick(['twitch', 'youtube', 'kick', 'rumble'])}:ch${between(0, 99)}`) : text(128));

// Keys that any record may carry, each with a writer of its value.
const LISTS = ['bl', 'tbl', 'br', 'pb', 'lb', 'tb', 'tpb', 'ab', 'lab', 'tab', 'mtp', 'bsa', 'bsda', 'bsd'];
const KEYS = new Map([
  ...LISTS.map((key) => [key, numbers]),
  ...['dfa', 'msd', 'd', 'dl'].map((key) => [key, integer]),
  ['sn', () => String(between(0, pick([9, 1000, 4_294_967_295])))],
  ['rtp', hundreds],
  ['ltc', signed],
  ['pt', signed],
  ['pr', () => (chance(0.6) ? decimal() : String(between(0, 4)))],
  ['sid', () => (chance(0.8) ? session() : text(64, 1))],
  ['cid', content],
  ['cdn', () => text(128)],
  ['h', () => (chance(0.7) ? quoted(`edge-${between(1, 99)}.example.com`) : text(128))],
  ['cs', () => text(80)],
  ['ec', () => list(repeat(between(1, 3), () => text(40, 1)))],
  ['nor', nextObjects],
  ['ot', () => pick(OBJECT_TYPES)],
  ['sf', () => pick(['d', 'h', 's', 'o'])],
  ['st', () => pick(['v', 'l', 'll'])],
  ['sta', () => pick([...'spkrawefqd'])],
]);
const BOOLEANS = ['bg', 'bs', 'nr', 'su'];
// Keys of responses, only on e=rr.
const RESPONSE_KEYS = new Map([
  ['url', url],
  ['rc', () => pick(['0', '200', '206', '304', '404', '503'])],
  ...['ttfb', 'ttfbb', 'ttlb'].map((key) => [key, () => String(between(0, 120_000))]),
  ...['smrt', 'cmsdd', 'cmsds'].map((key) => [key, () => text(80)]),
]);
const CUSTOM_KEYS = [
  'com.streamyyy-session', 'com.streamyyy-install', 'com.streamyyy-layout', 'com.streamyyy-slot', 'com.example-a.b-c', 'x-1',
];

// Event types and the key that each needs.
const EVENTS = [
  ['ps', 'sta'], ['t'], ['e', 'ec'], ['rr', 'url'], ['bc', 'br'], ['ce', 'cen'], ['pr', 'pr'], ['m'], ['um'], ['pe'], ['pc'],
  ['b', 'bg'], ['c', 'cid'], ['abs'], ['abe'], ['as'], ['ae'], ['sk'],
];

function record(index) {
  const [event, needed] = index < EVENTS.length ? EVENTS[index] : pick(EVENTS);
  const share = pick([0.05, 0.2, 0.5, 1]); // of the keys: from almost none to all
  const values = new Map();
  const offer = (key, write, portion = share) => {
    if (key === needed || chance(portion)) values.set(key, write());
  };
  KEYS.forEach((write, key) => offer(key, write, key === 'sid' || key === 'sn' ? 0.9 : share));
  if (event === 'rr') RESPONSE_KEYS.forEach((write, key) => offer(key, write));
  if (event === 'ce') values.set('cen', text(64, 1));
  CUSTOM_KEYS.forEach((key) => offer(key, () => (chance(0.5) ? text(64) : token(64)), share / 2));

  // Aggregates give way to the exact bitrates; some keys go with some object types only.
  [['br', 'ab'], ['lb', 'lab'], ['tb', 'tab']].forEach(([exact, aggregate]) => {
    if (!values.has(exact) || !values.has(aggregate)) return;
    values.delete(exact !== needed && chance(0.5) ? exact : aggregate);
  });
  const type = values.get('ot');
  if (['m', 'i', 'k'].includes(type)) values.delete('d');
  if (type && !['a', 'v', 'av', 'c'].includes(type)) values.delete('tpb');

  const pairs = [...values].map(([key, value]) => `${key}=${value}`);
  BOOLEANS.forEach((key) => {
    if (key === needed || chance(share)) pairs.push(boolean(key, chance(0.5)));
  });
  pairs.push(`e=${event}`, `ts=${1_790_000_000_000 + between(0, 999_999_999)}`, 'v=2');
  const ordered = chance(0.5) ? pairs.sort() : shuffled(pairs);
  const spread = chance(0.1); // whitespace around commas and at both ends
  const comma = () => (spread ? `${spaces(0)},${spaces(0)}` : ',');
  const body = ordered.reduce((all, pair) => all + comma() + pair);
  return spread ? ` ${body}  ` : body;
}

const lines = [];
for (let index = 0; index < count; index += 1) {
  const line = record(index);
  const { valid, issues } = validateCmcdEvents(line);
  if (!valid) {
    console.error(line, JSON.stringify(issues));
    process.exitCode = 1;
  }
  lines.push(JSON.stringify({ line, valid, decoded: valid ? decodeCmcd(line) : null }));
}
if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
