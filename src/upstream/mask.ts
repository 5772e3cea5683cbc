import { redacted, redactText } from '../vocabulary/secrets.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * Takes a server's configured values out of what it prints: they may be secrets, and servers print their environment. Short
 * values stay: they are no secrets, and to hide `1` would hide everything.
 */
export function makeMask(link: ConfiguredServer['link']): (text: string) => string {
  const values = Object.values(link.kind === 'stdio' ? link.env : link.headers)
  const secrets = values.filter((value) => value.length >= secretLengthMin).sort((a, b) => b.length - a.length)
  return (text) => redactText(secrets.reduce((masked, secret) => masked.replaceAll(secret, redacted), text))
}

const secretLengthMin = 8
