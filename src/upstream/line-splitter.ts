import { joinBytes } from '../std/join-bytes.ts'

/**
 * Cuts a stream of bytes into lines. Holds at most `bytesMax`: of a longer line the beginning is reported once through
 * `tooLong`, the rest is dropped up to its end.
 */
export type LineEvents = { line(text: string): void; tooLong(beginning: string): void }

export class LineSplitter {
  readonly #bytesMax: number
  readonly #events: LineEvents
  #parts: Buffer[] = []
  #bytes = 0
  #skipping = false

  constructor(bytesMax: number, events: LineEvents) {
    this.#bytesMax = bytesMax
    this.#events = events
  }

  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      const end = chunk.indexOf(0x0a, at)
      if (end === -1) return this.#add(chunk.subarray(at))
      if (this.#parts.length > 0 || this.#skipping || end - at > this.#bytesMax) {
        this.#add(chunk.subarray(at, end))
        this.finish()
      } else this.#tell(chunk.toString('utf8', at, end))
      at = end + 1
    }
  }

  /** Ends the line at hand; for the end of the stream. */
  finish(): void {
    const text = this.#take()
    if (!this.#skipping) this.#tell(text)
    this.#skipping = false
  }

  #tell(text: string): void {
    if (text !== '') this.#events.line(text.endsWith('\r') ? text.slice(0, -1) : text)
  }

  #add(piece: Buffer): void {
    if (this.#skipping || piece.length === 0) return
    const room = this.#bytesMax - this.#bytes
    this.#parts.push(piece.length > room ? piece.subarray(0, room) : piece)
    this.#bytes += piece.length
    if (piece.length <= room) return
    this.#skipping = true
    this.#events.tooLong(this.#take())
  }

  #take(): string {
    const bytes = joinBytes(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return bytes.toString('utf8')
  }
}
