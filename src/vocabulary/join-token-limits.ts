/** Limits of join tokens. The HTTP edge, the commands and the codec of commands hold the same. */

/** Tokens that have not expired, and tokens that are known at all: the longest expired is forgotten for a newer one. */
export const joinTokensMax = 256
export const joinTokensKnownMax = 1024
/** From making to expiry, and what is taken where nothing else is asked for. */
export const joinTokenLifetimeMinMs = 1000
export const joinTokenLifetimeMaxMs = 7 * 24 * 60 * 60 * 1000
export const joinTokenLifetimeDefaultMs = 60 * 60 * 1000
/** Nodes that one token lets in. */
export const joinTokenUsesMax = 100
export const joinTokenUsesDefault = 1
/** In UTF-16 units. */
export const joinTokenNoteMax = 200
/** How long an expired token is still known, so that who comes with it learns that it has expired. Log time. */
export const joinTokenKnownForMs = 24 * 60 * 60 * 1000

/** 16 hexadecimal digits. */
export function isJoinTokenId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text)
}
