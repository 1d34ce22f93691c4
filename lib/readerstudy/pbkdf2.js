/* PBKDF2-HMAC-SHA-256 (RFC 8018), for pages on plain http, where browsers offer no crypto.subtle. */
const pbkdf2 = (() => {
  "use strict";
  const PRIMES = [];
  for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((p) => n % p)) PRIMES.push(n);
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
  const ROUND = Int32Array.from(PRIMES, (p) => fraction(Math.cbrt(p)));
  const INITIAL = Int32Array.from(PRIMES.slice(0, 8), (p) => fraction(Math.sqrt(p)));
  const words = new Int32Array(64);
  function compress(hash, block) {
    for (let i = 0; i < 16; i++) words[i] = block[i];
    for (let i = 16; i < 64; i++) {
      const v = words[i - 15], u = words[i - 2];
      words[i] = (words[i - 16] + words[i - 7] + ((v >>> 7 | v << 25) ^ (v >>> 18 | v << 14) ^ v >>> 3)
        + ((u >>> 17 | u << 15) ^ (u >>> 19 | u << 13) ^ u >>> 10)) | 0;
    }
    let a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
    for (let i = 0; i < 64; i++) {
      const t = (h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + ROUND[i] + words[i]) | 0;
      const s = (((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c)) | 0;
      h = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + s) | 0;
    }
    return Int32Array.of(hash[0] + a, hash[1] + b, hash[2] + c, hash[3] + d, hash[4] + e, hash[5] + f, hash[6] + g, hash[7] + h);
  }
  // SHA-256 of bytes, going on from a hash that has already taken in `before` bytes.
  function digest(bytes, hash = INITIAL, before = 0) {
    const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64);
    padded.set(bytes);
    padded[bytes.length] = 128;
    const blocks = new DataView(padded.buffer);
    blocks.setUint32(padded.length - 4, 8 * (bytes.length + before));
    for (let start = 0; start < padded.length; start += 64)
      hash = compress(hash, Int32Array.from({ length: 16 }, (_, i) => blocks.getInt32(start + 4 * i)));
    return hash;
  }
  function asBytes(hash) {
    const view = new DataView(new ArrayBuffer(32));
    hash.forEach((word, i) => view.setInt32(4 * i, word));
    return new Uint8Array(view.buffer);
  }
  function pbkdf2(password, salt, iterations) {
    const key = new Uint8Array(64);
    key.set(password.length > 64 ? asBytes(digest(password)) : password);
    const keyed = (mask) => compress(INITIAL, Int32Array.from({ length: 16 }, (_, i) =>
      [0, 1, 2, 3].reduce((word, j) => word << 8 | (key[4 * i + j] ^ mask), 0)));
    const inner = keyed(0x36), outer = keyed(0x5c);
    // A hash of 32 bytes after the block of the key: 96 bytes, 768 bits.
    const block = Int32Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0x80000000, 0, 0, 0, 0, 0, 0, 768);
    const short = (hash, start) => { block.set(hash); return compress(start, block); };
    let link = short(digest(Uint8Array.of(...salt, 0, 0, 0, 1), inner, 64), outer);
    const result = Int32Array.from(link);
    for (let i = 1; i < iterations; i++) {
      link = short(short(link, inner), outer);
      for (let j = 0; j < 8; j++) result[j] ^= link[j];
    }
    return asBytes(result);
  }
  return pbkdf2;
})();
