import type { Log } from '../log/log.ts'

/** What has been started and how each is stopped: run backwards, each in its turn, once. */
export class Stops {
  readonly #log: Log
  readonly #stops: { readonly part: string; readonly stop: () => Promise<unknown> | void }[] = []
  #running: Promise<void> | null = null

  constructor(log: Log) {
    this.#log = log
  }

  add(part: string, stop: () => Promise<unknown> | void): void {
    this.#stops.push({ part, stop })
  }

  get isRunning(): boolean {
    return this.#running !== null
  }

  /** A part that fails to stop is logged and does not keep the others from stopping. */
  run(): Promise<void> {
    this.#running ??= this.#run()
    return this.#running
  }

  async #run(): Promise<void> {
    for (let last = this.#stops.pop(); last !== undefined; last = this.#stops.pop()) {
      try {
        await last.stop()
      } catch (error) {
        this.#log.error('stop-failed', { part: last.part, error })
      }
    }
  }
}
