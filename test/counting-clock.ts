import { realClock, type Clock } from '../src/std/clock.ts'

/** The real clock; `timers` holds one object for each timer that waits now. */
export function countingClock(timers: Set<object>): Clock {
  return {
    ...realClock,
    after(ms, fire) {
      const timer = realClock.after(ms, () => {
        timers.delete(timer)
        fire()
      })
      timers.add(timer)
      return {
        cancel() {
          timers.delete(timer)
          timer.cancel()
        },
      }
    },
  }
}
