/** What comes next in a storm: any fault that the other verbs know, by chance, and now and then its end. */
import type { Random } from '../../src/std/random.ts'
import type { Action, Ways } from './scenario.ts'

export type Weather = {
  readonly up: readonly string[]
  readonly paused: readonly string[]
  readonly down: readonly string[]
  /** No link has a fault. */
  readonly isWhole: boolean
}

export function drawAction(random: Random, { up, paused, down, isWhole }: Weather): Action {
  const all = [...up, ...paused, ...down].toSorted()
  const pick = (from: readonly string[]): string => from[random.below(from.length)] ?? ''
  const ways = (): Ways => {
    const from = pick(all)
    return { from: [from], to: [pick(all.filter((id) => id !== from))], isBothWays: random.below(2) === 0 }
  }
  const choices: (() => Action)[] = [
    () => ({ verb: 'isolate', node: pick(all) }),
    () => ({ verb: 'bridge', node: pick(all) }),
    () => ({ verb: 'cut', ways: ways() }),
    () => ({ verb: 'cut', ways: ways() }),
    () => ({ verb: 'delay', ways: ways(), delayMs: 10 + random.below(300), jitterMs: random.below(100) }),
    () => ({ verb: 'loss', ways: ways(), loss: (1 + random.below(30)) / 100 }),
    () => ({ verb: 'bandwidth', ways: ways(), bytesPerSecond: 1024 * (16 + random.below(240)) }),
  ]
  if (!isWhole) choices.push(...[1, 2, 3].map(() => (): Action => ({ verb: 'heal' })))
  // One at a time, so that a majority is there to be had.
  if (paused.length + down.length === 0 && up.length > 1) {
    choices.push(() => ({ verb: 'pause', node: pick(up) }))
    choices.push(() => ({ verb: 'kill', node: pick(up) }))
  }
  if (paused.length > 0) choices.push(...[1, 2, 3].map(() => (): Action => ({ verb: 'resume', node: null })))
  if (down.length > 0) choices.push(...[1, 2, 3].map(() => (): Action => ({ verb: 'restart', node: null })))
  const choice = choices[random.below(choices.length)]
  return choice === undefined ? { verb: 'heal' } : choice()
}
