import type { Clock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { Deadline } from './deadline.ts'
import type { ChangeLimits } from './needs.ts'
import { timeoutOf } from './request-input.ts'
import type { ApiContext } from './routes.ts'

/** A request that changes something of the cluster. When its time is over nobody knows what became of `what`. */
export type ChangeWithin = <T>(c: ApiContext, what: string, work: (limits: ChangeLimits) => Promise<T>) => Promise<T>

export function makeChangeWithin(clock: Clock): ChangeWithin {
  return (c, what, work) => {
    const late = (): OperatingError =>
      new OperatingError('outcome-unknown', `${what}: no outcome within the time of the request`)
    return new Deadline({ clock, timeoutMs: timeoutOf(c.env.incoming), client: c.env.outgoing }).step(late, work)
  }
}
