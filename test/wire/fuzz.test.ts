import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/std/random.ts'
import { decodeCallMessage, encodeCallMessage } from '../../src/wire/call-codec.ts'
import type { CallMessage } from '../../src/wire/call-codec.ts'
import { decodeMailMessage, encodeMailMessage } from '../../src/wire/mail-codec.ts'
import type { MailMessage } from '../../src/wire/mail-codec.ts'
import { decodeHandMessage, encodeHandMessage } from '../../src/wire/hand-codec.ts'
import type { HandMessage } from '../../src/wire/hand-codec.ts'
import { decodeWord, encodeWord } from '../../src/wire/word-codec.ts'
import type { SaidWord } from '../../src/wire/word-codec.ts'
import { decodeFormingMessage, encodeFormingMessage } from '../../src/wire/forming-codec.ts'
import type { FormingMessage } from '../../src/wire/forming.ts'
import { decodeFrame, encodeFrame } from '../../src/wire/frame.ts'
import type { Malformed } from '../../src/wire/frame.ts'
import { frameTypes } from '../../src/wire/frame-types.ts'
import { decodeGossipMessage, encodeGossipMessage } from '../../src/wire/gossip-codec.ts'
import {
  decodeHandshakeMessage,
  encodeHandshakeMessage,
  encodeHello,
  wireVersions,
} from '../../src/wire/handshake-codec.ts'
import { cutText, pack, unpack } from '../../src/wire/pack.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/raft-codec.ts'
import type { GossipMessage } from '../../src/gossip/messages.ts'
import type { Message } from '../../src/raft/messages.ts'
import { decodeSnapshotMessage, encodeSnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import type { SnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import type { ConnectionHello, HandshakeMessage } from '../../src/vocabulary/handshake.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import {
  callMessage,
  envelope,
  formingMessage,
  gossipMessage,
  handMessage,
  mailMessage,
  raftMessage,
  saidWord,
  snapshotMessage,
} from './arbitraries.ts'
import { mutate } from './mutate.ts'

// What may come over a socket, and more: whatever it is, it is read or called malformed in a sentence, in time and memory
// that follow its size. `FUZZ_SEED` and `FUZZ_ROUNDS` look further than the suite does.
const seed = Number(process.env['FUZZ_SEED'] ?? 1)
const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 20_000)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** By how much a collection or a busy machine may make the larger of two look worse; squared time is worse by 16. */
const slack = 8

type Encoded = { readonly type: number; readonly payload: Uint8Array }
type Family = {
  readonly samples: readonly Encoded[]
  readonly decode: (type: number, payload: Uint8Array) => object
  /** Of what was decoded. */
  readonly encode: (message: never) => Encoded
}

const hello: ConnectionHello = {
  versions: wireVersions,
  nonce: new Uint8Array(32).fill(7),
  kind: 'raft',
  lane: 'ctl',
  peer: {
    node: 'n1' as NodeId,
    generation: 3,
    boot: 'boot',
    clusterName: 'test',
    clusterId: '00000000-0000-4000-8000-000000000001' as ClusterId,
    promised: null,
    addresses: { http: '127.0.0.1:1', peer: '127.0.0.1:2', raft: '127.0.0.1:3' },
    version: '0.1.0',
  },
}
const proof = new Uint8Array(32).fill(9)
const handshakeMessages: readonly HandshakeMessage[] = [
  { kind: 'dialer-hello', hello: encodeHello(hello) },
  { kind: 'acceptor-hello', hello: encodeHello(hello), proof },
  { kind: 'acceptor-hello', hello: encodeHello({ ...hello, versions: { min: 7, max: 9 } }), proof },
  { kind: 'dialer-proof', proof },
  { kind: 'welcome' },
  { kind: 'refuse', code: 'wiped-node', message: 'it came without its data', proof },
]

const sampled = <T>(any: fc.Arbitrary<T>, encode: (message: T) => Encoded): Encoded[] =>
  fc.sample(any, { seed, numRuns: 60 }).map((message) => encode(message))

const families: Record<string, Family> = {
  raft: {
    samples: sampled(raftMessage, encodeMessage),
    decode: (type, payload) => decodeMessage(type, payload, envelope),
    encode: (message: Message) => encodeMessage(message),
  },
  forming: {
    samples: sampled(formingMessage, encodeFormingMessage),
    decode: decodeFormingMessage,
    encode: (message: FormingMessage) => encodeFormingMessage(message),
  },
  snapshot: {
    samples: sampled(snapshotMessage, encodeSnapshotMessage),
    decode: decodeSnapshotMessage,
    encode: (message: SnapshotMessage) => encodeSnapshotMessage(message),
  },
  call: {
    samples: sampled(callMessage, encodeCallMessage),
    decode: decodeCallMessage,
    encode: (message: CallMessage) => encodeCallMessage(message),
  },
  mail: {
    samples: sampled(mailMessage, encodeMailMessage),
    decode: decodeMailMessage,
    encode: (message: MailMessage) => encodeMailMessage(message),
  },
  word: {
    samples: sampled(saidWord, encodeWord),
    decode: decodeWord,
    encode: (message: SaidWord) => encodeWord(message),
  },
  hand: {
    samples: sampled(handMessage, encodeHandMessage),
    decode: decodeHandMessage,
    encode: (message: HandMessage) => encodeHandMessage(message),
  },
  gossip: {
    samples: sampled(gossipMessage, encodeGossipMessage),
    decode: decodeGossipMessage,
    encode: (message: GossipMessage) => encodeGossipMessage(message),
  },
  handshake: {
    samples: handshakeMessages.map((message) => encodeHandshakeMessage(message)),
    decode: decodeHandshakeMessage,
    encode: (message: HandshakeMessage) => encodeHandshakeMessage(message),
  },
}
const everything = Object.values(families).flatMap(({ samples }) => samples)

describe.each(Object.entries(families))('%s messages out of bytes that nobody wrote', (_, family) => {
  it('are read so that they can be sent again, or called malformed in a sentence', () => {
    const random = new Random(seed)
    let read = 0
    for (let round = 0; round < rounds; round += 1) {
      const sample = pick(random, family.samples)
      const payload = mutate(random, sample.payload, pick(random, everything).payload)
      const type = random.below(10) === 0 ? random.below(256) : sample.type
      const message = family.decode(type, payload)
      if ('malformed' in message) {
        expectSentence(message as Malformed, payload)
        continue
      }
      read += 1
      // Only how long a call may take, and a gauge, is a number of any kind.
      expect(
        'call' in message || 'outcome' in message || 'deltas' in message || isWhole(message),
        describeBytes(payload),
      ).toBe(true)
      const again = family.encode(message as never)
      const once = family.decode(again.type, again.payload)
      expect('malformed' in once, describeBytes(payload)).toBe(false)
      expect(Buffer.compare(family.encode(once as never).payload, again.payload), describeBytes(payload)).toBe(0)
    }
    // Else nothing was tried but the first check.
    expect(read).toBeGreaterThan(rounds / 50)
  })

  it('are malformed when they are cut anywhere, but behind the fields that are needed', () => {
    for (const { type, payload } of family.samples) {
      for (let end = 0; end < payload.length; end += 1) {
        const cut = payload.subarray(0, end)
        expect(family.decode(type, cut), describeBytes(cut)).toHaveProperty('malformed')
        expect(decodeFrame(encodeFrame({ type, seq: 0, payload }).subarray(0, 12 + end))).toHaveProperty('malformed')
      }
    }
  })

  it('are read alike wherever their bytes lie, and never from beside them', () => {
    for (const { type, payload } of family.samples) {
      for (const beside of [0x00, 0xc1, 0xdd]) {
        const slab = new Uint8Array(payload.length + 64).fill(beside)
        slab.set(payload, 31)
        const lying = family.decode(type, slab.subarray(31, 31 + payload.length))
        const again = family.encode(lying as never)
        expect(Buffer.compare(again.payload, payload)).toBe(0)
      }
    }
  })
})

describe('the outer frame', () => {
  it('is malformed whatever is changed in it, in its type and its lengths too', () => {
    const random = new Random(seed)
    for (let round = 0; round < rounds; round += 1) {
      const { type, payload } = pick(random, everything)
      const frame = encodeFrame({ type, seq: random.below(2 ** 32), payload })
      const changed = mutate(random, frame, pick(random, everything).payload)
      const decoded = decodeFrame(changed)
      expect('malformed' in decoded, describeBytes(changed)).toBe(Buffer.compare(changed, frame) !== 0)
    }
  })
})

describe('a payload', () => {
  it('holds what an independent reader finds in it', () => {
    const random = new Random(seed)
    let read = 0
    for (let round = 0; round < rounds; round += 1) {
      const bytes = mutate(random, pick(random, everything).payload, pick(random, everything).payload)
      const fields = unpack(bytes)
      if ('malformed' in fields) continue
      read += 1
      expect(fields, describeBytes(bytes)).toEqual(readPlainly(bytes))
    }
    expect(read).toBeGreaterThan(rounds / 50)
  })

  it('keeps every text that has a meaning, and text that is cut to a length keeps to it', () => {
    const any = fc.string({
      unit: fc.constantFrom('a', 'é', '€', '😀', '\u0000', '\uFEFF', '\uFFFF', '\uD83D'),
      maxLength: 200,
    })
    fc.assert(
      fc.property(any, fc.nat(200), (text, charsMax) => {
        const cut = cutText(text, charsMax)
        expect(cut.length).toBeLessThanOrEqual(charsMax)
        expect(unpack(pack([cut, text.replaceAll(/\p{Cs}/gu, '?')]))).toEqual([cut, text.replaceAll(/\p{Cs}/gu, '?')])
      }),
      { seed, numRuns: 2000 },
    )
  })

  const MiB = 1024 * 1024
  const filled = (each: readonly number[], count: number): Uint8Array =>
    Buffer.concat([head(0xdd, count), Buffer.alloc(count * each.length, Uint8Array.from(each))])
  const oneText = (byte: number, length: number): Uint8Array =>
    Buffer.concat([[0x91], head(0xdb, length), Buffer.alloc(length, byte)].map((part) => Uint8Array.from(part)))

  it.each<[string, (size: number) => Uint8Array, number]>([
    ['values of nothing', (size) => filled([0xc0], size / 8), 40],
    ['empty arrays', (size) => filled([0x90], size / 8), 120],
    ['arrays of one', (size) => filled([0x91, 0xc0], size / 16), 120],
    ['empty bytes', (size) => filled([0xc4, 0], size / 8), 120],
    ['numbers', (size) => filled([0xcb, 0x3f, 0xf1, 1, 1, 1, 1, 1, 1], size / 9), 12],
    ['short texts', (size) => filled([0xa2, 0xc3, 0xa9], size / 8), 60],
    ['one long text', (size) => oneText(0x61, size), 4],
    ['one long text that is no UTF-8', (size) => oneText(0x80, size), 4],
    ['lengths that are not there', (size) => filled([0xdd, 0xff, 0xff, 0xff, 0xff], size / 8), 4],
    ['a length that would be allowed', () => head(0xdd, 262_000), 4],
    ['ever deeper arrays', (size) => Buffer.alloc(size, 0x91), 4],
    ['many values after a length that fits', (size) => Buffer.concat([head(0xdd, size), Buffer.alloc(size, 0x90)]), 4],
  ])('of %s costs memory and time that follow its size', (_, make, factor) => {
    for (const size of [1024, MiB, 2 * MiB]) {
      const bytes = make(Math.floor(size))
      expect(
        memoryOf(() => unpack(bytes)),
        `${size}`,
      ).toBeLessThan(factor * bytes.length + 256 * 1024)
    }
    const [small, large] = [make(MiB / 8), make(2 * MiB)]
    expect(fastest(() => unpack(large))).toBeLessThan(16 * slack * fastest(() => unpack(small)) + 50)
  })

  it.each([
    ['members of a configuration', (count: number) => snapshotOffer(count)],
    ['founding voters', (count: number) => ({ type: frameTypes['form-propose'], payload: pack(['0-0', ids(count)]) })],
    ['entries', (count: number) => ({ type: frameTypes['append-request'], payload: appendOf(count) })],
    ['a reason', (count: number) => ({ type: frameTypes['form-refused'], payload: pack(['x'.repeat(8 * count)]) })],
    ['details', (count: number) => ({ type: frameTypes['call-end'], payload: endOf('['.repeat(8 * count)) })],
  ])('of ever more %s costs time that follows its size', (_, make) => {
    const decode = ({ type, payload }: Encoded): void => {
      for (const family of Object.values(families)) family.decode(type, payload)
    }
    const [small, large] = [make(1250), make(20_000)]
    expect(fastest(() => decode(large))).toBeLessThan(16 * slack * fastest(() => decode(small)) + 50)
  })
})

describe('JSON that comes inside a frame', () => {
  it('brings no prototype with it', () => {
    const details = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'
    const decoded = decodeCallMessage(frameTypes['call-end'], endOf(details))
    expect(decoded).toMatchObject({ kind: 'call-end', outcome: { kind: 'unknown' } })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})

function pick(random: Random, from: readonly Encoded[]): Encoded {
  return from[random.below(from.length)] ?? { type: 0, payload: new Uint8Array(0) }
}

function describeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** For the log: a sentence of bounded length, whatever the bytes were. */
function expectSentence(said: Malformed, bytes: Uint8Array): void {
  expect(said.malformed, describeBytes(bytes)).toMatch(/^[\x20-\x7e]{3,200}$/)
}

/** Whether every number in it is a term, an index, a size or the like. */
function isWhole(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true
  return Object.values(value).every(isWhole)
}

/** A second reader of what we write, as plain as can be; foreign bytes make it throw. */
function readPlainly(bytes: Uint8Array): unknown {
  const view = Buffer.from(bytes)
  let at = 0
  const number = (width: number): number => view.readUIntBE((at += width) - width, width)
  const part = (length: number): Buffer => view.subarray((at += length) - length, at)
  const list = (length: number): unknown[] => Array.from({ length }, () => one())
  const one = (): unknown => {
    const token = number(1)
    if (token <= 0x7f) return token
    if (token >= 0xe0) return token - 256
    if (token >= 0x90 && token <= 0x9f) return list(token & 15)
    if (token >= 0xa0 && token <= 0xbf) return part(token & 31).toString()
    if (token === 0xc0) return null
    if (token === 0xc2 || token === 0xc3) return token === 0xc3
    if (token >= 0xc4 && token <= 0xc6) return new Uint8Array(part(number(2 ** (token - 0xc4))))
    if (token === 0xcb) return part(8).readDoubleBE()
    if (token >= 0xcc && token <= 0xce) return number(2 ** (token - 0xcc))
    if (token >= 0xd0 && token <= 0xd2) return part(2 ** (token - 0xd0)).readIntBE(0, 2 ** (token - 0xd0))
    if (token >= 0xd9 && token <= 0xdb) return part(number(2 ** (token - 0xd9))).toString()
    if (token === 0xdc || token === 0xdd) return list(number(2 * (token - 0xdb)))
    throw new Error(`the token ${token}`)
  }
  return one()
}

function head(token: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(5)
  bytes[0] = token
  bytes.writeUInt32BE(Math.floor(length), 1)
  return bytes
}

/** What the heap and the buffers have grown by, collected garbage not counted. */
function memoryOf(act: () => unknown): number {
  collectGarbage()
  const before = process.memoryUsage()
  const kept = act()
  const after = process.memoryUsage()
  expect(kept).toBeTypeOf('object')
  return after.heapUsed + after.external - before.heapUsed - before.external
}

function fastest(act: () => unknown): number {
  let least = Number.POSITIVE_INFINITY
  for (let tries = 0; tries < 7; tries += 1) {
    const started = performance.now()
    act()
    least = Math.min(least, performance.now() - started)
  }
  return least
}

function ids(count: number, prefix = 'n'): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}${String(at).padStart(7, '0')}`)
}

function snapshotOffer(count: number): Encoded {
  const lists = {
    voters: ids(count, 'v'),
    votersOutgoing: ids(count, 'w'),
    learners: ids(count),
    promotable: ids(count),
  }
  const configuration = Buffer.from(JSON.stringify({ clusterId: 'c', ...lists }))
  return { type: frameTypes['snapshot-offer'], payload: pack([1, 3, [5, 2, 0, configuration], 1]) }
}

function appendOf(count: number): Uint8Array {
  const entries = Array.from({ length: count }, (_, at) => [1, 1, `n1.1.${at}`, 5, new Uint8Array(8)])
  return pack([1, 0, 0, 0, entries])
}

function endOf(details: string): Uint8Array {
  return pack(['n1.1.1', 'unknown', 'internal', 'it went wrong', 'never', null, details])
}
