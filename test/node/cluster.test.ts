import { describe, expect, it } from 'vitest'
import type { Clock } from '../../src/std/clock.ts'
import { realClock } from '../../src/std/clock.ts'
import { toJsonText } from '../../src/std/json-text.ts'
import type { ProposalId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { RefusalReason } from '../../src/raft/messages.ts'
import { silentLog } from '../../src/log/log.ts'
import { Cluster } from '../../src/node/cluster.ts'
import type { Command } from '../../src/state/command.ts'

type Submitted = { id: ProposalId; data: Uint8Array }

function makeCluster(clock: Clock = realClock): {
  cluster: Cluster
  submitted: Submitted[]
  commit: (n?: number) => void
} {
  const submitted: Submitted[] = []
  let proposals = 0
  const cluster = new Cluster({
    submit: (id, data) => submitted.push({ id, data }),
    nextId: () => `n1.1.${(proposals += 1)}` as ProposalId,
    clock,
    log: silentLog,
  })
  let index = 0
  return {
    cluster,
    submitted,
    commit(n = submitted.length) {
      const entries = submitted.splice(0, n).map(({ id, data }): Entry => {
        index += 1
        return { index, term: 1, kind: 'command', id, data }
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
    ['overloaded', 'overloaded'],
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

  it('lets a read wait for a barrier proposed after it came in, and lets reads share one', async () => {
    const { cluster, submitted, commit } = makeCluster()
    const settled: string[] = []
    const note = (name: string): Promise<unknown> => cluster.barrier(5000).then(() => settled.push(name))
    const first = note('first')
    expect(submitted).toHaveLength(1)
    const others = [note('second'), note('third')]
    expect(submitted).toHaveLength(1)
    commit(1)
    await first
    expect(settled).toEqual(['first'])
    await expect.poll(() => submitted.length).toBe(1)
    commit(1)
    await Promise.all(others)
    expect(settled).toEqual(['first', 'second', 'third'])
  })

  it('tells a read that nobody confirms no-quorum, and one without a leader no-leader', async () => {
    const { cluster, submitted } = makeCluster()
    expect(await codeOf(cluster.barrier(1))).toBe('no-quorum')
    const again = makeCluster()
    const read = codeOf(again.cluster.barrier(5000))
    again.cluster.refused(again.submitted[0]?.id ?? ('' as ProposalId), 'no-leader')
    expect(await read).toBe('no-leader')
    expect(submitted).toHaveLength(1)
    cluster.stop()
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
    cluster.committed([{ index: 1, term: 1, kind: 'command', id: '' as ProposalId, data }])
    expect(cluster.state.appliedIndex).toBe(1)
  })

  it('holds an entry out of order to be a broken invariant', () => {
    const { cluster } = makeCluster()
    const entry: Entry = { index: 2, term: 1, kind: 'noop', id: '' as ProposalId, data: new Uint8Array() }
    expect(() => cluster.committed([entry])).toThrow('out of order')
  })
})
