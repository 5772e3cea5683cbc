import { describe, expect, it } from 'vitest'
import { Random } from '../../src/std/random.ts'
import { Dialer } from '../../src/transport/dialer.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { ManualClock } from '../consensus/manual-clock.ts'

const peer = 'n2' as NodeId

/** A dialler whose address failed many times, parked for a while on the peer's own connection and woken again. */
function wokenAfter(parkedMs: number): { clock: ManualClock; dialer: Dialer; attempts: () => number } {
  const clock = new ManualClock()
  let attempts = 0
  const dialer = new Dialer('127.0.0.1:1', 'ctl', {
    clock,
    random: new Random(1),
    backoff: { minMs: 50, maxMs: 3000 },
    refusedRetryMs: 30_000,
    attempt: () => void (attempts += 1),
  })
  for (let failures = 0; failures < 10; failures += 1) dialer.ended(null)
  dialer.park(peer)
  clock.advance(parkedMs)
  dialer.wake(peer)
  return { clock, dialer, attempts: () => attempts }
}

describe('a dialler', () => {
  it('dials at once when a connection closed, and knows whose it was until that is answered', () => {
    const { clock, dialer, attempts } = wokenAfter(10)
    expect(dialer.lost).toBe(peer)
    clock.advance(0)
    expect(attempts()).toBe(1)
    dialer.ended(null)
    expect(dialer.lost).toBeNull()
  })

  it('starts from the shortest wait when the connection it was parked on stood for long', () => {
    const { clock, dialer, attempts } = wokenAfter(10_000)
    clock.advance(0)
    dialer.ended(null)
    expect(attempts()).toBe(1)
    clock.advance(50)
    expect(attempts()).toBe(2)
  })

  it('goes on with longer waits when that connection broke soon', () => {
    const { clock, dialer, attempts } = wokenAfter(9_999)
    clock.advance(0)
    dialer.ended(null)
    clock.advance(50)
    expect(attempts()).toBe(1)
    clock.advance(3000)
    expect(attempts()).toBe(2)
  })

  it('waits before it remakes a connection that breaks again within a second', () => {
    const { clock, dialer, attempts } = wokenAfter(0)
    clock.advance(0)
    dialer.closed(peer, 5)
    expect(dialer.lost).toBe(peer)
    clock.advance(20)
    expect(attempts()).toBe(1)
    clock.advance(3000)
    expect(attempts()).toBe(2)
    dialer.closed(peer, 3000)
    clock.advance(0)
    expect(attempts()).toBe(3)
  })
})
