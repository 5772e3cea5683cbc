import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Level } from 'level'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import { crc32 } from '../../src/std/hash.ts'
import { Random } from '../../src/std/random.ts'
import { crc32c } from '../../src/storage/crc32c.ts'
import { decodeEntry, encodeEntries } from '../../src/storage/entry-record.ts'
import { parseBatch, parseLog, parseManifest, parseTable } from '../../src/storage/level-format.ts'
import {
  chainStart,
  decodeHead,
  decodeMeta,
  decodeSnapshotMeta,
  encodeHead,
  encodeMeta,
  encodeSnapshotMeta,
  isDamage,
  seal,
} from '../../src/storage/log-record.ts'
import { decodeHead as decodeBeginning, decodeSnapshot, encodeSnapshot } from '../../src/storage/snapshot-record.ts'
import { decodeSlots, encodeSlot, slotBytes } from '../../src/storage/vote-record.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { mutate } from '../wire/mutate.ts'

// Whatever the bytes of a disk say, they are read or called damaged in a sentence. Bytes whose checksums were made to fit
// reach what is behind these. `FUZZ_SEED` and `FUZZ_ROUNDS` look further than the suite does.
const seed = Number(process.env['FUZZ_SEED'] ?? 1)
const rounds = Number(process.env['FUZZ_ROUNDS'] ?? 10_000)

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as NodeId[] as [NodeId, NodeId, NodeId]
const clusterId = '00000000-0000-4000-8000-000000000001' as ClusterId
const hash = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const configuration = makeConfiguration(clusterId, [n1, n2, n3])
const snapshot = { index: 40, term: 3, time: 1_800_000_000_000, configuration }
const promise = { clusterId, voters: [n1, n2, n3] }

const metas = [
  encodeMeta({ nodeId: n1, generation: 1, promise: null, joined: null, quarantine: null }),
  encodeMeta({
    nodeId: n1,
    generation: 7,
    promise,
    joined: clusterId,
    quarantine: { why: 'a table can not be read', lostUpTo: 12, verified: null, lostHash: hash },
  }),
]
const heads = [null, n2].map((vote) =>
  encodeHead({
    seq: 90,
    hardState: { term: 4, vote, commit: 60, isRecovering: vote === null },
    firstIndex: 41,
    lastIndex: 77,
    snapshotIndex: 40,
    anchor: chainStart,
    lastHash: hash,
  }),
)
const entry = (index: number, data: string) => ({
  index,
  term: 3,
  kind: 'command' as const,
  id: `n1.1.${index}` as ProposalId,
  time: 1_800_000_000_000,
  data: Buffer.from(data),
})
const entries = encodeEntries([entry(41, ''), entry(42, 'x'.repeat(300)), entry(43, 'é')], chainStart)
const slot = encodeSlot(
  {
    nodeId: n1,
    generation: 7,
    promise,
    joined: null,
    seq: 90,
    term: 4,
    vote: n2,
    isRecovering: false,
    condemned: null,
    lastIndex: 77,
    lastHash: hash,
  },
  12,
)
const twoSlots = new Uint8Array(2 * slotBytes)
twoSlots.set(slot)
twoSlots.set(encodeSlot({ ...slotRecord(), seq: 91 }, 13), slotBytes)

type Format = {
  readonly samples: readonly Uint8Array[]
  readonly decode: (bytes: Uint8Array) => object
  /** Makes its checksums fit, where there is room for any. */
  readonly reseal: (bytes: Uint8Array) => void
}

const formats: Record<string, Format> = {
  meta: { samples: metas, decode: decodeMeta, reseal: resealRecord },
  head: { samples: heads, decode: decodeHead, reseal: resealRecord },
  'snapshot meta': { samples: [encodeSnapshotMeta(snapshot)], decode: decodeSnapshotMeta, reseal: resealRecord },
  entry: {
    samples: entries.map((record) => new Uint8Array(record)),
    decode: decodeEntry,
    reseal: (bytes) => {
      if (bytes.length >= 16) bytes.set(createHash('sha256').update(bytes.subarray(16)).digest().subarray(0, 8), 8)
      resealRecord(bytes)
    },
  },
  snapshot: {
    samples: [encodeSnapshot(snapshot, Buffer.from('the state')), encodeSnapshot(snapshot, new Uint8Array(0))],
    decode: decodeSnapshot,
    reseal: (bytes) => {
      if (bytes.length < 24) return
      bytes[5] = (bytes[4] ?? 0) ^ 0xff
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(8, crc32(bytes.subarray(12)))
    },
  },
  'vote slots': {
    samples: [slot, twoSlots],
    decode: decodeSlots,
    reseal: (bytes) => {
      for (const at of [0, slotBytes]) resealSlot(bytes.subarray(at, at + slotBytes))
    },
  },
}

describe.each(Object.entries(formats))('%s bytes that nobody wrote', (name, { samples, decode, reseal }) => {
  it('are read or called damaged in a sentence, whether or not their checksums fit', () => {
    const random = new Random(seed)
    let read = 0
    for (let round = 0; round < rounds; round += 1) {
      const bytes = mutate(random, pick(random, samples), pick(random, samples))
      if (random.below(3) > 0) reseal(bytes)
      const found = decode(bytes)
      if (!isDamage(found)) read += 1
      const isSaid = isDamage(found) ? /^[\x20-\x7e]{3,200}$/.test(found.damage) : wholeNumbers(found)
      expect(isSaid, describeBytes(bytes)).toBe(true)
    }
    expect(read, name).toBeGreaterThan(rounds / 100)
  })

  it('are damaged when one bit is another, or the end is cut', () => {
    const random = new Random(seed)
    for (const sample of samples.filter((each) => each.length <= slotBytes)) {
      for (let at = 0; at < sample.length; at += 1) {
        const flipped = new Uint8Array(sample)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
        expect(decode(flipped), `byte ${at}`).toMatchObject({ damage: expect.any(String) as string, isForeign: false })
        expect(isDamage(decode(new Uint8Array(sample.subarray(0, at)))), `cut at ${at}`).toBe(true)
      }
    }
  })
})

it('an entry that is read says all that its bytes say', () => {
  const random = new Random(seed)
  const samples = formats['entry']?.samples ?? []
  for (let round = 0; round < rounds; round += 1) {
    const bytes = mutate(random, pick(random, samples), pick(random, samples))
    formats['entry']?.reseal(bytes)
    const found = decodeEntry(bytes)
    const [again] = isDamage(found) ? [bytes] : encodeEntries([found.entry], found.prevHash)
    // Text that is none has another length when it is written again.
    const isSame = Buffer.compare(again ?? new Uint8Array(0), bytes) === 0 || bytes[55] !== 0
    expect(isSame || isDamage(found) || found.entry.id.includes('\uFFFD'), describeBytes(bytes)).toBe(true)
  }
})

describe.each([
  ['meta', 8],
  ['snapshot meta', 8],
  ['vote slots', 12],
] as const)('JSON of a %s', (name, jsonFrom) => {
  it.each(['null', '[]', '7', '"x"', '{}', '', '[null]', '{"a":', '['.repeat(9000), '{"__proto__":{"nodeId":"n1"}}'])(
    'that is %j is called damaged',
    (json) => {
      const bytes = new Uint8Array(jsonFrom + json.length)
      bytes.set(Buffer.from(json), jsonFrom)
      seal(bytes)
      if (jsonFrom === 12) new DataView(bytes.buffer).setUint32(8, json.length)
      formats[name]?.reseal(bytes)
      expect(isDamage(formats[name]?.decode(bytes) ?? {})).toBe(true)
    },
  )
})

it("the beginning of a snapshot's file says only what the size of the file allows", () => {
  const random = new Random(seed)
  const whole = encodeSnapshot(snapshot, Buffer.from('the state'))
  for (let round = 0; round < rounds; round += 1) {
    const bytes = mutate(random, whole.slice(0, 24), whole).slice(0, 24)
    const size = random.below(2) === 0 ? whole.length : random.below(2 ** 32)
    const head = decodeBeginning(bytes, size)
    expect(isDamage(head) || 24 + head.metaBytes + head.dataBytes === size, describeBytes(bytes)).toBe(true)
  }
})

describe('the files of LevelDB, whatever became of them', () => {
  let folder: string
  const files: Record<'log' | 'manifest' | 'table', Uint8Array[]> = { log: [], manifest: [], table: [] }

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'quorate-fuzz-'))
    const db = new Level<Uint8Array, Uint8Array>(folder, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      compression: false,
    })
    await db.open()
    const put = (from: number): Promise<void> =>
      db.batch(
        Array.from({ length: 40 }, (_, at) => ({
          type: 'put' as const,
          key: Buffer.from(`key ${from + at}`),
          value: Buffer.alloc(at * 20, from + at),
        })),
      )
    await put(100)
    await compact(db)
    await put(120)
    await db.close()
    for (const name of readdirSync(folder)) {
      const bytes = new Uint8Array(readFileSync(path.join(folder, name)))
      if (name.endsWith('.log')) files.log.push(bytes)
      if (name.endsWith('.ldb')) files.table.push(bytes)
      if (name.startsWith('MANIFEST')) files.manifest.push(bytes)
    }
  })

  afterAll(() => rmSync(folder, { recursive: true }))

  it('are there as they should be', () => {
    expect(files.table.map((table) => parseTable(table))).toMatchObject([{ bad: [] }])
    expect(parseManifest(parseLog(files.manifest[0] ?? new Uint8Array(0)).records)?.tables).toHaveLength(1)
    const logs = files.log.map((log) => parseLog(log))
    expect(logs.flatMap(({ records }) => records.flatMap(parseBatch))).toHaveLength(40)
  })

  it.each(['log', 'manifest', 'table'] as const)('are read as far as they go: a %s', (kind) => {
    const random = new Random(seed)
    const samples = files[kind]
    for (let round = 0; round < rounds / 5; round += 1) {
      const bytes = mutate(random, pick(random, samples), pick(random, samples))
      const table = parseTable(bytes)
      expect(typeof table === 'string' || table.changes.length <= bytes.length).toBe(true)
      const { records, badAt } = parseLog(bytes)
      expect(records.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(bytes.length)
      expect(badAt === null || badAt <= bytes.length).toBe(true)
      expect(parseManifest(records)?.tables.length ?? 0).toBeLessThanOrEqual(bytes.length)
      for (const record of records) expect(parseBatch(record).length).toBeLessThanOrEqual(record.length)
    }
  })

  it('are called damaged when they are nothing but their end', () => {
    for (let from = 0; from < 48; from += 1)
      expect(parseTable((files.table[0] ?? new Uint8Array(0)).slice(-48).slice(from))).toBeTypeOf('string')
  })

  it('are read as far as they go when their checksums fit', () => {
    const random = new Random(seed)
    const batches = files.log.flatMap((log) => [...parseLog(log).records])
    const edits = files.manifest.flatMap((manifest) => [...parseLog(manifest).records])
    for (let round = 0; round < rounds; round += 1) {
      const batch = mutate(random, pick(random, batches).slice(0, 400), pick(random, batches).slice(0, 100))
      expect(parseBatch(batch).length).toBeLessThanOrEqual(batch.length)
      const edit = mutate(random, pick(random, edits), pick(random, batches).slice(0, 100))
      expect(parseManifest([edit])?.tables.length ?? 0).toBeLessThanOrEqual(edit.length)
      const table = mutate(random, tableOf(pick(random, batches).slice(0, 300)), edit)
      expect(parseTable(table)).toBeDefined()
      const resealed = tableOf(mutate(random, pick(random, batches).slice(0, 300), edit))
      expect(parseTable(resealed)).toBeTypeOf('object')
    }
  })
})

/** Writes the log out into a table. */
function compact(db: object): Promise<void> {
  type Compacting = { compactRange(from: Uint8Array, to: Uint8Array): Promise<void> }
  return (db as Compacting).compactRange(Buffer.from('a'), Buffer.from('z'))
}

function slotRecord() {
  const found = decodeSlots(slot)
  if (isDamage(found)) throw new Error(found.damage)
  return found.record
}

function resealRecord(bytes: Uint8Array): void {
  if (bytes.length >= 8) seal(bytes)
}

function resealSlot(bytes: Uint8Array): void {
  if (bytes.length < 12) return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = 12 + view.getUint32(8)
  bytes[1] = (bytes[0] ?? 0) ^ 0xff
  view.setUint32(4, crc32(bytes.subarray(8, end)))
}

/** A table of LevelDB whose one block, and whose index, are these bytes, with checksums that fit. */
function tableOf(block: Uint8Array): Uint8Array {
  const sealed = withTrailer(block)
  const footer = Buffer.alloc(48)
  const handle = [0, (block.length % 128) | 128, block.length >> 7]
  footer.set([...handle, ...handle])
  footer.set([0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb], 40)
  return new Uint8Array(Buffer.concat([sealed, footer]))
}

function withTrailer(block: Uint8Array): Uint8Array {
  const bytes = Buffer.concat([block, Buffer.alloc(5)])
  const sum = crc32c(bytes, 0, block.length + 1)
  bytes.writeUInt32LE((((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0, block.length + 1)
  return bytes
}

function wholeNumbers(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true
  return Object.values(value).every(wholeNumbers)
}

function pick(random: Random, from: readonly Uint8Array[]): Uint8Array {
  return from[random.below(from.length)] ?? new Uint8Array(0)
}

function describeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 500)).toString('hex')
}
