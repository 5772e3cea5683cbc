import { describe, expect, it } from 'vitest'
import { snapshotBytesPerSecond, snapshotChunkBytes } from '../../src/consensus/limits.ts'
import { SnapshotReceiving } from '../../src/consensus/snapshot-receiving.ts'
import { SnapshotSending } from '../../src/consensus/snapshot-sending.ts'
import { newCounters } from '../../src/consensus/status-report.ts'
import { StateFeed } from '../../src/consensus/state-feed.ts'
import type { MemberProgress, SnapshotMeta } from '../../src/raft/effects.ts'
import { MemorySnapshotStore } from '../../src/storage/memory-snapshot-store.ts'
import { deferred } from '../../src/std/deferred.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { SnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import { entry, n2, snapshotOf } from '../fixtures/log-batches.ts'
import { waitFor } from '../wait.ts'
import { ManualClock } from './manual-clock.ts'

const n3 = 'n3' as NodeId
const electionTicks = 10
type Of<Kind extends SnapshotMessage['kind']> = SnapshotMessage & { kind: Kind }

/** A sender with a snapshot of so many bytes, whose peers are played by the test. */
async function sender(bytes: number) {
  const clock = new ManualClock()
  const store = new MemorySnapshotStore()
  const snapshot = snapshotOf(10, 2)
  await store.write(snapshot, new Uint8Array(bytes))
  const said: { to: NodeId; message: SnapshotMessage }[] = []
  const failed: NodeId[] = []
  const lines: string[] = []
  const counters = newCounters()
  let state: MemberProgress['state'] = 'snapshot'
  const sending = new SnapshotSending({
    store,
    clock,
    electionTicks,
    send: (to, message) => void said.push({ to, message }),
    progressOf: (node) => ({ node, match: 0, state, isActive: true, isRecovering: false, isDiskFull: false }),
    failed: (peer) => void failed.push(peer),
    counters,
    log: (_, event) => void lines.push(event),
  })
  const saidTo = <Kind extends SnapshotMessage['kind']>(to: NodeId, kind: Kind): Of<Kind>[] =>
    said.flatMap((each) => (each.to === to && each.message.kind === kind ? [each.message as Of<Kind>] : []))
  /** The newest offer to the peer, once there are so many. */
  const offer = (to: NodeId, count = 1): Promise<Of<'snapshot-offer'>> =>
    waitFor(`offer ${count}`, () => {
      const offers = saidTo(to, 'snapshot-offer')
      return offers.length === count && offers.at(-1)
    })
  return {
    clock,
    store,
    snapshot,
    sending,
    failed,
    lines,
    counters,
    saidTo,
    offer,
    chunks: (to: NodeId, count: number) =>
      waitFor(`chunk ${count}`, () => saidTo(to, 'snapshot-chunk').length === count && saidTo(to, 'snapshot-chunk')),
    resume: (to: NodeId, transfer: number, offset: number): void => {
      sending.received(to, { kind: 'snapshot-resume', transfer, offset })
      clock.advance(0)
    },
    ticks: (count: number): void => {
      for (let at = 0; at < count; at += 1) sending.tick()
    },
    raftSays: (next: MemberProgress['state']): void => {
      state = next
    },
  }
}

describe('a snapshot on its way to a peer', () => {
  it('is offered with its size, and sent by the chunk from where the peer asks', async () => {
    const { sending, snapshot, offer, resume, chunks, saidTo, store, lines, clock, counters } = await sender(600_000)
    sending.send(n2, 5, snapshot)
    const { transfer, term, size, snapshot: offered } = await offer(n2)
    expect([term, offered]).toEqual([5, snapshot])
    expect(size).toBe((await store.readChunk(snapshot, 0, 0)).size)
    resume(n2, transfer, 0)
    await chunks(n2, 1)
    resume(n2, transfer, snapshotChunkBytes)
    clock.advance(100)
    const [first, second] = await chunks(n2, 2)
    expect([first?.offset, first?.bytes.length]).toEqual([0, snapshotChunkBytes])
    expect(second?.offset).toBe(snapshotChunkBytes)
    sending.received(n2, { kind: 'snapshot-end', transfer })
    expect(lines).toEqual(['snapshot-sent'])
    expect(counters).toMatchObject({ snapshotsSent: 1, snapshotBytesSent: size })
    expect(sending.oldestIndex).toBe(10)
    expect(saidTo(n3, 'snapshot-offer')).toEqual([])
  })

  it('keeps to a rate, all peers together', async () => {
    const { sending, snapshot, offer, resume, chunks, clock, saidTo } = await sender(4 * snapshotChunkBytes)
    sending.send(n2, 5, snapshot)
    sending.send(n3, 5, snapshot)
    const [one, other] = [await offer(n2), await offer(n3)]
    resume(n2, one.transfer, 0)
    await chunks(n2, 1)
    resume(n3, other.transfer, 0)
    const waitMs = (snapshotChunkBytes * 1000) / snapshotBytesPerSecond
    clock.advance(waitMs / 2)
    await new Promise((resolve) => setImmediate(resolve))
    expect(saidTo(n3, 'snapshot-chunk')).toEqual([])
    clock.advance(waitMs)
    await chunks(n3, 1)
  })

  it('is offered again when nothing is heard, and when a lane opens; answers to earlier offers count no more', async () => {
    const { sending, snapshot, offer, resume, chunks, ticks, saidTo } = await sender(600_000)
    sending.send(n2, 5, snapshot)
    const first = await offer(n2)
    ticks(2 * electionTicks)
    expect(saidTo(n2, 'snapshot-offer')).toHaveLength(1)
    ticks(1)
    const second = await offer(n2, 2)
    sending.laneOpened(n2)
    const third = await offer(n2, 3)
    expect(new Set([first.transfer, second.transfer, third.transfer]).size).toBe(3)
    resume(n2, second.transfer, 0)
    expect(saidTo(n2, 'snapshot-chunk')).toEqual([])
    resume(n2, third.transfer, snapshotChunkBytes)
    expect((await chunks(n2, 1))[0]?.offset).toBe(snapshotChunkBytes)
  })

  it('has failed when it does not move for ten election timeouts; Raft hears of it an election timeout later', async () => {
    const { sending, snapshot, offer, ticks, failed, lines } = await sender(600_000)
    sending.send(n2, 5, snapshot)
    await offer(n2)
    ticks(10 * electionTicks + 1)
    expect([lines, failed]).toEqual([['snapshot-not-sent'], []])
    ticks(electionTicks)
    expect(failed).toEqual([])
    ticks(1)
    expect(failed).toEqual([n2])
    expect(sending.oldestIndex).toBeNull()
  })

  it('has failed when it was delivered and Raft never hears that it is installed', async () => {
    const { sending, snapshot, offer, ticks, failed } = await sender(100)
    sending.send(n2, 5, snapshot)
    const { transfer } = await offer(n2)
    sending.received(n2, { kind: 'snapshot-end', transfer })
    ticks(11 * electionTicks + 2)
    expect(failed).toEqual([n2])
  })

  it('has failed when the peer refuses it, or the disk does', async () => {
    const { sending, snapshot, offer, ticks, failed, store } = await sender(100)
    sending.send(n2, 5, snapshot)
    const { transfer } = await offer(n2)
    sending.received(n2, { kind: 'snapshot-refuse', transfer, why: 'it is damaged' })
    await store.prune(snapshotOf(11, 2))
    sending.send(n3, 5, snapshot)
    await new Promise((resolve) => setImmediate(resolve))
    ticks(electionTicks + 1)
    expect(failed).toEqual([n2, n3])
  })

  it('is over when Raft says so, and leaves no timer', async () => {
    const { sending, snapshot, offer, resume, ticks, failed, clock, raftSays } = await sender(600_000)
    sending.send(n2, 5, snapshot)
    resume(n2, (await offer(n2)).transfer, 0)
    sending.send(n3, 5, snapshot)
    sending.received(n3, { kind: 'snapshot-resume', transfer: (await offer(n3)).transfer, offset: 0 })
    expect(clock.timers).toBe(1)
    raftSays('replicate')
    ticks(1)
    expect([sending.oldestIndex, clock.timers, failed]).toEqual([null, 0, []])
    ticks(100 * electionTicks)
    expect(failed).toEqual([])
  })
})

describe('a snapshot on its way to this node', () => {
  async function receiver(options: { term?: number; commit?: number; roomBytes?: number } = {}) {
    const source = new MemorySnapshotStore()
    const snapshot = snapshotOf(10, 2)
    await source.write(snapshot, new Uint8Array(5000).fill(7))
    const { bytes, size } = await source.readChunk(snapshot, 0, 100_000)
    const store = new MemorySnapshotStore()
    const said: SnapshotMessage[] = []
    const received: SnapshotMeta[] = []
    const counters = newCounters()
    const receiving = new SnapshotReceiving({
      store,
      send: (_, message) => void said.push(message),
      term: () => options.term ?? 5,
      commitIndex: () => options.commit ?? 0,
      received: (what) => void received.push(what.snapshot),
      hasRoomFor: (bytes) => bytes <= (options.roomBytes ?? Infinity),
      counters,
      failed: (error) => {
        throw error
      },
      log: () => undefined,
    })
    const offer = (transfer: number, term = 5): Of<'snapshot-offer'> => ({
      kind: 'snapshot-offer',
      transfer,
      term,
      snapshot,
      size,
    })
    const chunk = (transfer: number, from: number, to: number): Of<'snapshot-chunk'> => ({
      kind: 'snapshot-chunk',
      transfer,
      offset: from,
      bytes: bytes.subarray(from, to),
    })
    const answers = (count: number) => waitFor(`answer ${count}`, () => said.length === count && said)
    return { receiving, offer, chunk, answers, said, received, size, store, snapshot, counters }
  }

  it('is asked for by the chunk, and told when whole', async () => {
    const { receiving, offer, chunk, answers, received, size, store, snapshot, counters } = await receiver()
    receiving.offered(n2, offer(1))
    expect(await answers(1)).toEqual([{ kind: 'snapshot-resume', transfer: 1, offset: 0 }])
    receiving.chunk(n2, chunk(1, 0, 3000))
    expect((await answers(2))[1]).toEqual({ kind: 'snapshot-resume', transfer: 1, offset: 3000 })
    expect(received).toEqual([])
    receiving.chunk(n2, chunk(1, 3000, size))
    expect((await answers(3))[2]).toEqual({ kind: 'snapshot-end', transfer: 1 })
    expect(received).toEqual([snapshot])
    expect(await store.read(snapshot)).toEqual(new Uint8Array(5000).fill(7))
    expect(counters).toMatchObject({ snapshotsReceived: 1, snapshotBytesReceived: size })
    receiving.offered(n2, offer(2))
    expect((await answers(4))[3]).toEqual({ kind: 'snapshot-end', transfer: 2 })
  })

  it('goes on where it was after a new offer, and takes no chunk that it did not ask for', async () => {
    const { receiving, offer, chunk, answers, said } = await receiver()
    receiving.offered(n2, offer(1))
    await answers(1)
    for (const stray of [chunk(9, 0, 3000), chunk(1, 1000, 3000)]) receiving.chunk(n2, stray)
    receiving.chunk(n3, chunk(1, 0, 3000))
    receiving.chunk(n2, chunk(1, 0, 3000))
    receiving.chunk(n2, chunk(1, 0, 3000))
    await answers(2)
    receiving.offered(n2, offer(2))
    expect((await answers(3))[2]).toEqual({ kind: 'snapshot-resume', transfer: 2, offset: 3000 })
    expect(said.filter(({ kind }) => kind !== 'snapshot-resume')).toEqual([])
  })

  it('is answered when the disk is done, if it is offered while that writes', async () => {
    const { receiving, offer, chunk, answers } = await receiver()
    receiving.offered(n2, offer(1))
    await answers(1)
    receiving.chunk(n2, chunk(1, 0, 3000))
    receiving.offered(n2, offer(2))
    receiving.offered(n2, offer(3))
    expect((await answers(3)).slice(1)).toEqual([
      { kind: 'snapshot-resume', transfer: 1, offset: 3000 },
      { kind: 'snapshot-resume', transfer: 3, offset: 3000 },
    ])
    await receiving.end()
  })

  it('of a term that is over is refused', async () => {
    const { receiving, offer, answers } = await receiver({ term: 6 })
    receiving.offered(n2, offer(1))
    expect(await answers(1)).toEqual([{ kind: 'snapshot-refuse', transfer: 1, why: 'term 5 is over' }])
  })

  it('is refused when there is no room for it', async () => {
    const { receiving, offer, answers, size } = await receiver({ roomBytes: 5000 })
    receiving.offered(n2, offer(1))
    const why = `there is no room for its ${size} bytes`
    expect(await answers(1)).toEqual([{ kind: 'snapshot-refuse', transfer: 1, why }])
  })

  it('is not needed when all of it is committed here', async () => {
    const { receiving, offer, answers, received } = await receiver({ commit: 10 })
    receiving.offered(n2, offer(1))
    expect(await answers(1)).toEqual([{ kind: 'snapshot-end', transfer: 1 }])
    expect(received).toHaveLength(1)
  })
})

describe('what the state machine hears', () => {
  function feed() {
    const reads: { snapshot: SnapshotMeta; done: ReturnType<typeof deferred<Uint8Array>> }[] = []
    const store = new MemorySnapshotStore()
    store.read = (snapshot) => {
      const done = deferred<Uint8Array>()
      reads.push({ snapshot, done })
      return done.promise
    }
    const heard: string[] = []
    const made = new StateFeed({
      store,
      events: {
        restore: ({ index }) => void heard.push(`restore ${index}`),
        committed: (entries) => void heard.push(entries.map(({ index }) => index).join()),
      },
      restored: () => void heard.push('restored'),
      failed: (error) => void heard.push(String(error)),
    })
    const read = async (at: number): Promise<void> => {
      reads[at]?.done.resolve(new Uint8Array())
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { made, heard, read, reads }
  }

  it('is a snapshot first, then the entries that came while it was read, then those after', async () => {
    const { made, heard, read } = feed()
    made.apply([entry(1, 1)])
    made.restore(snapshotOf(5, 1))
    made.apply([entry(6, 1), entry(7, 1)])
    made.apply([entry(8, 1)])
    expect(heard).toEqual(['1'])
    await read(0)
    made.apply([entry(9, 1)])
    expect(heard).toEqual(['1', 'restore 5', '6,7,8', 'restored', '9'])
  })

  it('is only the newest of two snapshots in a row, and what is behind that', async () => {
    const { made, heard, read } = feed()
    made.restore(snapshotOf(5, 1))
    made.apply([entry(6, 1)])
    made.restore(snapshotOf(9, 1))
    made.apply([entry(10, 1)])
    await read(0)
    expect(heard).toEqual([])
    await read(1)
    expect(heard).toEqual(['restore 9', '10', 'restored'])
  })

  it('is no failure when a snapshot is gone that a newer one has superseded', async () => {
    const { made, heard, read, reads } = feed()
    made.restore(snapshotOf(5, 1))
    made.restore(snapshotOf(9, 1))
    reads[0]?.done.reject(new Error('deleted'))
    await new Promise((resolve) => setImmediate(resolve))
    expect(made.isRestoring).toBe(true)
    await read(1)
    expect(heard).toEqual(['restore 9', 'restored'])
    expect(made.isRestoring).toBe(false)
  })

  it('is nothing any more after the end', async () => {
    const { made, heard, read } = feed()
    made.restore(snapshotOf(5, 1))
    const ended = made.end()
    await read(0)
    await ended
    made.apply([entry(6, 1)])
    expect(heard).toEqual([])
  })

  it('is a failure when the snapshot can not be read', async () => {
    const { made, heard, reads } = feed()
    made.restore(snapshotOf(5, 1))
    reads[0]?.done.reject(new Error('EIO'))
    await new Promise((resolve) => setImmediate(resolve))
    expect(heard).toEqual(['Error: EIO'])
  })
})
