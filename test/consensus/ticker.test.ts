import { describe, expect, it } from 'vitest'
import { StatusReport } from '../../src/consensus/status-report.ts'
import { Ticker } from '../../src/consensus/ticker.ts'
import { ManualClock } from './manual-clock.ts'

describe('Ticker', () => {
  function ticker(): { clock: ManualClock; ticker: Ticker; seen: string[]; runAfterIo: () => void } {
    const clock = new ManualClock()
    const seen: string[] = []
    let after: (() => void)[] = []
    const made = new Ticker({
      clock,
      tickMs: 50,
      afterIo: (run) => after.push(run),
      tick: () => seen.push(`tick at ${clock.now()}`),
    })
    const runAfterIo = (): void => {
      const due = after
      after = []
      seen.push('io')
      for (const run of due) run()
    }
    return { clock, ticker: made, seen, runAfterIo }
  }

  it('ticks at its interval without drifting', () => {
    const { clock, ticker: made, seen } = ticker()
    made.start()
    clock.advance(49)
    expect(seen).toEqual([])
    clock.advance(1)
    clock.pause(20)
    clock.advance(80)
    expect(seen).toEqual(['tick at 50', 'tick at 100', 'tick at 150'])
    made.stop()
  })

  it('ticks once after a pause, and only after what the sockets hold was read', () => {
    const { clock, ticker: made, seen, runAfterIo } = ticker()
    made.start()
    clock.pause(1000)
    clock.advance(0)
    expect(seen).toEqual([])
    runAfterIo()
    runAfterIo()
    expect(seen).toEqual(['io', 'io', 'tick at 1000'])
    clock.advance(50)
    expect(seen.slice(3)).toEqual(['tick at 1050'])
    made.stop()
  })

  it('says once that ticks were missed, from when the first one is overdue by an interval', () => {
    const { clock, ticker: made, runAfterIo } = ticker()
    made.start()
    clock.pause(99)
    expect(made.takeMissed()).toBe(false)
    clock.pause(1)
    expect(made.takeMissed()).toBe(true)
    clock.advance(0)
    runAfterIo()
    expect(made.takeMissed()).toBe(true)
    runAfterIo()
    expect([made.takeMissed(), made.takeMissed()]).toEqual([true, false])
    clock.pause(60)
    clock.advance(0)
    expect(made.takeMissed()).toBe(false)
    made.stop()
  })

  it('leaves no timer when it is stopped, also between a pause and its tick', () => {
    const { clock, ticker: made, seen, runAfterIo } = ticker()
    made.start()
    clock.pause(1000)
    clock.advance(0)
    made.stop()
    runAfterIo()
    runAfterIo()
    expect(seen).toEqual(['io', 'io'])
    expect(clock.timers).toBe(0)
  })
})

describe('StatusReport', () => {
  it('pushes the news of who leads at once, even within the 50 ms', () => {
    const clock = new ManualClock()
    const pushes: number[] = []
    const report = new StatusReport({ clock, push: () => pushes.push(clock.now()) })
    report.start()
    clock.advance(10)
    report.leaderChanged()
    expect(pushes).toEqual([0, 10])
    report.stop()
    report.leaderChanged()
    expect([clock.timers, pushes.length]).toEqual([0, 2])
  })

  it('pushes a change at once, then at most every 50 ms, then each second', () => {
    const clock = new ManualClock()
    const pushes: number[] = []
    const report = new StatusReport({ clock, push: () => pushes.push(clock.now()) })
    report.changed()
    expect(pushes).toEqual([])
    report.start()
    for (let ms = 0; ms < 120; ms += 1) {
      report.changed()
      clock.advance(1)
    }
    expect(pushes).toEqual([0, 50, 100])
    clock.advance(100)
    expect(pushes).toEqual([0, 50, 100, 150])
    report.changed()
    expect(pushes).toEqual([0, 50, 100, 150, 220])
    clock.advance(1100)
    expect(pushes.slice(5)).toEqual([1220])
    report.stop()
    report.changed()
    expect([clock.timers, pushes.length]).toEqual([0, 6])
  })
})
