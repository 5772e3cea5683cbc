/** Waits with a deadline, for scripts and end-to-end tests: a wait that fails says what it waited for. */
import { setTimeout as sleep } from 'node:timers/promises'

const pollMs = 20

/** Polls until `probe` gives something; a probe that throws has given nothing. `detail` is added to the error. */
export async function waitUntil<T>(
  what: string,
  probe: () => Promise<T | null> | T | null,
  options: { deadlineMs: number; detail?: () => string },
): Promise<T> {
  const deadline = performance.now() + options.deadlineMs
  let last: unknown = null
  for (;;) {
    try {
      const value = await probe()
      if (value !== null) return value
    } catch (cause) {
      if (cause instanceof GivenUp) throw cause
      last = cause
    }
    if (performance.now() >= deadline) {
      const detail = options.detail?.() ?? ''
      throw new Error(`waited ${options.deadlineMs} ms for ${what}${detail === '' ? '' : `\n${detail}`}`, {
        cause: last,
      })
    }
    await sleep(pollMs)
  }
}

/** Thrown by a probe for which waiting longer makes no sense. */
export class GivenUp extends Error {}
