import { describe, expect, it } from 'vitest'
import { RaftLog } from '../../src/raft/log.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { command, logOfTerms } from './lab.ts'

const log = (...terms: number[]): RaftLog =>
  new RaftLog({ snapshot: null, entries: logOfTerms(['n1' as NodeId], terms) })

describe('the log in memory', () => {
  it('accepts only what continues it', () => {
    expect(() => log(1).append([command(3, 1)])).toThrow(/entry 3 follows 1/)
    expect(() => log(1, 2).append([command(3, 1)])).toThrow(/does not fall/)
    expect(() => new RaftLog({ snapshot: null, entries: [command(1, 1)] })).toThrow(/configuration/)
  })

  it('finds the last entry of at most a term, for every term and place', () => {
    const terms = [1, 1, 3, 3, 3, 4, 7, 7]
    const subject = log(...terms)
    for (let term = 0; term <= 8; term += 1) {
      for (let upTo = 0; upTo <= 10; upTo += 1) {
        const expected = terms.slice(0, upTo).filter((own) => own <= term).length
        expect(subject.lastIndexWithTermAtMost(term, upTo)).toBe(expected)
      }
    }
  })

  it('cuts batches by bytes, but never below one entry', () => {
    const subject = log(1)
    subject.append([2, 3, 4].map((index) => command(index, 1, 'x'.repeat(36))))
    expect([0, 99, 100, 199, 200, 300, 9_999].map((bytes) => subject.batch(2, bytes).length)).toEqual([
      1, 1, 1, 1, 2, 3, 3,
    ])
    expect(subject.batch(5, 9_999)).toEqual([])
    expect(subject.bytesAfter(2)).toBe(200)
    expect(subject.bytesAfter(4)).toBe(0)
  })

  it('counts a write only for entries that still stand when it ends', () => {
    const subject = log(1)
    subject.append([command(2, 2), command(3, 2), command(4, 2)])
    expect(subject.takeUnwritten(1).entries).toHaveLength(3)
    subject.truncateFrom(3)
    subject.append([command(3, 3)])
    expect(subject.takeUnwritten(2)).toMatchObject({ truncateFrom: 3, entries: [{ index: 3, term: 3 }] })
    subject.written(1)
    expect(subject.durableIndex).toBe(2)
    subject.written(2)
    expect(subject.durableIndex).toBe(3)
  })

  it('deletes on the disk only what a batch may have put there', () => {
    const subject = log(1)
    subject.append([command(2, 2)])
    subject.truncateFrom(2)
    expect(subject.hasUnwritten).toBe(false)
    subject.append([command(2, 3)])
    expect(subject.takeUnwritten(1)).toMatchObject({ truncateFrom: null, entries: [{ index: 2, term: 3 }] })
    expect(subject.hasUnwritten).toBe(false)
  })
})
