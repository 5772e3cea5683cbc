import { describe, expect, it } from 'vitest'
import type { Clock } from '../../src/std/clock.ts'
import { realClock } from '../../src/std/clock.ts'
import { toJsonText } from '../../src/std/json-text.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { ProposalContent, RefusalReason } from '../../src/raft/messages.ts'
import { silentLog } from '../../src/log/log.ts'
import { Cluster } from '../../src/node/cluster.ts'
import { encodeCommand } from '../../src/state/command-codec.ts'
import type { Command } from '../../src/state/command.ts'
import { encodeSnapshot } from '../../src/state/snapshot.ts'

type Submitted = { id: ProposalId; content: ProposalContent }

function makeCluster(clock: Clock = realClock): {
  cluster: Cluster
  submitted: Submitted[]
  /** Read indexes asked for. */
  asked: number[]
  /** What consensus was told to be applied. */
  applied: number[]
  failures: OperatingError[]
  commit: (n?: number) => void
} {
  const submitted: Submitted[] = []
  const asked: number[] = []
  const applied: number[] = []
  const failures: OperatingError[] = []
  let proposals = 0
  const cluster = new Cluster({
    submit: (id, content) => submitted.push({ id, content }),
    ask: (id) => asked.push(id),
    applied: (index) => applied.push(index),
    nextId: () => `n1.1.${(proposals += 1)}` as ProposalId,
    failed: (why) => failures.push(why),
    clock,
    log: silentLog,
  })
  let index = 0
  return {
    cluster,
    submitted,
    asked,
    applied,
    failures,
    commit(n = submitted.length) {
      const entries = submitted.splice(0, n).map(({ id, content }): Entry => {
        index += 1
        const common = { index, term: 1, id, time: index * 10 }
        return content.kind === 'command'
          ? { ...common, kind: 'command', data: content.data }
          : { ...common, kind: 'configuration', data: new Uint8Array() }
      })
      cluster.committed(entries)
    },
  }
}

function set(key: string, value: unknown): Command {
  return { kind: 'kv-set', key, value: toJsonText(value), expect: null }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'done'
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error)
  }
}

function emptySnapshot(): Uint8Array {
  return new Uint8Array(Buffer.concat([...encodeSnapshot(makeCluster().cluster.capture())]))
}

describe('a node before its cluster', () => {
  it('settles each proposer with the result of its own entry', async () => {
    const { cluster, commit } = makeCluster()
    const first = cluster.propose(set('a', 1), 5000)
    const second = cluster.propose({ kind: 'kv-delete', key: 'missing', expect: null }, 5000)
    commit()
    expect(await first).toEqual({ kind: 'done', revision: 1 })
    expect(await second).toEqual({ kind: 'not-found' })
    expect(cluster.state.kvGet('a')).toEqual({ key: 'a', value: '1', revision: 1 })
  })

  it.each<[RefusalReason, string]>([
    ['no-leader', 'no-leader'],
    ['not-leader', 'no-leader'],
    ['transferring', 'no-leader'],
    ['overloaded', 'overloaded'],
    ['disk-full', 'disk-full'],
    ['too-large', 'too-large'],
    ['overwritten', 'outcome-unknown'],
  ])('answers a proposal refused as %s with %s', async (why, code) => {
    const { cluster, submitted } = makeCluster()
    const outcome = codeOf(cluster.propose(set('a', 1), 5000))
    cluster.refused(submitted[0]?.id ?? ('' as ProposalId), why)
    expect(await outcome).toBe(code)
  })

  it('says outcome-unknown, never failed, when the time is over or the node stops', async () => {
    const { cluster } = makeCluster()
    expect(await codeOf(cluster.propose(set('a', 1), 1))).toBe('outcome-unknown')
    const waiting = codeOf(cluster.propose(set('a', 1), 5000))
    cluster.stop()
    expect(await waiting).toBe('outcome-unknown')
    expect(await codeOf(cluster.propose(set('a', 1), 5000))).toBe('stopped')
  })

  it('says how many proposals and reads wait for their outcome', async () => {
    const { cluster, asked, commit } = makeCluster()
    const [first] = [cluster.propose(set('a', 1), 5000), cluster.propose(set('b', 1), 5000)]
    const read = cluster.barrier(5000)
    expect(cluster.queues).toEqual({ proposals: 2, reads: 1 })
    commit(1)
    await first
    cluster.readable(asked[0] ?? 0, 1)
    await read
    expect(cluster.queues).toEqual({ proposals: 1, reads: 0 })
    commit()
  })

  it('tells consensus up to where it has applied, after each batch', () => {
    const { cluster, applied, commit } = makeCluster()
    for (const key of ['a', 'b', 'c']) void cluster.propose(set(key, 1), 5000)
    commit(2)
    commit()
    expect(applied).toEqual([2, 3])
    cluster.stop()
  })

  it('settles a change of the configuration with its own entry, and says why one is refused', async () => {
    const { cluster, submitted, commit } = makeCluster()
    const node = 'n4' as NodeId
    const added = cluster.change({ kind: 'add-learner', node, promote: true }, 5000)
    expect(submitted[0]?.content).toEqual({ kind: 'change', change: { kind: 'add-learner', node, promote: true } })
    commit()
    await added
    for (const why of ['change-under-way', 'change-refused'] as const) {
      const outcome = codeOf(cluster.change({ kind: 'promote', node }, 5000))
      cluster.refused(submitted.pop()?.id ?? ('' as ProposalId), why)
      expect(await outcome).toBe(why)
    }
    const removed = cluster.change({ kind: 'remove', node }, 5000)
    cluster.refused(submitted.pop()?.id ?? ('' as ProposalId), 'change-refused')
    await expect(removed).rejects.toThrow('remove n4: it is neither voter nor learner, or the only voter')
    expect(cluster.figures.changes).toBe(4)
  })

  it('answers writes under one idempotency key alike and applies the first', async () => {
    const { cluster, commit } = makeCluster()
    const write = (): Promise<unknown> => cluster.proposeOnce({ command: set('a', 1), idempotencyKey: 'k' }, 5000)
    const [first, again] = [write(), write()]
    commit()
    expect([await first, await again]).toEqual([
      { kind: 'done', revision: 1 },
      { kind: 'done', revision: 1 },
    ])
    expect(cluster.figures.answers).toBe(1)
  })

  it('refuses early when too many proposals wait', async () => {
    const { cluster } = makeCluster()
    const waiting = Array.from({ length: 4096 }, () => codeOf(cluster.propose(set('a', 1), 60_000)))
    expect(await codeOf(cluster.propose(set('a', 1), 60_000))).toBe('overloaded')
    cluster.stop()
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['outcome-unknown']))
  })

  it('skips a command that it can not read, as every node does, and goes on', () => {
    const { cluster } = makeCluster()
    const data = new Uint8Array([0xc1, 1, 2, 3])
    cluster.committed([{ index: 1, term: 1, kind: 'command', id: '' as ProposalId, time: 1, data }])
    expect(cluster.state.appliedIndex).toBe(1)
  })

  it('holds an entry out of order to be a broken invariant', () => {
    const { cluster } = makeCluster()
    const entry: Entry = { index: 2, term: 1, kind: 'noop', id: '' as ProposalId, time: 1, data: new Uint8Array() }
    expect(() => cluster.committed([entry])).toThrow('out of order')
  })

  it('begins anew from a snapshot: waiting reads, watches and whoever watches the state hear of it', async () => {
    const source = makeCluster()
    for (const key of ['a', 'b', 'c']) void source.cluster.propose(set(key, 1), 5000)
    source.commit()
    const bytes = new Uint8Array(Buffer.concat([...encodeSnapshot(source.cluster.capture())]))
    const { cluster, asked, applied } = makeCluster()
    const heard: unknown[] = []
    cluster.watch((change) => heard.push(change))
    const watch = cluster.watchKv({ pattern: '*', from: null })
    const told = codeOf(watch.take())
    const read = cluster.barrier(5000)
    cluster.readable(asked[0] ?? 0, 3)
    cluster.restore({ ...at3, bytes })
    expect([cluster.isRestoring, cluster.state.appliedIndex]).toEqual([true, 0])
    await read
    await cluster.settled()
    expect(cluster.isRestoring).toBe(false)
    expect(await told).toBe('compacted')
    expect(heard).toMatchObject([
      { kv: [], sessionsEnded: [], catalog: true, members: true, tokens: true, checks: true },
    ])
    expect(applied).toEqual([3])
    expect(cluster.state.kvGet('c')).toEqual({ key: 'c', value: '1', revision: 3 })
    const data = encodeCommand({ command: set('a', 2), idempotencyKey: null })
    cluster.committed([{ index: 4, term: 1, kind: 'command', id: '' as ProposalId, time: 40, data }])
    expect(cluster.state.kvGet('a')).toEqual({ key: 'a', value: '2', revision: 4 })
    source.cluster.stop()
  })

  it.each([
    ['bytes that are no snapshot', () => new Uint8Array([1, 2, 3]), 'no block begins at byte 0'],
    ['a snapshot of another index', () => emptySnapshot(), 'its state is of index 0'],
  ])('has no state any more after %s, and applies nothing behind it', async (_, makeBytes, why) => {
    const { cluster, applied, failures } = makeCluster()
    const ends = [codeOf(cluster.barrier(5000)), codeOf(cluster.watchKv({ pattern: '*', from: null }).take())]
    cluster.restore({ ...at3, bytes: makeBytes() })
    cluster.committed([{ index: 4, term: 1, kind: 'noop', id: '' as ProposalId, time: 1, data: new Uint8Array() }])
    await cluster.settled()
    cluster.committed([{ index: 5, term: 1, kind: 'noop', id: '' as ProposalId, time: 1, data: new Uint8Array() }])
    expect(failures.map(({ code, message }) => [code, message])).toEqual([
      ['storage-failed', `restore the snapshot at 3: ${why}`],
    ])
    expect([cluster.state.appliedIndex, applied]).toEqual([0, []])
    expect(await Promise.all(ends)).toEqual(['storage-failed', 'storage-failed'])
    expect(() => cluster.known).toThrow('restore the snapshot at 3')
    expect(await codeOf(cluster.propose(set('a', 1), 5000))).toBe('storage-failed')
  })

  it('goes on past reports of the state: no watch is woken, and its progress is that of the log', async () => {
    const { cluster, commit } = makeCluster()
    const heard: unknown[] = []
    cluster.watch(({ kv, checks }) => heard.push([kv.length, checks]))
    const watch = cluster.watchKv({ pattern: '*', from: null })
    let told = 0
    const taken = watch.take().then((events) => (told = events.length))
    const node = 'n1' as NodeId
    const member = { node, generation: 1, addresses: { http: '', peer: '', raft: '' }, labels: {}, version: '' }
    void cluster.propose({ kind: 'member-set', member: { ...member, startedAt: 0 } }, 5000)
    commit()
    const data = new Uint8Array()
    const noops = Array.from({ length: 4095 }, (_, at): Entry => ({
      index: at + 2,
      term: 1,
      kind: 'noop',
      id: '' as ProposalId,
      time: 10,
      data,
    }))
    cluster.committed(noops)
    const report = encodeCommand({
      command: { kind: 'state-digest', node, index: 4096, digest: '0123456789abcdef' },
      idempotencyKey: null,
    })
    cluster.committed([{ index: 4097, term: 1, kind: 'command', id: '' as ProposalId, time: 10, data: report }])
    expect([watch.next, told, cluster.figures.answers]).toEqual([4098, 0, 0])
    expect(heard.slice(1)).toEqual([
      [0, true],
      [0, true],
    ])
    watch.close()
    await taken
  })

  it('that is lost answers nothing any more, and never says of a write that it failed', async () => {
    const { cluster, commit } = makeCluster()
    const settled = cluster.propose(set('a', 1), 5000)
    commit()
    await settled
    const waiting = codeOf(cluster.propose(set('b', 1), 5000))
    cluster.lose(new OperatingError('state-diverged', 'another state'))
    commit()
    expect(await waiting).toBe('outcome-unknown')
    expect(await codeOf(cluster.barrier(5000))).toBe('state-diverged')
    expect(() => cluster.known).toThrow('another state')
    expect(cluster.state.kvGet('b')).toBeUndefined()
  })

  it('ends reads, proposals and watches when it stops', async () => {
    const { cluster } = makeCluster()
    const ends = [codeOf(cluster.barrier(5000)), codeOf(cluster.watchKv({ pattern: '*', from: null }).take())]
    cluster.stop()
    expect(await Promise.all(ends)).toEqual(['stopped', 'stopped'])
    expect(() => cluster.watchKv({ pattern: '*', from: null })).toThrow('this node is stopping')
    expect(await codeOf(cluster.barrier(5000))).toBe('stopped')
  })
})

const at3 = { index: 3, term: 1, time: 30, configuration: makeConfiguration('c1' as ClusterId, ['n1' as NodeId]) }
