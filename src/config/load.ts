/**
 * Configuration from file, environment and flags, the later winning. All problems are found in one go and told together,
 * each with its place, what was expected and the way out. Secrets never stand in a message.
 */
import { readFileSync, statSync } from 'node:fs'
import { closest, distance } from 'fastest-levenshtein'
import { assert } from '../std/assert.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { checkConfig } from './check.ts'
import { noteOf } from './keys.ts'
import { fromText, overridesFromEnvironment, overridesFromFlags, type FlagOverride } from './override.ts'
import { configSchema, namesUnder, schemaAt, type Config } from './schema.ts'
import { isSecretPath } from './secret-keys.ts'
import { keyText, placeText, readSource } from './source.ts'
import type { Environment, Path, Place, Problem, Source } from './source.ts'

export type LoadedConfig = {
  readonly config: Config
  /** Key text to its origin; what is not in it is a default. */
  readonly origins: ReadonlyMap<string, Place>
  /** Keys whose value was made from a variable, with the variables' names. */
  readonly variables: ReadonlyMap<string, readonly string[]>
  readonly warnings: readonly string[]
  /** The file's own map, `${VAR}` as written. */
  readonly written: Readonly<Record<string, unknown>>
}

const fileBytesMax = 1_048_576
const secretBytesMax = 4096

/** `file` null: environment and flags only. Throws `bad-config`. */
export function loadConfig(options: {
  file: string | null
  env: Environment
  flags: readonly FlagOverride[]
}): LoadedConfig {
  const source = options.file === null ? emptySource() : sourceOf(options.file, options.env)
  // Without a map to begin with, nothing that is missing in it is worth telling.
  if (source.problems.some((problem) => problem.key === '')) throw badConfig(source.problems)
  const places = new Map(source.places)
  const fromEnvironment = overridesFromEnvironment(options.env, new Set([...source.variables.values()].flat()))
  convertFilled(source)
  for (const { path, value, place } of [...fromEnvironment.overrides, ...overridesFromFlags(options.flags)]) {
    setAt(source.values, path, value)
    places.set(keyText(path), place)
  }
  const problems = [...source.problems]
  const told = new Set(problems.map((problem) => problem.key))
  const tell = (path: Path, text: string): void => {
    const key = keyText(path)
    if (told.has(key)) return
    told.add(key)
    problems.push({ place: placeOf(path, places, options.file), key, text })
  }
  const config = parse(source.values, tell)
  const warnings = [...fromEnvironment.warnings]
  if (config !== null) {
    readSecretFile(config, { places, tell, warnings })
    checkConfig(config, { tell, warnings })
  }
  if (problems.length > 0) throw badConfig(problems)
  assert(config !== null, 'a configuration without problems has been parsed')
  return { config, origins: places, variables: source.variables, warnings, written: source.written }
}

function sourceOf(file: string, env: Environment): Source {
  let text: string
  try {
    if (statSync(file).size > fileBytesMax)
      throw new OperatingError('bad-config', `the configuration file ${file} is larger than ${fileBytesMax} bytes`)
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause
    throw new OperatingError(
      'bad-config',
      `the configuration file ${file} can not be read; name another with --config`,
      {
        cause,
      },
    )
  }
  return readSource({ file, text, env })
}

function emptySource(): Source {
  return { values: {}, written: {}, places: new Map(), variables: new Map(), problems: [] }
}

/** Texts made from variables become the kind that their key takes, as those of the environment do. */
function convertFilled(source: Source): void {
  const visit = (value: unknown, path: readonly string[]): unknown => {
    if (typeof value === 'string') {
      const schema = source.variables.has(keyText(path)) ? schemaAt(path) : undefined
      const note = schema === undefined ? undefined : noteOf(schema)
      return note === undefined ? value : fromText(value, note.kind)
    }
    if (!isPlainMap(value)) return value
    for (const [name, child] of Object.entries(value)) value[name] = visit(child, [...path, name])
    return value
  }
  visit(source.values, [])
}

/**
 * Parses; where that fails, tells every problem and parses again without the refused values, so that the rules that span
 * keys are checked on what is left.
 */
function parse(values: Record<string, unknown>, tell: (path: Path, text: string) => void): Config | null {
  dropEmpty(values)
  for (let round = 0; round < 2; round += 1) {
    const parsed = configSchema.safeParse(values)
    if (parsed.success) return parsed.data
    for (const issue of parsed.error.issues) {
      const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)))
      if (issue.code === 'unrecognized_keys')
        for (const name of issue.keys) tell([...path, name], unknownKey(path, name))
      else tell(path, wrongValue(values, path))
    }
    for (const issue of parsed.error.issues) {
      if (issue.code === 'unrecognized_keys') for (const name of issue.keys) deleteAt(values, [...issue.path, name])
      else deleteAt(values, issue.path)
    }
  }
  return null
}

/** `key:` with nothing behind it is the default, as if it were not there. */
function dropEmpty(values: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(values)) {
    if (value === null) delete values[name]
    else if (isPlainMap(value)) dropEmpty(value)
  }
}

function unknownKey(section: Path, name: string): string {
  const names = namesUnder(section)
  const familiar = foreignNames[name]
  const near = names.length === 0 ? undefined : closest(name.toLowerCase(), names)
  const isNear = near !== undefined && distance(name.toLowerCase(), near.toLowerCase()) <= Math.max(2, name.length / 3)
  const guess = familiar !== undefined && names.includes(familiar) ? familiar : isNear ? near : undefined
  if (guess !== undefined) return `is no key here; did you mean ${guess}?`
  return `is no key here; the keys are ${names.join(', ')}`
}

/** What other programs' files call our keys. */
const foreignNames: Readonly<Record<string, string>> = {
  servers: 'mcpServers',
  serverUrl: 'url',
  httpUrl: 'url',
  timeout: 'timeoutMs',
  transport: 'type',
  workingDirectory: 'cwd',
}

function wrongValue(values: Record<string, unknown>, path: Path): string {
  const got = isSecretPath(path) ? '' : `, got ${shown(valueAt(values, path))}`
  for (let length = path.length; length > 0; length -= 1) {
    const schema = schemaAt(path.slice(0, length))
    if (schema === undefined) continue
    const note = noteOf(schema)
    if (note === undefined) continue
    const usual = note.default === null || typeof note.default === 'object' ? '' : `; default ${note.default}`
    return `expected ${note.expected}${got} (${note.about}${usual})`
  }
  const names = namesUnder(path)
  return `expected a map${names.length === 0 ? '' : ` with keys of ${names.join(', ')}`}${got}`
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}

function readSecretFile(
  config: Config,
  context: { places: Map<string, Place>; tell: (path: Path, text: string) => void; warnings: string[] },
): void {
  const file = config.cluster.secretFile
  if (file === null) return
  const path = ['cluster', 'secretFile']
  if (config.cluster.secret !== null) {
    const other = context.places.get('cluster.secret')
    context.tell(
      path,
      `cluster.secret is given too (${other === undefined ? 'elsewhere' : placeText(other)}); keep one of them`,
    )
    return
  }
  try {
    const { mode, size } = statSync(file)
    if (size > secretBytesMax) return context.tell(path, `${file} is larger than ${secretBytesMax} bytes`)
    const secret = readFileSync(file, 'utf8').trim()
    if (Buffer.byteLength(secret) < 32)
      context.tell(path, `${file} holds fewer than 32 bytes; make one with: openssl rand -hex 32 > ${file}`)
    if ((mode & 0o077) !== 0)
      context.warnings.push(
        `the secret file ${file} can be read by other users of this machine; run: chmod 600 ${file}`,
      )
    config.cluster.secret = secret
    context.places.set('cluster.secret', { kind: 'file', file, line: 1 })
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown reason'
    context.tell(path, `${file} can not be read (${reason}); make one with: openssl rand -hex 32 > ${file}`)
  }
}

function badConfig(problems: readonly Problem[]): OperatingError {
  const lineOf = (problem: Problem): number => (problem.place.kind === 'file' ? problem.place.line : Infinity)
  const lines = [...problems]
    .sort((a, b) => lineOf(a) - lineOf(b) || (a.key < b.key ? -1 : 1))
    .map((problem) => `${whereText(problem.place)}: ${problem.key === '' ? '' : `${problem.key}: `}${problem.text}`)
  const message =
    lines.length === 1 ? (lines[0] ?? '') : `the configuration has ${lines.length} problems:\n  ${lines.join('\n  ')}`
  return new OperatingError('bad-config', message, { details: { problems: lines } })
}

function whereText(place: Place): string {
  return place.kind === 'default' ? 'without a configuration file' : placeText(place)
}

/** The place of the key, or of the nearest section above it that is in the file. */
function placeOf(path: Path, places: ReadonlyMap<string, Place>, file: string | null): Place {
  for (let length = path.length; length > 0; length -= 1) {
    const place = places.get(keyText(path.slice(0, length)))
    if (place !== undefined) return place
  }
  return file === null ? { kind: 'default' } : { kind: 'file', file, line: 1 }
}

function isPlainMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  let at: unknown = values
  for (const step of path)
    at = typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined
  return at
}

function setAt(values: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = values
  for (const step of path.slice(0, -1)) {
    const child = at[step]
    if (isPlainMap(child)) at = child
    else at = at[step] = {}
  }
  at[path.at(-1) ?? ''] = value
}

/** Takes away what the schema refused: an item of a list goes with its whole list. */
function deleteAt(values: Record<string, unknown>, path: readonly PropertyKey[]): void {
  const end = path.findIndex((step) => typeof step === 'number')
  const keys = end === -1 ? path : path.slice(0, end)
  const parent = valueAt(values, keys.slice(0, -1))
  const last = keys.at(-1)
  if (isPlainMap(parent) && last !== undefined) delete parent[String(last)]
}
