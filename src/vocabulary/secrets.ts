/**
 * Which names carry secrets, and how secrets are taken out of text that carries them inside: the one rule that the log,
 * `config show` and error texts share. It errs on the side of hiding: `progressToken` is hidden too.
 */

export const redacted = '[redacted]'

const secretParts =
  /secret|token|passw|passphrase|authorization|cookie|apikey|credential|privatekey|accesskey|signingkey|bearer|jwt/
const secretEnds = /(?:^|[_.-])(?:pass|pwd|pw|auth)$|[_.-]key$/i
const camelKey = /[a-z]Key$/
/** Where a secret is kept is none: `secretFile`, `TOKEN_FILE`. */
const fileEnds = /[a-z]File$|[_.-](?:file|FILE)$/

/** True when a field, header, variable or flag of this name is taken to hold a secret. */
export function isSecretName(name: string): boolean {
  if (fileEnds.test(name)) return false
  return secretEnds.test(name) || camelKey.test(name) || secretParts.test(name.toLowerCase().replaceAll(/[^a-z]/g, ''))
}

/**
 * Hides credentials that stand in running text: bearer and basic tokens, join tokens, user information of URLs, and what
 * stands behind a secret's name: in JSON, and as `name=value` (parameters, environment, flags).
 */
export function redactText(text: string): string {
  return text
    .replaceAll(/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${redacted}`)
    .replaceAll(/qj\d{1,4}\.[\w-]{8,}(?:\.[\w-]*)*/g, redacted)
    .replaceAll(/:\/\/[^/?#\s@"']+@/g, `://${redacted}@`)
    .replaceAll(/"([\w.-]{1,64})"\s*:\s*"(?:[^"\\]|\\.)*"/g, (whole, name: string) =>
      isSecretName(name) ? `"${name}":"${redacted}"` : whole,
    )
    .replaceAll(/(?<![\w.-])([\w.-]{1,64})=("[^"]*"|'[^']*'|["']?[^&#;\s"',)]+)/g, (whole, name: string) =>
      isSecretName(name) ? `${name}=${redacted}` : whole,
    )
}
