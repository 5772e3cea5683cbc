import type { Random } from '../../src/std/random.ts'

/** Bytes that no writer of ours would make, out of bytes that one made. The same seed makes the same. */

/** What begins something large, foreign or deep in MessagePack, with lengths that no frame holds. */
const nastyTokens: readonly (readonly number[])[] = [
  [0xdd, 0xff, 0xff, 0xff, 0xff], // array 32
  [0xdc, 0xff, 0xff], // array 16
  [0xdb, 0xff, 0xff, 0xff, 0xff], // str 32
  [0xd9, 0xff], // str 8
  [0xc6, 0xff, 0xff, 0xff, 0xff], // bin 32
  [0xc5, 0xff, 0xff], // bin 16
  [0xdf, 0xff, 0xff, 0xff, 0xff], // map 32
  [0xde, 0xff, 0xff], // map 16
  [0x81, 0xa9, ...Buffer.from('__proto__'), 0x90], // map 1
  [0xc9, 0xff, 0xff, 0xff, 0xff, 0x72], // ext 32
  [0xc7, 0xff, 0x72], // ext 8
  [0xd4, 0x72, 0x40], // a record definition, as msgpackr has them
  [0xd6, 0xff, 0, 0, 0, 0], // a timestamp
  [0xd4, 0x69, 0], // a structured clone, as msgpackr has them
  [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // uint 64
  [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], // int 64
  [0xca, 0x7f, 0x80, 0, 0], // float 32
  [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], // infinity
  [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], // not a number
  [0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0], // -0
  [0xce, 0xff, 0xff, 0xff, 0xff], // uint 32
  [0xc1], // never used
  [0xa4, 0xf0, 0x9f, 0x98, 0x80], // a character of four bytes
  [0xa1, 0xf0], // its beginning
  [0xff],
  [0xc0],
  [0x90],
  ...[8, 64, 512].map((depth) => Array.from({ length: depth }, () => 0x91)),
]

export function mutate(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  let changed: Uint8Array = new Uint8Array(bytes)
  for (let times = 1 + random.below(3); times > 0; times -= 1) changed = mutateOnce(random, changed, other)
  return changed
}

function mutateOnce(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1)
  const to = at + random.below(bytes.length - at + 1)
  const token = Uint8Array.from(nastyTokens[random.below(nastyTokens.length)] ?? [])
  switch (random.below(8)) {
    case 0:
      return withByte(bytes, at, (byte) => byte ^ (1 << random.below(8)))
    case 1:
      return withByte(bytes, at, () => random.below(256))
    case 2:
      return new Uint8Array(bytes.subarray(0, at))
    case 3:
      return splice(bytes, at, to, new Uint8Array(0))
    case 4:
      return splice(bytes, at, at, bytes.subarray(at, to))
    case 5:
      return splice(bytes, at, to, other.subarray(random.below(other.length + 1)))
    case 6:
      return splice(bytes, at, at, token)
    default:
      return splice(bytes, at, Math.min(bytes.length, at + token.length), token)
  }
}

function withByte(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  if (at < bytes.length) bytes[at] = change(bytes[at] ?? 0)
  return bytes
}

function splice(bytes: Uint8Array, from: number, to: number, middle: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(to)]))
}
