import { flipped } from './sim-records.ts'
import type { Stream } from './streams.ts'

type Piece = { readonly at: number; readonly bytes: Uint8Array }
/** `used`: so much of it may be read; behind that stands what an older, longer piece left. */
type Slot = { readonly bytes: Uint8Array; readonly used: number }
/** What stands where something was ever written; null: there is no such file. */
type File = ReadonlyMap<number, Slot> | null

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
      for (const piece of this.#unsynced) {
        const { length } = piece.bytes
        const kept = stream.pick([0, stream.between(0, length), length])
        if (kept === 0) continue
        actual = overwritten(actual, piece, kept)
        ideal = overwritten(ideal, piece, kept)
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
      if (file.get(at)?.bytes !== bytes) continue
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
    else if (how === 'block') this.#become(changed(this.#actual, ({ length }) => new Uint8Array(length)))
    else this.#become(changed(this.#actual, (bytes, each) => (each === at ? flipped(bytes, pick) : bytes)))
    return 'the vote file'
  }

  /** The end is gone: some of the last slot, or all of it and some of the first. */
  cut(pick: number): void {
    const slots = [...(this.#actual ?? [])].sort(([a], [b]) => a - b)
    const kept = slots.slice(0, 1 + (pick % slots.length))
    const last = kept.at(-1)?.[0]
    if (last === undefined) return
    const cutAt = (bytes: Uint8Array): Uint8Array => bytes.slice(0, pick % bytes.length)
    this.#become(changed(new Map(kept), (bytes, each) => (each === last ? cutAt(bytes) : bytes)))
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
  const bytes = new Uint8Array(Math.max(0, ...[...file].map(([at, slot]) => at + slot.bytes.length)))
  for (const [at, slot] of file) bytes.set(slot.bytes, at)
  return bytes
}

function changed(file: NonNullable<File>, change: (bytes: Uint8Array, at: number) => Uint8Array): File {
  return new Map([...file].map(([at, { bytes, used }]) => [at, { bytes: change(bytes, at), used }]))
}

/** `kept`: so much of the piece reached the disk. Whether a torn one can be read depends on what stands behind it, too. */
function overwritten(file: File, { at, bytes }: Piece, kept = bytes.length): File {
  const before = file?.get(at)?.bytes ?? new Uint8Array()
  if (kept === bytes.length && before.length <= kept) return new Map([...(file ?? []), [at, { bytes, used: kept }]])
  const piece = new Uint8Array(Math.max(before.length, kept))
  piece.set(before)
  piece.set(bytes.subarray(0, kept))
  return new Map([...(file ?? []), [at, { bytes: piece, used: kept === bytes.length ? kept : piece.length }]])
}

/** Whether all that may be read is as it should be. */
function isSame(found: File, ideal: File): boolean {
  if (found === ideal) return true
  if (found === null || ideal === null || found.size !== ideal.size) return false
  return [...ideal].every(([at, { bytes, used }]) => {
    const other = found.get(at)?.bytes
    if (other === bytes) return true
    return (
      other !== undefined &&
      other.length >= used &&
      bytes.subarray(0, used).every((byte, place) => byte === other[place])
    )
  })
}
