import type { Counter } from 'prom-client'

/** For what is counted elsewhere: a counter that shows that count. */
export function setTotal(counter: Counter, total: number): void {
  counter.reset()
  counter.inc(total)
}
