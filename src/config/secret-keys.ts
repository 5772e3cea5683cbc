import { isSecretName, redacted, redactText } from '../vocabulary/secrets.ts'
import type { Path } from './source.ts'

/** Which configuration values are secret, and how those that carry a secret inside are shown. */

/** By the names of the key's path; every header and every environment value of a server counts. */
export function isSecretPath(path: Path): boolean {
  const [section, , key] = path
  if (section === 'mcpServers' && path.length > 3 && (key === 'env' || key === 'headers')) return true
  return path.some((step, index) => typeof step === 'string' && !isServerName(path, index) && isSecretName(step))
}

/** Arguments with the values of `--api-key X`, `--api-key=X`, `TOKEN=X` hidden. */
export function maskArguments(args: readonly string[]): string[] {
  return args.map((arg, index) => {
    const before = args[index - 1]
    if (before !== undefined && /^--?[^=]+$/.test(before) && isSecretName(before.replace(/^-+/, ''))) return redacted
    const match = /^(-{0,2}([\w.-]+)=)/.exec(arg)
    if (match !== null && isSecretName(match[2] ?? '')) return `${match[1]}${redacted}`
    return redactText(arg)
  })
}

/** The name of a server says nothing of secrets: a server may be called `secrets`. */
function isServerName(path: Path, index: number): boolean {
  return path[0] === 'mcpServers' && index === 1
}
