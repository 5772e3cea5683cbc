import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ConfigurationChange } from '../raft/configuration.ts'
import type { RefusalReason } from '../raft/messages.ts'

/**
 * A refusal of consensus as an operating error. All but `outcome-unknown` say that nothing entered a log. `change`: what kind
 * of change of the configuration was proposed, if it was one.
 */
export function refusal(
  { title, change }: { readonly title: string; readonly change: ConfigurationChange['kind'] | null },
  why: RefusalReason,
): OperatingError {
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
    case 'disk-full':
      return new OperatingError(
        'disk-full',
        `${title}: the leader's disk, or those of a majority, are full up to what each node keeps for itself (consensus.reserveBytes); make room there`,
        later,
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
        `${title}: ${change === null ? 'the leader does not make it' : senseless[change]}`,
      )
    case 'overwritten':
      return new OperatingError(
        'outcome-unknown',
        `${title}: the leader that took it was replaced before it was committed`,
      )
  }
}

/** Why a leader does not make a change, whenever it is asked for. */
const senseless: Readonly<Record<ConfigurationChange['kind'], string>> = {
  'add-learner': 'it is a voter, or such a learner, already',
  promote: 'it is no learner, or one that does not follow the log yet',
  remove: 'it is neither voter nor learner, or the only voter',
}
const soon = { retry: 'after', retryAfterMs: 1000 } as const
const later = { retry: 'after', retryAfterMs: 5000 } as const
const shortly = { retry: 'after', retryAfterMs: 100 } as const
