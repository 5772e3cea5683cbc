import { spell, target } from './draws.ts'
import type { Target } from './draws.ts'
import type { Home } from './fault-atlas.ts'
import { homes } from './fault-atlas.ts'
import { Stream } from './streams.ts'

/**
 * What disks do wrong, as faults of a plan. The atlas has the last word on each: what it does not allow does not happen.
 * `pick` chooses among what is there when it happens.
 */

/** When the node is made to look at its disk again; null: when it comes to that. */
export type Restart = { readonly afterMs: number; readonly how: 'kill' | 'power'; readonly downMs: number } | null

export type StorageFault =
  /** Bytes change where they lie. */
  | {
      readonly kind: 'rot'
      readonly node: Target
      readonly home: Home
      /** The record's value, or its key, or it is gone, or it and those beside it are: a block. */
      readonly how: 'value' | 'key' | 'gone' | 'block'
      readonly pick: number
      readonly restart: Restart
    }
  /** A record of the next batch lands in the place of another. */
  | { readonly kind: 'misdirect'; readonly node: Target; readonly pick: number; readonly restart: Restart }
  /** The next write is reported durable and is not there after the next crash: it alone, or it and all behind it. */
  | {
      readonly kind: 'lose-write'
      readonly node: Target
      readonly home: 'records' | 'votes'
      readonly how: 'alone' | 'tail'
      readonly restart: NonNullable<Restart>
    }
  /** Of what was durable the end is gone. */
  | {
      readonly kind: 'cut-tail'
      readonly node: Target
      readonly home: Home
      readonly count: number
      readonly downMs: number
    }
  /** Its state was found to be another than the others': it tells itself that nothing of its log is to be trusted. */
  | { readonly kind: 'condemn'; readonly node: Target }
  | { readonly kind: 'disk-full'; readonly node: Target; readonly forMs: number }
  /** The node comes back with nothing; after a while its operator removes it and takes it in again. */
  | { readonly kind: 'wipe'; readonly node: Target; readonly downMs: number; readonly operatorMs: number }

type Draw = (stream: Stream, nodes: number, plan: { electionTimeoutMs: number }) => StorageFault

/** Each kind has a stream of its own, and is there in so many of a thousand plans that have any. */
const kinds: Record<StorageFault['kind'], { readonly chance: number; readonly draw: Draw }> = {
  rot: {
    chance: 500,
    draw: (stream, nodes, plan) => ({
      kind: 'rot',
      node: target(stream, nodes),
      home: stream.pick([...homes, 'records']),
      how: stream.pick(['value', 'value', 'key', 'gone', 'block']),
      pick: stream.uint32(),
      restart: stream.chance(200) ? null : restart(stream, plan),
    }),
  },
  misdirect: {
    chance: 300,
    draw: (stream, nodes, plan) => ({
      kind: 'misdirect',
      node: target(stream, nodes),
      pick: stream.uint32(),
      restart: stream.chance(200) ? null : restart(stream, plan),
    }),
  },
  'lose-write': {
    chance: 500,
    draw: (stream, nodes, plan) => ({
      kind: 'lose-write',
      node: target(stream, nodes),
      home: stream.pick(['records', 'records', 'votes']),
      how: stream.pick(['alone', 'tail']),
      restart: restart(stream, plan),
    }),
  },
  'cut-tail': {
    chance: 500,
    draw: (stream, nodes, plan) => ({
      kind: 'cut-tail',
      node: target(stream, nodes),
      home: stream.pick([...homes, 'records']),
      count: stream.between(1, stream.pick([1, 4, 16])),
      downMs: downMs(stream, plan),
    }),
  },
  condemn: { chance: 200, draw: (stream, nodes) => ({ kind: 'condemn', node: target(stream, nodes) }) },
  'disk-full': {
    chance: 300,
    draw: (stream, nodes, plan) => ({ kind: 'disk-full', node: target(stream, nodes), forMs: spell(stream, plan) }),
  },
  wipe: {
    chance: 300,
    draw: (stream, nodes, plan) => ({
      kind: 'wipe',
      node: target(stream, nodes),
      downMs: downMs(stream, plan),
      operatorMs: stream.between(0, 4_000),
    }),
  },
}

export function isStorageFault(fault: { readonly kind: string }): fault is StorageFault {
  return fault.kind in kinds
}

function restart(stream: Stream, plan: { electionTimeoutMs: number }): NonNullable<Restart> {
  const how = stream.chance(500) ? 'power' : 'kill'
  return { afterMs: stream.around(100), how, downMs: downMs(stream, plan) }
}

function downMs(stream: Stream, plan: { electionTimeoutMs: number }): number {
  return stream.chance(500) ? stream.between(1, 50) : spell(stream, plan)
}

/** Not in every plan: lives whose disks are sound go further in other ways. */
export function drawStorageFaults(
  seed: number,
  plan: { voters: number; spares: number; safetyMs: number; electionTimeoutMs: number },
): readonly ({ readonly atMs: number } & StorageFault)[] {
  const swarm = new Stream(seed, 'storage faults')
  if (!swarm.chance(600)) return []
  const faults: ({ readonly atMs: number } & StorageFault)[] = []
  for (const [kind, { chance, draw }] of Object.entries(kinds)) {
    const stream = new Stream(seed, `storage faults ${kind}`)
    if (!stream.chance(chance)) continue
    const perSecond = stream.pick([150, 400, 1_000])
    for (let ms = 500; ms < plan.safetyMs; ms += 100) {
      if (stream.chance(perSecond / 10))
        faults.push({ atMs: ms + stream.below(100), ...draw(stream, plan.voters + plan.spares, plan) })
    }
  }
  return faults
}
