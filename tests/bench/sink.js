// Where Node-RED's flows of tests.bench.site end: counts readings and how long they took, in flat memory.
"use strict";
const LONGEST = 100000; // tenths of a millisecond

class Group {
  constructor(count) {
    this.seen = new Uint8Array(count);
    this.waits = new Uint32Array(LONGEST + 1);
    this.distinct = this.doubled = this.foreign = 0;
  }
}

const groups = {};
const probed = new Set();
let begun = 0;

module.exports = {
  begin(at, counts) {
    begun = at;
    for (const name of Object.keys(counts)) groups[name] = new Group(counts[name]);
  },
  // A reading of `group` that was due `after` ms after the beginning.
  take(group, number, after) {
    const found = groups[group];
    if (!found) {
      probed.add(number);
    } else if (!(number >= 0 && number < found.seen.length)) {
      found.foreign += 1;
    } else if (found.seen[number]) {
      found.doubled += 1;
    } else {
      found.seen[number] = 1;
      found.distinct += 1;
      const wait = Math.round((Date.now() + 0.5 - begun - after) * 10);
      found.waits[Math.max(0, Math.min(LONGEST, wait))] += 1;
    }
  },
  report() {
    const told = { probed: probed.size };
    for (const name of Object.keys(groups)) {
      const { distinct, doubled, foreign, waits } = groups[name];
      const histogram = [];
      waits.forEach((count, wait) => { if (count) histogram.push([wait / 10, count]); });
      told[name] = { distinct, doubled, foreign, histogram };
    }
    return told;
  },
};
