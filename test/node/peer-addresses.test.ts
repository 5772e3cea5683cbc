import { describe, expect, it } from 'vitest'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { Member } from '../../src/state/command.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { PeerAddresses } from '../../src/node/peer-addresses.ts'
import type { PeerAddressesOptions } from '../../src/node/peer-addresses.ts'

const n = (number: number): NodeId => `n${number}` as NodeId

/** n1, and what it does about the others. */
class Lab {
  listed: Member[] = []
  linked: ReturnType<PeerAddressesOptions['linked']> = []
  gossiped: ReturnType<PeerAddressesOptions['gossiped']> = []
  configuration: Configuration | null = null
  dialled: readonly string[] = []
  learned: string[] = []
  readonly addresses = new PeerAddresses({
    node: n(1),
    directory: () => this.listed,
    linked: () => this.linked,
    gossiped: () => this.gossiped,
    configuration: () => this.configuration,
    dial: (addresses) => (this.dialled = addresses),
    learn: (node, raft) => this.learned.push(`${node} ${raft}`),
  })

  voters(...numbers: number[]): void {
    this.configuration = makeConfiguration('c' as ClusterId, numbers.map(n))
  }

  follow(): string[] {
    this.learned = []
    this.addresses.follow()
    return this.learned
  }
}

function told(number: number, generation: number, place = `${number}.${generation}`): Member {
  const addresses = { http: '', peer: place === '' ? '' : `peer:${place}`, raft: place === '' ? '' : `raft:${place}` }
  return { node: n(number), generation, addresses, labels: {}, version: '', startedAt: 0 }
}

function gossiped(number: number, generation: number): { node: NodeId; generation: number; address: string } {
  return { node: n(number), generation, address: `peer:${number}.${generation}` }
}

describe('the addresses of the others', () => {
  it('are the directory’s, each told to consensus once', () => {
    const lab = new Lab()
    lab.voters(1, 2, 3)
    lab.listed = [told(1, 1), told(2, 1), told(3, 1)]
    expect(lab.follow()).toEqual(['n2 raft:2.1', 'n3 raft:3.1'])
    expect(lab.dialled).toEqual(['peer:2.1', 'peer:3.1'])
    expect(lab.follow()).toEqual([])
  })

  it('are those of the newest start, whoever tells of it', () => {
    const lab = new Lab()
    lab.voters(1, 2, 3)
    lab.listed = [told(2, 1), told(3, 5)]
    lab.follow()
    // Gossip knows where to dial; what answers there says the rest.
    lab.gossiped = [gossiped(2, 2), gossiped(3, 4)]
    expect(lab.follow()).toEqual([])
    expect(lab.dialled).toEqual(['peer:2.2', 'peer:3.5'])
    lab.linked = [told(2, 2), told(3, 4)]
    expect(lab.follow()).toEqual(['n2 raft:2.2'])
    expect(lab.dialled).toEqual(['peer:2.2', 'peer:3.5'])
    // The link breaks, and the directory has not been told yet.
    lab.linked = []
    expect(lab.follow()).toEqual([])
    expect(lab.dialled).toEqual(['peer:2.2', 'peer:3.5'])
  })

  it('are completed by whoever knows more of the same start', () => {
    const lab = new Lab()
    lab.voters(1)
    lab.listed = [told(2, 0, '')]
    expect(lab.follow()).toEqual([])
    expect(lab.dialled).toEqual([])
    lab.gossiped = [gossiped(2, 0)]
    lab.linked = [told(2, 0)]
    expect(lab.follow()).toEqual(['n2 raft:2.0'])
    expect(lab.dialled).toEqual(['peer:2.0'])
  })

  it('of raft listeners are dialled by a learner where voters are, and by a voter everywhere', () => {
    const lab = new Lab()
    lab.listed = [told(2, 1), told(3, 1), told(4, 1)]
    lab.voters(2, 3)
    expect(lab.follow()).toEqual(['n2 raft:2.1', 'n3 raft:3.1'])
    expect(lab.dialled).toHaveLength(3)
    lab.voters(1, 2, 3)
    expect(lab.follow()).toEqual(['n4 raft:4.1'])
  })

  it('are all dialled while there are no voters yet', () => {
    const lab = new Lab()
    lab.linked = [told(2, 1), told(3, 1)]
    expect(lab.follow()).toEqual(['n2 raft:2.1', 'n3 raft:3.1'])
    // Who is in no directory is not sought.
    expect(lab.dialled).toEqual([])
  })
})
