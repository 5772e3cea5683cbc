/**
 * Values from outside the file: `QUORATE_<PATH>` variables and flags. Texts become the kind that the key takes; a list is
 * comma-separated. Maps (labels, servers) have no such form.
 */
import { closest } from 'fastest-levenshtein'
import { unreachable } from '../std/assert.ts'
import type { KeyNote } from './keys.ts'
import { configKeys, type Key } from './schema.ts'
import { keyText, type Environment, type Place } from './source.ts'

/** A flag's value for a key, for example `{key: 'node.id', flag: '--node-id', value: 'n1'}`. */
export type FlagOverride = { readonly key: string; readonly flag: string; readonly value: string }

export type Override = { readonly path: readonly string[]; readonly value: unknown; readonly place: Place }

const overridable = configKeys.filter((key) => key.path[0] !== 'mcpServers' && key.note.kind !== 'map')
const keyOfVariable = new Map(overridable.map((key) => [variableName(key.path), key]))

/** Variables of the programs themselves, which are no configuration keys. */
const otherVariables: readonly string[] = ['QUORATE_URL']

/** `consensus.heartbeatMs` -> `QUORATE_CONSENSUS_HEARTBEAT_MS`. */
export function variableName(path: readonly string[]): string {
  return ['QUORATE', ...path.map((step) => step.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase())].join('_')
}

/** `used`: variables that the file names in `${}`; they are not unknown. */
export function overridesFromEnvironment(
  env: Environment,
  used: ReadonlySet<string>,
): { overrides: Override[]; warnings: string[] } {
  const overrides: Override[] = []
  const warnings: string[] = []
  for (const [name, value] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!name.startsWith('QUORATE_') || value === undefined) continue
    const key = keyOfVariable.get(name)
    if (key !== undefined) overrides.push({ ...override(key, value), place: { kind: 'environment', name } })
    else if (!used.has(name) && !otherVariables.includes(name))
      warnings.push(
        `the environment variable ${name} is no key and is ignored; did you mean ${closest(name, [...keyOfVariable.keys()])}?`,
      )
  }
  return { overrides, warnings }
}

export function overridesFromFlags(flags: readonly FlagOverride[]): Override[] {
  return flags.flatMap((flag) => {
    const key = overridable.find((candidate) => keyText(candidate.path) === flag.key)
    return key === undefined
      ? []
      : [{ ...override(key, flag.value), place: { kind: 'flag' as const, name: flag.flag } }]
  })
}

/** Text as the kind that the key takes; what does not fit stays text, for the schema to refuse. */
export function fromText(text: string, kind: KeyNote['kind']): unknown {
  switch (kind) {
    case 'number':
      return /^[+-]?\d+(?:\.\d+)?$/.test(text) ? Number(text) : text
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text
    case 'list':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
    case 'text':
    case 'map':
      return text
    default:
      return unreachable(kind)
  }
}

function override(key: Key, text: string): { path: readonly string[]; value: unknown } {
  return { path: key.path, value: fromText(text, key.note.kind) }
}
