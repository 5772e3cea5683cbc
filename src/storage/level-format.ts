import { crc32c, unmask } from './crc32c.ts'

/**
 * The bytes of LevelDB's files, as far as it takes to prove them sound and to read what is left of damaged ones: LevelDB
 * itself, as we get it, checks no block of a table, may crash on a damaged one, and passes over damage in its logs in
 * silence. Nothing here throws, whatever the bytes.
 */

const blockBytes = 32 * 1024
const headerBytes = 7
/** A record stands in one piece, or in a first one, middle ones (3) and a last one. */
const full = 1
const first = 2
const last = 4

export type ParsedLog = {
  /** The whole records, in their order. */
  readonly records: readonly Uint8Array[]
  /** Where the first bytes stand that are no record; null: all are. */
  readonly badAt: number | null
  /** Nothing sound follows them: so a crash may leave a log. */
  readonly isTail: boolean
}

/** A write-ahead log or manifest. */
export function parseLog(bytes: Uint8Array): ParsedLog {
  const records: Uint8Array[] = []
  let badAt: number | null = null
  let isTail = true
  let parts: Uint8Array[] | null = null
  const bad = (at: number): void => {
    badAt ??= at
    parts = null
  }
  let at = 0
  while (at < bytes.length) {
    const blockEnd = Math.min(at - (at % blockBytes) + blockBytes, bytes.length)
    if (blockEnd - at < headerBytes) {
      // What is left of a block is 0; what is left of a file is a header that was not written to its end.
      if (blockEnd % blockBytes !== 0) bad(at)
      at = blockEnd
      continue
    }
    const length = (bytes[at + 4] ?? 0) | ((bytes[at + 5] ?? 0) << 8)
    const end = at + headerBytes + length
    const type = bytes[at + 6] ?? 0
    if (end > blockEnd || type < full || type > last || crc32c(bytes, at + 6, end) !== unmask(uint32(bytes, at))) {
      bad(at)
      at = blockEnd
      continue
    }
    const payload = bytes.subarray(at + headerBytes, end)
    if (type === full || type === first) {
      if (parts !== null) bad(at)
      parts = [payload]
    } else if (parts === null) badAt ??= at
    else parts.push(payload)
    if ((type === full || type === last) && parts !== null) {
      if (badAt !== null) isTail = false
      records.push(parts.length === 1 ? payload : new Uint8Array(Buffer.concat(parts)))
      parts = null
    }
    at = end
  }
  if (parts !== null) badAt ??= bytes.length
  return { records, badAt, isTail }
}

/** A change of a key: `value` null deletes it. The one with the highest `seq` holds. */
export type Change = { readonly key: Uint8Array; readonly value: Uint8Array | null; readonly seq: number }

/** What one record of a write-ahead log changes. */
export function parseBatch(record: Uint8Array): Change[] {
  const changes: Change[] = []
  const reader = new Reader(record, 12)
  const seq = uint64(record, 0)
  while (!reader.isAtEnd) {
    const tag = reader.varint()
    const key = reader.sized()
    const value = tag === 1 ? reader.sized() : null
    if (key === undefined || value === undefined || (tag !== 0 && tag !== 1)) return changes
    changes.push({ key, value, seq: seq + changes.length })
  }
  return changes
}

export type TableFile = { readonly number: number; readonly size: number }
export type Manifest = { readonly logNumber: number; readonly tables: readonly TableFile[] }

/** Which files hold the records, from the manifest's records; undefined when they do not say so. */
export function parseManifest(records: readonly Uint8Array[]): Manifest | undefined {
  const tables = new Map<number, TableFile>()
  let logNumber: number | undefined
  for (const record of records) {
    const reader = new Reader(record, 0)
    while (!reader.isAtEnd) {
      const tag = reader.varint()
      if (tag === editTags.logNumber) logNumber = reader.varint()
      else if (tag === editTags.deletedFile) {
        reader.varint()
        tables.delete(reader.varint() ?? -1)
      } else if (tag === editTags.newFile) {
        reader.varint()
        const [number, size, smallest, largest] = [reader.varint(), reader.varint(), reader.sized(), reader.sized()]
        if (number === undefined || size === undefined || smallest === undefined || largest === undefined)
          return undefined
        tables.set(number, { number, size })
      } else if (tag === editTags.comparator) reader.sized()
      else if (tag === editTags.compactPointer) {
        reader.varint()
        reader.sized()
      } else if (tag !== undefined && editTags.numbers.includes(tag)) reader.varint()
      else return undefined
    }
    if (reader.isBroken) return undefined
  }
  return logNumber === undefined ? undefined : { logNumber, tables: [...tables.values()] }
}

const editTags = { comparator: 1, logNumber: 2, numbers: [3, 4, 9], compactPointer: 5, deletedFile: 6, newFile: 7 }

export type ParsedTable = {
  /** Those in the sound blocks. */
  readonly changes: () => Change[]
  /** What is wrong, and with which keys: behind `after` (null: from the first on) up to `upTo`. */
  readonly bad: readonly { readonly why: string; readonly after: Uint8Array | null; readonly upTo: Uint8Array }[]
}

/** A table file; what is wrong with it as a whole as a sentence. */
export function parseTable(bytes: Uint8Array): ParsedTable | string {
  const footerAt = bytes.length - 48
  if (footerAt < 0 || magic.some((byte, at) => bytes[bytes.length - 8 + at] !== byte))
    return 'its end is not that of a table'
  const footer = new Reader(bytes, footerAt)
  const metaIndex = readBlock(bytes, footer.handle())
  const index = readBlock(bytes, footer.handle())
  if (index === undefined) return 'the checksum of its index does not match'
  if (metaIndex === undefined) return 'the checksum of its meta index does not match'
  const sound: Uint8Array[] = []
  const bad: ParsedTable['bad'][number][] = []
  let after: Uint8Array | null = null
  for (const [separator, handleBytes] of blockRows(index)) {
    const upTo = separator.subarray(0, -8)
    const handle = new Reader(handleBytes, 0).handle()
    const block = readBlock(bytes, handle)
    if (block === undefined)
      bad.push({ why: `the checksum of its block at ${handle?.at ?? '?'} does not match`, after, upTo })
    else sound.push(block)
    after = upTo
  }
  return { changes: () => sound.flatMap((block) => blockRows(block).map(changeOf)), bad }
}

function changeOf([key, value]: readonly [Uint8Array, Uint8Array]): Change {
  const tag = uint64(key, key.length - 8)
  return { key: key.subarray(0, -8), value: tag % 256 === 1 ? value : null, seq: Math.floor(tag / 256) }
}

const magic = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]

/** Behind each block stand one byte of type (0: not compressed, as all of ours) and the checksum. */
function readBlock(bytes: Uint8Array, handle: BlockHandle | undefined): Uint8Array | undefined {
  if (handle === undefined || handle.at + handle.size + 5 > bytes.length) return undefined
  const end = handle.at + handle.size
  if (bytes[end] !== 0 || crc32c(bytes, handle.at, end + 1) !== unmask(uint32(bytes, end + 1))) return undefined
  return bytes.subarray(handle.at, end)
}

/** Keys share their beginning with the one before. */
function blockRows(block: Uint8Array): [Uint8Array, Uint8Array][] {
  const rows: [Uint8Array, Uint8Array][] = []
  const restarts = block.length < 4 ? 0 : uint32(block, block.length - 4)
  const end = block.length - 4 - 4 * restarts
  if (end < 0) return rows
  const reader = new Reader(block.subarray(0, end), 0)
  let key = new Uint8Array()
  while (!reader.isAtEnd) {
    const [shared, own, length] = [reader.varint() ?? 0, reader.varint() ?? 0, reader.varint() ?? 0]
    const rest = reader.take(own)
    const value = reader.take(length)
    if (rest === undefined || value === undefined || shared > key.length || shared + own < 8) return rows
    key = new Uint8Array(Buffer.concat([key.subarray(0, shared), rest]))
    rows.push([key, value])
  }
  return rows
}

type BlockHandle = { readonly at: number; readonly size: number }

/** Reads on from a place; undefined, and at the end from then on, when the bytes do not reach. */
class Reader {
  readonly #bytes: Uint8Array
  #at: number
  isBroken = false

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  get isAtEnd(): boolean {
    return this.isBroken || this.#at >= this.#bytes.length
  }

  varint(): number | undefined {
    let value = 0
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#bytes[this.#at]
      if (byte === undefined) break
      this.#at += 1
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    this.isBroken = true
    return undefined
  }

  take(length: number): Uint8Array | undefined {
    const end = this.#at + length
    if (this.isBroken || end > this.#bytes.length) {
      this.isBroken = true
      return undefined
    }
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  sized(): Uint8Array | undefined {
    const length = this.varint()
    return length === undefined ? undefined : this.take(length)
  }

  handle(): BlockHandle | undefined {
    const [at, size] = [this.varint(), this.varint()]
    return at === undefined || size === undefined ? undefined : { at, size }
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true)
}

function uint64(bytes: Uint8Array, at: number): number {
  if (at < 0 || at + 8 > bytes.length) return 0
  return uint32(bytes, at) + uint32(bytes, at + 4) * 2 ** 32
}
