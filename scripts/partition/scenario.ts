/**
 * Scenarios as text: a comment that says what it is about, then one directive a line.
 *
 *   nodes 3                         form the cluster (3 to 7)
 *   at 2s isolate leader            a step, its time counted from where the workload starts
 *   end 14s                         all is healed then, if no step has, and has to recover
 *   expect gap <= 5s                further claims; the checks run in any case
 *   fails with leaver-stays-a-voter the switch, or the build with a bug, with which a check has to fail (`--prove`)
 *
 * Steps: `isolate NODE`, `split A B | C`, `cut A -> B`, `cut A - B`, `bridge NODE`, `ring`,
 * `flap A - B every 500ms for 5s`, `delay A - B 200ms +-100ms`, `loss A - B 20%`, `bandwidth A - B 64KiB/s`, `pause NODE`,
 * `resume [NODE]`, `kill NODE`, `restart [NODE]`, `join NODE`, `leave NODE`, `drain NODE`, `undrain [NODE]`, `heal`,
 * `storm every 2s for 20s`, and `wait`, until what steps have begun is done, restarted nodes ready among it: all that follows is so much later.
 * A NODE is an id (`n3`), `leader`, or `follower1`, the first of the others that run: looked up when the step runs. Where
 * several nodes may stand, `others` are all that the step does not name. Parsing is strict; errors name the line.
 */
import type { Expectation } from './types.ts'

export type NodeName = string

/** From every node of `from` to every node of `to`; with `isBothWays` back as well. */
export type Ways = {
  readonly from: readonly NodeName[]
  readonly to: readonly NodeName[]
  readonly isBothWays: boolean
}

export type Action =
  | { readonly verb: 'isolate'; readonly node: NodeName }
  | { readonly verb: 'split'; readonly sides: readonly (readonly NodeName[])[] }
  | { readonly verb: 'cut'; readonly ways: Ways }
  | { readonly verb: 'bridge'; readonly node: NodeName }
  | { readonly verb: 'ring' }
  | { readonly verb: 'flap'; readonly ways: Ways; readonly everyMs: number; readonly forMs: number }
  | { readonly verb: 'delay'; readonly ways: Ways; readonly delayMs: number; readonly jitterMs: number }
  | { readonly verb: 'loss'; readonly ways: Ways; readonly loss: number }
  | { readonly verb: 'bandwidth'; readonly ways: Ways; readonly bytesPerSecond: number }
  | { readonly verb: 'pause' | 'kill' | 'join' | 'leave' | 'drain'; readonly node: NodeName }
  /** Null: all that were paused, killed or drained. */
  | { readonly verb: 'resume' | 'restart' | 'undrain'; readonly node: NodeName | null }
  | { readonly verb: 'heal' }
  /** Until what steps have begun is done. */
  | { readonly verb: 'wait' }
  /** Draws a step of its own every so often, from the seed of the run. */
  | { readonly verb: 'storm'; readonly everyMs: number; readonly forMs: number }

export type Step = { readonly line: number; readonly atMs: number; readonly text: string; readonly action: Action }

export type Scenario = {
  readonly about: string
  readonly nodes: number
  /** In the order in which they run. */
  readonly steps: readonly Step[]
  /** Ids of the nodes that join. */
  readonly joining: readonly string[]
  readonly endMs: number
  readonly expectations: readonly Expectation[]
  /** Name of a weakening or of a mutant. */
  readonly failsWith: string | null
}

export class ScenarioError extends Error {
  constructor(line: number, what: string) {
    super(`line ${line}: ${what}`)
  }
}

const nodesMin = 3
const nodesMax = 7
const endMsMax = 10 * 60_000
const directives = 'nodes, at, end, expect, fails'

export function parseScenario(text: string): Scenario {
  const about: string[] = []
  const steps: Step[] = []
  const expectations: Expectation[] = []
  let nodes: number | null = null
  let endMs: number | null = null
  let failsWith: string | null = null
  const lines = text.split('\n')
  for (const [index, raw] of lines.entries()) {
    const line = new Line(index + 1, raw.replace(/#.*/, ''))
    if (raw.startsWith('#') && nodes === null) about.push(raw.replace(/^#\s*/, '').trim())
    if (line.isEmpty) continue
    const directive = line.word(`a directive: ${directives}`)
    if (directive === 'nodes') nodes = once(line, nodes, () => line.integer(nodesMin, nodesMax))
    else if (directive === 'end') endMs = once(line, endMs, () => line.duration())
    else if (directive === 'at') steps.push(parseStep(line))
    else if (directive === 'expect') expectations.push(parseExpectation(line))
    else if (directive === 'fails') failsWith = once(line, failsWith, () => parseFailure(line))
    else throw line.error(`"${directive}" is no directive; there are ${directives}`)
    line.end()
  }
  const last = lines.length
  if (nodes === null) throw new ScenarioError(last, 'nodes is missing')
  if (endMs === null) throw new ScenarioError(last, 'end is missing')
  if (endMs > endMsMax) throw new ScenarioError(last, `end is later than ${endMsMax / 1000}s`)
  const sorted = steps.toSorted((a, b) => a.atMs - b.atMs)
  const joining = checkSteps(sorted, { nodes, endMs })
  return { about: about.join(' '), nodes, steps: sorted, joining, endMs, expectations, failsWith }
}

function parseFailure(line: Line): string {
  line.expect('with')
  return line.word('the name of a switch or of a mutant')
}

function once<T>(line: Line, before: T | null, read: () => T): T {
  if (before !== null) throw line.error('was said before')
  return read()
}

/** What can be told before anything runs; answers who joins. */
function checkSteps(steps: readonly Step[], { nodes, endMs }: { nodes: number; endMs: number }): string[] {
  const known = new Set(Array.from({ length: nodes }, (_, index) => `n${index + 1}`))
  const joining: string[] = []
  for (const { line, atMs, action } of steps) {
    if (atMs > endMs) throw new ScenarioError(line, 'the step is behind the end')
    if ((action.verb === 'flap' || action.verb === 'storm') && atMs + action.forMs > endMs)
      throw new ScenarioError(line, 'the step lasts beyond the end')
    if (action.verb === 'join') {
      if (!/^n\d+$/.test(action.node))
        throw new ScenarioError(line, `"${action.node}" can not join; an id such as n4 can`)
      if (known.has(action.node)) throw new ScenarioError(line, `${action.node} is there already`)
      known.add(action.node)
      joining.push(action.node)
    }
    for (const name of namesOf(action))
      if (/^n\d+$/.test(name) && !known.has(name)) throw new ScenarioError(line, `there is no node ${name} then`)
  }
  return joining
}

function namesOf(action: Action): readonly NodeName[] {
  if ('ways' in action) return [...action.ways.from, ...action.ways.to]
  if ('sides' in action) return action.sides.flat()
  return 'node' in action && action.node !== null ? [action.node] : []
}

function parseStep(line: Line): Step {
  const atMs = line.duration()
  const text = line.rest
  return { line: line.number, atMs, text, action: parseAction(line) }
}

const verbs =
  'isolate, split, cut, bridge, ring, flap, delay, loss, bandwidth, pause, resume, kill, restart, join, leave, drain, undrain, heal, wait, storm'

function parseAction(line: Line): Action {
  const verb = line.word(`a verb: ${verbs}`)
  switch (verb) {
    case 'isolate':
    case 'bridge':
    case 'pause':
    case 'kill':
    case 'join':
    case 'leave':
    case 'drain':
      return { verb, node: line.node() }
    case 'resume':
    case 'restart':
    case 'undrain':
      return { verb, node: line.isEmpty ? null : line.node() }
    case 'ring':
    case 'heal':
    case 'wait':
      return { verb }
    case 'split':
      return { verb, sides: parseSides(line) }
    case 'cut':
      return { verb, ways: parseWays(line) }
    case 'flap':
      return { verb, ways: parseWays(line), ...parsePace(line) }
    case 'storm':
      return { verb, ...parsePace(line) }
    case 'delay': {
      const ways = parseWays(line)
      const delayMs = line.duration()
      return { verb, ways, delayMs, jitterMs: line.isEmpty ? 0 : line.jitter() }
    }
    case 'loss':
      return { verb, ways: parseWays(line), loss: line.percent() }
    case 'bandwidth':
      return { verb, ways: parseWays(line), bytesPerSecond: line.bandwidth() }
    default:
      throw line.error(`"${verb}" is no verb; there are ${verbs}`)
  }
}

function parsePace(line: Line): { everyMs: number; forMs: number } {
  line.expect('every')
  const everyMs = line.duration()
  if (everyMs < 50) throw line.error('every less than 50ms')
  line.expect('for')
  return { everyMs, forMs: line.duration() }
}

function parseWays(line: Line): Ways {
  const from = line.nodes()
  const arrow = line.word('-> or -')
  if (arrow !== '->' && arrow !== '-') throw line.error(`"${arrow}" is neither -> nor -`)
  const to = line.nodes()
  checkNamedOnce(line, [from, to])
  return { from, to, isBothWays: arrow === '-' }
}

function parseSides(line: Line): NodeName[][] {
  const sides = [line.nodes()]
  while (!line.isEmpty) {
    line.expect('|')
    sides.push(line.nodes())
  }
  if (sides.length < 2) throw line.error('a split has sides with | between them')
  checkNamedOnce(line, sides)
  return sides
}

function checkNamedOnce(line: Line, sides: readonly (readonly NodeName[])[]): void {
  const all = sides.flat()
  const twice = all.find((name, index) => all.indexOf(name) !== index)
  if (twice !== undefined) throw line.error(`${twice} is named twice`)
}

const subjects = {
  gap: 'time',
  recovery: 'time',
  availability: 'share',
  leaders: 'count',
  'failed-calls': 'count',
} as const

function parseExpectation(line: Line): Expectation {
  const text = line.rest
  const subject = line.word('a subject')
  if (!isSubject(subject))
    throw line.error(`nothing is known of "${subject}"; of ${Object.keys(subjects).join(', ')} it is`)
  const comparison = line.word('<= or >=')
  if (comparison !== '<=' && comparison !== '>=') throw line.error(`"${comparison}" is neither <= nor >=`)
  const kind = subjects[subject]
  const value = kind === 'time' ? line.duration() : kind === 'share' ? line.percent() : line.integer(0, 1000)
  return { line: line.number, text, subject, comparison, value }
}

function isSubject(text: string): text is keyof typeof subjects {
  return text in subjects
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000 }
const sizes: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 * 1024 }

/** Takes one line apart, word by word. */
class Line {
  readonly number: number
  readonly #words: string[]

  constructor(number: number, text: string) {
    this.number = number
    this.#words = text.split(/\s+/).filter((word) => word !== '')
  }

  get isEmpty(): boolean {
    return this.#words.length === 0
  }

  get rest(): string {
    return this.#words.join(' ')
  }

  error(what: string): ScenarioError {
    return new ScenarioError(this.number, what)
  }

  end(): void {
    if (!this.isEmpty) throw this.error(`"${this.rest}" is too much`)
  }

  word(what: string): string {
    const word = this.#words.shift()
    if (word === undefined) throw this.error(`${what} is missing`)
    return word
  }

  expect(expected: string): void {
    const word = this.word(`"${expected}"`)
    if (word !== expected) throw this.error(`"${expected}" is expected, not "${word}"`)
  }

  node(): NodeName {
    const word = this.word('a node')
    if (!/^(leader|follower[1-9]|n[1-9]\d?)$/.test(word))
      throw this.error(`"${word}" is no node; n1, leader and follower1 are`)
    return word
  }

  /** One or more, up to a word that is none. */
  nodes(): NodeName[] {
    const names: NodeName[] = []
    const isName = (word: string | undefined): boolean => word !== undefined && /^[a-z]+\d*$/.test(word)
    while (names.length === 0 || (isName(this.#words[0]) && this.#words[0] !== 'every'))
      names.push(this.#words[0] === 'others' ? this.word('a node') : this.node())
    return names
  }

  integer(min: number, max: number): number {
    const word = this.word('a number')
    const value = /^\d+$/.test(word) ? Number(word) : Number.NaN
    if (!(value >= min && value <= max)) throw this.error(`"${word}" is no number from ${min} to ${max}`)
    return value
  }

  duration(): number {
    return this.#measure({ units, example: '500ms or 2s' })
  }

  jitter(): number {
    if (this.#words[0]?.startsWith('+-') !== true) throw this.error(`"${this.rest}" is no jitter such as +-100ms`)
    this.#words[0] = this.#words[0].slice(2)
    return this.duration()
  }

  percent(): number {
    const share = this.#measure({ units: { '%': 0.01 }, example: '20%' })
    if (share > 1) throw this.error('more than 100%')
    return share
  }

  bandwidth(): number {
    const perSecond = Object.fromEntries(Object.entries(sizes).map(([unit, bytes]) => [`${unit}/s`, bytes]))
    const value = this.#measure({ units: perSecond, example: '64KiB/s' })
    if (value < 1) throw this.error('less than 1B/s')
    return value
  }

  #measure({ units, example }: { units: Readonly<Record<string, number>>; example: string }): number {
    const word = this.word(`a measure such as ${example}`)
    const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([A-Za-z%/]+)$/.exec(word) ?? []
    const factor = Object.hasOwn(units, unit) ? units[unit] : undefined
    if (digits === undefined || factor === undefined) throw this.error(`"${word}" is no measure such as ${example}`)
    return Number(digits) * factor
  }
}
