/** The configuration as `quorate config show` lists it: every key in force, its value and its origin, secrets masked. */
import { isSecretName, redacted, redactText } from '../vocabulary/secrets.ts'
import type { LoadedConfig } from './load.ts'
import { configKeys, type Key } from './schema.ts'
import { isSecretPath, maskArguments } from './secret-keys.ts'
import { keyText, placeText } from './source.ts'

export type ShownValue = { readonly key: string; readonly value: unknown; readonly origin: string }

/** In the order of the reference file, server by server. A map that is not empty shows a line for each entry. */
export function showConfig(loaded: LoadedConfig): ShownValue[] {
  const isOfServer = (key: Key): boolean => key.path[1] === '*'
  const first = configKeys.findIndex(isOfServer)
  const serverKeys = configKeys.filter(isOfServer)
  const servers = Object.keys(loaded.config.mcpServers).flatMap((name) =>
    serverKeys.flatMap((key) => lines(loaded, ['mcpServers', name, ...key.path.slice(2)], key)),
  )
  const linesOf = (keys: readonly Key[]): ShownValue[] => keys.flatMap((key) => lines(loaded, key.path, key))
  return [...linesOf(configKeys.slice(0, first)), ...servers, ...linesOf(configKeys.slice(first + serverKeys.length))]
}

function lines(loaded: LoadedConfig, path: readonly string[], key: Key): ShownValue[] {
  return key.note.kind === 'map' ? entries(loaded, path) : [shown(loaded, path)]
}

function entries(loaded: LoadedConfig, path: readonly string[]): ShownValue[] {
  const names = Object.keys(Object(valueAt(loaded, path)))
  return names.length === 0 ? [shown(loaded, path)] : names.map((name) => shown(loaded, [...path, name]))
}

function shown(loaded: LoadedConfig, path: readonly string[]): ShownValue {
  return { key: keyText(path), value: masked(loaded, path), origin: originText(loaded, path) }
}

function originText(loaded: LoadedConfig, path: readonly string[]): string {
  const place = loaded.origins.get(keyText(path))
  return place === undefined ? 'default' : placeText(place)
}

function masked(loaded: LoadedConfig, path: readonly string[]): unknown {
  const value = valueAt(loaded, path)
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (Array.isArray(value)) {
    const items =
      path.at(-1) === 'args' ? maskArguments(value.map(String)) : value.map((item) => redactText(String(item)))
    return items.map((item, index) => (fromSecretVariable(loaded, keyText([...path, index])) ? redacted : item))
  }
  if (typeof value !== 'string') return value
  if (isSecretPath(path) || fromSecretVariable(loaded, keyText(path))) return redacted
  return redactText(value)
}

function fromSecretVariable(loaded: LoadedConfig, key: string): boolean {
  return (loaded.variables.get(key) ?? []).some(isSecretName)
}

function valueAt(loaded: LoadedConfig, path: readonly string[]): unknown {
  let at: unknown = loaded.config
  for (const step of path)
    at = typeof at === 'object' && at !== null ? ((at as Record<string, unknown>)[step] ?? null) : null
  return at
}
