import { beforeEach, describe, expect, it } from 'vitest'
import { CommitOutbox } from '../../src/consensus/commit-outbox.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { ManualClock } from './manual-clock.ts'

function entryOf(index: number, id: string): Entry {
  return { index, term: 1, kind: 'command', id: id as ProposalId, time: 1, data: new Uint8Array(0) }
}

describe('the outbox of what was committed', () => {
  let clock: ManualClock
  let posted: number[][]
  let outbox: CommitOutbox

  beforeEach(() => {
    clock = new ManualClock()
    posted = []
    outbox = new CommitOutbox({ clock, post: (entries) => posted.push(entries.map(({ index }) => index)) })
    outbox.start('n1' as NodeId)
  })

  it('lets what this node proposed go at once, behind all that came before it', () => {
    outbox.add([entryOf(1, 'n2.1.1')])
    outbox.add([entryOf(2, 'n11.1.1')])
    expect(posted).toEqual([])
    outbox.add([entryOf(3, 'n2.1.2'), entryOf(4, 'n1.3.1')])
    expect(posted).toEqual([[1, 2, 3, 4]])
    expect(clock.timers).toBe(0)
  })

  it('holds what others proposed for 10 ms, and no more than 1,024 entries', () => {
    outbox.add([entryOf(1, 'n2.1.1')])
    clock.advance(9)
    outbox.add([entryOf(2, 'n2.1.2')])
    expect(posted).toEqual([])
    clock.advance(1)
    expect(posted).toEqual([[1, 2]])
    outbox.add(Array.from({ length: 1023 }, (_, at) => entryOf(3 + at, 'n2.1.3')))
    expect(posted).toHaveLength(1)
    outbox.add([entryOf(1026, '')])
    expect(posted[1]).toHaveLength(1024)
  })

  it('is empty after a flush, and says nothing after its end', () => {
    outbox.flush()
    outbox.add([entryOf(1, 'n2.1.1')])
    outbox.flush()
    outbox.add([entryOf(2, 'n2.1.2')])
    outbox.end()
    clock.advance(1000)
    expect(posted).toEqual([[1]])
    expect(clock.timers).toBe(0)
  })

  it('holds nothing before it is known who this node is', () => {
    const early = new CommitOutbox({ clock, post: (entries) => posted.push(entries.map(({ index }) => index)) })
    early.add([entryOf(1, 'n2.1.1')])
    expect(posted).toEqual([[1]])
  })
})
