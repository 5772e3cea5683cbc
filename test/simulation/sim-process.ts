import type { Clock } from '../../src/std/clock.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { World } from './world.ts'

/** What of an operating system's event loop an event is of: due timers run first, then input, then immediates. */
export type Phase = 'timer' | 'input' | 'immediate'

/** Where a process can be made to die: before each effect, and right behind a write. */
export type Boundary =
  | 'write' // before a batch reaches the disk
  | 'written' // the batch is durable and nobody has been told
  | 'send' // before a frame leaves
  | 'apply' // before committed entries are handed over
  | 'snapshot' // before a step of a snapshot store
  | 'snapshotted' // the step is durable and nobody has been told
  | 'any'

/**
 * One life of one node: whatever runs in it goes through here, so that it can be killed between any two effects, stopped
 * for a while (then timers come late and bunched, and what the sockets hold is read before), and slowed down. What a dead
 * process still computes until its turn ends reaches nothing.
 */
export class SimProcess {
  readonly node: NodeId
  readonly world: World
  readonly clock: Clock
  alive = true
  /** Told when it dies at a boundary. */
  onCrash: () => void = () => undefined
  readonly #options: ProcessOptions
  #pausedUntilUs = 0
  /** While it is stopped, and until what came meanwhile has run: what is due, in order. */
  #held: Record<Phase, (() => void)[]> | null = null
  #armed: { readonly boundary: Boundary; left: number; readonly fire: () => void } | null = null
  readonly #startUs: number

  constructor(world: World, options: ProcessOptions) {
    this.world = world
    this.node = options.node
    this.#options = options
    this.#startUs = world.nowUs
    this.clock = {
      now: () => Math.floor(options.wallMs()),
      monotonic: () => ((world.nowUs - this.#startUs) * options.rate) / 1000 + 5,
      after: (ms, fire) => this.#after(ms, fire),
    }
  }

  /** Runs it in the process after so many microseconds, unless the process is dead by then. */
  later(us: number, phase: Phase, label: string, run: () => void): { cancel(): void } {
    let isCancelled = false
    const event = this.world.after(us, `${this.node} ${label}`, () => {
      if (!isCancelled) this.#enter(phase, () => (isCancelled ? undefined : run()))
    })
    return {
      cancel: () => {
        isCancelled = true
        event.run = null
      },
    }
  }

  /** `setImmediate`: behind the input that is there. */
  readonly afterIo = (run: () => void): void => {
    this.later(this.#options.turnUs(), 'immediate', 'turn', run)
  }

  get isPaused(): boolean {
    return this.#held !== null
  }

  pause(us: number): void {
    if (!this.alive) return
    this.#held ??= { timer: [], input: [], immediate: [] }
    this.#pausedUntilUs = Math.max(this.#pausedUntilUs, this.world.nowUs + us)
    this.world.at(this.#pausedUntilUs, `${this.node} resumes`, () => this.#catchUp())
  }

  /** It dies at the `left`-th boundary of that kind from now on. */
  arm(boundary: Boundary, left: number, fire: () => void): void {
    this.#armed = { boundary, left, fire }
  }

  /** False: the process is dead, and so the effect does not happen. */
  reach(boundary: Boundary): boolean {
    if (!this.alive) return false
    const armed = this.#armed
    if (armed === null || (armed.boundary !== 'any' && armed.boundary !== boundary)) return true
    armed.left -= 1
    if (armed.left > 0) return true
    this.#armed = null
    this.world.note(this.node, () => `falls at the boundary: ${boundary}`)
    armed.fire()
    return this.alive
  }

  disarm(): void {
    this.#armed = null
  }

  end(): void {
    this.alive = false
    this.#held = null
  }

  #after(ms: number, fire: () => void): { cancel(): void } {
    const { rate, haste } = this.#options
    const us = Math.max(0, Math.ceil((ms * 1000) / rate / (ms >= longMs ? haste : 1)))
    return this.later(us + this.#options.lateUs(), 'timer', 'timer', fire)
  }

  #enter(phase: Phase, run: () => void): void {
    if (!this.alive) return
    if (this.#held === null) run()
    else this.#held[phase].push(run)
  }

  /** One thing after the other, as the loop would: timers first, then what the sockets hold, then immediates. */
  #catchUp(): void {
    const held = this.#held
    if (held === null || this.world.nowUs < this.#pausedUntilUs) return
    const next = held.timer.shift() ?? held.input.shift() ?? held.immediate.shift()
    if (next === undefined) {
      this.#held = null
      return
    }
    next()
    this.world.after(0, `${this.node} catches up`, () => this.#catchUp())
  }
}

/** What takes its time, as a scrub does, would never come in so short a life. */
const longMs = 30_000

export type ProcessOptions = {
  readonly node: NodeId
  /** How fast its clock runs, 1 being right. */
  readonly rate: number
  /** How many times too fast it is for what is to come in half a minute or later. */
  readonly haste: number
  /** The wall clock of its machine. */
  readonly wallMs: () => number
  /** How late the next timer is. */
  readonly lateUs: () => number
  /** How long until the loop comes around. */
  readonly turnUs: () => number
}
