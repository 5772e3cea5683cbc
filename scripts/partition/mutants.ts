/**
 * Builds of the product with one bug in it, to see that a scenario fails with it: the mutants of the simulations, and a few
 * that show in whole processes only.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { autopilotMutants } from '../../test/autopilot/mutants.ts'
import { buildPatched, type SourcePatch } from '../../test/e2e/other-build.ts'
import { gossipMutants } from '../../test/gossip/mutants.ts'
import { mutants as raftMutants } from '../../test/simulation/mutants/mutants.ts'

type Mutant = SourcePatch & { readonly name: string }

/** `file` under src/. */
const ownMutants: readonly Mutant[] = [
  {
    // After its first entries a node keeps the log in memory only.
    name: 'log-stays-in-memory',
    file: 'storage/record-log-store.ts',
    search: 'await writing.write({ sync })',
    replace: 'if (seq < 20) await writing.write({ sync })',
  },
  {
    // Who joins is welcome, and counts for nothing.
    name: 'joiner-is-not-added',
    file: 'node/joins.ts',
    search: "await cluster.change({ kind: 'add-learner', node, promote: false }, stepMs)",
    replace: '',
  },
  {
    // Who leaves ends without having been taken out.
    name: 'leaver-stays-a-voter',
    file: 'node/draining.ts',
    search: 'await leave()',
    replace: 'await Promise.resolve(leave)',
  },
]

const all: readonly Mutant[] = [
  ...ownMutants,
  ...[...raftMutants, ...gossipMutants, ...autopilotMutants].map(({ name, file, search, replace }) => ({
    name,
    file: file.replace(/^src\//, ''),
    search,
    replace,
  })),
]

export function isMutant(name: string): boolean {
  return all.some((mutant) => mutant.name === name)
}

/** The command line of the build with this bug; `remove` it when its last node has ended. */
export async function buildMutant(name: string): Promise<{ cli: string; remove: () => Promise<void> }> {
  const mutant = all.find((each) => each.name === name)
  if (mutant === undefined) throw new Error(`there is no mutant ${name}`)
  const dir = await mkdtemp(path.join(tmpdir(), 'quorate-mutant-'))
  return { cli: await buildPatched(dir, [mutant]), remove: () => rm(dir, { recursive: true, force: true }) }
}
