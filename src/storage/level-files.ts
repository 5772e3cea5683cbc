import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import { parseBatch, parseLog, parseManifest, parseTable } from './level-format.ts'
import type { Change, Manifest } from './level-format.ts'
import type { RecordReader, Row } from './records.ts'
import { isMissing } from './slot-file.ts'

/**
 * Proves the files of a LevelDB folder sound before LevelDB sees them, which would believe a damaged table and pass over a
 * lost one's log; and reads what is left of a damaged folder. Changes nothing. The tail of a write-ahead log is not judged:
 * what a crash leaves of it looks like damage. What the log lost by it, its hash chain and head tell.
 */

/**
 * `new`: nothing was ever written. `unmade`: neither, but what stands there of its making, which a power cut met, LevelDB
 * refuses to open.
 */
export async function inspectFolder(folder: string): Promise<'new' | 'unmade' | 'sound' | { readonly why: string }> {
  const names = await namesIn(folder)
  if (!names.includes('CURRENT')) {
    const made = names.find((name) => fileNumber(name, 'table') !== null || fileNumber(name, 'log') !== null)
    const later = names.find((name) => name.startsWith('MANIFEST-') && name !== firstManifest)
    const left = made ?? later
    return left === undefined ? 'new' : { why: `the file CURRENT is missing beside ${left}` }
  }
  const logBytes = await readLogs(folder, names)
  const manifest = await readManifest(folder)
  if (typeof manifest === 'string') {
    const isEmpty = logBytes === 0 && !names.some((name) => fileNumber(name, 'table') !== null)
    return isEmpty && (await currentManifest(folder)) === firstManifest ? 'unmade' : { why: manifest }
  }
  const { logNumber, tables } = manifest
  if (logNumber !== 0 && !names.some((name) => fileNumber(name, 'log') === logNumber))
    return { why: `the write-ahead log ${numbered(logNumber)}.log is missing` }
  for (const { number, size } of tables) {
    const why = await tableDamage(folder, names, { number, size })
    if (why !== null) return { why }
  }
  return 'sound'
}

/** Which files hold the records; what is wrong with CURRENT or the manifest as a sentence. */
export async function readManifest(folder: string): Promise<Manifest | string> {
  const name = await currentManifest(folder)
  if (name === undefined) return 'the file CURRENT is damaged: it names no manifest'
  const bytes = await readIfThere(path.join(folder, name))
  if (bytes === null) return `the file ${name} is missing`
  const { records, badAt, isTail } = parseLog(bytes)
  if (badAt !== null && !isTail) return `the file ${name} is damaged at byte ${badAt}`
  return parseManifest(records) ?? `the file ${name} is damaged: it does not say which files hold the records`
}

async function currentManifest(folder: string): Promise<string | undefined> {
  const current = await readIfThere(path.join(folder, 'CURRENT'))
  return /^(MANIFEST-\d+)\n$/.exec(new TextDecoder().decode(current ?? new Uint8Array()))?.[1]
}

/**
 * How many bytes stand in the write-ahead logs. One that can not be read now, for want of a permission or of handles, LevelDB
 * would pass over, and delete: so that is an error here.
 */
async function readLogs(folder: string, names: readonly string[]): Promise<number> {
  let read = 0
  for (const name of names)
    if (fileNumber(name, 'log') !== null) read += (await readIfThere(path.join(folder, name)))?.length ?? 0
  return read
}

async function tableDamage(
  folder: string,
  names: readonly string[],
  { number, size }: { number: number; size: number },
): Promise<string | null> {
  const name = tableName(names, number)
  const bytes = name === undefined ? null : await readIfThere(path.join(folder, name))
  if (name === undefined || bytes === null) return `the table ${numbered(number)}.ldb is missing`
  if (bytes.length !== size) return `the table ${name} has ${bytes.length} bytes, ${size} were written`
  const table = parseTable(bytes)
  if (typeof table === 'string') return `the table ${name} is damaged: ${table}`
  const [bad] = table.bad
  return bad === undefined ? null : `the table ${name} is damaged: ${bad.why}`
}

/** What can be read of a damaged folder: of each key the newest change in the sound blocks of whatever files are there. */
export async function salvage(folder: string): Promise<RecordReader> {
  const newest = new Map<string, Change>()
  const take = (changes: readonly Change[]): void => {
    for (const change of changes) {
      const name = nameOfKey(change.key)
      if ((newest.get(name)?.seq ?? -1) < change.seq) newest.set(name, change)
    }
  }
  const names = await namesIn(folder)
  const manifest = await readManifest(folder)
  // Files that the manifest has done with hold what was deleted since.
  const isLive = (name: string): boolean => {
    const [table, log] = [fileNumber(name, 'table'), fileNumber(name, 'log')]
    if (table !== null) return typeof manifest === 'string' || manifest.tables.some(({ number }) => number === table)
    return log !== null && (typeof manifest === 'string' || log >= manifest.logNumber)
  }
  for (const name of names.filter(isLive)) {
    const bytes = await readIfThere(path.join(folder, name))
    if (bytes === null) continue
    if (fileNumber(name, 'log') !== null) for (const record of parseLog(bytes).records) take(parseBatch(record))
    else {
      const table = parseTable(bytes)
      if (typeof table !== 'string') take(table.changes())
    }
  }
  const rows: Row[] = []
  for (const name of [...newest.keys()].sort()) {
    const { key, value } = newest.get(name) ?? { key: null, value: null }
    if (key !== null && value !== null) rows.push([key, value])
  }
  return readerOf(rows)
}

/** Over rows in the order of their keys. */
function readerOf(rows: readonly Row[]): RecordReader {
  return {
    get: (key) => Promise.resolve(rows.find((row) => Buffer.compare(row[0], key) === 0)?.[1]),
    iterate(from, to) {
      let left = rows.filter(([key]) => Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0)
      return {
        next() {
          const taken = left
          left = []
          return Promise.resolve(taken)
        },
        close: () => Promise.resolve(),
      }
    },
  }
}

/** Its order is that of the bytes. */
function nameOfKey(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

export function fileNumber(name: string, kind: 'log' | 'table'): number | null {
  const match = kind === 'log' ? /^(\d+)\.log$/.exec(name) : /^(\d+)\.(?:ldb|sst)$/.exec(name)
  return match === null ? null : Number(match[1])
}

export function tableName(names: readonly string[], number: number): string | undefined {
  return names.find((name) => fileNumber(name, 'table') === number)
}

export function numbered(number: number): string {
  return String(number).padStart(6, '0')
}

export async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/** Null: there is none. */
export async function readIfThere(file: string): Promise<Uint8Array | null> {
  try {
    return await readFile(file)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** LevelDB begins another each time that it opens: as soon as there is anything to lose, CURRENT names a later one. */
const firstManifest = 'MANIFEST-000001'
