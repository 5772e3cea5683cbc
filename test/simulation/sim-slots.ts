import { flipped } from './sim-records.ts'
import type { Stream } from './streams.ts'

type Piece = { readonly at: number; readonly bytes: Uint8Array }
/** What stands where something was ever written; null: there is no such file. */
type File = ReadonlyMap<number, Uint8Array> | null

/**
 * The vote file of one disk, in bytes. What is written is durable with the next sync; a power cut leaves of anything
 * before that all, nothing or a beginning. Beside it stands the file as it would be without any fault: the difference is
 * the damage.
 */
export class SimSlots {
  #actual: File = null
  #ideal: File = null
  /** As of the last sync. */
  #durable: File = null
  #idealDurable: File = null
  #unsynced: Piece[] = []
  #lose: 'alone' | 'tail' | null = null
  #lost: {
    readonly how: 'alone' | 'tail'
    readonly before: File
    readonly pieces: readonly Piece[]
  } | null = null

  get isDamaged(): boolean {
    return this.#lose !== null || this.#lost !== null || !isSame(this.#actual, this.#ideal)
  }

  read(): Uint8Array | null {
    return bytesOf(this.#actual)
  }

  /** As a power cut would leave it. */
  readDurable(): Uint8Array | null {
    return bytesOf(this.#durable)
  }

  write(piece: Piece): void {
    const isAsWritten = this.#actual === this.#ideal
    this.#actual = overwritten(this.#actual, piece)
    this.#ideal = isAsWritten ? this.#actual : overwritten(this.#ideal, piece)
    this.#unsynced.push(piece)
  }

  sync(): void {
    if (this.#lose !== null && this.#unsynced.length > 0) {
      this.#lost = { how: this.#lose, before: this.#durable, pieces: this.#unsynced }
      this.#lose = null
    }
    this.#unsynced = []
    this.#durable = this.#actual
    this.#idealDurable = this.#ideal
  }

  /** A sync has failed, and what was to be synced is gone, though it could be read until now. */
  drop(): void {
    this.#unsynced = []
    this.#actual = this.#durable
    this.#ideal = this.#idealDurable
  }

  crash(how: 'kill' | 'power', stream: Stream): void {
    if (how === 'power') {
      let [actual, ideal] = [this.#durable, this.#idealDurable]
      for (const { at, bytes } of this.#unsynced) {
        const piece = { at, bytes: bytes.subarray(0, stream.pick([0, stream.between(0, bytes.length), bytes.length])) }
        if (piece.bytes.length === 0) continue
        actual = overwritten(actual, piece)
        ideal = overwritten(ideal, piece)
      }
      this.#actual = actual
      this.#ideal = ideal
    }
    const lost = this.#lost
    this.#lose = null
    this.#lost = null
    this.sync()
    if (lost === null) return
    const { how: which, before, pieces } = lost
    if (which === 'tail') {
      this.#become(before)
      return
    }
    const file = new Map(this.#actual ?? [])
    for (const { at, bytes } of pieces) {
      const old = before?.get(at)
      // Where it was written again that stays.
      if (file.get(at) !== bytes) continue
      if (old === undefined) file.delete(at)
      else file.set(at, old)
    }
    this.#become(file)
  }

  disarm(): void {
    this.#lose = null
  }

  loseNext(how: 'alone' | 'tail'): void {
    this.#lose = how
  }

  rot(how: 'value' | 'key' | 'gone' | 'block', pick: number): string | null {
    if (this.#actual === null) return null
    const slots = [...this.#actual]
    const at = slots[pick % slots.length]?.[0]
    if (how === 'gone') this.#become(null)
    else if (how === 'block') this.#become(new Map(slots.map(([each, bytes]) => [each, new Uint8Array(bytes.length)])))
    else this.#become(new Map(slots.map(([each, bytes]) => [each, each === at ? flipped(bytes, pick) : bytes])))
    return 'the vote file'
  }

  /** The end is gone: some of the last slot, or all of it and some of the first. */
  cut(pick: number): void {
    const slots = [...(this.#actual ?? [])].sort(([a], [b]) => a - b)
    const kept = slots.slice(0, 1 + (pick % slots.length))
    const last = kept.at(-1)
    if (last === undefined) return
    this.#become(new Map([...kept.slice(0, -1), [last[0], last[1].slice(0, pick % last[1].length)]]))
  }

  wipe(): void {
    this.#unsynced = []
    this.#become(null)
    this.forget()
  }

  /** What is there now is taken for what was written. */
  forget(): void {
    this.#ideal = this.#actual
    this.#idealDurable = this.#durable
    this.#lose = null
    this.#lost = null
  }

  #become(file: File): void {
    this.#actual = file
    this.#durable = file
  }
}

function bytesOf(file: File): Uint8Array | null {
  if (file === null) return null
  const bytes = new Uint8Array(Math.max(0, ...[...file].map(([at, piece]) => at + piece.length)))
  for (const [at, piece] of file) bytes.set(piece, at)
  return bytes
}

function overwritten(file: File, { at, bytes }: Piece): File {
  const before = file?.get(at)
  if (before === undefined || before.length <= bytes.length) return new Map([...(file ?? []), [at, bytes]])
  const piece = new Uint8Array(before)
  piece.set(bytes)
  return new Map([...(file ?? []), [at, piece]])
}

function isSame(a: File, b: File): boolean {
  if (a === b) return true
  if (a === null || b === null || a.size !== b.size) return false
  return [...a].every(([at, bytes]) => {
    const other = b.get(at)
    return other === bytes || (other?.length === bytes.length && bytes.every((byte, place) => byte === other[place]))
  })
}
