/** Which configuration a command works on: `--config`, else ./cluster.yaml if it is there, else the environment alone. */
import { existsSync } from 'node:fs'
import { loadConfig, type LoadedConfig } from '../config/load.ts'
import type { FlagOverride } from '../config/override.ts'
import { warn, type Terminal } from './terminal.ts'

export const usualFile = 'cluster.yaml'

/** Warnings go to stderr. Throws `bad-config`. */
export function loadFor(
  terminal: Terminal,
  options: { file: string | undefined; flags: readonly FlagOverride[] },
): LoadedConfig {
  const loaded = loadConfig({ file: fileOf(options.file), env: terminal.env, flags: options.flags })
  for (const text of loaded.warnings) warn(terminal, text)
  return loaded
}

export function fileOf(file: string | undefined): string | null {
  return file ?? (existsSync(usualFile) ? usualFile : null)
}
