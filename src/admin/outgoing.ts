import type { ServerResponse } from 'node:http'
import type { Clock } from '../std/clock.ts'

/**
 * Writes to a client at the pace at which it reads: resolves when there is room for more, or when it is gone. One that reads
 * nothing for `stallMs` is cut off.
 */
export async function writeAtPace(outgoing: ServerResponse, part: string | Uint8Array, clock: Clock): Promise<void> {
  if (outgoing.destroyed || outgoing.write(part)) return
  const stalled = clock.after(stallMs, () => outgoing.destroy())
  await drained(outgoing)
  stalled.cancel()
}

/** So long a client may leave unread what it was sent. */
const stallMs = 30_000

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done).off('close', done)
      resolve()
    }
    outgoing.on('drain', done).on('close', done)
    if (outgoing.destroyed) done()
  })
}
