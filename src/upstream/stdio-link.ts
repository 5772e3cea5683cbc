import { OperatingError } from '../vocabulary/operating-error.ts'
import { Child, type ChildOptions } from './child-process.ts'
import { LineSplitter } from './line-splitter.ts'
import type { Link, LinkFailure, LinkEvents, LinkSource } from './link.ts'

/**
 * JSON-RPC over a child's pipes, one message a line. Messages wait here, not in the stream, while the child does not
 * read: so those that wait have provably not been sent. Nothing tells which request a notification belongs to.
 */
export function stdioLinks(options: ChildOptions): LinkSource {
  return {
    open: (events) => new StdioLink(options, events),
    close: () => Promise.resolve(),
  }
}

/** `id` null: a notification or an answer. */
type Message = { readonly id: number | null; readonly text: string; readonly bytes: number }

class StdioLink implements Link {
  readonly hasSession = false
  readonly hasStreams = false
  readonly #options: ChildOptions
  readonly #events: LinkEvents
  readonly #child: Child
  #queue: Message[] = []
  #queueBytes = 0
  /** The child does not read: nothing is written until it does. */
  #isBlocked = false
  #flushing: NodeJS.Immediate | null = null
  #hasEnded = false

  constructor(options: ChildOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
    const { messageBytesMax } = options.limits
    const lines = new LineSplitter(messageBytesMax, {
      line: (text) => {
        if (!this.#hasEnded && text.trim() !== '') this.#events.message(text, null)
      },
      tooLong: () => this.#end(`wrote a line of more than ${messageBytesMax} bytes`),
    })
    this.#child = new Child(options, {
      output: (chunk) => lines.push(chunk),
      drained: () => {
        this.#isBlocked = false
        this.#flush()
      },
      ended: (reason) => this.#end(reason),
    })
  }

  request(id: number, text: string): void {
    const refusal = this.#hasEnded ? notSent(this.#options.server.name) : this.#enqueue(id, text)
    if (refusal !== null) this.#events.failed(id, refusal)
  }

  tell(text: string): Promise<void> {
    if (!this.#hasEnded && this.#enqueue(null, text) !== null)
      this.#options.log.warn('upstream-message-dropped', { reason: 'its stdin queue is full' })
    return Promise.resolve()
  }

  answer(text: string): void {
    if (this.#hasEnded) return
    const { stdinQueueBytesMax, answersWaitingBytesMax } = this.#options.limits
    const isStuck = this.#isBlocked && this.#queueBytes >= stdinQueueBytesMax + answersWaitingBytesMax
    if (isStuck) this.#end('does not read the answers to what it asks')
    else this.#push(null, text)
  }

  abandon(id: number, cancelText: string): 'withdrawn' | 'sent' {
    const waiting = this.#queue.findIndex((message) => message.id === id)
    if (waiting === -1) {
      // Never refused for want of room: it is small, and one at most follows each request that has left.
      if (!this.#hasEnded) this.#push(null, cancelText)
      return 'sent'
    }
    const [message] = this.#queue.splice(waiting, 1)
    this.#queueBytes -= message?.bytes ?? 0
    return 'withdrawn'
  }

  release(): void {
    // An answered request leaves nothing behind on a pipe.
  }

  negotiated(): void {
    // The version is said in initialize only.
  }

  listen(): void {
    // The pipe carries everything.
  }

  async close(): Promise<void> {
    const { exitGraceMs } = this.#options.limits
    const graceMs = this.#hasEnded ? 0 : exitGraceMs
    this.#flush()
    this.#end('was stopped')
    await this.#child.end(graceMs)
  }

  #enqueue(id: number | null, text: string): LinkFailure | null {
    const { limits, server } = this.#options
    const isWaiting = this.#isBlocked && this.#queue.length > 0
    if (isWaiting && this.#queueBytes + Buffer.byteLength(text) >= limits.stdinQueueBytesMax)
      return overloaded(server.name)
    this.#push(id, text)
    return null
  }

  #push(id: number | null, text: string): void {
    // Line ends stand between JSON's tokens only, where a space means the same.
    const line = `${/[\r\n]/.test(text) ? text.replaceAll(/[\r\n]/g, ' ') : text}\n`
    const bytes = Buffer.byteLength(line)
    this.#queue.push({ id, text: line, bytes })
    this.#queueBytes += bytes
    if (this.#queueBytes >= writeBytesMax) this.#flush()
    else if (!this.#isBlocked) this.#flushing ??= setImmediate(() => this.#flush())
  }

  /** What is said in one turn of the event loop, mostly by several callers, goes in one write. */
  #flush(): void {
    if (this.#flushing !== null) clearImmediate(this.#flushing)
    this.#flushing = null
    while (!this.#isBlocked && !this.#hasEnded && this.#queue.length > 0)
      this.#isBlocked = !this.#child.write(this.#takeLines())
  }

  /** Not more than `writeBytesMax`, but for one that is longer alone: what is in a write counts as sent. */
  #takeLines(): string {
    let lines = ''
    let bytes = 0
    let taken = 0
    for (const message of this.#queue) {
      if (taken > 0 && bytes + message.bytes > writeBytesMax) break
      lines += message.text
      bytes += message.bytes
      taken += 1
    }
    this.#queue.splice(0, taken)
    this.#queueBytes -= bytes
    return lines
  }

  #end(reason: string): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    if (this.#flushing !== null) clearImmediate(this.#flushing)
    const waiting = this.#queue
    this.#queue = []
    this.#queueBytes = 0
    for (const { id } of waiting) if (id !== null) this.#events.failed(id, notSent(this.#options.server.name))
    this.#events.ended({ kind: 'dead', reason })
  }
}

/** As much as a pipe's stream takes at once. */
const writeBytesMax = 16 * 1024

function notSent(server: string): LinkFailure {
  const error = new OperatingError('server-unavailable', `server ${server} ended before it took the call`, {
    retry: 'elsewhere',
  })
  return { kind: 'not-sent', error }
}

function overloaded(server: string): LinkFailure {
  const error = new OperatingError('overloaded', `server ${server} does not read what waits for it`, { retry: 'after' })
  return { kind: 'rejected', error }
}
