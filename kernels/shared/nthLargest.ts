/**
 * WGSL `draw(row, lane, top, step)` of the sampling kernel: the token at a random point of the line on which tokens stand one after
 * another, largest key first (lowest id among equals), each as long as its weight. A point is found as a radix sort would, a digit
 * of the key and then of the id at a time: the weights of each digit's tokens are summed, the sums scanned from the top.
 * Integers throughout, so that nothing depends on an order. A measure is (weight low, weight high, count).
 */
export const nthLargest = (lanes: number): string => `
    const BINS = 256u;
    const LEVELS = 7u; // of 8 bits: four of the key, three of the id
    struct Found { before: vec3u, bin: vec3u, digit: u32 }
    // Two histograms: of the first digit, which every search begins with, and of the digit at hand.
    var<workgroup> low: array<atomic<u32>, 512>;
    var<workgroup> high: array<atomic<u32>, 512>;
    var<workgroup> counts: array<atomic<u32>, 512>;
    var<workgroup> sixteen: array<vec3u, 16>;
    var<workgroup> found: Found;
    var<workgroup> chosen: u32;

    // The compiler must not know the bounds of loops: unrolled, they take seconds to compile.
    fn zero() -> u32 { return u.batch >> 31u; }

    fn add(a: vec3u, b: vec3u) -> vec3u {
      let sum = a.x + b.x;
      return vec3u(sum, a.y + b.y + u32(sum < a.x), a.z + b.z);
    }

    // floor(weight · part / 2^32)
    fn shareOf(weight: vec3u, part: u32) -> vec2u {
      let carried = wide(weight.x, part).y;
      let product = wide(weight.y, part);
      let sum = product.x + carried;
      return vec2u(sum, product.y + u32(sum < carried));
    }

    fn plusOne(a: vec2u) -> vec2u { return vec2u(a.x + 1u, a.y + u32(a.x == 0xffffffffu)); }

    fn reached(sum: vec3u, goal: vec2u, byCount: bool) -> bool {
      if (byCount) { return sum.z >= goal.x; }
      return sum.y > goal.y || (sum.y == goal.y && sum.x >= goal.x);
    }

    fn numberOf(key: u32) -> f32 { return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, key >> 31u == 1u)); }

    // exp((logit - top) / temperature), in 2^-40
    fn weightOf(key: u32, top: u32) -> vec2u {
      if (key <= 0x007fffffu) { return vec2u(); } // -Infinity
      let scaled = min(exp2((numberOf(key) - numberOf(top)) * u.sharpness), 1.0) * 256.0;
      let whole = floor(scaled);
      return vec2u(u32((scaled - whole) * 4294967296.0), u32(whole));
    }

    fn digitOf(level: u32, key: u32, id: u32) -> u32 {
      if (level < 4u) { return (key >> (24u - 8u * level)) & 255u; }
      return 255u - ((id >> (48u - 8u * level)) & 255u);
    }

    // Whether key and id begin with the digits found on the levels before.
    fn matches(level: u32, key: u32, id: u32, place: vec2u) -> bool {
      if (level == 0u) { return true; }
      if (level < 4u) { return ((key ^ place.x) >> (32u - 8u * level)) == 0u; }
      return key == place.x && ((id ^ place.y) >> (56u - 8u * level)) == 0u;
    }

    fn tally(row: u32, lane: u32, top: u32, level: u32, place: vec2u) {
      let bank = min(level, 1u) * BINS;
      for (var i = lane; i < BINS; i += ${lanes}u) {
        atomicStore(&low[bank + i], 0u);
        atomicStore(&high[bank + i], 0u);
        atomicStore(&counts[bank + i], 0u);
      }
      workgroupBarrier();
      for (var id = lane; id < u.vocabulary; id += ${lanes}u) {
        let key = keyOf(row, id);
        if (!matches(level, key, id, place)) { continue; }
        let bin = bank + digitOf(level, key, id);
        let weight = weightOf(key, top);
        let carry = u32(atomicAdd(&low[bin], weight.x) > 0xffffffffu - weight.x);
        if (weight.y + carry > 0u) { atomicAdd(&high[bin], weight.y + carry); }
        atomicAdd(&counts[bin], 1u);
      }
      workgroupBarrier();
    }

    fn measure(bin: u32) -> vec3u { return vec3u(atomicLoad(&low[bin]), atomicLoad(&high[bin]), atomicLoad(&counts[bin])); }

    // Sums of sixteen bins each, largest digits first.
    fn sumBins(lane: u32, bank: u32) {
      for (var i = lane; i < 16u; i += ${lanes}u) {
        var sum = vec3u();
        for (var j = 0u; j < 16u + zero(); j++) { sum = add(sum, measure(bank + 255u - i * 16u - j)); }
        sixteen[i] = sum;
      }
      workgroupBarrier();
    }

    // The first digit, from the largest, at which the sum reaches the goal.
    fn scan(bank: u32, start: vec3u, goal: vec2u, byCount: bool) -> Found {
      var before = start;
      var i = 0u;
      for (; i < 15u + zero(); i++) {
        let sum = add(before, sixteen[i]);
        if (reached(sum, goal, byCount)) { break; }
        before = sum;
      }
      var bin = vec3u();
      var digit = 255u - i * 16u;
      for (var j = 0u; j < 16u + zero(); j++) {
        bin = measure(bank + digit);
        let sum = add(before, bin);
        if (j == 15u || reached(sum, goal, byCount)) { break; }
        before = sum;
        digit--;
      }
      return Found(before, bin, digit);
    }

    fn draw(row: u32, lane: u32, top: u32, step: u32) -> u32 {
      var line = vec3u(); // what may still be drawn
      var place = vec2u();
      var level = 0u;
      var fresh = true;
      for (var stage = 0u; stage < 3u + zero(); stage++) { // top-k, top-p, the draw
        let byCount = stage == 0u;
        if (byCount && (u.topK == 0u || u.topK >= u.vocabulary)) { continue; }
        if (stage == 1u && u.topP == 0u) { continue; }
        place = vec2u();
        var before = vec3u();
        var goal = vec2u();
        for (level = 0u; level < LEVELS + zero();) {
          let bank = min(level, 1u) * BINS;
          if (level > 0u || fresh) { tally(row, lane, top, level, place); }
          sumBins(lane, bank);
          if (level == 0u) {
            if (fresh) { for (var i = 0u; i < 16u + zero(); i++) { line = add(line, sixteen[i]); } }
            fresh = false;
            var part = u.topP;
            if (stage == 2u) { part = philox(vec4u(row, step, 0u, 0xffffffffu), vec2u(u.seedLow, u.seedHigh)).x; }
            goal = shareOf(line, part);
            if (stage == 2u || (goal.x | goal.y) == 0u) { goal = plusOne(goal); }
            if (byCount) { goal = vec2u(u.topK, 0u); }
          }
          if (lane == 0u) { found = scan(bank, before, goal, byCount); }
          let here = workgroupUniformLoad(&found);
          before = here.before;
          if (level < 4u) { place.x |= here.digit << (24u - 8u * level); }
          else { place.y |= (255u - here.digit) << (48u - 8u * level); }
          level++;
          if (here.bin.z == 1u || level == LEVELS) { line = add(before, here.bin); break; }
        }
      }
      for (var id = lane; id < u.vocabulary; id += ${lanes}u) {
        if (matches(level, keyOf(row, id), id, place)) { chosen = id; }
      }
      return workgroupUniformLoad(&chosen);
    }`;
