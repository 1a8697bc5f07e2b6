/**
 * WGSL `philox(counter, key)`: four random words of a counter, Philox4x32-10, and `wide(a, b)`: low and high word of a product.
 * Salmon et al. 2011, doi:10.1145/2063384.2063405
 */
export const philox = `
    fn wide(a: u32, b: u32) -> vec2u {
      let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
      let low = al * bl;
      let middle = ah * bl + (low >> 16u);
      let cross = al * bh + (middle & 0xffffu);
      return vec2u((cross << 16u) | (low & 0xffffu), ah * bh + (middle >> 16u) + (cross >> 16u));
    }

    fn philox(counter: vec4u, seed: vec2u) -> vec4u {
      var c = counter;
      var key = seed;
      for (var round = 0; round < 10; round++) {
        let p = wide(0xD2511F53u, c.x);
        let q = wide(0xCD9E8D57u, c.z);
        c = vec4u(q.y ^ c.y ^ key.x, q.x, p.y ^ c.w ^ key.y, p.x);
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
      }
      return c;
    }`;
