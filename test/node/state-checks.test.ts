import { describe, expect, it } from 'vitest'
import { ManualClock } from '../consensus/manual-clock.ts'
import { silentLog } from '../../src/log/log.ts'
import type { Log } from '../../src/log/log.ts'
import { StateChecks } from '../../src/node/state-checks.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import { checkInterval } from '../../src/state/checks.ts'
import type { Command } from '../../src/state/command.ts'
import type { StateCheck, StateReader } from '../../src/state/reader.ts'
import { ClusterState } from '../../src/state/state.ts'
import { Random } from '../../src/std/random.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'

const [n1, n2, n3, n4, n5] = ['n1', 'n2', 'n3', 'n4', 'n5'] as [NodeId, NodeId, NodeId, NodeId, NodeId]
const cluster = 'c1' as ClusterId
const three = makeConfiguration(cluster, [n1, n2, n3])
const [a, b, c] = ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb', 'cccccccccccccccc']

/** One word for each report, `n1:a`. */
function reports(text: string): ReadonlyMap<NodeId, string> {
  const words = text.split(' ').filter((word) => word !== '')
  return new Map(words.map((word) => [word.slice(0, 2) as NodeId, word.slice(3).repeat(16)]))
}

type World = {
  node?: NodeId
  configuration?: Configuration
  commitIndex?: number
  checks: readonly StateCheck[]
  members?: readonly NodeId[]
}

function makeChecks(world: World): {
  checks: StateChecks
  proposed: Command[]
  diverged: string[]
  condemned: string[]
  clock: ManualClock
  /** When it was said that the state is another. */
  proposedBefore: () => number
  logged: string[]
  world: World
} {
  const [proposed, diverged, condemned, logged]: [Command[], string[], string[], string[]] = [[], [], [], []]
  const clock = new ManualClock()
  let proposedBefore = 0
  const state = Object.assign(new ClusterState(), {
    checks: () => world.checks,
    members: () => (world.members ?? [n1, n2, n3]).map((node) => ({ node })),
  }) as StateReader
  const log: Log = { ...silentLog, error: (event) => logged.push(event) }
  const checks = new StateChecks({
    node: world.node ?? n1,
    raft: () => ({ configuration: world.configuration ?? three, commitIndex: world.commitIndex ?? 5000 }),
    state,
    propose: (command) => {
      proposed.push(command)
      return new Promise(() => undefined)
    },
    diverged(why) {
      diverged.push(why)
      proposedBefore = proposed.length
    },
    condemn: (why) => condemned.push(why),
    clock,
    random: new Random(1),
    log,
  })
  return { checks, proposed, diverged, condemned, clock, logged, world, proposedBefore: () => proposedBefore }
}

const learning: Configuration = { ...makeConfiguration(cluster, [n2, n3, n4]), learners: [n1] }
const joint: Configuration = { ...three, votersOutgoing: [n1, n4, n5] }
const five = makeConfiguration(cluster, [n1, n2, n3, n4, n5])

describe('a check of the state', () => {
  it.each<[string, Partial<World>, string, string | null, 'diverged' | 'sound' | 'disputed' | 'other']>([
    ['nobody has reported', {}, '', a, 'sound'],
    ['only this node has', {}, 'n1:a', a, 'sound'],
    ['two of three say what this one is', {}, 'n1:a n2:a', a, 'sound'],
    ['two of three say something else', {}, 'n2:b n3:b', a, 'diverged'],
    ['two of three say something else, and this node has reported', {}, 'n1:a n2:b n3:b', a, 'diverged'],
    ['another is alone with something else', {}, 'n1:a n2:a n3:b', a, 'other'],
    ['one against one, and the third has not reported yet', {}, 'n1:a n2:b', a, 'sound'],
    ['three say three things', {}, 'n1:a n2:b n3:c', a, 'disputed'],
    ['this node was not there, as after a snapshot', {}, 'n1:a n2:b n3:b', null, 'other'],
    ['this node was wrong in an earlier life', {}, 'n1:b n2:a n3:a', a, 'other'],
    [
      'one of two says something else',
      { configuration: makeConfiguration(cluster, [n1, n2]) },
      'n1:a n2:b',
      a,
      'disputed',
    ],
    ['who is no voter says something else', {}, 'n1:a n4:b n5:b', a, 'sound'],
    ['this node is a learner, and another than the majority', { configuration: learning }, 'n2:b n3:b', a, 'diverged'],
    ['this node is a learner, and one voter is another', { configuration: learning }, 'n2:b', a, 'sound'],
    ['two of five say something else', { configuration: five }, 'n2:b n3:b', a, 'sound'],
    ['three of five say something else', { configuration: five }, 'n2:b n3:b n4:b', a, 'diverged'],
    [
      'a change of the voters is under way and one majority says something else',
      { configuration: joint },
      'n2:b n3:b',
      a,
      'sound',
    ],
    ['both majorities say something else', { configuration: joint }, 'n2:b n3:b n4:b n5:b', a, 'diverged'],
  ])('when %s', (_, world, told, own, outcome) => {
    const { checks, diverged, logged } = makeChecks({
      ...world,
      checks: [{ index: 4096, own, reports: reports(told) }],
    })
    checks.trigger()
    checks.trigger()
    expect(diverged).toHaveLength(outcome === 'diverged' ? 1 : 0)
    expect(logged).toEqual(
      {
        diverged: ['state-diverged'],
        disputed: ['state-disputed'],
        other: ['state-diverged-elsewhere'],
        sound: [],
      }[outcome],
    )
    checks.stop()
  })

  it('says who is another than whom, and where', () => {
    const { checks, diverged } = makeChecks({ checks: [{ index: 8192, own: a, reports: reports('n2:b n3:b') }] })
    checks.trigger()
    expect(diverged).toEqual([`the state of node n1 at entry 8192 is another (${a}) than that of n2, n3 (${b})`])
    checks.stop()
  })

  it.each<[string, string, number]>([
    ['at once when its report is there', 'n1:a n2:b n3:b', 0],
    ['a little later when its report is still on its way', 'n2:b n3:b', 200],
  ])('has the diverged node condemned %s, once', (_, told, afterMs) => {
    const { checks, diverged, condemned, proposedBefore, clock } = makeChecks({ checks: [check(4096, a, told)] })
    checks.trigger()
    expect([diverged.length, proposedBefore()]).toEqual([1, afterMs === 0 ? 0 : 1])
    clock.advance(afterMs - 1)
    expect(condemned).toEqual([])
    clock.advance(1)
    expect(condemned).toEqual(diverged)
    checks.stop()
    clock.advance(1000)
    expect(condemned).toHaveLength(1)
  })

  it('has the diverged node condemned before it stops', () => {
    const { checks, diverged, condemned, clock } = makeChecks({ checks: [check(4096, a, 'n2:b n3:b')] })
    checks.trigger()
    checks.stop()
    expect(condemned).toEqual(diverged)
    expect([condemned.length, clock.timers]).toEqual([1, 0])
  })

  it('says that one stands against one when the next index has come and a third has not reported', () => {
    const { checks, logged, world } = makeChecks({ checks: [check(4096, a, 'n1:a n2:b')] })
    checks.trigger()
    expect(logged).toEqual([])
    world.checks = [check(8192, a), check(4096, a, 'n1:a n2:b')]
    checks.trigger()
    checks.trigger()
    expect(logged).toEqual(['state-disputed'])
    checks.stop()
  })

  it('finds out too late rather than never: also at an index before the newest', () => {
    const { checks, diverged } = makeChecks({
      checks: [
        { index: 8192, own: c, reports: reports('') },
        { index: 4096, own: a, reports: reports('n2:b n3:b') },
      ],
    })
    checks.trigger()
    expect(diverged).toHaveLength(1)
    checks.stop()
  })

  it.each<[string, World, Command | null]>([
    ['what it is at the newest index', { checks: [check(8192, a), check(4096, b)] }, report(8192, a)],
    ['nothing before there is anything', { checks: [] }, null],
    ['nothing of an index where it was not', { checks: [check(8192, null, 'n2:a'), check(4096, a)] }, null],
    ['nothing twice', { checks: [check(8192, a, 'n1:a')] }, null],
    ['again what it said otherwise in an earlier life', { checks: [check(8192, a, 'n1:b')] }, report(8192, a)],
    ['nothing as a learner', { checks: [check(8192, a)], configuration: learning }, null],
    ['nothing before it is in the directory', { checks: [check(8192, a)], members: [n2, n3] }, null],
    ['what is not long ago', { checks: [check(8192, a)], commitIndex: 8192 + checkInterval - 1 }, report(8192, a)],
    ['nothing of long ago', { checks: [check(8192, a)], commitIndex: 8192 + checkInterval }, null],
  ])('has a node report %s', (_, world, command) => {
    const { checks, proposed } = makeChecks(world)
    checks.trigger()
    checks.trigger()
    expect(proposed).toEqual(command === null ? [] : [command])
    checks.stop()
  })

  it.each<[string, World, unknown]>([
    ['nothing', { checks: [check(4096, a, 'n1:a')] }, { index: 0, digest: null, agreed: [], diverged: [] }],
    [
      'who agrees',
      { checks: [check(4096, a, 'n2:a n1:a')] },
      { index: 4096, digest: a, agreed: [n1, n2], diverged: [] },
    ],
    [
      'nothing of who is no voter',
      { checks: [check(4096, a, 'n1:a n2:a n4:b')] },
      { index: 4096, digest: a, agreed: [n1, n2], diverged: [] },
    ],
    [
      'who does not',
      { checks: [check(4096, a, 'n1:a n2:b n3:a')] },
      { index: 4096, digest: a, agreed: [n1, n3], diverged: [n2] },
    ],
    [
      'that there is no majority',
      { checks: [check(4096, a, 'n1:a n2:b')] },
      { index: 4096, digest: null, agreed: [], diverged: [n1, n2] },
    ],
    [
      'the newest that is settled',
      { checks: [check(8192, a, 'n1:a'), check(4096, a, 'n1:a n2:a')] },
      { index: 4096, digest: a, agreed: [n1, n2], diverged: [] },
    ],
  ])('tells operators %s', (_, world, outcome) => {
    const { checks } = makeChecks(world)
    expect(checks.outcome).toMatchObject(outcome as object)
    checks.stop()
  })
})

function check(index: number, own: string | null, told = ''): StateCheck {
  return { index, own, reports: reports(told) }
}

function report(index: number, digest: string): Command {
  return { kind: 'state-digest', node: n1, index, digest }
}
