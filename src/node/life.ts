/**
 * The life of a node beside its process, as a pure table: it serves; it drains, which means that it takes nothing new while
 * what is in flight ends; it is drained; and, when it is to leave the cluster, it leaves. What an operator or a signal wants
 * moves it on, and so do the end of what is in flight and the clock.
 */
export type Phase =
  | 'serving'
  /** New sessions go elsewhere; calls of sessions that are there, and calls of other nodes, are taken. */
  | 'draining'
  /** The last part of the time: nothing is taken any more, so that what is in flight can end within it. */
  | 'closing'
  /** Nothing is in flight, and nothing is taken. */
  | 'drained'
  /** It is taken out of the configuration. There is no way back but where that was refused. */
  | 'leaving'

/** `stop`: of this process alone, by a signal; it comes before what operators want. */
export type Wish = 'drain' | 'leave' | 'stop'

export type Life = {
  readonly phase: Phase
  /** When the node began to drain. */
  readonly sinceMs: number
}

/** What is the case now. Times are of one monotonic clock. */
export type Sight = {
  readonly nowMs: number
  readonly wish: Wish | null
  /** Requests of clients and calls of other nodes that have not ended. */
  readonly inFlight: number
  /** When the last of them ended; -Infinity: there was none. */
  readonly lastEndMs: number
  /** Sessions of clients, which may call at any time. */
  readonly sessions: number
  /** This node leads, and another voter could in its place. */
  readonly hasToHandOver: boolean
  /** It leaves, and surely nothing of that has been done, nor will be unless it is tried again. */
  readonly mayStay: boolean
}

export const firstLife: Life = { phase: 'serving', sinceMs: 0 }

/** The next phase, or the same object where nothing changes. Asked again until then. */
export function nextLife(life: Life, sight: Sight, limitMs: number): Life {
  const { wish, nowMs } = sight
  const { phase } = life
  if (phase === 'leaving' && (wish === 'leave' || wish === 'stop' || !sight.mayStay)) return life
  if (wish === null) return phase === 'serving' ? life : firstLife
  if (phase === 'serving') return { phase: 'draining', sinceMs: nowMs }
  if (phase === 'leaving') return { ...life, phase: 'drained' }
  if (phase === 'drained') return wish === 'leave' ? { ...life, phase: 'leaving' } : life
  if (nowMs >= endMs(life, sight, limitMs)) return { ...life, phase: 'drained' }
  const isClosing = phase === 'draining' && nowMs >= life.sinceMs + limitMs * closingShare
  return isClosing ? { ...life, phase: 'closing' } : life
}

/** In how many ms the clock alone may bring the next phase; null: it never does. */
export function lookAgainMs(life: Life, sight: Sight, limitMs: number): number | null {
  if (life.phase !== 'draining' && life.phase !== 'closing') return null
  const closingMs = life.phase === 'draining' ? life.sinceMs + limitMs * closingShare : Infinity
  return Math.max(0, Math.min(closingMs, endMs(life, sight, limitMs)) - sight.nowMs)
}

/** When the node is drained, if all stays as it is. */
function endMs({ phase, sinceMs }: Life, sight: Sight, limitMs: number): number {
  const latestMs = sinceMs + limitMs
  // A process that stops hands over again in the end; meanwhile nobody waits for that.
  if (sight.inFlight > 0 || (sight.hasToHandOver && sight.wish !== 'stop')) return latestMs
  if (phase === 'closing') return sight.nowMs
  // Who has a session, or sent something just now, may not have noticed yet.
  const quietSinceMs = Math.max(sight.lastEndMs, sight.sessions > 0 ? sinceMs : -Infinity)
  return Math.min(latestMs, quietSinceMs + quietMs)
}

/** Without anything in flight for so long, nothing more is to be expected of who goes by `/readyz`. */
const quietMs = 1000
const closingShare = 0.75
