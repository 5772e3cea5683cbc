import type { Stream } from './streams.ts'

/** Keys are ordered byte by byte; as text of one character for each byte they are too. */
export type RecordKey = string
/** Null: the record is deleted. */
export type RecordOperation = { readonly key: RecordKey; readonly value: Uint8Array | null }

/** A batch on its way to the platter. */
export type RecordWrite = {
  readonly operations: readonly RecordOperation[]
  readonly sync: boolean
  /** It is on the platter, and survives from now on. */
  readonly durable: () => void
}

/** Given what would be there: whether anybody could tell, or need not. */
export type IsTold = (left: RecordLookup, now: RecordLookup) => boolean
export type RecordLookup = (key: RecordKey) => Uint8Array | undefined

/** In the operating system's memory. `stray`: where a misdirected record lacks, and where it is too much. */
type Written = RecordWrite & { readonly stray: readonly RecordKey[] }

type Landed = { readonly operations: readonly RecordOperation[]; readonly before: readonly RecordOperation[] }

/**
 * The records of one disk, as LevelDB offers them: each batch is atomic, and durable once a synced one behind or at it has
 * ended. Batches that were not waited for end, and so land, in any order. A killed process loses what was on its way, or
 * not; a power cut also loses any tail of what was not synced. Beyond that come the faults that no crash explains; what
 * they leave is known by key until it is written again, so `isDamaged` says whether the platter is as it was written.
 */
export class SimRecords {
  /** What survives. */
  readonly #platter = new Map<RecordKey, Uint8Array>()
  /** What a process reads: the platter, and what the operating system has yet to bring there. */
  #seen = new Map<RecordKey, Uint8Array>()
  #written: Written[] = []
  readonly #underWay = new Set<RecordWrite>()
  /** The newest batches on the platter, and what stood in their places. */
  #landed: Landed[] = []
  readonly #damaged = new Set<RecordKey>()
  #misdirect: number | null = null
  #lose: 'alone' | 'tail' | null = null
  #unreadable: string | null = null
  /** Of `#landed`: reported durable, and gone with the next crash. */
  #lost: { readonly landed: Landed; readonly how: 'alone' | 'tail' } | null = null

  get isDamaged(): boolean {
    const isDue = this.#misdirect !== null || this.#lose !== null || this.#lost !== null
    const isOnItsWay = this.#written.some(({ stray }) => stray.length > 0)
    return isDue || isOnItsWay || this.#damaged.size > 0 || this.#unreadable !== null
  }

  get(key: RecordKey): Uint8Array | undefined {
    return this.#seen.get(key)
  }

  /** In the order of the keys. */
  between(from: RecordKey, below: RecordKey): readonly (readonly [RecordKey, Uint8Array])[] {
    return [...this.#seen].filter(([key]) => key >= from && key < below).sort(([a], [b]) => (a < b ? -1 : 1))
  }

  begin(write: RecordWrite): void {
    this.#underWay.add(write)
  }

  /** False when the power went in between. */
  finish(write: RecordWrite): boolean {
    if (!this.#underWay.delete(write)) return false
    this.#write(write)
    if (write.sync) this.#flush()
    return true
  }

  drop(write: RecordWrite): void {
    this.#underWay.delete(write)
  }

  /** `isTold`: whether that the promised records are gone can be told from what is left. */
  crash(how: 'kill' | 'power', stream: Stream, isTold: IsTold): void {
    const underWay = stream.shuffle([...this.#underWay])
    this.#underWay.clear()
    if (how === 'power') this.#written = this.#written.slice(0, stream.between(0, this.#written.length))
    const isWhole = how === 'kill' || this.#written.length > 0 || stream.chance(500)
    if (isWhole) for (const write of underWay.slice(0, stream.between(0, underWay.length))) this.#write(write)
    this.#flush()
    const lost = this.#lost
    this.#lose = null
    this.#lost = null
    if (lost !== null) {
      const at = this.#landed.indexOf(lost.landed)
      this.#undo(at, lost.how === 'alone' ? at + 1 : this.#landed.length, isTold)
    }
    this.#seen = new Map(this.#platter)
  }

  /** The next batch puts one of its records in the place of another. */
  misdirectNext(pick: number): void {
    this.#misdirect = pick
  }

  disarm(): void {
    this.#misdirect = null
    this.#lose = null
  }

  loseNext(how: 'alone' | 'tail'): void {
    this.#lose = how
  }

  /** Of the last batches nothing is there any more. False: nobody could have told. */
  cutTail(count: number, isTold: IsTold): boolean {
    const isDone = this.#undo(Math.max(0, this.#landed.length - count), this.#landed.length, isTold)
    this.#seen = new Map(this.#platter)
    return isDone
  }

  /** Why the records can not be opened; null: they can. */
  get unreadable(): string | null {
    return this.#unreadable
  }

  rot(how: 'value' | 'key' | 'gone' | 'block', pick: number): string | null {
    const keys = [...this.#platter.keys()].sort()
    const key = keys[pick % keys.length]
    if (key === undefined) return null
    const near = how === 'block' ? keys.slice(pick % keys.length, (pick % keys.length) + 2 + (pick % 5)) : [key]
    for (const each of near) {
      const value = this.#platter.get(each) as Uint8Array
      if (how === 'value') this.#damage(each, flipped(value, pick))
      else this.#damage(each, null)
      if (how === 'key' && each.length > 1) this.#damage(flippedKey(each, pick), value)
    }
    // A table without one of its blocks is found to be none now and then.
    if (how === 'block' && pick % 3 === 0) this.#unreadable = 'a table does not open'
    return near.map(nameOf).join(', ')
  }

  /** These records and no others, in one step. */
  replace(operations: readonly RecordOperation[]): void {
    this.#platter.clear()
    this.#written = []
    this.#underWay.clear()
    this.forget()
    for (const { key, value } of operations) this.#put(key, value)
    this.#seen = new Map(this.#platter)
  }

  /** What is there now is taken for what was written: the node has begun anew. */
  forget(): void {
    this.#damaged.clear()
    this.#landed = []
    this.#misdirect = null
    this.#lose = null
    this.#lost = null
    this.#unreadable = null
  }

  #write(write: RecordWrite): void {
    const { operations, stray } = this.#directed(write.operations)
    for (const { key, value } of operations) {
      if (value === null) this.#seen.delete(key)
      else this.#seen.set(key, value)
    }
    this.#written.push({ ...write, operations, stray })
  }

  #flush(): void {
    for (const { operations, stray, durable } of this.#written) {
      const landed = {
        operations,
        before: operations.map(({ key }) => ({ key, value: this.#platter.get(key) ?? null })),
      }
      for (const { key, value } of operations) {
        this.#put(key, value)
        this.#damaged.delete(key)
      }
      for (const key of stray) this.#damaged.add(key)
      this.#landed.push(landed)
      if (this.#lose !== null) this.#lost = { landed, how: this.#lose }
      this.#lose = null
      durable()
    }
    this.#written = []
    if (this.#landed.length <= 64) return
    this.#landed = this.#landed.slice(-32)
    // By now the disk has written it after all.
    if (this.#lost !== null && !this.#landed.includes(this.#lost.landed)) this.#lost = null
  }

  /** Where the records of a batch come to be, and the places that are wrong then. */
  #directed(operations: readonly RecordOperation[]): Pick<Written, 'operations' | 'stray'> {
    const pick = this.#misdirect
    const astray =
      pick === null ? -1 : operations.findIndex(({ value }, at) => value !== null && at >= pick % operations.length)
    const moved = operations[astray]
    const others = moved === undefined ? [] : [...this.#platter.keys()].filter((key) => key !== moved.key).sort()
    const key = others[(pick ?? 0) % others.length]
    if (moved === undefined || key === undefined) return { operations, stray: [] }
    this.#misdirect = null
    const left = operations.filter((each) => each !== moved && each.key !== key)
    return { operations: [...left, { key, value: moved.value }], stray: [moved.key, key] }
  }

  /** Takes back those batches that landed as numbers `from` to below `to`, where none behind them wrote the same. */
  #undo(from: number, to: number, isTold: IsTold): boolean {
    const later = new Set(this.#landed.slice(to).flatMap(({ operations }) => operations.map(({ key }) => key)))
    const back = new Map<RecordKey, Uint8Array | null>()
    for (const { before } of this.#landed.slice(from, to).toReversed())
      for (const { key, value } of before) if (!later.has(key)) back.set(key, value)
    const now: RecordLookup = (key) => this.#platter.get(key)
    if (!isTold((key) => (back.has(key) ? (back.get(key) ?? undefined) : now(key)), now)) return false
    for (const [key, value] of back) this.#damage(key, value)
    this.#landed = []
    return true
  }

  #damage(key: RecordKey, value: Uint8Array | null): void {
    this.#put(key, value)
    if (value === null) this.#seen.delete(key)
    else this.#seen.set(key, value)
    this.#damaged.add(key)
  }

  #put(key: RecordKey, value: Uint8Array | null): void {
    if (value === null) this.#platter.delete(key)
    else this.#platter.set(key, value)
  }
}

export function flipped(bytes: Uint8Array, pick: number): Uint8Array {
  const changed = new Uint8Array(bytes)
  const bit = pick % Math.max(1, 8 * changed.length)
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return changed
}

/** The last bytes of a key are where the others are near. */
function flippedKey(key: RecordKey, pick: number): RecordKey {
  const code = key.charCodeAt(key.length - 1) ^ (1 << (pick % 8))
  return key.slice(0, -1) + String.fromCharCode(code)
}

function nameOf(key: RecordKey): string {
  return Buffer.from(key, 'latin1').toString('hex')
}
