import type { NodeId } from '../vocabulary/ids.ts'
import type { Core } from './core.ts'
import { Missing } from './key-values.ts'
import { digestBytesMax } from './limits.ts'
import { isLive } from './member.ts'
import { digestEntryBytes } from './messages.ts'
import type { Delta, DigestEntry } from './messages.ts'

/**
 * How news and key-values get about. Claims that wait do not wait for the next probe: they go to a few random members in
 * messages of their own. Key-values are reconciled by digests with one random member at a time: seldom when nothing is new,
 * as often as news for a while after state has changed here. Gauges change all the time, so they hurry nobody.
 */
export function tickSpreading(core: Core): void {
  tickNews(core)
  if (!core.isRunning) return
  const { digestTicks, newsTicks } = core.options
  const interval = core.tick < core.hotUntilTick ? newsTicks : digestTicks
  core.nextDigestTick = Math.min(core.nextDigestTick, core.tick + interval)
  if (core.tick < core.nextDigestTick) return
  core.nextDigestTick = core.tick + interval
  for (const { node } of core.pick(core.members.live(), 1)) {
    core.send(node, { kind: 'digest-request', digest: digest(core) })
  }
}

/** State is new here: so many digests as a claim is passed on. */
export function heat(core: Core): void {
  core.hotUntilTick = core.tick + core.options.newsTicks * core.transmitsMax()
}

/** Answers with what the asker lacks, and asks for what it has more; says nothing when both have the same. */
export function onDigestRequest(core: Core, from: NodeId, digest: readonly DigestEntry[]): void {
  const missing = new Missing()
  const wanted = digest.filter((entry) => isKnown(core, entry) && missing.compare(entry, valuesOf(core, entry)))
  const deltas = missing.deltas((bound) => core.random.below(bound))
  if (wanted.length === 0 && deltas.length === 0) return
  core.send(from, { kind: 'digest-response', digest: wanted.map((entry) => have(core, entry)), deltas })
}

export function onDigestResponse(core: Core, from: NodeId, digest: readonly DigestEntry[]): void {
  const missing = new Missing()
  for (const entry of digest) if (isKnown(core, entry)) missing.compare(entry, valuesOf(core, entry))
  const deltas = missing.deltas((bound) => core.random.below(bound))
  if (deltas.length > 0) core.send(from, { kind: 'deltas', deltas })
}

export function onDeltas(core: Core, deltas: readonly Delta[]): void {
  for (const delta of deltas) {
    if (delta.owner === core.id || !isKnown(core, delta)) continue
    const { changed, isStateNew } = core.keyValues.apply(delta)
    core.changed.push(...changed)
    if (isStateNew) heat(core)
  }
}

function tickNews(core: Core): void {
  if (core.broadcasts.size === 0 || core.tick < core.nextNewsTick) return
  core.nextNewsTick = core.tick + core.options.newsTicks
  const since = core.tick - core.options.newsToDeadTicks
  const told = core.members
    .all()
    .filter((member) => isLive(member) || (member.status === 'dead' && member.sinceTick >= since))
  for (const { node } of core.pick(told, core.options.newsFanout)) {
    if (core.broadcasts.size > 0) core.send(node, { kind: 'news' })
  }
}

/** Only of processes that are members here: claims admit them, not key-values. */
function isKnown(core: Core, { owner, generation }: { owner: NodeId; generation: number }): boolean {
  if (owner === core.id) return generation === core.generation
  const member = core.members.get(owner)
  return member !== undefined && member.generation === generation && member.status !== 'left'
}

function valuesOf(core: Core, entry: DigestEntry): Parameters<Missing['compare']>[1] {
  return entry.owner === core.id ? core.own.values : core.keyValues.of(entry.owner, entry.generation)
}

/** This node and the live members; or as many as fit, from a random place on. */
function digest(core: Core): DigestEntry[] {
  const owners = [{ node: core.id, generation: core.generation }, ...core.members.live()]
  const start = core.random.below(owners.length)
  const entries: DigestEntry[] = []
  let room = digestBytesMax
  for (const { node, generation } of [...owners.slice(start), ...owners.slice(0, start)]) {
    const entry = have(core, { owner: node, generation })
    room -= digestEntryBytes(entry)
    if (room < 0) break
    entries.push(entry)
  }
  return entries
}

function have(core: Core, { owner, generation }: { owner: NodeId; generation: number }): DigestEntry {
  const values = owner === core.id ? core.own.values : core.keyValues.get(owner)
  const isSame = values?.generation === generation
  return { owner, generation, state: isSame ? values.stateVersion : 0, gauges: isSame ? values.gaugesVersion : 0 }
}
