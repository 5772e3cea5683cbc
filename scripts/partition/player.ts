/**
 * Plays a scenario's steps at their times: looks up who is meant, changes links, signals processes, has nodes join, leave
 * and drain. What takes its time (a restart, a join) goes on beside the steps that follow; `settle` ends all of it. Tells
 * when the cluster is whole again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { waitFor } from '../../test/wait.ts'
import type { Random } from '../../src/std/random.ts'
import type { LocalCluster, LocalNode } from '../lib/local-cluster.ts'
import type { Links } from './links.ts'
import { resolveNames } from './names.ts'
import { askToDrain, askToLeave, askToServeAgain, makeJoinToken } from './operator.ts'
import type { Action, Scenario, Step, Ways } from './scenario.ts'
import { changeLinks, setWays } from './step-links.ts'
import { drawAction } from './storm.ts'
import type { Recorder } from './timeline.ts'
import type { NodeTarget } from './types.ts'

/** A node that was asked to leave has ended by then. */
const leaveMs = 60_000

type Life = 'planned' | 'up' | 'paused' | 'down' | 'leaving' | 'left'
type Due = {
  readonly atMs: number
  readonly line: number
  readonly text: string
  readonly run: () => Promise<void> | void
  /** What follows is as much later as it takes. */
  readonly isWait?: boolean
}

export class Player {
  readonly #options: PlayerOptions
  readonly #lives = new Map<string, Life>()
  readonly #draining = new Set<string>()
  /** Ended by a step, and not started since. */
  readonly #killed = new Set<string>()
  readonly #ready = new Set<string>()
  /** Steps that still go on. */
  readonly #under = new Set<Promise<void>>()
  readonly #failures: string[] = []
  #agenda: Due[] = []
  /** Flaps and storms that have not ended. */
  #restless = 0
  #isWhole = true

  /** The cluster's nodes run and are ready. */
  constructor(options: PlayerOptions) {
    this.#options = options
    const { cluster } = options
    for (const { id } of cluster.nodes) {
      this.#lives.set(id, 'up')
      this.#ready.add(id)
    }
    for (const { id } of cluster.joiners) this.#lives.set(id, 'planned')
    for (const node of this.#nodes()) node.onEnded((how) => this.#ended(node.id, how))
  }

  /** What steps did not do. */
  get failures(): readonly string[] {
    return this.#failures
  }

  /** Whom clients know. */
  targets(): NodeTarget[] {
    return this.#nodes().filter(({ id }) => this.#ready.has(id) && this.#lives.get(id) !== 'left')
  }

  /** Who should be a member now. */
  members(): NodeTarget[] {
    return this.#in('up', 'paused', 'down', 'leaving')
  }

  get draining(): ReadonlySet<string> {
    return this.#draining
  }

  async play(scenario: Scenario): Promise<void> {
    let beganMs = performance.now()
    const now = (): number => performance.now() - beganMs
    this.#agenda = scenario.steps.map((step) => ({
      ...step,
      run: () => this.#step(step),
      isWait: step.action.verb === 'wait',
    }))
    for (;;) {
      this.#agenda.sort((a, b) => a.atMs - b.atMs)
      const due = this.#agenda.shift()
      if (due === undefined) break
      await sleep(Math.max(0, due.atMs - now()))
      try {
        const runMs = performance.now()
        await due.run()
        if (due.isWait === true) beganMs += performance.now() - runMs
      } catch (error) {
        this.#failures.push(failure(due, error))
      }
      this.#look()
    }
    await sleep(Math.max(0, scenario.endMs - now()))
  }

  /** Heals, resumes, restarts and undrains what no step has, then waits for what is under way. */
  async settle(): Promise<void> {
    if (!this.#options.isHealing) return
    this.#options.links.heal()
    for (const { id } of this.#in('paused')) await this.#resume(id)
    for (const { id } of this.#in('down')) this.#restart(id)
    for (const id of this.#draining) this.#undrain(id)
    await this.#underDone()
    this.#look()
  }

  async #underDone(): Promise<void> {
    while (this.#under.size > 0) await Promise.all(this.#under)
  }

  /** Ends the node though no step asked for that. */
  async lose(id: string): Promise<void> {
    await this.#node(id).kill('SIGKILL')
    this.#lives.set(id, 'down')
    this.#look()
  }

  /** Ends are expected from now on. */
  stopping(): void {
    for (const node of this.#nodes()) node.onEnded((how) => this.#tellProcess(node.id, 'ended', { how }))
  }

  async #step({ line, text, atMs, action }: Step): Promise<void> {
    if (!this.#options.isHealing && ['heal', 'resume', 'restart', 'undrain'].includes(action.verb)) return
    const resolved = await resolveNames(action, { members: this.members(), running: this.#in('up') })
    this.#options.recorder.tell({ kind: 'step', line, text, resolved: describe(resolved) })
    await this.#perform(resolved, { line, text, atMs })
  }

  async #perform(action: Action, at: Omit<Step, 'action'>): Promise<void> {
    switch (action.verb) {
      case 'pause':
        return this.#signal(action.node, { from: 'up', to: 'paused', signal: 'SIGSTOP' })
      case 'kill':
        return this.#signal(action.node, { from: null, to: 'down', signal: 'SIGKILL' })
      case 'resume':
        for (const { id } of this.#in('paused')) if (action.node === null || action.node === id) await this.#resume(id)
        return
      case 'restart':
        for (const { id } of this.#in('down')) if (action.node === null || action.node === id) this.#restart(id)
        return
      case 'join':
        return this.#track(at, this.#join(action.node))
      case 'leave':
        return this.#track(at, this.#leave(action.node))
      case 'drain':
        this.#draining.add(action.node)
        return this.#track(at, askToDrain(this.#in('up'), action.node))
      case 'undrain':
        for (const id of this.#draining) if (action.node === null || action.node === id) this.#undrain(id)
        return
      case 'flap':
        return this.#flap(action, at)
      case 'storm':
        return this.#storm(action, at)
      case 'wait':
        return this.#underDone()
      case 'isolate':
      case 'split':
      case 'cut':
      case 'bridge':
      case 'ring':
      case 'delay':
      case 'loss':
      case 'bandwidth':
      case 'heal':
        return changeLinks(
          this.#options.links,
          action,
          this.members().map(({ id }) => id),
        )
    }
  }

  async #signal(id: string, how: { from: Life | null; to: Life; signal: NodeJS.Signals }): Promise<void> {
    const life = this.#lives.get(id)
    if (how.from === null ? life !== 'up' && life !== 'paused' : life !== how.from) throw new Error(`${id} is ${life}`)
    this.#lives.set(id, how.to)
    if (how.to === 'down') this.#killed.add(id)
    await this.#node(id).kill(how.signal)
    if (how.to === 'paused') this.#tellProcess(id, 'paused')
  }

  async #resume(id: string): Promise<void> {
    this.#lives.set(id, 'up')
    await this.#node(id).kill('SIGCONT')
    this.#tellProcess(id, 'resumed')
  }

  #restart(id: string): void {
    this.#lives.set(id, 'up')
    this.#track(
      { line: 0, text: `restart ${id}` },
      this.#start(id, () => this.#node(id).restart()),
    )
  }

  async #join(id: string): Promise<void> {
    const token = await makeJoinToken(this.#in('up'))
    await this.#start(id, () => this.#node(id).join(token))
  }

  async #start(id: string, start: () => Promise<void>): Promise<void> {
    await this.#options.links.setRunning(id, true)
    this.#killed.delete(id)
    this.#lives.set(id, 'up')
    this.#tellProcess(id, 'started')
    try {
      await start()
    } catch (error) {
      // A step has ended it before it was ready, and another starts it again.
      if (this.#killed.has(id)) return
      throw error
    }
    this.#tellProcess(id, 'ready')
    if (this.#ready.has(id)) return
    this.#ready.add(id)
    this.#options.recorder.follow(this.#node(id))
  }

  #undrain(id: string): void {
    this.#draining.delete(id)
    this.#track({ line: 0, text: `undrain ${id}` }, askToServeAgain(this.#in('up'), id))
  }

  async #leave(id: string): Promise<void> {
    this.#lives.set(id, 'leaving')
    await Promise.all([askToLeave(this.#in('up', 'leaving'), id), this.#untilEnded(id)])
  }

  async #untilEnded(id: string): Promise<void> {
    await waitFor(`${id} to end after it was asked to leave`, () => this.#lives.get(id) !== 'leaving', leaveMs)
  }

  #flap({ ways, everyMs, forMs }: { ways: Ways; everyMs: number; forMs: number }, at: Omit<Step, 'action'>): void {
    const set = (isCut: boolean): void => setWays(this.#options.links, ways, { isCut })
    this.#repeat(
      { everyMs, forMs, at },
      (time) => set(time % 2 === 0),
      () => set(false),
    )
  }

  #storm({ everyMs, forMs }: { everyMs: number; forMs: number }, at: Omit<Step, 'action'>): void {
    const { random, recorder, links } = this.#options
    const draw = async (): Promise<void> => {
      const action = drawAction(random, {
        up: this.#in('up').map(({ id }) => id),
        paused: this.#in('paused').map(({ id }) => id),
        down: this.#in('down').map(({ id }) => id),
        isWhole: links.isWhole,
      })
      recorder.tell({ kind: 'step', line: at.line, text: 'storm', resolved: describe(action) })
      await this.#perform(action, at)
    }
    this.#repeat({ everyMs, forMs, at }, draw, () => undefined)
  }

  #repeat(
    pace: { everyMs: number; forMs: number; at: Omit<Step, 'action'> },
    each: (time: number) => Promise<void> | void,
    last: () => void,
  ): void {
    const { everyMs, forMs, at } = pace
    this.#restless += 1
    const times = Math.ceil(forMs / everyMs)
    for (let time = 0; time < times; time += 1)
      this.#agenda.push({ ...at, atMs: at.atMs + time * everyMs, run: () => each(time) })
    const run = (): void => {
      this.#restless -= 1
      last()
    }
    this.#agenda.push({ ...at, atMs: at.atMs + forMs, run })
  }

  #track(at: Pick<Step, 'line' | 'text'>, work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => void this.#failures.push(failure(at, error)))
      .finally(() => {
        this.#under.delete(tracked)
        this.#look()
      })
    this.#under.add(tracked)
  }

  #ended(id: string, how: string): void {
    const life = this.#lives.get(id)
    const isExpected = life === 'down' || (life === 'leaving' && how === '0')
    this.#tellProcess(id, 'ended', { how, isExpected })
    this.#lives.set(id, life === 'leaving' ? 'left' : 'down')
    void this.#options.links.setRunning(id, false)
    this.#look()
  }

  #tellProcess(
    node: string,
    what: 'started' | 'ready' | 'paused' | 'resumed' | 'ended',
    { how = null, isExpected = true }: { how?: string | null; isExpected?: boolean } = {},
  ): void {
    this.#options.recorder.tell({ kind: 'process', node, what, how, isExpected })
  }

  /** Whether everything is in order again, or no longer. */
  #look(): void {
    const isWhole =
      this.#options.links.isWhole &&
      this.#restless === 0 &&
      this.#under.size === 0 &&
      this.#draining.size === 0 &&
      this.#in('paused', 'down', 'leaving').length === 0
    if (isWhole === this.#isWhole) return
    this.#isWhole = isWhole
    this.#options.whole(isWhole)
  }

  #in(...lives: readonly Life[]): LocalNode[] {
    return this.#nodes().filter(({ id }) => lives.includes(this.#lives.get(id) ?? 'left'))
  }

  #nodes(): LocalNode[] {
    return [...this.#options.cluster.nodes, ...this.#options.cluster.joiners]
  }

  #node(id: string): LocalNode {
    const node = this.#nodes().find((each) => each.id === id)
    if (node === undefined) throw new Error(`there is no node ${id}`)
    return node
  }
}

export type PlayerOptions = {
  readonly cluster: LocalCluster
  readonly links: Links
  readonly recorder: Recorder
  readonly random: Random
  /** False: whatever is broken stays so. */
  readonly isHealing: boolean
  /** Told when the cluster is whole again, or no longer. */
  readonly whole: (isWhole: boolean) => void
}

function failure({ line, text }: Pick<Step, 'line' | 'text'>, error: unknown): string {
  const where = line === 0 ? text : `line ${line}, ${text}`
  return `${where}: ${error instanceof Error ? error.message : String(error)}`
}

/** An action as a line of a scenario would say it. */
function describe(action: Action): string {
  const { verb } = action
  if ('ways' in action) {
    const { from, to, isBothWays } = action.ways
    return `${verb} ${from.join(' ')} ${isBothWays ? '-' : '->'} ${to.join(' ')}${measureOf(action)}`
  }
  if ('sides' in action) return `${verb} ${action.sides.map((side) => side.join(' ')).join(' | ')}`
  return 'node' in action && action.node !== null ? `${verb} ${action.node}` : verb
}

function measureOf(action: Action): string {
  if (action.verb === 'delay') return ` ${action.delayMs}ms +-${action.jitterMs}ms`
  if (action.verb === 'loss') return ` ${Math.round(action.loss * 100)}%`
  return action.verb === 'bandwidth' ? ` ${action.bytesPerSecond}B/s` : ''
}
