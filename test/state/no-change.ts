import type { StateChange } from '../../src/state/reader.ts'

/** What watchers are told when nothing has changed: a test names only what has. */
export const noChange: StateChange = {
  kv: [],
  catalog: false,
  members: false,
  tokens: false,
  sessionsEnded: [],
  sessionsPinned: [],
  checks: false,
}
