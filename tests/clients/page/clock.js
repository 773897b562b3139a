// What a viewer of a <video> element would have measured with a stopwatch: the playhead, looked at every few milliseconds.
// Events of the element only tell what somebody asked for (pause, seek); that it plays or stands is seen by the playhead.

const LOOK_MS = 5;
const STANDS_MS = 250; // a shorter stop is none
const JUMP_S = 0.5; // a greater step of the playhead is a seek

export function watch(video) {
  const seen = { startup_ms: null, playing_ms: 0, paused_ms: 0, stalls_ms: [], seeks_ms: [], waiting: 0, ended: false };
  let asked = null; // when it was told to play
  let moved = null; // when the playhead last moved
  let last = 0; // where it was then
  let wanted = null; // when a seek began
  let paused = null; // when a pause began

  video.addEventListener('play', () => (asked ??= performance.now()));
  video.addEventListener('waiting', () => (seen.waiting += 1));
  video.addEventListener('seeking', () => (wanted ??= performance.now()));
  video.addEventListener('pause', () => { if (!video.ended) paused ??= performance.now(); });
  video.addEventListener('ended', () => { seen.ended = true; });

  function look() {
    const now = performance.now();
    const at = video.currentTime;
    const step = at - last;
    if (step === 0 || seen.startup_ms === null && at === 0) return;
    last = at;
    if (wanted !== null && video.seeking) return; // the jump itself, or what follows before there is a picture
    if (step > 0 && step < JUMP_S) seen.playing_ms += step * 1000;
    if (paused !== null && video.paused) return; // the last picture before the pause
    const stood = moved === null ? 0 : now - moved;
    if (seen.startup_ms === null) seen.startup_ms = now - asked;
    else if (wanted !== null) seen.seeks_ms.push(now - wanted);
    else if (paused !== null) seen.paused_ms += now - paused;
    else if (stood >= STANDS_MS) seen.stalls_ms.push(stood);
    wanted = paused = null;
    moved = now;
  }
  const timer = setInterval(look, LOOK_MS);
  return () => {
    clearInterval(timer);
    const ranges = Array.from({ length: video.played.length }, (_, i) => video.played.end(i) - video.played.start(i));
    return { ...seen, played_ms: ranges.reduce((sum, seconds) => sum + seconds, 0) * 1000 };
  };
}
