import type { Mutant } from './mutant.ts'

/** Bugs of who decides who votes, for lives in which nodes join, fall and stay away. */
const joining = 'test/simulation/joining.test.ts'

export const joiningMutants: readonly Mutant[] = [
  {
    name: 'gossip-alone-says-who-is-dead',
    bug: 'own',
    what: 'autopilot takes for dead whom gossip does, though Raft hears from it',
    file: 'src/autopilot/health.ts',
    search: 'return raft.progress.find((member) => member.node === node)?.isActive !== true\n}',
    replace: 'return true\n}',
    within: joining,
  },
  {
    name: 'raft-alone-says-who-is-dead',
    bug: 'own',
    what: 'autopilot takes for dead whom Raft does not hear, though gossip sees it live',
    file: 'src/autopilot/health.ts',
    search: "  if (status === 'alive' || status === 'suspect') return false\n",
    replace: '',
    within: joining,
  },
  {
    name: 'dead-for-a-moment-is-dead',
    bug: 'own',
    what: 'a voter is removed or replaced as soon as it is silent',
    file: 'src/autopilot/autopilot.ts',
    search: 'return this.#isGone(node) && this.#of(node).deadMs >= this.#options.deadVoterMs',
    replace: 'return this.#isGone(node)',
    within: joining,
  },
  {
    name: 'voters-shrink-to-two',
    bug: 'own',
    what: 'the dead are removed until two voters are left',
    file: 'src/autopilot/limits.ts',
    search: 'export const votersLeftMin = 3',
    replace: 'export const votersLeftMin = 1',
    within: joining,
  },
  {
    name: 'pairs-are-never-promoted',
    bug: 'own',
    what: 'an odd number of voters never grows, however many learners are ready',
    file: 'src/autopilot/autopilot.ts',
    search: 'if (staying.length % 2 === 1 && second === undefined) {',
    replace: 'if (staying.length % 2 === 1) {',
    within: joining,
  },
]
