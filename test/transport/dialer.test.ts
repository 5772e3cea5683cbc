import { describe, expect, it } from 'vitest'
import { Random } from '../../src/std/random.ts'
import { Dialer } from '../../src/transport/dialer.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

const peer = 'n2' as NodeId

/** A dialler whose address failed many times, parked for a while on the peer's own connection and woken again. */
function wokenAfter(parkedMs: number): { clock: ManualClock; attempts: () => number } {
  const clock = new ManualClock()
  let attempts = 0
  const dialer = new Dialer('127.0.0.1:1', 'ctl', {
    clock,
    random: new Random(1),
    backoff: { minMs: 50, maxMs: 3000 },
    refusedRetryMs: 30_000,
    attempt: () => void (attempts += 1),
  })
  for (let failures = 0; failures < 10; failures += 1) dialer.ended(null, 0)
  dialer.park(peer)
  clock.advance(parkedMs)
  dialer.wake(peer)
  return { clock, attempts: () => attempts }
}

describe('a dialler', () => {
  it('starts from the shortest wait when the connection it was parked on stood for long', () => {
    const { clock, attempts } = wokenAfter(10_000)
    expect(attempts()).toBe(0)
    clock.advance(50)
    expect(attempts()).toBe(1)
  })

  it('goes on with longer waits when that connection broke soon', () => {
    const { clock, attempts } = wokenAfter(9_999)
    clock.advance(50)
    expect(attempts()).toBe(0)
    clock.advance(3000)
    expect(attempts()).toBe(1)
  })
})
