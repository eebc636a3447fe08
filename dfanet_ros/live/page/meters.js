// How fast it goes.

const WINDOW = 2000;  // ms that rates are measured over,
const FEWEST = 4;  // or more for so many frames
const SILENCE = 5000;  // ms after which there is no rate
const LATENCIES = 30;
const PLAUSIBLE = 60000;  // ms: more, or less than none, says that the camera stamps by another clock

export class Meters {
  constructor() {
    this.restart();
  }

  /** Forget: a pause, or another camera. */
  restart() {
    this.frames = [];  // of the last while: when each was shown, and its number
    this.latencies = [];
  }

  /** A frame is shown; @param frame {number, latency}. */
  count(frame) {
    const now = performance.now();
    this.frames.push({now, number: frame.number});
    while (this.frames.length > FEWEST && now - this.frames[0].now > WINDOW) this.frames.shift();
    this.latencies.push(frame.latency);
    if (this.latencies.length > LATENCIES) this.latencies.shift();
  }

  /** Frames shown a second, and frames that there were a second; null while that is not known. */
  rates() {
    const last = this.frames[this.frames.length - 1];
    const first = this.frames[0];
    if (this.frames.length < 2 || performance.now() - last.now > SILENCE) return {shown: null, offered: null};
    const seconds = (last.now - first.now) / 1000;
    return {shown: (this.frames.length - 1) / seconds, offered: (last.number - first.number) / seconds};
  }

  /** The median latency in ms; null if the stamps do not tell. */
  latency() {
    const sorted = this.latencies.filter((value) => value !== null).sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)];
    return median >= 0 && median < PLAUSIBLE ? median : null;
  }
}
