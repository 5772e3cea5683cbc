import { execFile } from 'node:child_process'
import { cp, readFile, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { repositoryRoot } from '../../scripts/lib/node-process.ts'

/** Text in a file of src/ and what stands in its place in the other build. */
export type SourcePatch = { readonly file: string; readonly search: string; readonly replace: string }

/** Builds a copy of the sources with the patches, in `dir`; answers its main.js. A patch whose text is not there once fails. */
export async function buildPatched(dir: string, patches: readonly SourcePatch[]): Promise<string> {
  for (const name of ['src', 'package.json', 'tsconfig.json'])
    await cp(path.join(repositoryRoot, name), path.join(dir, name), { recursive: true })
  await symlink(path.join(repositoryRoot, 'node_modules'), path.join(dir, 'node_modules'))
  for (const { file, search, replace } of patches) {
    const full = path.join(dir, 'src', file)
    const parts = (await readFile(full, 'utf8')).split(search)
    if (parts.length !== 2)
      throw new Error(`${file} holds ${JSON.stringify(search)} ${parts.length - 1} times, not once`)
    await writeFile(full, parts.join(replace))
  }
  const compiler = path.join(repositoryRoot, 'node_modules/typescript/lib/tsc.js')
  await promisify(execFile)(process.execPath, [compiler, '-p', path.join(dir, 'tsconfig.json')]).catch(
    (error: unknown) => {
      const { stdout } = error as { stdout?: string }
      throw new Error(`the patched sources do not compile:\n${stdout ?? ''}`, { cause: error })
    },
  )
  return path.join(dir, 'dist/cli/main.js')
}
