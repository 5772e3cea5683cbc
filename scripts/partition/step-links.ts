/** What a step does to the links, with ids in the place of names. */
import type { Faults } from './link-channel.ts'
import type { Links } from './links.ts'
import type { Action, Ways } from './scenario.ts'

type LinkAction = Exclude<
  Action,
  { verb: 'pause' | 'kill' | 'join' | 'leave' | 'drain' | 'undrain' | 'resume' | 'restart' | 'flap' | 'storm' | 'wait' }
>

/** `all`: the ids of all members, in order. */
export function changeLinks(links: Links, action: LinkAction, all: readonly string[]): void {
  switch (action.verb) {
    case 'heal':
      return links.heal()
    case 'isolate':
      return setWays(links, { from: [action.node], to: without(all, [action.node]), isBothWays: true }, { isCut: true })
    case 'split':
      return keepOnly(links, all, (a, b) => action.sides.some((side) => side.includes(a) && side.includes(b)))
    case 'bridge': {
      const rest = without(all, [action.node])
      const isLeft = (id: string): boolean => rest.indexOf(id) < rest.length / 2
      return keepOnly(links, all, (a, b) => a === action.node || b === action.node || isLeft(a) === isLeft(b))
    }
    case 'ring':
      return keepOnly(links, all, (a, b) => {
        const apart = Math.abs(all.indexOf(a) - all.indexOf(b))
        return apart === 1 || apart === all.length - 1
      })
    case 'cut':
      return setWays(links, action.ways, { isCut: true })
    case 'delay':
      return setWays(links, action.ways, { delayMs: action.delayMs, jitterMs: action.jitterMs })
    case 'loss':
      return setWays(links, action.ways, { loss: action.loss })
    case 'bandwidth':
      return setWays(links, action.ways, { bytesPerSecond: action.bytesPerSecond })
  }
}

export function setWays(links: Links, { from, to, isBothWays }: Ways, faults: Partial<Faults>): void {
  for (const a of from) {
    for (const b of to) {
      links.change(a, b, faults)
      if (isBothWays) links.change(b, a, faults)
    }
  }
}

function keepOnly(links: Links, all: readonly string[], isKept: (a: string, b: string) => boolean): void {
  for (const a of all) for (const b of all) if (a !== b) links.change(a, b, { isCut: !isKept(a, b) })
}

function without(all: readonly string[], some: readonly string[]): string[] {
  return all.filter((id) => !some.includes(id))
}
