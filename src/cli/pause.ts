import { realClock } from '../std/clock.ts'

/** Waits so long, or until the signal is aborted. */
export async function pause(signal: AbortSignal, ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = realClock.after(ms, done)
    signal.addEventListener('abort', done, { once: true })
  })
}
