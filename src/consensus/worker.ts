import { randomBytes, randomUUID } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { ClusterSecret } from '../identity/secret.ts'
import type { Log, LogFields } from '../log/log.ts'
import { assert, unreachable } from '../std/assert.ts'
import { realClock } from '../std/clock.ts'
import { Random } from '../std/random.ts'
import { freeBytes } from '../storage/disk-space.ts'
import { LevelLogStore } from '../storage/level-log-store.ts'
import { SnapshotFileStore } from '../storage/snapshot-file-store.ts'
import { WebSocketTransport, transportDefaults } from '../transport/websocket-transport.ts'
import type { ClusterId } from '../vocabulary/ids.ts'
import { describeError } from '../vocabulary/operating-error.ts'
import { raftLanes } from '../wire/limits.ts'
import { CommitOutbox } from './commit-outbox.ts'
import type { Consensus, ConsensusEvents, ConsensusOptions } from './consensus.ts'
import { takenBytesMax, takenProposalsMax } from './limits.ts'
import { startConsensus } from './start.ts'
import type { ConsensusPorts } from './ports.ts'
import { ownBytes, packEntries, toPlainError, unpackCommands } from './thread-messages.ts'
import type { FromThread, Taken, ToThread } from './thread-messages.ts'

/**
 * The consensus thread's entry: the loop over the real disk and the real network, and a port to the main thread. It ends
 * by itself once it was stopped, because nothing is left in it.
 */
const port = portToMainThread()
const options = workerData as ConsensusOptions
const loopDelayResolutionMs = 20
const loopDelay = monitorEventLoopDelay({ resolution: loopDelayResolutionMs })
loopDelay.enable()
const outbox = new CommitOutbox({
  clock: realClock,
  post(entries) {
    for (const block of packEntries(entries)) post({ kind: 'committed', block, taken: takeTaken() })
  },
})
/** Proposals that have reached the loop, not told yet. */
let taken: Taken = { count: 0, bytes: 0 }

try {
  const { consensus, ...started } = await startConsensus(options, makeEvents(), makePorts())
  outbox.start(started.node)
  post({ kind: 'started', started })
  port.on('message', (message: ToThread) => receive(consensus, message))
} catch (error) {
  post({ kind: 'start-failed', error: toPlainError(error) })
  leave()
}

function receive(consensus: Consensus, message: ToThread): void {
  switch (message.kind) {
    case 'propose': {
      const commands = unpackCommands(message.block)
      for (const { id, data } of commands) consensus.propose(id, { kind: 'command', data })
      return took(commands.length, message.block.bytes.length)
    }
    case 'propose-change':
      consensus.propose(message.id, { kind: 'change', change: message.change })
      return took(1, 0)
    case 'read':
      for (const id of message.ids) consensus.read(id)
      return undefined
    case 'transfer':
      return consensus.transfer(message.to)
    case 'applied':
      return consensus.applied(message.index)
    case 'save-snapshot':
      return consensus.saveSnapshot(message)
    case 'learn-peer':
      return consensus.learnPeer(message.node, message.raftAddress)
    case 'condemn':
      return consensus.condemn(message.why)
    case 'stop':
      void consensus.stop().then(leave)
      return undefined
    default:
      return unreachable(message)
  }
}

/** A message of its own would wake the main thread at every turn. */
function took(count: number, bytes: number): void {
  taken = { count: taken.count + count, bytes: taken.bytes + bytes }
  if (taken.count >= takenProposalsMax || taken.bytes >= takenBytesMax) post({ kind: 'taken', taken: takeTaken() })
}

function takeTaken(): Taken {
  const told = taken
  taken = { count: 0, bytes: 0 }
  return told
}

/** Nothing holds the thread after this. */
function leave(): void {
  outbox.end()
  loopDelay.disable()
  port.close()
}

function makeEvents(): ConsensusEvents {
  return {
    restore({ bytes: stored, ...snapshot }) {
      outbox.flush()
      const bytes = ownBytes(stored)
      port.postMessage({ kind: 'restore', snapshot, bytes } satisfies FromThread, [bytes.buffer])
    },
    committed: (entries) => outbox.add(entries),
    refused: (id, why) => post({ kind: 'refused', id, why }),
    readable(id, index) {
      outbox.flush()
      post({ kind: 'readable', id, index })
    },
    readRefused: (id) => post({ kind: 'read-refused', id }),
    snapshotWanted() {
      outbox.flush()
      post({ kind: 'snapshot-wanted' })
    },
    status: (status) => post({ kind: 'status', status }),
    log: postLine,
    failed: (error) => post({ kind: 'failed', error: toPlainError(error) }),
  }
}

function makePorts(): ConsensusPorts {
  const secret = ClusterSecret.from(options.secret)
  const random = new Random(randomBytes(4).readUInt32LE())
  const { listen, heartbeatMs, electionTimeoutMs } = options
  return {
    store: new LevelLogStore(options.dataDir, { firstGeneration: Math.floor(realClock.now() / 1000) }),
    snapshots: new SnapshotFileStore(options.dataDir),
    makeTransport: (link) =>
      new WebSocketTransport({
        ...transportDefaults,
        ...link,
        listen,
        kind: 'raft',
        lanes: raftLanes,
        secret,
        log: lineLog({}),
        clock: realClock,
        random,
        heartbeatMs,
        // A peer that is silent for longer than this is not led by us either.
        livenessMs: electionTimeoutMs,
        handshakeTimeoutMs: Math.max(transportDefaults.handshakeTimeoutMs, 2 * electionTimeoutMs),
      }),
    clock: realClock,
    afterIo: (run) => void setImmediate(run),
    seed: random.uint32(),
    boot: randomUUID(),
    newClusterId: randomUUID() as ClusterId,
    freeBytes: () => freeBytes(options.dataDir),
    takeLoopDelayMs,
  }
}

/** The histogram counts its own interval with every delay. */
function takeLoopDelayMs(): number {
  const largestMs = loopDelay.max / 1e6 - loopDelayResolutionMs
  loopDelay.reset()
  return Math.max(0, largestMs)
}

function portToMainThread(): MessagePort {
  assert(parentPort !== null, 'the consensus worker runs as a worker thread')
  return parentPort
}

function post(message: FromThread): void {
  port.postMessage(message)
}

function postLine(level: 'debug' | 'info' | 'warn' | 'error', event: string, fields: LogFields): void {
  const plain = Object.entries(fields).map(([name, value]) => [
    name,
    value instanceof Error ? describeError(value) : value,
  ])
  post({ kind: 'log', level, event, fields: Object.fromEntries(plain) as Record<string, unknown> })
}

function lineLog(bound: LogFields): Log {
  return {
    debug: (event, fields) => postLine('debug', event, { ...bound, ...fields }),
    info: (event, fields) => postLine('info', event, { ...bound, ...fields }),
    warn: (event, fields) => postLine('warn', event, { ...bound, ...fields }),
    error: (event, fields) => postLine('error', event, { ...bound, ...fields }),
    child: (fields) => lineLog({ ...bound, ...fields }),
  }
}
