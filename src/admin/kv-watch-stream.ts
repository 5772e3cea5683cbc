import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'
import type { KvEventView, KvWatchView } from './needs.ts'
import { writeAtPace } from './outgoing.ts'
import { eventOf, keepAliveMs, writeEventsHead } from './server-events.ts'

/**
 * One watch of keys as Server-Sent Events: `open {revision}` first (where it begins), then `put` and `delete` with the
 * revision as their id, a comment in silence, and `progress {revision}` when changes have passed that do not match; a client
 * that comes back with the last id, or with `from` one higher, misses nothing. What ends the stream is told as `error`. A
 * client that does not read is cut off (see outgoing); meanwhile nothing is taken for it.
 */
export async function streamWatch(options: WatchStreamOptions): Promise<void> {
  const { watch, outgoing, bodyless, watchError } = options
  const stream = new WatchStream(options)
  outgoing.once('close', () => watch.close())
  try {
    stream.open()
    if (bodyless) return
    while (!outgoing.destroyed) {
      const events = await watch.take()
      if (events.length === 0) break
      await stream.send(events.map(eventText).join(''), watch.next)
    }
  } catch (error) {
    outgoing.write(eventOf('error', { data: watchError(error) }))
  } finally {
    watch.close()
    stream.end()
  }
}

export type WatchStreamOptions = {
  readonly watch: KvWatchView
  readonly outgoing: ServerResponse
  readonly clock: Clock
  readonly watchError: WatchError
  /** Of a HEAD request. */
  readonly bodyless: boolean
}

/** The one error shape, as JSON text; logs what only the log may tell. */
export type WatchError = (error: unknown) => string

class WatchStream {
  readonly #options: WatchStreamOptions
  #timer: Timer | null = null
  /** What the client knows to be the next revision. */
  #told: number

  constructor(options: WatchStreamOptions) {
    this.#options = options
    this.#told = options.watch.next
  }

  open(): void {
    const { outgoing, bodyless } = this.#options
    writeEventsHead(outgoing)
    if (bodyless) return
    outgoing.write(eventOf('open', { data: `{"revision":${this.#told}}` }))
    this.#armKeepAlive()
  }

  /** Resolves when the client has taken enough of it; or is gone. */
  async send(text: string, next: number): Promise<void> {
    const { outgoing, clock } = this.#options
    this.#told = next
    this.#timer?.cancel()
    await writeAtPace(outgoing, text, clock)
    this.#armKeepAlive()
  }

  end(): void {
    this.#timer?.cancel()
    this.#options.outgoing.end()
  }

  #armKeepAlive(): void {
    const { outgoing, clock, watch } = this.#options
    if (outgoing.destroyed) return
    this.#timer = clock.after(keepAliveMs, () => {
      // A client that has not taken the last one yet is not helped by another.
      if (outgoing.writableNeedDrain) outgoing.destroy()
      else if (watch.next > this.#told) {
        this.#told = watch.next
        outgoing.write(eventOf('progress', { id: watch.next - 1, data: `{"revision":${watch.next}}` }))
      } else outgoing.write(': keep-alive\n\n')
      this.#armKeepAlive()
    })
  }
}

function eventText(event: KvEventView): string {
  const { kind, key, revision } = event
  const value = event.kind === 'put' ? `,"value":${event.value}` : ''
  return eventOf(kind, { id: revision, data: `{"key":${JSON.stringify(key)}${value},"revision":${revision}}` })
}
