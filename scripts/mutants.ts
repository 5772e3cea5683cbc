/**
 * Lets the simulation hunt the mutants (test/simulation/mutants): bugs that are put into a copy of the sources one by one.
 * Prints which claim caught each, and after how much. `--only NAME,NAME` hunts some of them, `--markdown` prints the table
 * of docs/TESTING.md. Exit code 1: one survived its budget.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { autopilotMutants } from '../test/autopilot/mutants.ts'
import { gossipMutants } from '../test/gossip/mutants.ts'
import { huntAll } from '../test/simulation/mutants/hunt.ts'
import type { Hunt } from '../test/simulation/mutants/hunt.ts'
import { mutants as raftMutants } from '../test/simulation/mutants/mutants.ts'
import { printTable } from './lib/table.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    markdown: { type: 'boolean', default: false },
    'at-once': { type: 'string', default: String(Math.min(4, availableParallelism())) },
  },
})

const mutants = [...raftMutants, ...gossipMutants, ...autopilotMutants]
const names = values.only?.split(',')
const chosen = names === undefined ? mutants : mutants.filter(({ name }) => names.includes(name))
if (chosen.length === 0 || (names !== undefined && chosen.length !== names.length)) {
  console.error(
    `usage: mutants [--only NAME,NAME] [--markdown] [--at-once 2]; names: ${mutants.map(({ name }) => name).join(', ')}`,
  )
  process.exit(2)
}

const hunts = await huntAll(chosen, {
  atOnce: Number(values['at-once']),
  hunted: ({ mutant, caught, seconds }) =>
    console.error(
      `${mutant.name}: ${caught === null ? 'SURVIVES' : `${caught.after}, ${caught.by}`} (${seconds.toFixed(1)} s)`,
    ),
})

const head = ['mutant', 'class', 'what is wrong', 'caught by', 'after', 'budget']
const rows = hunts.map(rowOf)
if (values.markdown) for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`)
else printTable(head, rows)
const survivors = hunts.filter(({ caught }) => caught === null)
console.log(`${hunts.length - survivors.length} of ${hunts.length} caught`)
process.exitCode = survivors.length === 0 ? 0 : 1

function rowOf({ mutant, caught }: Hunt): string[] {
  const { name, bug, what, within } = mutant
  const budget = typeof within === 'number' ? `${within} seeds` : within
  return [name, bug, what, caught?.by ?? 'nobody', caught?.after ?? 'survives', budget]
}
