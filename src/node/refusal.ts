import { OperatingError } from '../vocabulary/operating-error.ts'
import type { RefusalReason } from '../raft/messages.ts'

/** A refusal of consensus as an operating error. All but `outcome-unknown` say that nothing entered a log. */
export function refusal(title: string, why: RefusalReason): OperatingError {
  switch (why) {
    case 'no-leader':
      return new OperatingError('no-leader', `${title}: no leader is known; an election may be under way`, soon)
    case 'not-leader':
      return new OperatingError('no-leader', `${title}: the leader has just changed`, soon)
    case 'transferring':
      return new OperatingError('no-leader', `${title}: leadership is being handed over`, shortly)
    case 'overloaded':
      return new OperatingError(
        'overloaded',
        `${title}: a limit of waiting, logged or unapplied entries is reached`,
        soon,
      )
    case 'too-large':
      return new OperatingError('too-large', `${title}: larger than a log entry may be`)
    case 'change-under-way':
      return new OperatingError(
        'change-under-way',
        `${title}: another change of the configuration is not committed yet, or the leader is too new to make one`,
        soon,
      )
    case 'change-refused':
      return new OperatingError(
        'change-refused',
        `${title}: it is so already, there is no such node, no voter would be left, or the learner does not follow the log yet`,
      )
    case 'overwritten':
      return new OperatingError(
        'outcome-unknown',
        `${title}: the leader that took it was replaced before it was committed`,
      )
  }
}

const soon = { retry: 'after', retryAfterMs: 1000 } as const
const shortly = { retry: 'after', retryAfterMs: 100 } as const
