import { expect, it } from 'vitest'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import { VersionMismatch } from '../../src/node/version-mismatch.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as NodeId[] as [NodeId, NodeId, NodeId]
const mismatch = new OperatingError('incompatible-version', 'no common version')

function statusOf(voters: NodeId[], leader: NodeId | null = null): RaftStatus {
  return { leader, configuration: makeConfiguration('c1' as ClusterId, voters) } as RaftStatus
}

function watch(raft: RaftStatus | null): { watched: VersionMismatch; stops: OperatingError[] } {
  const stops: OperatingError[] = []
  const watched = new VersionMismatch((error) => stops.push(error))
  watched.status(raft)
  return { watched, stops }
}

it('a node stops once a majority of the voters speaks no version that it speaks', () => {
  const { watched, stops } = watch(statusOf([n1, n2, n3]))
  watched.met(n1, mismatch)
  expect(stops).toEqual([])
  watched.met(n2, mismatch)
  expect(stops).toEqual([mismatch])
})

it('a node that learns who counts only later stops then', () => {
  const { watched, stops } = watch(null)
  watched.met(n1, mismatch)
  watched.met(n2, mismatch)
  expect(stops).toEqual([])
  watched.status(statusOf([n1, n2, n3]))
  expect(stops).toEqual([mismatch])
})

it('a node that joins a cluster stops at the first member that speaks another version', () => {
  const { watched, stops } = watch(statusOf([]))
  watched.met(n1, mismatch)
  expect(stops).toEqual([mismatch])
})

it('a node goes on beside those that do not count, or that speak its version again', () => {
  const { watched, stops } = watch(statusOf([n1, n2, n3]))
  watched.met('n9' as NodeId, mismatch)
  watched.met(n1, mismatch)
  watched.linked(n1)
  watched.met(n2, mismatch)
  expect(stops).toEqual([])
})

it('a node that has known a leader goes on', () => {
  const { watched, stops } = watch(statusOf([n1, n2, n3], n1))
  watched.status(statusOf([n1, n2, n3]))
  watched.met(n1, mismatch)
  watched.met(n2, mismatch)
  expect(stops).toEqual([])
})
