import { itemAt, mix, mixText } from './streams.ts'

/**
 * Virtual time: one heap of events, in the order of their time and, at one time, of their coming. Nothing here waits for
 * the machine's clock; between two events the promises that the first one settled run to their end. Every event goes into
 * a rolling hash, so two runs of one plan can be compared in one number.
 */
export class World {
  nowUs = 0
  events = 0
  /** The first claim that did not hold; the run ends with it. */
  violation: Violation | null = null
  /** Kept only when somebody reads it. */
  readonly trace: string[] | null
  readonly #heap: SimEvent[] = []
  #order = 0
  #hashA = 0x811c9dc5
  #hashB = 0x9e3779b9
  #promisesDue = true
  #lastTracedUs = -1

  constructor(options: { readonly traced: boolean }) {
    this.trace = options.traced ? [] : null
  }

  get hash(): string {
    return this.#hashA.toString(16).padStart(8, '0') + this.#hashB.toString(16).padStart(8, '0')
  }

  at(atUs: number, label: string, run: () => void): SimEvent {
    const event: SimEvent = { atUs: Math.max(atUs, this.nowUs), order: (this.#order += 1), label, run }
    push(this.#heap, event)
    return event
  }

  after(us: number, label: string, run: () => void): SimEvent {
    return this.at(this.nowUs + us, label, run)
  }

  /** A port settled a promise, or was asked for one: what waits for it runs before the next event. */
  promised(): void {
    this.#promisesDue = true
  }

  mix(value: number): void {
    this.#hashA = mix(this.#hashA, value)
    this.#hashB = mix(this.#hashB, this.#hashA ^ value)
  }

  mixText(text: string): void {
    this.mix(mixText(0, text))
  }

  note(who: string, what: () => string): void {
    if (this.trace === null) return
    const time = this.nowUs === this.#lastTracedUs ? '' : (this.nowUs / 1000).toFixed(3)
    this.#lastTracedUs = this.nowUs
    this.trace.push(`${time.padStart(11)}  ${who.padEnd(6)} ${what()}`)
  }

  violate(claim: string, detail: string): void {
    if (this.violation !== null) return
    this.violation = { claim, detail, atUs: this.nowUs, event: this.events }
    this.note('!', () => `VIOLATION ${claim}: ${detail}`)
  }

  /** Runs what falls due up to the time, or until a claim breaks or `isDone`. */
  async run(untilUs: number, isDone: () => boolean = () => false): Promise<void> {
    await this.#settle()
    while (this.violation === null) {
      const next = this.#heap[0]
      if (next === undefined || next.atUs > untilUs) break
      pop(this.#heap)
      const run = next.run
      if (run === null) continue
      this.nowUs = next.atUs
      this.events += 1
      this.mixText(next.label)
      this.mix(next.atUs)
      try {
        run()
      } catch (error) {
        this.violate('nothing throws out of a node', error instanceof Error ? (error.stack ?? error.message) : 'thrown')
      }
      await this.#settle()
      if (this.events >= eventsMax) this.violate('a cluster is not busy with itself', `${this.events} events`)
      if (isDone()) return
    }
    if (this.violation === null) this.nowUs = Math.max(this.nowUs, untilUs)
  }

  /** The number of turns only has to be the same each time; it is far more than any chain of awaits in the driver. */
  async #settle(): Promise<void> {
    const turns = this.#promisesDue ? 24 : 1
    this.#promisesDue = false
    for (let turn = 0; turn < turns; turn += 1) await nothing
  }
}

/** Far more than any plan takes. */
const eventsMax = 3_000_000

const nothing = Promise.resolve()

export type Violation = {
  readonly claim: string
  readonly detail: string
  readonly atUs: number
  readonly event: number
}

export type SimEvent = {
  readonly atUs: number
  readonly order: number
  readonly label: string
  run: (() => void) | null
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order)
}

function push(heap: SimEvent[], event: SimEvent): void {
  let at = heap.length
  heap.push(event)
  while (at > 0) {
    const up = (at - 1) >> 1
    const parent = itemAt(heap, up)
    if (!isBefore(event, parent)) break
    heap[at] = parent
    at = up
  }
  heap[at] = event
}

function pop(heap: SimEvent[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let down = 2 * at + 1
    if (down >= heap.length) break
    const right = down + 1
    if (right < heap.length && isBefore(itemAt(heap, right), itemAt(heap, down))) down = right
    const child = itemAt(heap, down)
    if (!isBefore(child, last)) break
    heap[at] = child
    at = down
  }
  heap[at] = last
}
